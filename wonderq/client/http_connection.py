"""One HTTP connection of the client for threads.

The client needs little of HTTP: one kind of request, and an answer whose head has five headers that matter. A request
takes a quarter of the CPU time that it takes with urllib3, and half of that with `http.client`, which parses the head
of an answer as that of a mail.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from contextlib import suppress
from select import POLLIN, poll
from typing import TYPE_CHECKING

from wonderq.client.endpoint import Endpoint
from wonderq.client.requests import Answer, Request, retry_after_of

if TYPE_CHECKING:  # a connection without TLS needs none of it
    from ssl import SSLContext

_MOST_HEAD_BYTES = 64 << 10
_RECEIVE_BYTES = 64 << 10  # for more, the memory of each receive would be mapped anew

_STATUS_LINE = re.compile(r"HTTP/(1\.[01]) ([1-9][0-9]{2})(?: [^\r\n]*)?(?=\r\n|$)")
_HEADER = re.compile(
    "\r\n(content-length|transfer-encoding|connection|retry-after|wonderq-owner):[ \t]*([^\r\n]*)", re.IGNORECASE
)
_SIZE = re.compile("[0-9]{1,15}")
_CHUNK_SIZE = re.compile("([0-9A-Fa-f]{1,12})[ \t]*(?:;.*)?")

#: Statuses of answers that have no body.
_WITHOUT_BODY = (204, 304)


class BadAnswerError(OSError):
    """The answer is not one of HTTP/1.1."""


class Connection:
    """A connection to a broker. One thread at a time uses it."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_s: float,
        tls: SSLContext | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> None:
        """Connect.

        Raises:
            OSError: nobody listens there, or it took too long.
        """
        self.socket = socket.create_connection((endpoint.host, endpoint.port), timeout_s, source_address)
        try:
            if self.socket.getsockname() == self.socket.getpeername():
                # If nothing listens on an ephemeral port, a client can connect to itself.
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=endpoint.host)
        except BaseException:
            self.socket.close()
            raise
        headers = {"Host": endpoint.url.partition("://")[2], "Accept-Encoding": "identity", **endpoint.headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._buffer = bytearray()
        self._ends_s = 0.0
        self.is_reusable = True
        """Whether another request may be sent: the last answer was complete, and the server keeps the connection."""

    def close(self) -> None:
        self.socket.close()

    def has_ended(self) -> bool:
        """Return whether the server has closed the connection, or sent something that nobody asked for."""
        readable = poll()
        readable.register(self.socket, POLLIN)
        return bool(readable.poll(0))

    def exchange(self, request: Request, ends_s: float) -> Answer:
        """Send a request, and return its answer if that is complete at a time.

        Raises:
            OSError: it is not, or the connection broke.
        """
        self.is_reusable = False
        self._ends_s = ends_s
        body = request.body or b""
        of_body = f"Content-Type: {request.media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        head = f"{request.method} {request.target} HTTP/1.1\r\n{self._headers}{of_body}"
        self.socket.settimeout(max(ends_s - time.monotonic(), 0.001))
        with suppress(BrokenPipeError):  # the broker refused it before it had read all; its answer tells why
            self.socket.sendall(head.encode("ascii") + body)
        return self._read_answer()

    def _read_answer(self) -> Answer:
        status = 100
        while status < 200:  # such an answer comes before the real one
            version, status, headers = self._read_head()
        length, encoding = headers.get("content-length"), headers.get("transfer-encoding")
        ends_with_connection = False
        if status in _WITHOUT_BODY:
            body = b""
        elif encoding is not None:
            if encoding.lower() != "chunked":
                raise BadAnswerError(f"an answer has the transfer encoding {encoding[:60]!r}")
            body = self._read_chunks()
        elif length is not None:
            if not _SIZE.fullmatch(length):
                raise BadAnswerError(f"an answer has the length {length[:60]!r}")
            body = self._read(int(length))
        else:
            ends_with_connection = True
            body = self._read_rest()
        keeps = version == "1.1" and headers.get("connection", "").lower() != "close"
        self.is_reusable = keeps and not ends_with_connection and not self._buffer
        retry_after_s = retry_after_of(headers.get("retry-after"))
        return Answer(status, body, retry_after_s, owner=headers.get("wonderq-owner"))

    def _read_head(self) -> tuple[str, int, dict[str, str]]:
        """Return the version, the status, and the headers that matter by their names in lower case."""
        head = self._read_until(b"\r\n\r\n").decode("latin-1")
        found = _STATUS_LINE.match(head)
        if found is None:
            raise BadAnswerError(f"the answer begins with {head[:60]!r}")
        headers = {name.lower(): value.rstrip() for name, value in _HEADER.findall(head, found.end())}
        return found[1], int(found[2]), headers

    def _read_chunks(self) -> bytes:
        chunks = []
        while True:
            line = self._read_until(b"\r\n").decode("latin-1")
            found = _CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise BadAnswerError(f"a part of an answer begins with {line[:60]!r}")
            size = int(found[1], 16)
            if not size:
                break
            chunks.append(self._read(size))
            if self._read(2) != b"\r\n":
                raise BadAnswerError("a part of an answer is longer than it says")
        while self._read_until(b"\r\n"):
            pass  # trailers, which the broker does not send
        return b"".join(chunks)

    def _read_until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > _MOST_HEAD_BYTES:
                raise BadAnswerError("the head of an answer is too long")
            self._fill()
        return self._take(at, len(end))

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        return self._take(size)

    def _read_rest(self) -> bytes:
        while received := self._receive():
            self._buffer += received
        return self._take(len(self._buffer))

    def _take(self, size: int, more: int = 0) -> bytes:
        """Remove bytes from the buffer, and return all but the last ``more``."""
        taken = bytes(self._buffer[:size])
        del self._buffer[: size + more]
        return taken

    def _fill(self) -> None:
        received = self._receive()
        if not received:
            raise ConnectionResetError(errno.ECONNRESET, "the connection was closed before the end of the answer")
        self._buffer += received

    def _receive(self) -> bytes:
        """Receive some bytes, or none at their end. A timeout of the socket begins anew with each byte."""
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "the answer took too long")
        self.socket.settimeout(left_s)
        return self.socket.recv(_RECEIVE_BYTES)
