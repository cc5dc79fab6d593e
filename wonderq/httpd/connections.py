"""Waitress, made to hold against clients that are broken, slow or hostile.

As it comes, waitress reads more into a request than HTTP allows, and lets a client take its time. Here a request is one that
every proxy would read in the same way, or it is refused: nothing is mended or guessed at. Its head is looked at as a whole,
by one regular expression; only of a head that does not match one finds out what is wrong with it. A refusal is an error in
our shape, and ends the connection.

Nothing on the way to an answer looks at a clock for all this: twice a second the server compares what each connection is
at with what it was at before.
"""

from __future__ import annotations

import errno
import heapq
import logging
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from wonderq.httpd.addresses import network
from wonderq.httpd.counters import RequestCounters
from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import CheckHead
from wonderq.httpd.parser import Parser, PathlessRequest
from wonderq.httpd.responses import TOO_MANY_IN_ALL, TOO_MANY_OF_ONE, Answer, Refusal, too_many

logger = logging.getLogger("wonderq.http")

#: How often all connections are looked at.
LOOK_S = 0.5

#: A client that was refused may still be sending, and sees the answer only if it is let finish; but so much is enough.
_MAX_LINGERING_BYTES = 1 << 20

#: So many connections are accepted before those that are open have their turn.
_ACCEPTED_AT_ONCE = 64

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True)
class Timeouts:
    """How long a client may take."""

    head_s: float = 10
    """For the head of a request, from its first byte; and for the first byte, from when the connection was accepted."""
    body_s: float = 10
    """For a body, besides the time in which it comes at `body_bytes_per_s`."""
    body_bytes_per_s: int = 4096
    idle_s: float = 120
    """Between an answer and the next request."""
    unread_s: float = 120
    """Without taking any of an answer."""
    linger_s: float = 2
    """To notice that it was refused, and stop sending."""


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    logger = PathlessRequest(logging.getLogger("waitress"))
    task_class = Answer
    error_task_class = Refusal

    polled = 0  # see `Server.touched`
    close_when_flushed = False
    will_close = False
    refused = False
    """Whether the answer that is being sent is a refusal."""
    lingering = False
    """Whether it has been told so, and what it still sends is passed over."""
    passed_over_bytes = 0

    def __init__(self, server: Server, *args: Any, **named: Any) -> None:
        super().__init__(server, *args, **named)
        self.network = network(self.addr[0])
        """What connections are counted by."""
        self.stage: object = self.last_activity
        """What it was at when it was looked at: where that is the same as before, it has not got on."""
        self.since_s = time.monotonic()
        server.touched.add(self)

    @property
    def request_name(self) -> str:
        """What the request that is being served is called; empty if none is."""
        return self.requests[0].name if self.requests else ""

    def parser_class(self, adj: Adjustments) -> Parser:
        return Parser(adj, self.server.check_head, self.addr[0], self.server.max_body_bytes)

    def handle_write(self) -> None:
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if self.close_when_flushed and not self.total_outbufs_len and not self.will_close:
            if self.refused and self.connected:
                self._linger()
                return
            self.close_when_flushed = False
            self.will_close = True
        if self.will_close:
            self.handle_close()

    def _linger(self) -> None:
        """Say that nothing more will come, and take no notice of what does.

        To close a socket that still has something to read, or to which more comes, throws away what the client has not
        read; so it would often not see why it was refused.
        """
        self.close_when_flushed = False
        self.lingering = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def received(self, data: bytes) -> None:
        if self.lingering:
            self.passed_over_bytes += len(data)
            self.will_close = self.passed_over_bytes > _MAX_LINGERING_BYTES
        else:
            super().received(data)

    @property
    def idle(self) -> bool:
        """Whether nothing has come since the last answer, or more than empty lines."""
        return self.can_go and (self.request is None or not self.request.header_plus)

    @property
    def can_go(self) -> bool:
        """Whether the connection may be closed to make room: no answer is due, and no more than a head has begun."""
        return not (self.requests or self.total_outbufs_len) and (self.request is None or self.request.body_rcv is None)

    def look(self, now_s: float, timeouts: Timeouts) -> None:
        """Close the connection, or refuse its request, if it has been at the same stage for too long."""
        request = self.request
        limit_s = timeouts.head_s
        stage: object = request
        if self.total_outbufs_len:
            stage, limit_s = self.last_activity, timeouts.unread_s
        elif self.requests:
            stage, limit_s = self.requests[0], inf
        elif self.lingering:
            stage, limit_s = "lingering", timeouts.linger_s
        elif request is None:
            stage = self.last_activity
            if stage != self.creation_time:
                limit_s = timeouts.idle_s
        elif request.body_rcv is not None:
            stage = request.body_rcv
            limit_s = timeouts.body_s + request.body_bytes_received / timeouts.body_bytes_per_s
        if stage != self.stage:
            self.stage, self.since_s = stage, now_s
        elif now_s - self.since_s > limit_s:
            self._give_up(request)

    def _give_up(self, request: Parser | None) -> None:
        if self.total_outbufs_len or self.lingering or request is None or self.idle:
            self.handle_close()
            return
        what = "the body, at least so many bytes a second" if request.body_rcv is not None else "the head of a request"
        request.refuse(RequestError(408, "request_timeout", f"Send {what}, without pauses: this took too long."))
        self.request = None
        self.requests.append(request)
        self.server.add_task(self)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Accepts connections up to its limits, and closes those that take too long. `look` has to be called all the time."""

    channel_class = Channel
    polled = 0

    def __init__(
        self,
        app: Any,
        adj: Adjustments,
        dispatcher: Any,
        *,
        connections_per_address: int,
        check_head: CheckHead | None,
        timeouts: Timeouts | None,
        max_body_bytes: int,
    ) -> None:
        self.check_head = check_head
        self.counters = RequestCounters()
        self.max_body_bytes = max_body_bytes
        self.touched: set[Any] = set()
        """What may wait for something else now than it did when its ``polled`` was set."""
        self._per_address = connections_per_address
        self._patience = timeouts or Timeouts()
        self._looked_s = 0.0
        self._full = False
        super().__init__(app, adj=adj, dispatcher=dispatcher)
        self.touched.add(self)

    def readable(self) -> bool:
        return self.accepting and not self._full

    def look(self, now_s: float) -> None:
        """Look at every connection, if it is time to."""
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for channel in list(self.active_channels.values()):
            channel.look(now_s, self._patience)
        self._full = False
        self.touched.add(self)

    def handle_accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    continue  # that client has gone
                logger.warning("no connection can be accepted: %s", error.strerror)
                self._evict_idle(self.active_channels.values())
                self._full = True  # until the next look: what cannot be accepted would be told of again and again
                self.touched.add(self)
                return
            refusal = self._refusal(address[0])
            try:
                if refusal is None:
                    self.set_socket_options(connection)
                    self.channel_class(self, connection, address, self.adj, map=self._map)
                    self.counters.accepted += 1
                else:
                    self.counters.refused += 1
                    connection.setblocking(False)
                    connection.send(refusal)
                    connection.close()
            except OSError:  # that client has gone
                connection.close()

    def _refusal(self, address: str) -> bytes | None:
        """Return the answer to one connection more from this address, if there is no room for it and none can be made."""
        channels = self.active_channels
        if len(channels) >= self._per_address:
            client = network(address)
            same = [channel for channel in channels.values() if channel.network == client]
            if len(same) >= self._per_address and not self._evict_idle(same):
                return too_many(*TOO_MANY_OF_ONE)
        if len(channels) >= self.adj.connection_limit and not self._evict_idle(channels.values()):
            return too_many(*TOO_MANY_IN_ALL)
        return None

    def _evict_idle(self, channels: Collection[Channel]) -> bool:
        """Close what has been idle for longest, or else a request that has been beginning for longest."""
        count = max(1, len(channels) // 64)  # all have to be looked at to find one
        ready_to_go = [channel for channel in channels if channel.can_go]
        now_s = time.monotonic()
        for channel in ready_to_go:
            channel.look(now_s, self._patience)
        going = heapq.nsmallest(count, ready_to_go, key=lambda each: (not each.idle, each.since_s))
        for channel in going:
            channel.handle_close()
        return bool(going)
