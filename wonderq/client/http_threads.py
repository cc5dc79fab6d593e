"""HTTP for threads: pools of connections, and the outcome of each request."""

from __future__ import annotations

import errno
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from wonderq.client.addresses import Addresses
from wonderq.client.endpoint import Endpoint
from wonderq.client.errors import ClientClosedError
from wonderq.client.gate import Gate
from wonderq.client.http_connection import Connection
from wonderq.client.polls import Poll, PollCancelled
from wonderq.client.requests import Answer, NoAnswer, Request

if TYPE_CHECKING:
    from ssl import SSLContext


class _SlotGate(Gate):
    """Where a thread waits for a slot of a pool."""

    __slots__ = ("has_slot",)

    def __init__(self) -> None:
        super().__init__()
        self.has_slot = False
        """Whether the thread got a slot. The lock of the pool guards it."""


class _Cut:
    """Ends one request from another thread: it breaks the connection, or ends the wait for one."""

    def __init__(self) -> None:
        self.is_cut = False
        self._gate: _SlotGate | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.RLock()  # a signal handler may cut while its own thread is in here

    def wait_at(self, gate: _SlotGate, ends_s: float) -> None:
        """Wait at a gate until it opens, a time comes, or `cut` is called."""
        with self._lock:
            self._gate = gate
        if not self.is_cut:
            gate.wait(max(ends_s - time.monotonic(), 0))

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
            if self._gate is not None:
                self._gate.open()
            if self._socket is not None:
                with suppress(OSError):  # it is closed already
                    # That of an SSLSocket forgets its keys first, and what its thread then sends is plain text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Pool:
    """Connections that have no request, of which the one used last comes first, and a bound for all."""

    def __init__(self, most: int) -> None:
        self._free = most  # fewer than none, while there are extra ones
        self._lock = threading.Lock()
        self._gates: deque[_SlotGate] = deque()
        """Those of the threads that wait for a slot, in the order of arrival."""
        self._idle: list[Connection] = []
        self._is_closed = False
        weakref.finalize(self, _close, self._idle)  # for clients that nobody closes

    def enter(self, ends_s: float, cut: _Cut, *, is_extra: bool = False) -> bool:
        """Take a slot; return whether one was free in time, and before the request was cut.

        With ``is_extra``, take one although none is free. The next one that is given back makes up for it.

        Raises:
            ClientClosedError: the pool is closed.
        """
        with self._lock:
            if self._is_closed:
                raise ClientClosedError
            if self._free > 0 or is_extra:
                self._free -= 1
                return True
            gate = _SlotGate()
            self._gates.append(gate)
        enters = False
        try:
            cut.wait_at(gate, ends_s)
            enters = not cut.is_cut and not self._is_closed
        finally:
            with self._lock:
                if not gate.has_slot:
                    self._gates.remove(gate)
                elif not enters:
                    self._pass_on()
        if self._is_closed:
            raise ClientClosedError
        return gate.has_slot and enters

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
        with self._lock:
            is_kept = connection is not None and connection.is_reusable and not self._is_closed and self._free >= 0
            if connection is not None and is_kept:
                self._idle.append(connection)
            self._pass_on()
        if connection is not None and not is_kept:
            connection.close()

    def _pass_on(self) -> None:
        """Give a slot to the thread that has waited longest, under the lock."""
        if self._free < 0 or not self._gates:
            self._free += 1
            return
        gate = self._gates.popleft()
        gate.has_slot = True
        gate.open()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for gate in self._gates:
                gate.open()
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
            ClientClosedError: the pool is closed.
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
        ends_s = time.monotonic() + request.timeout_s
        if not pool.enter(ends_s, cut, is_extra=request.follows_wait):  # a cancelled call is to return soon
            reason = "all connections of the client are in use: give it a larger pool"
            return NoAnswer(reason, outcome_unknown=False, is_local=True)
        connection: Connection | None = None
        try:
            try:
                connection = pool.idle() or self._connect(ends_s)
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

    def _connect(self, ends_s: float) -> Connection:
        timeout_s = min(self._connect_timeout_s, max(ends_s - time.monotonic(), 0.001))
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
        ends_s = time.monotonic() + request.timeout_s
        while True:
            at = self._addresses.of(request)
            outcome, again = self._addresses.judge(at, request, self.pools[at].exchange(request, poll))
            left_s = ends_s - time.monotonic()
            if not again or left_s <= 0:
                return outcome
            request = msgspec.structs.replace(request, timeout_s=left_s)

    def close(self) -> None:
        for each in self.pools:
            each.close()


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
