"""Waitress, made to hold against clients that are broken, slow or hostile.

As it comes, waitress reads more into a request than HTTP allows, and lets a client take its time. Here a request is one that
every proxy would read in the same way, or it is refused: nothing is mended or guessed at. Its head is looked at as a whole,
by one regular expression; only of a head that does not match one finds out what is wrong with it. A refusal is an error in
our shape, and ends the connection.

Nothing on the way to an answer looks at a clock for all this: twice a second the server compares what each connection is
at with what it was at before.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import logging
import re
import secrets
import socket
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from math import inf
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver
from waitress.server import TcpWSGIServer

from wonderq.addresses import network
from wonderq.answers import TOO_MANY_IN_ALL, TOO_MANY_OF_ONE, Answer, Refusal, too_many
from wonderq.measures import RequestCounters
from wonderq.wire import RequestError

logger = logging.getLogger("wonderq.http")

#: The largest batch of 16 MiB, with every second byte escaped in JSON.
MAX_BODY_BYTES = 33 << 20

MAX_HEAD_BYTES = 32 << 10
MAX_TARGET_BYTES = 8 << 10
MAX_HEADERS = 100
_MAX_CHUNK_LINE_BYTES = 256
_SMALL_BODY_BYTES = 64 << 10

#: How often all connections are looked at.
LOOK_S = 0.5

#: A client that was refused may still be sending, and sees the answer only if it is let finish; but so much is enough.
_MAX_LINGERING_BYTES = 1 << 20

#: So many connections are accepted before those that are open have their turn.
_ACCEPTED_AT_ONCE = 64

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True)
class Timeouts:
    """How long a client may take."""

    head_s: float = 10
    """For the head of a request, from its first byte; and for the first byte, from when the connection was accepted."""
    body_s: float = 10
    """For a body, besides the time in which it comes at `body_bytes_per_s`."""
    body_bytes_per_s: int = 4096
    idle_s: float = 120
    """Between an answer and the next request."""
    unread_s: float = 120
    """Without taking any of an answer."""
    linger_s: float = 2
    """To notice that it was refused, and stop sending."""


class Head(NamedTuple):
    """A request, before its body is read."""

    method: str
    path: str
    """Decoded, as the application sees it; without the query."""
    headers: Mapping[str, str]
    """By names in upper case with ``_``, as in ``AUTHORIZATION`` and ``CONTENT_TYPE``."""
    address: str
    """The client's, or that of the proxy it came through."""
    body_bytes: int | None
    """How long the body will be; None if that is not known in advance."""


CheckHead = Callable[[Head], RequestError | None]
"""Refuses a request on its head alone, by returning how to answer it; None lets it go on.

It is called once for each request that is well-formed, on the thread that serves all connections: it must not wait. A
request that it refuses has its connection closed, and its body is never asked for. Of requests that a client sends in a row
it sees the later ones before the earlier ones are served.
"""


# The head

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_HEAD = re.compile(
    r"([A-Z][A-Z-]{0,31}) "
    r"((?:https?://([^/?#\s]++))?(/(?!/)[!\"$->@-~]*+)(?:\?([!\"$-~]*+))?) HTTP/1\.([01])\r\n"
    rf"((?:{_NAME}:[\t -~\x80-\xff]*+\r\n){{0,{MAX_HEADERS}}}+)"
)
_FIELD = re.compile(r"([^:]++):[\t ]*+([^\r]*+)\r\n")
_HOST = re.compile(r"(?:[0-9A-Za-z._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_BLANK_LINES = re.compile(rb"(?:\r\n)++")

#: As long as a UUID, and shorter than a receipt or an API key: those are not to get into the log in this way either.
_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{1,36}")
_NAME_LINE = "X-Request-Id: %s\r\n"
_name_lines = map((_NAME_LINE % f"{secrets.token_hex(6)}-%x").__mod__, itertools.count(1))

#: What no head holds, wherever it goes on.
_NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")

#: Headers of which the first or the last may count, depending on who reads them.
_ONLY_ONCE = re.compile("AUTHORIZATION|CONTENT_(?:ENCODING|LENGTH|TYPE)|EXPECT|HOST|ORIGIN|SEC_FETCH_SITE")

#: What can be wrong with a head, and how to mend it; the first that is found is said.
_FAULTS = {
    r"\A\x16\x03": "This is TLS, and the broker speaks plain HTTP: use http:// here.",
    r"(?<!\r)\n|\r(?!\n)": "End each line with CR LF, and send neither anywhere else.",
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]": "Send no control characters.",
    r"\A[^\r]*[^\x00-\x7f]": "Write what is not ASCII in the target as %XX, in UTF-8.",
    r"\A(?!\S+ \S+ HTTP/[0-9.]+\r)": "Begin with a line METHOD /path HTTP/1.1, with one space between each.",
    r"\A\S+ \S+ HTTP/(?!1\.[01]\r)": "Speak HTTP/1.1, or 1.0.",
    r"\A(?![A-Z][A-Z-]{0,31} )": "Write the method in capital letters.",
    r"\A\S+ (?!(?:https?://[^/?#\s]+)?/(?!/)[^#\s]* )": (
        "Ask for a path that begins with one slash, or an http URL with one, without a fragment."
    ),
    r"\n[ \t]": "Write each header on one line.",
    r"\n[^:\r]*[ \t]:": "Leave no space between a header's name and its colon.",
    r"": "Write each header as Name: value, its name in letters, digits and -.",
}


def _fault(head: str) -> RequestError:
    """Say what is wrong with a head."""
    if head.count("\n") > 1 + MAX_HEADERS:
        return RequestError(431, "headers_too_large", f"Send at most {MAX_HEADERS} headers.")
    return _bad(next(message for pattern, message in _FAULTS.items() if re.search(pattern, head)))


def _bad(message: str) -> RequestError:
    return RequestError(400, "bad_request", message)


def _body_too_large(limit: int) -> RequestError:
    return RequestError(413, "body_too_large", f"Send at most {limit} bytes in a body: split the batch.")


def _unquote(path: str) -> str:
    """Decode a path, into what WSGI calls text: each character is a byte."""
    if re.search("%(?![0-9A-Fa-f]{2})", path):
        raise _bad("Follow each % in the path by two hexadecimal digits; the character itself is %25.")
    data = unquote_to_bytes(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _bad("Write what is not ASCII in the path as the %XX of its UTF-8.") from error
    if re.search("[\x00-\x1f\x7f-\x9f]", text):
        raise _bad("Put no control characters into the path.")
    if "/" in text and "%2f" in path.lower():  # whoever checks paths in front of us would see another one
        raise _bad("Put no encoded slash into the path: no queue and no message has one in its name.")
    return data.decode("latin-1")


class _InMemory(BytesIO):
    """A buffer for a small body: what waitress has for any, which may go on in a file, takes longer to make than to fill."""

    append = BytesIO.write

    def getfile(self) -> BytesIO:
        self.seek(0)
        return self


class Parser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
    """One request, as its bytes come in."""

    # Until they are known, and of a request whose head cannot be read.
    command = path = query = request_uri = ""
    version, url_scheme = "1.1", "http"
    error: RequestError | None = None
    name_line = ""
    """The header that says in the answer what the request is called; empty before that was asked for."""
    header_plus = b""
    """What there is of a head that is not complete."""

    def __init__(
        self,
        adj: Adjustments,
        check_head: CheckHead | None = None,
        address: str = "",
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        super().__init__(adj)
        self._max_body_bytes = max_body_bytes
        self._check_head = check_head
        self._address = address

    @property
    def name(self) -> str:
        """What the request is called in its answer and in the log: as the client says, or else one that is made here."""
        return (self.name_line or self.make_name()).split()[1]

    def make_name(self) -> str:
        """Set `name_line`, and return it."""
        given = self.headers.get("X_REQUEST_ID")
        known = given is not None and _REQUEST_ID.fullmatch(given)
        self.name_line = _NAME_LINE % given if known else next(_name_lines)
        return self.name_line

    def received(self, data: bytes) -> int:
        """Take what belongs to this request; returns how many bytes that is."""
        try:
            if self.body_rcv is None:
                return self._receive_head(data)
            return self._receive_body(data)
        except RequestError as error:
            self.refuse(error)
            return len(data)  # where the next request would begin, nobody can say

    def refuse(self, error: RequestError) -> None:
        self.error = error
        self.completed = True

    def _receive_head(self, data: bytes) -> int:
        held = len(self.header_plus)
        data = self.header_plus + data
        start = 0
        if data.startswith(b"\r\n") and (blank := _BLANK_LINES.match(data)):  # some clients send one after a body
            start = blank.end()
        end = data.find(b"\r\n\r\n", max(start, held - 3))
        if (len(data) if end < 0 else end) - start > MAX_HEAD_BYTES:
            raise RequestError(431, "headers_too_large", f"Send at most {MAX_HEAD_BYTES} bytes before the body.")
        if end < 0:
            if _NEVER.search(data, max(start, held - 1)):
                raise _fault(data[start:].decode("latin-1"))
            self.header_plus = data[start:]
            return len(data) - held
        self.header_plus = b""
        self._parse(data[start : end + 2].decode("latin-1"))
        self.headers_finished = True
        self.completed = self.body_rcv is None
        return end + 4 - held

    def _parse(self, text: str) -> None:
        found = _HEAD.fullmatch(text)
        if found is None:
            raise _fault(text)
        self.command, self.request_uri, authority, path, query, minor, fields = found.groups()
        if len(self.request_uri) > MAX_TARGET_BYTES:
            raise RequestError(414, "target_too_long", f"Send at most {MAX_TARGET_BYTES} bytes of path and query.")
        self.version = "1." + minor
        self.query = query or ""
        headers = self.headers
        for name, value in _FIELD.findall(fields):
            if "_" in name:
                continue  # to WSGI it would be the one with a dash, which whoever checks in front of us may have refused
            key = name.upper().replace("-", "_")
            if key not in headers:
                headers[key] = value.rstrip("\t ")
            elif _ONLY_ONCE.fullmatch(key):
                raise _bad(f"Send the header {name} only once.")
            else:
                headers[key] += ", " + value.rstrip("\t ")
        self._check_host(authority)
        self.path = _unquote(path) if "%" in path else path
        self._find_body()
        if self._check_head is not None:
            length = None if self.chunked else self.content_length
            path = self.path if self.path.isascii() else self.path.encode("latin-1").decode()
            error = self._check_head(Head(self.command, path, headers, self._address, length))
            if error is not None:
                raise error

    def _check_host(self, authority: str | None) -> None:
        host = self.headers.get("HOST")
        if host is None:
            if self.version == "1.1":
                raise _bad("Send a Host header: HTTP/1.1 requires one.")
            if authority is None:
                return
            host = self.headers["HOST"] = authority
        if not _HOST.fullmatch(host):
            raise _bad("Send as Host the name or address of this broker, and its port.")
        if authority is not None and authority.lower() != host.lower():
            raise _bad("Send the same host in the target and in the Host header.")

    def _find_body(self) -> None:
        """Find out where the body ends."""
        headers = self.headers
        connection = headers.get("CONNECTION")
        if connection is not None and "close" in connection.lower():
            headers["CONNECTION"] = "close"  # which waitress looks for by itself, not in a list
        coding = headers.pop("TRANSFER_ENCODING", None)
        length = headers.get("CONTENT_LENGTH")
        if coding is not None:
            if length is not None:
                raise _bad("Send Content-Length or Transfer-Encoding, not both.")
            if self.version == "1.0":
                raise _bad("Send a Content-Length: HTTP/1.0 has no Transfer-Encoding.")
            if coding.lower() != "chunked":
                if re.fullmatch(r"chunked(?:[ \t]*,[ \t]*chunked)+", coding, re.IGNORECASE):
                    raise _bad("Send Transfer-Encoding: chunked once.")
                raise RequestError(501, "not_implemented", "Use no Transfer-Encoding other than chunked.")
            self.chunked = True
            self.body_rcv = _ChunkedReceiver(OverflowableBuffer(self.adj.inbuf_overflow), self._max_body_bytes)
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise _bad("Write the Content-Length in digits alone.")
            if len(length) > 15 or int(length) > self._max_body_bytes:
                raise _body_too_large(self._max_body_bytes)
            if int(length):
                self.content_length = int(length)
                self.body_rcv = FixedStreamReceiver(
                    self.content_length,
                    _InMemory()
                    if self.content_length <= _SMALL_BODY_BYTES
                    else OverflowableBuffer(self.adj.inbuf_overflow),
                )
        if headers.get("CONTENT_ENCODING", "identity").lower() != "identity":
            raise RequestError(415, "unsupported_content_encoding", "Send the body without a Content-Encoding.")
        expect = headers.get("EXPECT")
        if expect is not None and self.version == "1.1":
            if expect.lower() != "100-continue":
                raise RequestError(417, "expectation_failed", "Send no Expect other than 100-continue.")
            self.expect_continue = self.body_rcv is not None

    def _receive_body(self, data: bytes) -> int:
        body = self.body_rcv
        consumed: int = body.received(data)
        self.body_bytes_received += consumed
        if self.body_bytes_received > 2 * self._max_body_bytes:
            raise _body_too_large(self._max_body_bytes)  # for most of it says how large the chunks are
        if body.completed:
            self.completed = True
            if self.chunked:
                self.headers["CONTENT_LENGTH"] = str(len(body))
        return consumed


class _ChunkedReceiver(FixedStreamReceiver):  # type: ignore[misc]
    """A chunked body. Chunk extensions are passed over; trailers are refused, since nothing here would read them."""

    completed = False
    remain = 0
    """Of the chunk that is coming in."""

    _LINE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t -~\x80-\xff]*)?\r\n")

    def __init__(self, buffer: OverflowableBuffer, max_bytes: int) -> None:
        super().__init__(0, buffer)
        self._max_bytes = max_bytes
        self._length = 0
        # The line that begins a chunk is taken together with the line break that ends the one before.
        self._held = b"\r\n"

    def received(self, data: bytes) -> int:
        held = len(self._held)
        data = self._held + data
        self._held = b""
        pieces = []
        at = 0
        while at < len(data) and not self.completed:
            if self.remain:
                piece = data[at : at + self.remain]
                pieces.append(piece)
                at += len(piece)
                self.remain -= len(piece)
                continue
            line = self._LINE.match(data, at, at + _MAX_CHUNK_LINE_BYTES)
            if line is None:
                self._hold(data[at:])
                break
            self.remain = int(line[1], 16)
            if self._length + self.remain > self._max_bytes:
                raise _body_too_large(self._max_bytes)
            self._length += self.remain
            at = line.end()
            if not self.remain:
                end = data[at : at + 2]
                if not b"\r\n".startswith(end):
                    raise _bad("Send no trailers after the last chunk: end it with an empty line.")
                self.completed = end == b"\r\n"
                self._held = b"" if self.completed else line[0] + end
                at += len(end)
        if pieces:
            self.buf.append(b"".join(pieces))
        return at - held if self.completed else len(data) - held

    def _hold(self, line: bytes) -> None:
        """Keep the beginning of a line until more of it comes."""
        if not b"\r\n".startswith(line[:2]) or b"\n" in line[2:] or len(line) >= _MAX_CHUNK_LINE_BYTES:
            raise _bad(
                "Send each chunk as its size in up to 8 hexadecimal digits, CR LF, so many bytes, and CR LF; "
                f"with at most {_MAX_CHUNK_LINE_BYTES} bytes of extensions."
            )
        self._held = line


# Connections


class _Pathless(logging.LoggerAdapter[logging.Logger]):
    """Leaves out of what waitress logs the path of a request, which may have an id in it."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return re.sub(r"(?s) while serving .*", " while serving a request", msg), kwargs


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    logger = _Pathless(logging.getLogger("waitress"))
    task_class = Answer
    error_task_class = Refusal

    polled = 0  # see `Server.touched`
    close_when_flushed = False
    will_close = False
    refused = False
    """Whether the answer that is being sent is a refusal."""
    lingering = False
    """Whether it has been told so, and what it still sends is passed over."""
    passed_over_bytes = 0

    def __init__(self, server: Server, *args: Any, **named: Any) -> None:
        super().__init__(server, *args, **named)
        self.network = network(self.addr[0])
        """What connections are counted by."""
        self.stage: object = self.last_activity
        """What it was at when it was looked at: where that is the same as before, it has not got on."""
        self.since_s = time.monotonic()
        server.touched.add(self)

    @property
    def request_name(self) -> str:
        """What the request that is being served is called; empty if none is."""
        return self.requests[0].name if self.requests else ""

    def parser_class(self, adj: Adjustments) -> Parser:
        return Parser(adj, self.server.check_head, self.addr[0], self.server.max_body_bytes)

    def handle_write(self) -> None:
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if self.close_when_flushed and not self.total_outbufs_len and not self.will_close:
            if self.refused and self.connected:
                self._linger()
                return
            self.close_when_flushed = False
            self.will_close = True
        if self.will_close:
            self.handle_close()

    def _linger(self) -> None:
        """Say that nothing more will come, and take no notice of what does.

        To close a socket that still has something to read, or to which more comes, throws away what the client has not
        read; so it would often not see why it was refused.
        """
        self.close_when_flushed = False
        self.lingering = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def received(self, data: bytes) -> None:
        if self.lingering:
            self.passed_over_bytes += len(data)
            self.will_close = self.passed_over_bytes > _MAX_LINGERING_BYTES
        else:
            super().received(data)

    @property
    def idle(self) -> bool:
        """Whether nothing has come since the last answer, or more than empty lines."""
        return self.can_go and (self.request is None or not self.request.header_plus)

    @property
    def can_go(self) -> bool:
        """Whether the connection may be closed to make room: no answer is due, and no more than a head has begun."""
        return not (self.requests or self.total_outbufs_len) and (self.request is None or self.request.body_rcv is None)

    def look(self, now_s: float, timeouts: Timeouts) -> None:
        """Close the connection, or refuse its request, if it has been at the same stage for too long."""
        request = self.request
        limit_s = timeouts.head_s
        stage: object = request
        if self.total_outbufs_len:
            stage, limit_s = self.last_activity, timeouts.unread_s
        elif self.requests:
            stage, limit_s = self.requests[0], inf
        elif self.lingering:
            stage, limit_s = "lingering", timeouts.linger_s
        elif request is None:
            stage = self.last_activity
            if stage != self.creation_time:
                limit_s = timeouts.idle_s
        elif request.body_rcv is not None:
            stage = request.body_rcv
            limit_s = timeouts.body_s + request.body_bytes_received / timeouts.body_bytes_per_s
        if stage != self.stage:
            self.stage, self.since_s = stage, now_s
        elif now_s - self.since_s > limit_s:
            self._give_up(request)

    def _give_up(self, request: Parser | None) -> None:
        if self.total_outbufs_len or self.lingering or request is None or self.idle:
            self.handle_close()
            return
        what = "the body, at least so many bytes a second" if request.body_rcv is not None else "the head of a request"
        request.refuse(RequestError(408, "request_timeout", f"Send {what}, without pauses: this took too long."))
        self.request = None
        self.requests.append(request)
        self.server.add_task(self)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Accepts connections up to its limits, and closes those that take too long. `look` has to be called all the time."""

    channel_class = Channel
    polled = 0

    def __init__(
        self,
        app: Any,
        adj: Adjustments,
        dispatcher: Any,
        *,
        connections_per_address: int,
        check_head: CheckHead | None,
        timeouts: Timeouts | None,
        max_body_bytes: int,
    ) -> None:
        self.check_head = check_head
        self.counters = RequestCounters()
        self.max_body_bytes = max_body_bytes
        self.touched: set[Any] = set()
        """What may wait for something else now than it did when its ``polled`` was set."""
        self._per_address = connections_per_address
        self._patience = timeouts or Timeouts()
        self._looked_s = 0.0
        self._full = False
        super().__init__(app, adj=adj, dispatcher=dispatcher)
        self.touched.add(self)

    def readable(self) -> bool:
        return self.accepting and not self._full

    def look(self, now_s: float) -> None:
        """Look at every connection, if it is time to."""
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for channel in list(self.active_channels.values()):
            channel.look(now_s, self._patience)
        self._full = False
        self.touched.add(self)

    def handle_accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    continue  # that client has gone
                logger.warning("no connection can be accepted: %s", error.strerror)
                self._evict_idle(self.active_channels.values())
                self._full = True  # until the next look: what cannot be accepted would be told of again and again
                self.touched.add(self)
                return
            refusal = self._refusal(address[0])
            try:
                if refusal is None:
                    self.set_socket_options(connection)
                    self.channel_class(self, connection, address, self.adj, map=self._map)
                    self.counters.accepted += 1
                else:
                    self.counters.refused += 1
                    connection.setblocking(False)
                    connection.send(refusal)
                    connection.close()
            except OSError:  # that client has gone
                connection.close()

    def _refusal(self, address: str) -> bytes | None:
        """Return the answer to one connection more from this address, if there is no room for it and none can be made."""
        channels = self.active_channels
        if len(channels) >= self._per_address:
            client = network(address)
            same = [channel for channel in channels.values() if channel.network == client]
            if len(same) >= self._per_address and not self._evict_idle(same):
                return too_many(*TOO_MANY_OF_ONE)
        if len(channels) >= self.adj.connection_limit and not self._evict_idle(channels.values()):
            return too_many(*TOO_MANY_IN_ALL)
        return None

    def _evict_idle(self, channels: Collection[Channel]) -> bool:
        """Close what has been idle for longest, or else a request that has been beginning for longest."""
        count = max(1, len(channels) // 64)  # all have to be looked at to find one
        ready_to_go = [channel for channel in channels if channel.can_go]
        now_s = time.monotonic()
        for channel in ready_to_go:
            channel.look(now_s, self._patience)
        going = heapq.nsmallest(count, ready_to_go, key=lambda each: (not each.idle, each.since_s))
        for channel in going:
            channel.handle_close()
        return bool(going)
