"""Waitress, as WonderQ runs it: on one thread, with a fiber for each request, JSON errors, and a stop that finishes.

Waitress reads and writes on one thread, and serves requests on others. Here that one thread does it all: a request runs on
a fiber, which makes way for others whenever it waits (see `wonderq.fibers`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask

from wonderq.fibers import Event, Fiber, Hub
from wonderq.wire import JSON, encode_json, error_object

#: The largest batch, with every second byte escaped in JSON.
MAX_BODY_BYTES = 33 << 20

#: A listing is not read on while so much of it has not been sent.
MAX_UNSENT_BYTES = 1 << 20

#: What is less waits for the rest of its answer, so that header and body are sent in one call.
SEND_BYTES = 1 << 14

#: An answer that is more than a header and a body.
_PIECES = 2

#: How often one looks whether a client takes more that does not.
_STALLED_S = 1.0

_CODES = {
    400: "bad_request",
    413: "body_too_large",
    431: "headers_too_large",
    500: "internal_error",
    501: "not_implemented",
}


class _JsonErrorTask(ErrorTask):  # type: ignore[misc] # waitress has no types
    """Answers what waitress refuses by itself in the shape of all our errors."""

    def execute(self) -> None:
        error = self.request.error
        self.status = f"{error.code} {error.reason}"
        body = encode_json(error_object(error.code, _CODES.get(error.code, "bad_request"), f"{error.body}."))
        self.response_headers.append(("Content-Type", JSON))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # which waitress lets through from urlsplit, to close the connection unanswered
            raise ParsingError("The request's target is not a URL") from error


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    parser_class = _Parser
    error_task_class = _JsonErrorTask

    close_when_flushed = False
    fiber: Fiber | None = None
    """The one that serves a request of this connection."""
    pieces = 0
    """Of its answer, written so far."""

    def service(self) -> None:
        self.fiber = Hub.current()
        self.pieces = 0
        super().service()
        self.fiber = None
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)

    def write_soon(self, data: Any) -> int:
        self.pieces += 1
        if self.pieces > _PIECES and self.fiber is not None:
            self.fiber.sleep(0)  # a long answer, and others wait
        written: int = super().write_soon(data)
        return written

    def _flush_outbufs_below_high_watermark(self) -> None:
        """Wait until the client has taken most of what was written for it."""
        while self.connected and self.total_outbufs_len > self.adj.outbuf_high_watermark:
            self._flush_exception(self._flush_some, do_close=False)
            Event().wait(_STALLED_S)

    def handle_write(self) -> None:
        self._flush_exception(self._flush_some)
        if self.close_when_flushed and not self.total_outbufs_len:
            self.close_when_flushed = False
            self.will_close = True
        if self.will_close:
            self.handle_close()
        self._disturb()

    def handle_read(self) -> None:
        super().handle_read()
        if not self.connected:
            self._disturb()

    def handle_close(self) -> None:
        super().handle_close()
        self._disturb()

    def _disturb(self) -> None:
        if self.fiber is not None:
            self.fiber.hub.disturb(self.fiber)


class _Fibers:
    """What waitress calls its dispatcher: gives each request a fiber."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def add_task(self, channel: _Channel) -> None:
        self._hub.spawn(channel.service)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Serves one WSGI application on one address until `stop` is called.

    Raises OSError if the address cannot be bound.
    """

    channel_class = _Channel

    def __init__(self, app: Any, host: str, port: int, *, connections: int = 1000) -> None:
        """At most so many ``connections`` are open at once; more wait to be accepted."""
        adjustments = Adjustments(
            host=host,
            port=port,
            ident="wonderq",
            # One look-ahead is what lets waitress notice that a client has gone while its request is being served.
            channel_request_lookahead=1,
            connection_limit=connections,
            max_request_body_size=MAX_BODY_BYTES,
            outbuf_high_watermark=MAX_UNSENT_BYTES,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True,
        )
        adjustments.send_bytes = SEND_BYTES  # as an argument it is deprecated
        self._stopping = threading.Event()
        self._hub = Hub(self._wake_up)
        super().__init__(app, adj=adjustments, dispatcher=_Fibers(self._hub))

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

    def _turn(self, timeout_s: float) -> None:
        due_s = self._hub.run()
        self.asyncore.loop(
            timeout=timeout_s if due_s is None else min(timeout_s, due_s), use_poll=True, map=self._map, count=1
        )
