"""Waitress, as WonderQ runs it: on one thread, with a fiber for each request, and a stop that finishes.

Waitress reads and writes on one thread, and serves requests on others. Here that one thread does it all: a request runs on
a fiber, which makes way for others whenever it waits (see `wonderq.runtime.fibers`).
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from waitress.adjustments import Adjustments
from waitress.wasyncore import readwrite

from wonderq.httpd import connections
from wonderq.httpd.connections import Timeouts
from wonderq.httpd.head import CheckHead
from wonderq.httpd.parser import MAX_BODY_BYTES
from wonderq.runtime.fibers import Event, Fiber, Hub

#: A listing is not read on while so much of it has not been sent.
MAX_UNSENT_BYTES = 1 << 20

#: What is less waits for the rest of its answer, so that header and body are sent in one call.
SEND_BYTES = 1 << 14

#: So many bodies of the largest size may be at work at once.
_BODIES_AT_WORK = 2

#: An answer that is more than a header and a body.
_PIECES = 2

#: How often one looks whether a client takes more that does not.
_STALLED_S = 1.0

_READ = select.EPOLLIN | select.EPOLLPRI
_WRITE = select.EPOLLOUT


class _Channel(connections.Channel):
    """A connection."""

    fiber: Fiber | None = None
    """The one that serves a request of this connection."""
    pieces = 0
    """Of its answer, written so far."""

    def service(self) -> None:
        self.fiber = Hub.current()
        self.pieces = 0
        body_bytes = self.requests[0].body_bytes_received
        if body_bytes > self.adj.inbuf_overflow:
            with self.server.large_bodies.room_for(body_bytes):
                super().service()
        else:
            super().service()
        self.fiber = None
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        self.server.touched.add(self)

    def write_soon(self, data: Any) -> int:
        self.pieces += 1
        written: int = super().write_soon(data)
        if self.total_outbufs_len:
            self.server.touched.add(self)
        if self.pieces > _PIECES and self.fiber is not None:
            self.fiber.yield_to_others()  # a long answer, and others wait
        return written

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait until the client has taken most of what was written for it."""
        while self.connected and self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self._flush_exception(self._flush_some, do_close=False)
            Event().wait(_STALLED_S)

    def handle_write(self) -> None:
        super().handle_write()
        self._recheck()

    def handle_read(self) -> None:
        super().handle_read()
        if not self.connected:
            self._recheck()

    def handle_close(self) -> None:
        super().handle_close()
        self._recheck()

    def _recheck(self) -> None:
        if self.fiber is not None:
            self.fiber.hub.recheck(self.fiber)


class _LargeBodies:
    """Lets requests with large bodies be at work together only up to so many bytes; the others wait in line, in their files.

    At work a body is in memory, several times over, until what it says is durable.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        self._line: deque[Event] = deque()

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Wait for room; ``size`` may not be more than there is at all."""
        if self._line or size > self._left_bytes:
            turn = Event()
            self._line.append(turn)
            while self._line[0] is not turn or size > self._left_bytes:
                turn.wait(_STALLED_S)
                turn.clear()
            self._line.popleft()
        self._take(size)
        try:
            yield
        finally:
            self._take(-size)

    def _take(self, size: int) -> None:
        self._left_bytes -= size
        if self._line:
            self._line[0].set()


class _FiberDispatcher:
    """What waitress calls its dispatcher: gives each request a fiber."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def add_task(self, channel: _Channel) -> None:
        self._hub.spawn(channel.service)


class Server(connections.Server):
    """Serves one WSGI application on one address until `stop` is called.

    Raises OSError if the address cannot be bound.
    """

    channel_class = _Channel

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        connections: int = 2000,
        connections_per_address: int = 1000,
        check_head: CheckHead | None = None,
        timeouts: Timeouts | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        """At most so many ``connections`` are open at once: for one more, an idle one is closed, or it is refused."""
        adjustments = Adjustments(
            host=host,
            port=port,
            ident="wonderq",
            # One look-ahead is what lets waitress notice that a client has gone while its request is being served.
            channel_request_lookahead=1,
            connection_limit=connections,
            outbuf_high_watermark=MAX_UNSENT_BYTES,
            clear_untrusted_proxy_headers=False,  # which takes its time, and nothing here reads them
        )
        adjustments.send_bytes = SEND_BYTES  # as an argument it is deprecated
        self.large_bodies = _LargeBodies(_BODIES_AT_WORK * max_body_bytes)
        self._stopping = threading.Event()
        self._hub = Hub(self._wake_up)
        super().__init__(
            app,
            adjustments,
            _FiberDispatcher(self._hub),
            connections_per_address=connections_per_address,
            check_head=check_head,
            timeouts=timeouts,
            max_body_bytes=max_body_bytes,
        )
        self._poll = select.epoll()
        self.trigger.polled = 0
        self.touched.add(self.trigger)

    @property
    def url(self) -> str:
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"http://{host}:{self.effective_port}"

    def stop(self) -> None:
        """Make `run` return. May be called from a signal handler or another thread, and again at any time."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._hub.interrupt()

    def _wake_up(self) -> None:
        self.trigger.pull_trigger()

    def pull_trigger(self) -> None:
        """Do nothing: who calls this runs on the thread that would be woken."""

    def run(self, on_stop: Callable[[], None] = lambda: None, *, drain_s: float = 10) -> None:
        """Serve until `stop`; then call ``on_stop``, accept no more, and finish what is under way within ``drain_s``."""
        while not self._stopping.is_set():
            self._turn(1)
        self.accepting = False
        self.socket.close()
        self.del_channel()
        on_stop()
        end = time.monotonic() + drain_s
        while time.monotonic() < end and any(
            channel.requests or channel.total_outbufs_len for channel in list(self.active_channels.values())
        ):
            self._turn(0.05)
        self._hub.close()
        self.asyncore.close_all(self._map)
        self._poll.close()

    def _turn(self, timeout_s: float) -> None:
        due_s = self._hub.run()
        self.look(time.monotonic())
        self._tell_what_to_wait_for()
        accepts = False
        for fileno, events in self._poll.poll(min(timeout_s, connections.LOOK_S, inf if due_s is None else due_s)):
            waiter = self._map.get(fileno)
            if waiter is self:
                accepts = True
            elif waiter is not None:
                self.touched.add(waiter)
                readwrite(waiter, events)
        if accepts:  # last: a new connection may get the number of one that was just closed
            self.handle_accept()

    def _tell_what_to_wait_for(self) -> None:
        """Tell the poll what has changed. So connections at which nothing happens cost nothing."""
        for waiter in self.touched:
            fileno = waiter._fileno  # noqa: SLF001
            if fileno is None:
                continue  # closed, and so forgotten
            events = (_READ if waiter.readable() else 0) | (_WRITE if waiter.writable() else 0)
            if events == waiter.polled:
                continue
            if not events:  # or the poll would tell of a client that hangs up, again and again
                self._poll.unregister(fileno)
            elif waiter.polled:
                self._poll.modify(fileno, events)
            else:
                self._poll.register(fileno, events)
            waiter.polled = events
        self.touched.clear()
