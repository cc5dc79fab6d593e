"""One client connection: a waitress channel that enforces timeouts and serves each request on a fiber.

Waitress lets a client take its time. Here a request must arrive within `Timeouts`; a client that is too slow gets an
error response and loses its connection. The checks read no clock while a request is served: twice a second the server
compares the progress of each connection with its progress at the previous check.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from socket import SHUT_WR
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel

from wonderq.httpd.addresses import network
from wonderq.httpd.errors import RequestError
from wonderq.httpd.parser import Parser
from wonderq.httpd.responses import ErrorTask, ResponseTask
from wonderq.httpd.room import LARGE_BODY_BYTES, ResponseShare
from wonderq.runtime.fibers import Event, Fiber, Hub, took

if TYPE_CHECKING:
    from wonderq.httpd.server import Server

#: Bytes read and discarded from a client whose request was rejected, so that it can finish sending and read the
#: response.
_MAX_LINGERING_BYTES = 1 << 20

#: Writes of an ordinary response: its head and its body. A response of more writes yields to other requests after each.
_ORDINARY_WRITES = 2

#: Size of a piece of a large response. The response itself stays in memory until all pieces are sent.
_PIECE_BYTES = 1 << 18
_STEPS_PER_PIECE = 200

#: Interval at which a listing retries to send to a client that has stopped reading.
_STALLED_RETRY_S = 1.0


@dataclass(frozen=True)
class Timeouts:
    """Limits on the time that a client may take."""

    head_s: float = 10
    """Time for the head of a request from its first byte, and for the first byte on a new connection."""
    body_s: float = 10
    """Time for a body, in addition to the time that it takes at `body_bytes_per_s`."""
    body_bytes_per_s: int = 4096
    """Minimum rate of a body."""
    contended_bytes_per_s: int = 1 << 18
    """Minimum rate of a large body while others wait for its room."""
    idle_s: float = 120
    """Time between a response and the next request."""
    unread_s: float = 120
    """Time in which a client reads nothing of a response."""
    linger_s: float = 2
    """Time for a client to read an error response and stop sending."""


class _PathFilter(logging.LoggerAdapter[logging.Logger]):
    """Removes the request's path, which may contain a message id, from waitress' log messages."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        return re.sub(r"(?s) while serving .*", " while serving a request", msg), kwargs


class Channel(HTTPChannel):  # type: ignore[misc] # waitress has no types
    """A client connection."""

    logger = _PathFilter(logging.getLogger("waitress"))
    task_class = ResponseTask
    error_task_class = ErrorTask

    request: Parser | None = None
    """The request that is arriving."""
    polled_events = 0
    """Events that are watched for this connection; see `Server.poll_changes`."""
    fiber: Fiber | None = None
    """The fiber that serves this connection's current request."""
    writes = 0
    """Number of writes of the current response so far."""
    close_when_flushed = False
    will_close = False
    rejected = False
    """Whether the response being sent is the server's own error response, which ends the connection."""
    lingering = False
    """Whether that response was sent completely, and further input is discarded."""
    discarded_bytes = 0
    input_ended = False
    """Whether the client has shut down its sending side. It may still read, or it may have closed the connection."""

    def __init__(self, server: Server, *args: Any, **named: Any) -> None:
        super().__init__(server, *args, **named)
        self.network = network(self.addr[0])
        """Key under which the client's connections are counted; see `network`."""
        self.stage: object = self.last_activity
        """Progress at the last timeout check; a connection that has the same stage again has made no progress."""
        self.stage_since_s = time.monotonic()
        self.share = ResponseShare(server.response_room)
        """Room that the current response takes."""
        server.poll_changes.add(self)

    def check_client_disconnected(self) -> bool:
        """Return whether the client may have closed the connection, so that it must not be given anything to keep."""
        return self.input_ended or not self.connected

    @property
    def request_id(self) -> str:
        """The id of the request being served, or an empty string."""
        return self.requests[0].request_id if self.requests else ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing but empty lines has arrived since the last response."""
        return self.is_evictable and (self.request is None or not self.request.header_plus)

    @property
    def is_evictable(self) -> bool:
        """Whether closing it to make room loses nothing: no response is due, and at most part of a head has arrived."""
        return not (self.requests or self.total_outbufs_len) and (self.request is None or self.request.body_rcv is None)

    def parser_class(self, adj: Adjustments) -> Parser:
        server = self.server
        return Parser(adj, server.check_head, self.addr[0], server.max_body_bytes, server.body_limit, server.body_room)

    # Receiving and sending

    def received(self, data: bytes) -> None:
        if self.lingering:
            self.discarded_bytes += len(data)
            self.will_close = self.discarded_bytes > _MAX_LINGERING_BYTES
        else:
            super().received(data)
            request = self.request
            if request is not None and not (request.room_bytes or request.awaits_room) and request.room_needed:
                self.server.body_room.ask(request, self)

    def readable(self) -> bool:
        return not self.watches_hang_up and bool(super().readable())

    @property
    def watches_hang_up(self) -> bool:
        """Whether nothing is read, so that the server must find out otherwise that the client has reset it."""
        return self.input_ended or (self.request is not None and self.request.awaits_room)

    def handle_read(self) -> None:
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except BlockingIOError:
            return
        except OSError:
            self.handle_close()
            return
        if data:
            self.last_activity = time.time()
            self.received(data)
        else:
            self._end_input()

    def _end_input(self) -> None:
        """Send the responses that are due, and then close the connection.

        A client that closes the connection looks the same as one that shuts down its sending side, until something is
        sent to it. So no message is claimed from now on: see `check_client_disconnected`.
        """
        self.input_ended = True
        if self.request is not None:
            self.request.close()
            self.request = None
        if self.requests or self.total_outbufs_len:
            if not self.requests:
                self.close_when_flushed = True
            self._recheck()
        else:
            self.handle_close()

    def handle_write(self) -> None:
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if self.close_when_flushed and not self.total_outbufs_len and not self.will_close:
            self.close_when_flushed = False
            if self.rejected and self.connected:
                self._linger()
            else:
                self.will_close = True
        if self.will_close:
            self.handle_close()
        self._recheck()

    def handle_close(self) -> None:
        super().handle_close()
        if self.request is not None:
            self.request.close()
            self.request = None
        self._recheck()

    def _linger(self) -> None:
        """Shut down the sending side, and discard input until the client closes.

        Closing a socket that has unread input makes the kernel reset the connection, which often discards the response
        before the client has read it.
        """
        self.lingering = True
        with suppress(OSError):
            self.socket.shutdown(SHUT_WR)

    def _recheck(self) -> None:
        """Wake the fiber, which may be waiting for a client that has disconnected."""
        if self.fiber is not None:
            self.fiber.hub.recheck(self.fiber)

    # Serving

    def service(self) -> None:
        """Serve the first of the received requests. Runs on a fiber."""
        self.fiber = Hub.current()
        self.writes = 0
        body_bytes = self.requests[0].body_bytes_received
        if body_bytes > LARGE_BODY_BYTES:
            with self.server.large_bodies.reserve(body_bytes):
                super().service()
        else:
            super().service()
        self.share.give_back()
        self.fiber = None
        if self.input_ended and not self.requests:
            self.close_when_flushed = True
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        self.server.poll_changes.add(self)

    def write_soon(self, data: Any) -> int:
        self.writes += 1
        if len(data) > _PIECE_BYTES:
            whole = memoryview(data)
            for at in range(0, len(data), _PIECE_BYTES):  # each piece waits until most of the previous ones was sent
                super().write_soon(whole[at : at + _PIECE_BYTES])
                took(_STEPS_PER_PIECE)
            written = len(data)
        else:
            written = super().write_soon(data)
        if self.total_outbufs_len:
            self.server.poll_changes.add(self)
        if self.writes > _ORDINARY_WRITES and self.fiber is not None:
            self.fiber.yield_to_others()
        return written

    def write_whole(self, response: bytes) -> None:
        """Send a complete response, and buffer what the socket does not take at once."""
        try:
            sent = self.socket.send(response) if self.connected and not self.total_outbufs_len else 0
        except OSError:  # it is full, or the client has disconnected, which the flush at the end notices
            sent = 0
        if sent < len(response):
            self.write_soon(response[sent:])

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait until the client has read most of the response so far. Waitress would block the thread."""
        while self.connected and self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self._flush_exception(self._flush_some, do_close=False)
            self.server.poll_changes.add(self)  # `handle_write` wakes this fiber
            Event().wait(_STALLED_RETRY_S)

    # Timeouts

    def check_timeouts(self, now_s: float, timeouts: Timeouts) -> None:
        """Close the connection or reject its request if it has made no progress for too long."""
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
            stage = request.body_rcv, request.room_bytes
            is_contended = request.room_bytes and self.server.body_room.is_contended
            rate = timeouts.contended_bytes_per_s if is_contended else timeouts.body_bytes_per_s
            limit_s = inf if request.awaits_room else timeouts.body_s + request.body_bytes_received / rate
        if stage != self.stage:
            self.stage, self.stage_since_s = stage, now_s
        elif now_s - self.stage_since_s > limit_s:
            self._time_out(request)

    def _time_out(self, request: Parser | None) -> None:
        if self.total_outbufs_len or self.lingering or request is None or self.is_idle:
            self.handle_close()
            return
        part = "body" if request.body_rcv is not None else "head"
        message = f"The {part} of the request took too long to arrive. Send it faster, without pauses."
        request.reject(RequestError(408, "request_timeout", message))
        self.request = None
        self.requests.append(request)
        self.server.add_task(self)
