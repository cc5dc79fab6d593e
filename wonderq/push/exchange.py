"""One request to an endpoint, over HTTP/1.1 and a connection of its own.

The broker makes the connection to an address that it has checked, sends one kind of request, and needs a status and one
header of the response. Libraries for HTTP resolve names themselves, follow redirects, keep cookies, read proxies from
the environment and collect bodies without a bound, each of which would have to be switched off here. So this is written
with the streams of the standard library, as the connections of `wonderq.client.http_connection` are with its sockets.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from wonderq.model.push import Endpoint

_MOST_HEAD_BYTES = 16 << 10
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")
_VALUE = re.compile("[ -~]*")
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)

#: Most bytes of a response's body that are read before the connection is closed, and the longest time for that. To
#: close it at once would look to the endpoint like a client that has vanished.
_MOST_BODY_BYTES = 64 << 10
_BODY_S = 1.0


class BadResponseError(Exception):
    """The endpoint's response is not one of HTTP/1.1."""


class Response(NamedTuple):
    """Response of an endpoint."""

    status: int
    retry_after_s: int | None
    """Seconds of the header ``Retry-After``; None without one, or with a date."""


async def post(
    endpoint: Endpoint, address: str, headers: Mapping[str, str], body: bytes, tls: ssl.SSLContext
) -> Response:
    """Send a POST request to an address of an endpoint, and return its response. The caller sets a timeout.

    Raises:
        OSError: no connection could be made, or it broke before the head of the response.
        BadResponseError: the response is malformed, or its head is too long.
    """
    reader, writer = await asyncio.open_connection(
        address,
        endpoint.port,
        limit=_MOST_HEAD_BYTES,
        ssl=tls if endpoint.is_tls else None,
        server_hostname=endpoint.host if endpoint.is_tls else None,
        ssl_handshake_timeout=60 if endpoint.is_tls else None,
    )
    try:
        every = {"Host": endpoint.authority, "Connection": "close", "Content-Length": str(len(body)), **headers}
        writer.write(_head(endpoint.target, every) + body)
        sending = asyncio.ensure_future(writer.drain())
        try:
            response = await _read_head(reader)
        finally:
            sending.cancel()  # an endpoint may answer before it has read everything
            with suppress(OSError, asyncio.CancelledError):
                await sending
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_BODY_S):
                await _read_some(reader)
        return response
    finally:
        writer.transport.abort()


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


async def _read_head(reader: asyncio.StreamReader) -> Response:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise BadResponseError("the head of the response is too long") from error
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise BadResponseError("the response ends within its head") from error
            raise ConnectionResetError("the endpoint closed the connection without a response") from error
        found = _STATUS_LINE.match(head)
        if found is None:
            raise BadResponseError(f"the response begins with {head[:60]!r}")
        status = int(found[1])
        if status >= 200 or status == 101:
            after = _RETRY_AFTER.search(head)
            return Response(status, None if after is None else int(after[1]))


async def _read_some(reader: asyncio.StreamReader) -> None:
    """Read the body, up to a bound."""
    left = _MOST_BODY_BYTES
    while left > 0 and (received := await reader.read(left)):
        left -= len(received)
