"""Strict parsing of HTTP/1.1 requests."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from waitress.adjustments import Adjustments
from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver

from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import CheckHead, Head

#: The largest batch of 16 MiB, with every second byte escaped in JSON.
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


class PathlessRequest(logging.LoggerAdapter[logging.Logger]):
    """Leaves out of what waitress logs the path of a request, which may have an id in it."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return re.sub(r"(?s) while serving .*", " while serving a request", msg), kwargs
