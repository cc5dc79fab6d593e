"""HTTP for threads: pools of connections, and the outcome of each request."""

from __future__ import annotations

import errno
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from wonderq.client.addresses import Addresses
from wonderq.client.endpoint import Endpoint
from wonderq.client.http_connection import Connection
from wonderq.client.polls import Poll, PollCancelled
from wonderq.client.requests import Answer, NoAnswer, Request

if TYPE_CHECKING:
    from ssl import SSLContext


class _Cut:
    """Breaks the connection of one request, from another thread."""

    def __init__(self) -> None:
        self.is_cut = False
        self._socket: socket.socket | None = None
        self._lock = threading.RLock()  # a signal handler may cut while its own thread is in here

    def use(self, connection: Connection) -> None:
        """Note the connection of the request.

        Raises:
            ConnectionAbortedError: `cut` was called before.
        """
        with self._lock:
            if self.is_cut:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the poll was cancelled")
            self._socket = connection.socket

    def forget(self) -> None:
        """Forget the connection, which may get another request now."""
        with self._lock:
            self._socket = None

    def cut(self) -> None:
        with self._lock:
            self.is_cut = True
            if self._socket is not None:
                with suppress(OSError):  # it is closed already
                    self._socket.shutdown(socket.SHUT_RDWR)


class _Pool:
    """Connections that have no request, of which the one used last comes first, and a bound for all."""

    def __init__(self, most: int) -> None:
        self._slots = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._is_closed = False
        weakref.finalize(self, _close, self._idle)  # for clients that nobody closes

    def enter(self, timeout_s: float) -> bool:
        """Take a slot; return whether one was free in time.

        Raises:
            RuntimeError: the pool is closed.
        """
        entered = self._slots.acquire(timeout=timeout_s)
        if self._is_closed:
            raise RuntimeError("the client is closed")
        return entered

    def idle(self) -> Connection | None:
        """Remove and return a connection, if there is one that the server has not closed meanwhile."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or not connection.has_ended():
                return connection
            connection.close()

    def leave(self, connection: Connection | None) -> None:
        """Give the slot back, with the connection if there was one."""
        if connection is not None:
            with self._lock:
                is_kept = connection.is_reusable and not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()
        self._slots.release()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            _close(self._idle)


def _close(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()


def _tls_context() -> SSLContext:
    from ssl import create_default_context  # noqa: PLC0415 - its import takes longer than a request

    return create_default_context()


class HttpPool:
    """Pools of connections to one broker: one for the requests that wait for messages, and one for all others.

    So a request that renews a claim, or sends a message, never waits for the end of a long poll.
    """

    def __init__(self, endpoint: Endpoint, connections: int, connect_timeout_s: float) -> None:
        self._endpoint = endpoint
        self._connect_timeout_s = connect_timeout_s
        self._tls = _tls_context() if endpoint.is_tls else None
        self._pool, self._waiting_pool = _Pool(connections), _Pool(connections)
        self.source_address: tuple[str, int] | None = None
        """Address to connect from; None for any."""

    def exchange(self, request: Request, poll: Poll | None = None) -> Answer | NoAnswer:
        """Send a request and return what came of it.

        Raises:
            PollCancelled: the poll was cancelled before the answer came.
            RuntimeError: the pool is closed.
            ValueError: the method or the target of the request is malformed.
        """
        cut = _Cut()
        if poll is None:
            return self._exchange(request, cut)
        with poll.interrupted_by(cut.cut):
            outcome = self._exchange(request, cut)
        if cut.is_cut and isinstance(outcome, NoAnswer):
            raise PollCancelled
        return outcome

    def _exchange(self, request: Request, cut: _Cut) -> Answer | NoAnswer:
        pool = self._waiting_pool if request.waits else self._pool
        if not pool.enter(request.timeout_s):
            return NoAnswer("all connections of the client are in use: give it a larger pool", outcome_unknown=False)
        connection: Connection | None = None
        ends_s = time.monotonic() + request.timeout_s
        try:
            try:
                connection = pool.idle() or self._connect(request)
            except OSError as error:
                reason = f"{self._endpoint.url} cannot be reached: {_reason(error)}"
                return NoAnswer(reason, outcome_unknown=False, cause=error)
            cut.use(connection)
            return connection.exchange(request, ends_s)
        except OSError as error:
            reason = f"{self._endpoint.url} did not answer: {_reason(error)}"
            return NoAnswer(reason, outcome_unknown=True, cause=error)
        finally:
            cut.forget()
            pool.leave(connection)

    def _connect(self, request: Request) -> Connection:
        timeout_s = min(self._connect_timeout_s, request.timeout_s)
        return Connection(self._endpoint, timeout_s, self._tls, self.source_address)

    def close(self) -> None:
        self._pool.close()
        self._waiting_pool.close()


class HttpPools:
    """A pool for each of the addresses of a broker, or of the nodes of a cluster."""

    def __init__(self, endpoints: Sequence[Endpoint], connections: int, connect_timeout_s: float) -> None:
        self.pools = [HttpPool(each, connections, connect_timeout_s) for each in endpoints]
        self._addresses = Addresses([each.url for each in endpoints])

    def exchange(self, request: Request, poll: Poll | None = None) -> Answer | NoAnswer:
        """Send a request to the address for it, and to others that surely have not got it; return what came of it.

        Raises: as `HttpPool.exchange`.
        """
        while True:
            at = self._addresses.of(request)
            outcome, again = self._addresses.judge(at, request, self.pools[at].exchange(request, poll))
            if not again:
                return outcome

    def close(self) -> None:
        for each in self.pools:
            each.close()


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
