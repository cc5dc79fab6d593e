"""Requests to an endpoint over one connection, one after the other, in HTTP/1.1.

The broker makes the connection to an address that it has checked, sends one kind of request, and needs a status and one
header of the response. Libraries for HTTP resolve names themselves, follow redirects, keep cookies, read proxies from
the environment and collect bodies without a bound, each of which would have to be switched off here. So this is written
with the transports of the standard library, as the connections of `wonderq.client.http_connection` are with its
sockets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, cast

from wonderq.model.push import Endpoint

_MOST_HEAD_BYTES = 16 << 10
_VERSION = b"HTTP/1.1 "
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")
_VALUE = re.compile("[ -~]*")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)

#: Headers that say how long the body is. A response with several of them could be read in two ways.
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
_FRAMING_NAME = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[^\r\n]*\bclose\b", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_MOST_LINE_BYTES = 1 << 10

#: Statuses of responses without a body.
_WITHOUT_BODY = (204, 304)

#: Most bytes of a response's body that are read before the connection is closed, and the longest time for that. To
#: close it at once would look to the endpoint like a client that has vanished.
_MOST_BODY_BYTES = 64 << 10
_BODY_S = 1.0


class BadResponseError(Exception):
    """The endpoint's response is not one of HTTP/1.1."""


class NoResponseError(ConnectionResetError):
    """The connection ended before the first byte of a response."""


class Response(NamedTuple):
    """Response of an endpoint."""

    status: int
    retry_after_s: int | None
    """Seconds of the header ``Retry-After``; None without one, or with a date."""


class Connection(asyncio.Protocol):
    """A connection to an endpoint, for one request at a time."""

    def __init__(self, on_unused_end: Callable[[Connection], None]) -> None:
        """``on_unused_end`` is called when the connection ends, or gets anything, while no request runs."""
        self._on_unused_end = on_unused_end
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._has_ended = False
        self._error: Exception | None = None
        self._is_used = True
        self._has_answered = False  # the present request has got any byte
        self._waiting: asyncio.Future[None] | None = None

    # Events of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._is_used:
            self._end_unused()
            return
        self._has_answered = True
        self._received += data
        if len(self._received) >= _MOST_BODY_BYTES:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        self._has_ended, self._error = True, self._error or error
        if self._is_used:
            self._wake()
        else:
            self._end_unused()

    def _end_unused(self) -> None:
        self._on_unused_end(self)
        self.abort()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # Requests

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    async def post(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> tuple[bytes, Response]:
        """Send a POST request; return the head of its response, and what it says. `finish` reads the rest.

        Raises:
            NoResponseError: the connection ended before the first byte of a response.
            OSError: it broke before the head of the response was complete.
            BadResponseError: the response is malformed, or its head is too long.
            ValueError: a header has a character that could end it.
        """
        self._is_used, self._has_answered = True, False
        every = {"Host": endpoint.authority, "Content-Length": str(len(body)), **headers}
        self._transport.write(_head(endpoint.target, every) + body)
        return await self._read_head()

    async def finish(self, head: bytes, status: int) -> bool:
        """Read the rest of the response, for a short time; return whether another request may follow."""
        is_whole = False
        with suppress(OSError, TimeoutError, BadResponseError):
            async with asyncio.timeout(_BODY_S):
                is_whole = await self._read_body(head, status)
        # An endpoint may answer before it has read everything; what is left would precede the next request.
        is_sent = not self._transport.get_write_buffer_size()
        is_kept = head.startswith(_VERSION) and not _CLOSES.search(head)
        is_reusable = is_kept and is_whole and is_sent and not self._received and not self._has_ended
        self._is_used = not is_reusable
        return is_reusable

    async def _more(self) -> None:
        """Wait for further bytes.

        Raises:
            NoResponseError: the connection has ended, and there was no byte of this response.
            OSError: it has ended.
        """
        if self._has_ended:
            if not self._has_answered:
                raise NoResponseError("the endpoint closed the connection without a response") from self._error
            raise self._error or ConnectionResetError("the endpoint closed the connection")
        self._transport.resume_reading()
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    async def _read_head(self) -> tuple[bytes, Response]:
        while True:
            head = await self._read_to(b"\r\n\r\n", _MOST_HEAD_BYTES, "the head of the response is too long")
            found = _STATUS_LINE.match(head)
            if found is None:
                raise BadResponseError(f"the response begins with {head[:60]!r}")
            status = int(found[1])
            if status >= 200 or status == 101:
                after = _RETRY_AFTER.search(head)
                return head, Response(status, None if after is None else int(after[1]))

    async def _read_to(self, end: bytes, most: int, reason: str) -> bytes:
        """Return the bytes up to a mark, with it.

        Raises:
            BadResponseError: there are too many, or the connection ends before the mark.
            OSError: the connection broke before the mark.
        """
        while (at := self._received.find(end)) < 0:
            if len(self._received) > most:
                raise BadResponseError(reason)
            if self._has_ended and self._error is None and self._received:
                raise BadResponseError("the response ends within its head")
            await self._more()
        if at > most:
            raise BadResponseError(reason)
        return self._take(at + len(end))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    async def _read_body(self, head: bytes, status: int) -> bool:
        """Read the body, up to a bound; return whether it is known to have ended."""
        if status in _WITHOUT_BODY:
            return True
        found = _FRAMING.search(head)
        if found is not None and len(_FRAMING_NAME.findall(head)) == 1:
            if found[1].lower() == b"content-length" and found[2].isdigit() and len(found[2]) < 10:
                return await self._skip(int(found[2]), _MOST_BODY_BYTES) >= 0
            if found[2].lower() == b"chunked":
                return await self._skip_chunks()
        left = _MOST_BODY_BYTES
        while left > 0:
            left = await self._skip(len(self._received), left)
            await self._more()
        return False

    async def _skip(self, count: int, most: int) -> int:
        """Read bytes of the body, at most ``most``; return how many of those are left, below 0 if there are more."""
        left = min(count, most)
        while left > 0:
            if not self._received:
                await self._more()
            left -= len(self._take(min(left, len(self._received))))
        return most - count

    async def _skip_chunks(self) -> bool:
        """Read a body in chunks, up to a bound; return whether it has ended."""
        left = _MOST_BODY_BYTES
        while left >= 0:
            line = await self._read_to(b"\r\n", _MOST_LINE_BYTES, "a chunk is malformed")
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                return False
            count = int(size[1], 16)
            if not count:
                while await self._read_to(b"\r\n", _MOST_LINE_BYTES, "a trailer is too long") != b"\r\n":
                    left -= _MOST_LINE_BYTES
                    if left < 0:
                        return False
                return True
            left = await self._skip(count, left)
            if left >= 0 and await self._read_to(b"\r\n", _MOST_LINE_BYTES, "a chunk is malformed") != b"\r\n":
                return False
        return False


def _head(target: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a request.

    Raises:
        ValueError: a header has a character that could end it.
    """
    for name, value in headers.items():
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name} has the value {value!r}")
    lines = (f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", "")
    return "\r\n".join(lines).encode("ascii")
