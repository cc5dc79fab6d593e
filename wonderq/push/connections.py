"""Connections to endpoints, which stay open for the next request.

A connection is kept for the address that was checked when it was made. Each attempt looks up and checks the addresses
of its host anew, and uses a connection only to one of them. So a name that changes, or a network that is permitted no
longer, ends the use of a connection as it ends that of an address.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple

from wonderq.model.push import Endpoint
from wonderq.push.connection import Connection, NoResponseError, Response

#: Time for which a connection waits for its next request. Most servers close theirs after 5 to 75 seconds.
_IDLE_S = 30.0

#: Longest TLS handshake. The timeout of the request is at most as long.
_HANDSHAKE_S = 60


class ConnectionLimits(NamedTuple):
    """Bounds of the connections that wait for a request."""

    idle: int
    """Most connections. The one that has waited longest is closed for another."""
    idle_per_address: int
    """Most connections to one address."""


class Answer(NamedTuple):
    """Response of an endpoint, of which only the head is read."""

    response: Response
    finish: Callable[[], Awaitable[None]]
    """Reads the rest, and keeps or closes the connection. The caller awaits it in any case."""


class _Place(NamedTuple):
    """What the requests of a connection have in common."""

    address: str
    port: int
    tls_host: str
    """Host whose certificate was verified; empty without TLS."""


class Connections:
    """Sends requests to addresses of endpoints. Only the push thread uses it."""

    def __init__(self, tls: ssl.SSLContext, limits: ConnectionLimits) -> None:
        self._tls = tls
        self._limits = limits
        self._idle: dict[Connection, _Place] = {}  # the one that has waited longest first
        self._timers: dict[Connection, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._idle)

    async def post(self, endpoint: Endpoint, address: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a POST request to an address, which the caller has checked. The caller sets a timeout.

        The timeout is for the head of the response only: with it, the endpoint has answered.

        A server may close a connection just when the next request is sent. Then there is no byte of a response, and the
        request is sent once more, on a new connection. The endpoint recognizes it by its id if it has got it twice.

        Raises:
            OSError: no connection could be made, or it broke before the head of the response.
            BadResponseError: the response is malformed, or its head is too long.
        """
        place = _Place(address, endpoint.port, endpoint.host if endpoint.is_tls else "")
        kept = self._take(place)
        if kept is not None:
            try:
                return await self._send(kept, place, endpoint, headers, body)
            except NoResponseError:
                pass
        return await self._send(await self._open(endpoint, address), place, endpoint, headers, body)

    async def _open(self, endpoint: Endpoint, address: str) -> Connection:
        _, made = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self._forget),
            address,
            endpoint.port,
            ssl=self._tls if endpoint.is_tls else None,
            server_hostname=endpoint.host if endpoint.is_tls else None,
            ssl_handshake_timeout=_HANDSHAKE_S if endpoint.is_tls else None,
        )
        return made

    async def _send(
        self, connection: Connection, place: _Place, endpoint: Endpoint, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        try:
            head, response = await connection.post(endpoint, headers, body)
        except BaseException:
            connection.abort()
            raise
        return Answer(response, partial(self._finish, connection, place, head, response.status))

    async def _finish(self, connection: Connection, place: _Place, head: bytes, status: int) -> None:
        is_reusable = False
        try:
            is_reusable = await connection.finish(head, status)
        finally:
            if is_reusable:
                self._keep(connection, place)
            else:
                connection.abort()

    def _take(self, place: _Place) -> Connection | None:
        """Return the connection to a place that has waited for the shortest time, or None if there is none."""
        for connection in reversed(self._idle):
            if self._idle[connection] == place:
                self._forget(connection)
                return connection
        return None

    def _keep(self, connection: Connection, place: _Place) -> None:
        same = [each for each, other in self._idle.items() if other == place]
        if len(same) >= self._limits.idle_per_address:
            self._close(same[0])
        elif len(self._idle) >= self._limits.idle:
            self._close(next(iter(self._idle)))
        self._idle[connection] = place
        self._timers[connection] = asyncio.get_running_loop().call_later(_IDLE_S, self._close, connection)

    def _forget(self, connection: Connection) -> None:
        """Keep a connection no longer: it is used now, or its server has closed it."""
        if self._idle.pop(connection, None) is not None:
            self._timers.pop(connection).cancel()

    def _close(self, connection: Connection) -> None:
        self._forget(connection)
        connection.abort()

    def close(self) -> None:
        """Close the connections that wait."""
        for each in list(self._idle):
            self._close(each)
