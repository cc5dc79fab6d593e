"""Waitress, as WonderQ runs it: enough threads for long polls, JSON errors, and a stop that finishes what it began."""

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

from wonderq.wire import JSON, encode_json, error_object

#: The largest batch, with every second byte escaped in JSON.
MAX_BODY_BYTES = 33 << 20

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
    parser_class = _Parser
    error_task_class = _JsonErrorTask


class Server(TcpWSGIServer):  # type: ignore[misc]
    """Serves one WSGI application on one address until `stop` is called.

    ``threads`` must cover the consumers that wait besides the requests that work. Raises OSError if the address cannot
    be bound.
    """

    channel_class = _Channel

    def __init__(self, app: Any, host: str, port: int, *, threads: int) -> None:
        adjustments = Adjustments(
            host=host,
            port=port,
            threads=threads,
            ident="wonderq",
            # One look-ahead is what lets waitress notice that a client has gone while its request is being served.
            channel_request_lookahead=1,
            connection_limit=threads + 500,
            max_request_body_size=MAX_BODY_BYTES,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True,
        )
        self._stopping = threading.Event()
        super().__init__(app, adj=adjustments)

    @property
    def url(self) -> str:
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"http://{host}:{self.effective_port}"

    def stop(self) -> None:
        """Make `run` return. May be called from a signal handler or another thread, and again at any time."""
        if not self._stopping.is_set():
            self._stopping.set()
            self.pull_trigger()

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
        self.task_dispatcher.shutdown(timeout=1)
        self.asyncore.close_all(self._map)

    def _turn(self, timeout_s: float) -> None:
        self.asyncore.loop(timeout=timeout_s, use_poll=True, map=self._map, count=1)
