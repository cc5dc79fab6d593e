"""The HTTP server: one thread accepts, reads and writes all connections, and runs a fiber for each request.

Waitress reads and writes on one thread and serves requests on others. Here one thread does both: a request runs on a
fiber, which yields whenever it waits (see `wonderq.runtime.fibers`). `wonderq.httpd.waitress_parts` lists the parts of
waitress that this package relies on.
"""

from __future__ import annotations

import errno
import heapq
import logging
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.wasyncore import close_all, readwrite

from wonderq.httpd.addresses import network
from wonderq.httpd.connections import Channel, Timeouts
from wonderq.httpd.counters import RequestCounters
from wonderq.httpd.errors import RenderError, RequestError
from wonderq.httpd.head import CheckHead
from wonderq.httpd.listening import bind, url_of
from wonderq.httpd.parser import MAX_BODY_BYTES, MAX_HEAD_BYTES, BodyLimit
from wonderq.httpd.polling import HANG_UP, READ, WRITE, new_poll
from wonderq.httpd.responses import BROKER_AT_LIMIT, CLIENT_AT_LIMIT, too_many_connections
from wonderq.httpd.room import LARGE_RESPONSE_BYTES, BodyRoom, ResponseRoom
from wonderq.runtime.fibers import Event, Hub

logger = logging.getLogger("wonderq.http")

#: A smaller write waits for the rest of its response, so that head and body are sent in one system call.
SEND_BYTES = 1 << 14

#: Interval at which all connections are checked for timeouts.
_TIMEOUT_CHECK_S = 0.5

#: Connections accepted per turn of the loop, before the open ones are served.
_ACCEPTS_PER_TURN = 64

#: Number of bodies of the largest size that may be processed at a time.
_LARGEST_BODIES_IN_PROGRESS = 2

#: Bodies of the largest size that may be in memory at a time, with those that arrive.
_LARGEST_BODIES = 4

#: Size of the responses that are not sent yet, in bodies of the largest size.
_LARGEST_RESPONSES = 4

#: Interval at which a request that waits for its turn checks whether its client is still connected.
_TURN_CHECK_S = 1.0

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _receive_now(connection: socket.socket) -> bytes:
    """Return the beginning of a request that has arrived already, if any."""
    try:
        return connection.recv(MAX_HEAD_BYTES)
    except BlockingIOError:
        return b""


class _LargeBodies:
    """Bounds the total size of large bodies that are processed at a time; the others wait in order.

    A body that is being processed is in memory, several times over, until its messages are durable.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        self._waiting: deque[Event] = deque()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Wait until ``size`` bytes, at most the limit, are free, and hold them for the ``with`` block."""
        if self._waiting or size > self._left_bytes:
            turn = Event()
            self._waiting.append(turn)
            while self._waiting[0] is not turn or size > self._left_bytes:
                turn.wait(_TURN_CHECK_S)
                turn.clear()
            self._waiting.popleft()
        self._take(size)
        try:
            yield
        finally:
            self._take(-size)

    def _take(self, size: int) -> None:
        self._left_bytes -= size
        if self._waiting:
            self._waiting[0].set()


class _FiberDispatcher:
    """A waitress task dispatcher that runs each request on a fiber."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def add_task(self, channel: Channel) -> None:
        self._hub.spawn(channel.service)


class _Listener:
    """A further listening socket of a server, as its loop polls it."""

    def __init__(self, server: Server, listening: socket.socket) -> None:
        self.socket = listening
        self.polled_events = 0
        self._server = server
        self._fileno: int | None = listening.fileno()
        listening.setblocking(False)
        listening.listen(server.adj.backlog)

    def readable(self) -> bool:
        return self._server.readable()

    def writable(self) -> bool:
        return False

    def close(self) -> None:
        self._fileno = None
        self.socket.close()


class _Watched:
    """A descriptor that the loop of a server polls for somebody else."""

    def __init__(self, server: Server, descriptor: int, read: Callable[[], bool], ended: Callable[[], None]) -> None:
        self.polled_events = 0
        self._server = server
        self._fileno: int | None = descriptor
        self._read = read
        self._ended = ended

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle(self) -> None:
        """Handle any event: whoever reads finds out what it is."""
        if self._fileno is not None and not self._read():
            self.close()

    def close(self) -> None:
        """End the watching."""
        fileno, self._fileno = self._fileno, None
        if fileno is not None:
            self._server.forget(fileno, is_polled=self.polled_events != 0)
            self._ended()


class Server(TcpWSGIServer):  # type: ignore[misc] # waitress has no types
    """Serves one WSGI application on all addresses of one host until `stop` is called.

    Accepts connections up to its limits, and closes those whose client is too slow.

    Raises:
        OSError: the address cannot be bound.
    """

    channel_class = Channel
    polled_events = 0

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        connections: int = 2000,
        connections_per_address: int = 1000,
        check_head: CheckHead | None = None,
        render_error: RenderError | None = None,
        timeouts: Timeouts | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        sockets: Sequence[socket.socket] = (),
        body_limit: BodyLimit | None = None,
    ) -> None:
        """Bind the host's addresses and listen on them, or on ``sockets``, which are bound already.

        When ``connections`` are open, the server closes an idle one to accept another; if none is idle, it rejects the
        new one. No body may have more than ``max_body_bytes``, or than ``body_limit`` returns for its call.
        """
        adjustments = Adjustments(
            host=host,
            port=port,
            ident="wonderq",
            # One request of look-ahead lets waitress notice that a client disconnected while its request is being
            # served.
            channel_request_lookahead=1,
            connection_limit=connections,
            outbuf_high_watermark=LARGE_RESPONSE_BYTES,
            outbuf_overflow=sys.maxsize,  # never into a temporary file
            clear_untrusted_proxy_headers=False,  # would wrap the application; nothing here reads those headers
        )
        adjustments.send_bytes = SEND_BYTES  # deprecated as an argument
        self.check_head = check_head
        self.render_error = render_error
        self.counters = RequestCounters()
        self.max_body_bytes = max_body_bytes
        self.body_limit = body_limit
        self.body_room = BodyRoom(_LARGEST_BODIES * max_body_bytes)
        self.response_room = ResponseRoom(_LARGEST_RESPONSES * max_body_bytes)
        self.large_bodies = _LargeBodies(_LARGEST_BODIES_IN_PROGRESS * max_body_bytes)
        self.poll_changes: set[Any] = set()
        """Dispatchers whose ``polled_events`` may have to change before the next poll."""
        self._connections_per_address = connections_per_address
        self._timeouts = timeouts or Timeouts()
        self._timeouts_checked_s = 0.0
        self._accept_paused = False
        self._stopping = threading.Event()
        self._to_watch: list[Callable[[], None]] = []
        self._has_ended = False
        self._watch_lock = threading.Lock()
        self._hub = Hub(self._wake_up)
        first, *others = sockets or bind(host, port)
        super().__init__(
            app,
            adj=adjustments,
            dispatcher=_FiberDispatcher(self._hub),
            _sock=first,
            bind_socket=False,
            sockinfo=(first.family, first.type, first.proto, first.getsockname()),
        )
        self._listeners = [_Listener(self, each) for each in others]
        self._further_urls = [url_of(each.getsockname()) for each in others]
        self._map.update({each.socket.fileno(): each for each in self._listeners})
        self._poll = new_poll(self._map)
        self.trigger.polled_events = 0
        self.poll_changes |= {self, *self._listeners, self.trigger}

    @property
    def url(self) -> str:
        """URL of the first address."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """URLs of all addresses."""
        return [url_of((self.effective_host, self.effective_port)), *self._further_urls]

    @property
    def open_connections(self) -> int:
        return len(self.active_channels)

    def stop(self) -> None:
        """Make `run` return. Signal handlers and other threads may call this, any number of times."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._hub.interrupt()

    def submit(self, work: Callable[[], Any]) -> None:
        """Run ``work`` on a fiber of this server soon. May be called from any thread."""
        self._hub.submit(work)

    def watch(self, descriptor: int, read: Callable[[], bool], ended: Callable[[], None]) -> None:
        """Call ``read`` on the thread of this server now and when a descriptor is readable, until it returns False.

        Then, or when `run` ends or has ended, call ``ended``. Both must not wait or raise. Any thread may call this.
        """

        def begin() -> None:
            self._to_watch.remove(begin)
            if not self._has_ended and read():
                watched = self._map[descriptor] = _Watched(self, descriptor, read, ended)
                self.poll_changes.add(watched)
            else:
                ended()

        with self._watch_lock:
            has_ended = self._has_ended
            if not has_ended:
                self._to_watch.append(begin)
        if has_ended:
            ended()
        else:
            self.submit(begin)

    def forget(self, descriptor: int, *, is_polled: bool) -> None:
        """End the polling of a descriptor of `watch`."""
        self._map.pop(descriptor, None)
        if is_polled:
            with suppress(OSError):  # it is closed
                self._poll.unregister(descriptor)

    def _wake_up(self) -> None:
        self.trigger.pull_trigger()

    def pull_trigger(self) -> None:
        """Do nothing. Waitress calls this to wake the thread that polls, and here that thread is the caller."""

    # The loop

    def run(
        self,
        on_stop: Callable[[], None] = lambda: None,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        drain_s: float = 10,
    ) -> None:
        """Serve until `stop`; then stop accepting, call ``on_stop``, and finish open requests within ``drain_s``.

        ``is_busy`` tells whether submitted work has to be finished, too.
        """
        while not self._stopping.is_set():
            self._run_turn(1)
        self.accepting = False
        self.socket.close()
        self.del_channel()
        for listener in self._listeners:
            del self._map[listener.socket.fileno()]
            listener.close()
        on_stop()
        end = time.monotonic() + drain_s
        while time.monotonic() < end and (
            is_busy()
            or any(channel.requests or channel.total_outbufs_len for channel in list(self.active_channels.values()))
        ):
            self._run_turn(0.05)
        self._hub.close()
        close_all(self._map)
        self._poll.close()
        with self._watch_lock:
            self._has_ended = True
        for begin in list(self._to_watch):
            begin()

    def _run_turn(self, timeout_s: float) -> None:
        """Run the fibers that are ready, then wait for events and handle them."""
        due_s = self._hub.run()
        self._check_timeouts(time.monotonic())
        self._update_poll()
        accepting: list[socket.socket] = []
        for fileno, events in self._poll.poll(min(timeout_s, _TIMEOUT_CHECK_S, inf if due_s is None else due_s)):
            dispatcher = self._map.get(fileno)
            if dispatcher is self or isinstance(dispatcher, _Listener):
                accepting.append(dispatcher.socket)
            elif isinstance(dispatcher, _Watched):
                dispatcher.handle()
            elif dispatcher is not None:
                self.poll_changes.add(dispatcher)
                readwrite(dispatcher, events)
        for listening in accepting:  # last: a new connection may reuse the file descriptor of one that was just closed
            self._accept(listening)

    def _update_poll(self) -> None:
        """Register only the changes, so that idle connections cost nothing."""
        for dispatcher in self.poll_changes:
            fileno = dispatcher._fileno  # noqa: SLF001
            if fileno is None:
                continue  # closed, so the poll does not watch it any more
            events = (READ if dispatcher.readable() else 0) | (WRITE if dispatcher.writable() else 0)
            if not events and getattr(dispatcher, "watches_hang_up", False):
                events = HANG_UP
            if events == dispatcher.polled_events:
                continue
            if not events:  # or a client's hang-up would be reported at every turn
                self._poll.unregister(fileno)
            elif dispatcher.polled_events:
                self._poll.modify(fileno, events)
            else:
                self._poll.register(fileno, events)
            dispatcher.polled_events = events
        self.poll_changes.clear()

    def _check_timeouts(self, now_s: float) -> None:
        """Check every connection, if the last check is long enough ago."""
        if now_s - self._timeouts_checked_s < _TIMEOUT_CHECK_S:
            return
        self._timeouts_checked_s = now_s
        for channel in list(self.active_channels.values()):
            channel.check_timeouts(now_s, self._timeouts)
        self._accept_paused = False
        self.poll_changes |= {self, *self._listeners}

    # Accepting connections

    def readable(self) -> bool:
        return self.accepting and not self._accept_paused

    def handle_accept(self) -> None:
        self._accept(self.socket)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    continue  # the client has disconnected
                logger.warning("cannot accept connections: %s", error.strerror)
                self._evict_idle(self.active_channels.values())
                self._accept_paused = True  # until the next check: else the same client would be reported at every turn
                self.poll_changes |= {self, *self._listeners}
                return
            rejection = self._reject(address[0])
            try:
                if rejection is None:
                    self.set_socket_options(connection)
                    self.channel_class(self, connection, address, self.adj, map=self._map)
                    self.counters.accepted += 1
                else:
                    self.counters.refused += 1
                    connection.setblocking(False)
                    connection.send(too_many_connections(rejection, _receive_now(connection), self.render_error))
                    connection.close()
            except OSError:  # the client has disconnected
                connection.close()

    def _reject(self, address: str) -> RequestError | None:
        """Return the error for a new connection from this address if there is no room for it; otherwise None.

        Closes an idle connection to make room.
        """
        channels = self.active_channels
        if len(channels) >= self._connections_per_address:
            client = network(address)
            same = [channel for channel in channels.values() if channel.network == client]
            if len(same) >= self._connections_per_address and not self._evict_idle(same):
                return CLIENT_AT_LIMIT
        if len(channels) >= self.adj.connection_limit and not self._evict_idle(channels.values()):
            return BROKER_AT_LIMIT
        return None

    def _evict_idle(self, channels: Collection[Channel]) -> bool:
        """Close the connections that have been idle longest, or else have waited longest for the rest of a head.

        Returns whether any could be closed.
        """
        count = max(1, len(channels) // 64)  # finding one means a scan of all, so close several per scan
        evictable = [channel for channel in channels if channel.is_evictable]
        now_s = time.monotonic()
        for channel in evictable:
            channel.check_timeouts(now_s, self._timeouts)
        evicted = heapq.nsmallest(count, evictable, key=lambda each: (not each.is_idle, each.stage_since_s))
        for channel in evicted:
            channel.handle_close()
        return bool(evicted)
