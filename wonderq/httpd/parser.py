"""Strict parsing of HTTP/1.1 requests.

Waitress reads more into a request than HTTP allows. This parser accepts only requests that every proxy reads in the
same way, and rejects all others: it fixes nothing and guesses nothing. One regular expression matches a whole valid
head; only a head that does not match is searched for its fault. A rejected request ends its connection.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver

from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import CheckHead, Head
from wonderq.httpd.room import LARGE_BODY_BYTES, BodyRoom

#: Default limit of a body: a batch of 16 MiB in JSON, with every second byte escaped.
MAX_BODY_BYTES = 33 << 20

MAX_HEAD_BYTES = 32 << 10
MAX_TARGET_BYTES = 8 << 10
MAX_HEADERS = 100
_MAX_CHUNK_LINE_BYTES = 256
_SMALL_BODY_BYTES = 64 << 10


# The head

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_HEAD = re.compile(
    r"([A-Z][A-Z-]{0,31}) "
    r"((?:https?://([^/?#\s]++))?(/(?!/)[!\"$->@-~]*+)(?:\?([!\"$-~]*+))?) HTTP/1\.([01])\r\n"
    rf"((?:{_NAME}:[\t -~\x80-\xff]*+\r\n){{0,{MAX_HEADERS}}}+)"
)
_FIELD = re.compile(r"([^:]++):[\t ]*+([^\r]*+)\r\n")
#: Parts that decide on the format of an error response, also for a head that is not valid or not complete.
_FORMAT_LINE = re.compile(r"(?:\r\n)*([A-Z]{1,32}) (/[!-~]*)")
_FORMAT_FIELD = re.compile(r"\n(X-Amz-Target|Authorization|Content-Type):[\t ]*([\t -~]+)", re.IGNORECASE)
_HOST = re.compile(r"(?:[0-9A-Za-z._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_BLANK_LINES = re.compile(rb"(?:\r\n)++")

#: Ids that are accepted from clients: up to the length of a UUID, which is less than that of a receipt or an API key,
#: so that neither can get into the log as a request id.
_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{1,36}")
_ID_HEADER = "X-Request-Id: %s\r\n"
_new_id_headers = map((_ID_HEADER % f"{secrets.token_hex(6)}-%x").__mod__, itertools.count(1))

#: Bytes that no valid head contains, whatever follows.
_NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")

#: Headers that may not be repeated: some readers take the first value, others the last.
_ONLY_ONCE = re.compile("AUTHORIZATION|CONTENT_(?:ENCODING|LENGTH|TYPE)|EXPECT|HOST|ORIGIN|SEC_FETCH_SITE")

#: Faults of a head, each with the advice to fix it. The first match is reported.
_FAULTS = {
    r"\A\x16\x03": "This is TLS, but the broker speaks plain HTTP. Use http:// here.",
    r"(?<!\r)\n|\r(?!\n)": "End each line with CR LF, and use CR and LF nowhere else.",
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]": "Send no control characters.",
    r"\A[^\r]*[^\x00-\x7f]": "Percent-encode non-ASCII characters in the target, as UTF-8.",
    r"\A(?!\S+ \S+ HTTP/[0-9.]+\r)": "Begin with a line METHOD /path HTTP/1.1, with one space between the parts.",
    r"\A\S+ \S+ HTTP/(?!1\.[01]\r)": "Use HTTP/1.1 or HTTP/1.0.",
    r"\A(?![A-Z][A-Z-]{0,31} )": "Write the method in capital letters.",
    r"\A\S+ (?!(?:https?://[^/?#\s]+)?/(?!/)[^#\s]* )": (
        "Request a path that begins with one slash, or an http URL with such a path, without a fragment."
    ),
    r"\n[ \t]": "Write each header on one line.",
    r"\n[^:\r]*[ \t]:": "Put no space between a header's name and its colon.",
    r"": "Write each header as Name: value, where the name has only letters, digits and -.",
}


def _fault(head: str) -> RequestError:
    """Return the error for a head that is not valid."""
    if head.count("\n") > 1 + MAX_HEADERS:
        return RequestError(431, "headers_too_large", f"Send at most {MAX_HEADERS} headers.")
    return _bad(next(message for pattern, message in _FAULTS.items() if re.search(pattern, head)))


class FormatParts(NamedTuple):
    """The data that decide on the format of an error response."""

    method: str
    path: str
    headers: dict[str, str]
    """Like those of `wonderq.httpd.head.Head`."""


def find_format_parts(text: str) -> FormatParts:
    """Return as much as a head shows that is not valid, or of which only the beginning has arrived."""
    line = _FORMAT_LINE.match(text)
    method, target = ("", "") if line is None else line.groups()
    head = text.partition("\r\n\r\n")[0]
    fields = {name.upper().replace("-", "_"): value for name, value in _FORMAT_FIELD.findall(head)}
    return FormatParts(method, target.partition("?")[0], fields)


def _bad(message: str) -> RequestError:
    return RequestError(400, "bad_request", message)


def _body_too_large(limit: int) -> RequestError:
    message = f"The body is larger than {limit} bytes, the most that this call takes. Send less in one request."
    return RequestError(413, "body_too_large", message)


def _unquote(path: str) -> str:
    """Decode a path into a WSGI string, in which each character stands for a byte."""
    if re.search("%(?![0-9A-Fa-f]{2})", path):
        raise _bad("Follow each % in the path with two hexadecimal digits; write the character itself as %25.")
    data = unquote_to_bytes(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _bad("Percent-encode non-ASCII characters in the path, as UTF-8.") from error
    if re.search("[\x00-\x1f\x7f-\x9f]", text):
        raise _bad("Put no control characters into the path.")
    if "/" in text and "%2f" in path.lower():  # a proxy that checks paths would see another path
        raise _bad("Put no encoded slash into the path: no name of a queue and no id of a message contains one.")
    return data.decode("latin-1")


class _InMemory(BytesIO):
    """A buffer for a small body. Waitress' buffer takes longer to create than to fill."""

    append = BytesIO.write

    def getfile(self) -> BytesIO:
        self.seek(0)
        return self


class _Pieces:
    """A buffer for a large body. Waitress' buffer would move it to a temporary file, whose disk may be full."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, data: bytes) -> None:
        self._pieces.append(data)
        self._length += len(data)

    def getfile(self) -> BytesIO:
        """Return the body as a file, which then holds the only copy of it."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return BytesIO(data)

    def close(self) -> None:
        self._pieces.clear()


BodyLimit = Callable[[str, str], int]
"""Returns the size of the largest body that a call can need, by method and decoded path."""


class Parser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
    """Parses one request from its bytes as they arrive."""

    # Values until the head is parsed, and of a head that cannot be parsed.
    command = path = query = request_uri = ""
    version, url_scheme = "1.1", "http"
    error: RequestError | None = None
    id_header = ""
    """Header line with the request's id, for its response; empty until `make_id_header` is called."""
    header_plus = b""
    """Bytes of an incomplete head."""
    awaits_room = False
    """Whether the body waits for room; see `BodyRoom`."""
    room_bytes = 0
    """Room that the body has."""

    def __init__(
        self,
        adj: Adjustments,
        check_head: CheckHead | None = None,
        address: str = "",
        max_body_bytes: int = MAX_BODY_BYTES,
        body_limit: BodyLimit | None = None,
        body_room: BodyRoom | None = None,
    ) -> None:
        super().__init__(adj)
        self._max_body_bytes = max_body_bytes
        self._body_limit = body_limit
        self._body_room = body_room
        self._check_head = check_head
        self._address = address

    @property
    def request_id(self) -> str:
        """Id of the request in its response and in the log: the client's ``X-Request-Id`` if valid, or a new one."""
        return (self.id_header or self.make_id_header()).split()[1]

    def make_id_header(self) -> str:
        """Set `id_header` and return it."""
        given = self.headers.get("X_REQUEST_ID")
        is_valid = given is not None and _REQUEST_ID.fullmatch(given)
        self.id_header = _ID_HEADER % given if is_valid else next(_new_id_headers)
        return self.id_header

    @property
    def room_needed(self) -> int:
        """Room that the body needs: its size, or its largest possible size if that is not known."""
        if self.chunked:
            return self._max_body_bytes if self.body_bytes_received > LARGE_BODY_BYTES else 0
        size: int = self.content_length
        return size if size > LARGE_BODY_BYTES else 0

    def close(self) -> None:
        """Forget the body."""
        super().close()
        if self._body_room is not None and self.awaits_room:
            self.awaits_room = False
            self._body_room.forget(self)
        elif self._body_room is not None and self.room_bytes:
            size, self.room_bytes = self.room_bytes, 0
            self._body_room.give_back(size)

    def received(self, data: bytes) -> int:
        """Consume the bytes that belong to this request, and return their number."""
        try:
            if self.body_rcv is None:
                return self._receive_head(data)
            return self._receive_body(data)
        except RequestError as error:
            self.reject(error)
            return len(data)  # where the next request begins is unknown

    def reject(self, error: RequestError) -> None:
        """Complete the request with an error response."""
        self.error = error.with_traceback(None)  # it names this parser, and a cycle waits for the garbage collector
        self.completed = True

    def _receive_head(self, data: bytes) -> int:
        held = len(self.header_plus)
        data = self.header_plus + data
        start = 0
        if data.startswith(b"\r\n") and (blank := _BLANK_LINES.match(data)):  # some clients send CR LF after a body
            start = blank.end()
        end = data.find(b"\r\n\r\n", max(start, held - 3))
        if (len(data) if end < 0 else end) - start > MAX_HEAD_BYTES:
            self._note_format(data[start : start + MAX_HEAD_BYTES].decode("latin-1"))
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
            self._note_format(text)
            raise _fault(text)
        self.command, self.request_uri, authority, path, query, minor, fields = found.groups()
        self.path = path
        if len(self.request_uri) > MAX_TARGET_BYTES:
            raise RequestError(414, "target_too_long", f"Send at most {MAX_TARGET_BYTES} bytes of path and query.")
        self.version = "1." + minor
        self.query = query or ""
        headers = self.headers
        for name, value in _FIELD.findall(fields):
            if "_" in name:
                continue  # WSGI cannot tell it from the name with a dash, which a proxy may have checked
            key = name.upper().replace("-", "_")
            if key not in headers:
                headers[key] = value.rstrip("\t ")
            elif _ONLY_ONCE.fullmatch(key):
                raise _bad(f"Send the header {name} only once.")
            else:
                headers[key] += ", " + value.rstrip("\t ")
        # An offer of h2c is left unanswered, as RFC 9110, section 7.8, allows: Java's client sends it with each request
        # and goes on in HTTP/1.1. A client that wants WebSocket could not read the answer, and would lose messages.
        if "websocket" in headers.get("UPGRADE", "").lower():
            raise RequestError(
                501,
                "not_implemented",
                "The broker speaks HTTP/1.1, and no WebSocket. To wait for messages, send a consume with wait=20.",
            )
        self._check_host(authority)
        self.path = _unquote(path) if "%" in path else path
        self._find_body()
        if self._check_head is not None:
            length = None if self.chunked else self.content_length
            error = self._check_head(Head(self.command, self._decoded_path, headers, self._address, length))
            if error is not None:
                raise error

    def _note_format(self, text: str) -> None:
        """Note what decides on the format of the error response to a head that is not parsed."""
        self.command, self.path, fields = find_format_parts(text)
        self.headers.update(fields)

    @property
    def _decoded_path(self) -> str:
        return self.path if self.path.isascii() else self.path.encode("latin-1").decode()

    def _check_host(self, authority: str | None) -> None:
        host = self.headers.get("HOST")
        if host is None:
            if self.version == "1.1":
                raise _bad("Send a Host header: HTTP/1.1 requires one.")
            if authority is None:
                return
            host = self.headers["HOST"] = authority
        if not _HOST.fullmatch(host):
            raise _bad("Send the name or address of this broker, and its port, as Host.")
        if authority is not None and authority.lower() != host.lower():
            raise _bad("Send the same host in the target and in the Host header.")

    def _find_body(self) -> None:
        """Determine how the body is delimited, and make its receiver."""
        headers = self.headers
        connection = headers.get("CONNECTION")
        if connection is not None and "close" in connection.lower():
            headers["CONNECTION"] = "close"  # waitress compares the whole value, which may be a list
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
            self._limit_body()
            self.body_rcv = _ChunkedReceiver(_Pieces(), self._max_body_bytes)
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise _bad("Write the Content-Length in digits alone.")
            is_large = len(length) > 15 or int(length) > _SMALL_BODY_BYTES
            if is_large:
                self._limit_body()
            if len(length) > 15 or int(length) > self._max_body_bytes:
                raise _body_too_large(self._max_body_bytes)
            if int(length):
                self.content_length = int(length)
                self.body_rcv = FixedStreamReceiver(self.content_length, _Pieces() if is_large else _InMemory())
        if headers.get("CONTENT_ENCODING", "identity").lower() != "identity":
            raise RequestError(415, "unsupported_content_encoding", "Send the body without a Content-Encoding.")
        expect = headers.get("EXPECT")
        if expect is not None and self.version == "1.1":
            if expect.lower() != "100-continue":
                raise RequestError(417, "expectation_failed", "Send no Expect other than 100-continue.")
            self.expect_continue = self.body_rcv is not None

    def _limit_body(self) -> None:
        """Lower the limit of the body to what this call can need."""
        if self._body_limit is not None:
            self._max_body_bytes = min(self._max_body_bytes, self._body_limit(self.command, self._decoded_path))

    def _receive_body(self, data: bytes) -> int:
        body = self.body_rcv
        consumed: int = body.received(data)
        self.body_bytes_received += consumed
        if self.body_bytes_received > 2 * self._max_body_bytes:
            raise _body_too_large(self._max_body_bytes)  # most of it is chunk sizes
        if body.completed:
            self.completed = True
            if self.chunked:
                self.headers["CONTENT_LENGTH"] = str(len(body))
        return consumed


class _ChunkedReceiver(FixedStreamReceiver):  # type: ignore[misc]
    """Receives a chunked body. Ignores chunk extensions, and rejects trailers because nothing here would read them."""

    completed = False
    remain = 0
    """Bytes of the current chunk that have not arrived yet."""

    _LINE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t -~\x80-\xff]*)?\r\n")

    def __init__(self, buffer: _Pieces, max_bytes: int) -> None:
        super().__init__(0, buffer)
        self._max_bytes = max_bytes
        self._length = 0
        # The size line of a chunk is matched together with the line break that ends the previous chunk.
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
        """Keep the beginning of a size line until the rest of it arrives."""
        if not b"\r\n".startswith(line[:2]) or b"\n" in line[2:] or len(line) >= _MAX_CHUNK_LINE_BYTES:
            raise _bad(
                "Send each chunk as its size in up to 8 hexadecimal digits, CR LF, that many bytes, and CR LF, "
                f"with at most {_MAX_CHUNK_LINE_BYTES} bytes of extensions."
            )
        self._held = line
