"""Responses: those of the application and the server's own errors, with the headers that all share, counted by route.

These tasks replace waitress' own: they do only the part of WSGI that this application needs, in a third of the time.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Collection
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from waitress import task
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.utilities import build_http_date

from wonderq.httpd.counters import refusals
from wonderq.httpd.errors import (
    JSON,
    ErrorResponse,
    RenderError,
    RequestError,
    ResponseCutError,
    encode_json,
    error_object,
)
from wonderq.httpd.parser import find_format_parts
from wonderq.httpd.room import RESPONSE_SHARE

logger = logging.getLogger("wonderq")

_FIXED_HEADERS = "Server: wonderq\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
_DEFAULT_HEADERS = {
    "Content-Security-Policy": "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n",
    "Cache-Control": "Cache-Control: no-store\r\n",
}

#: Key in the WSGI environment under which the application stores the template of the requested path.
ROUTE = "wonderq.route"

#: Size up to which the head and the body of a response are joined, and sent without a buffer between.
_WHOLE_BYTES = 1 << 16

#: The part of the WSGI environment that is the same for every request.
_ENVIRON = {
    "SERVER_SOFTWARE": "wonderq",
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": ReadOnlyFileBasedBuffer,
    "wsgi.input_terminated": True,
}
_UNPREFIXED = {"CONTENT_TYPE": "CONTENT_TYPE", "CONTENT_LENGTH": "CONTENT_LENGTH"}


@lru_cache(256)
def _canonical(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))


@lru_cache(4)
def _date(second: int) -> str:
    text: str = build_http_date(second)
    return text


def _security_headers(present: Collection[str]) -> str:
    """Return the fixed header lines, and each default one that is not ``present``."""
    return _FIXED_HEADERS + "".join([line for name, line in _DEFAULT_HEADERS.items() if name not in present])


class _ResponseHead:
    """Mixin of a waitress task that counts its response and writes the head."""

    environ: dict[str, Any] | None = None

    def build_response_header(self: Any) -> bytes:
        channel = self.channel
        request = channel.requests[0]  # not self.request: waitress makes another one if the application failed
        route = self.environ.get(ROUTE) if self.environ is not None else None
        took_s = time.time() - self.start_time
        channel.server.counters.answered(request.command, route, self.status, took_s, channel.addr[0])
        head: bytes = self._head(request.id_header or request.make_id_header())
        return head

    def _head(self: Any, id_header: str) -> bytes:
        fields = self.response_headers = [(_canonical(name), value) for name, value in self.response_headers]
        present = dict(fields)
        sized = "Content-Length" in present
        has_body = self.has_body
        if not has_body:
            fields[:] = [field for field in fields if field[0] != "Content-Length"]
            sized = True  # a client knows that nothing follows
        elif not sized and self.content_length is not None:
            fields.append(("Content-Length", str(self.content_length)))
            sized = True
        connection = self.request.headers.get("CONNECTION", "").lower()
        if self.version == "1.0":
            if connection == "keep-alive" and sized:
                fields.append(("Connection", "Keep-Alive"))
            else:
                self.set_close_on_finish()
        elif connection == "close" or not sized:
            if has_body and not sized:
                fields.append(("Transfer-Encoding", "chunked"))
                self.chunked_response = True
            self.set_close_on_finish()
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
        date = _date(int(self.start_time))
        head = (
            f"HTTP/{self.version} {self.status}\r\n{lines}Date: {date}\r\n{id_header}{_security_headers(present)}\r\n"
        )
        return head.encode("latin-1")


class ResponseTask(_ResponseHead, task.WSGITask):  # type: ignore[misc] # waitress has no types
    """Runs the application for a request and sends its response."""

    wrote_header: bool

    def get_environment(self) -> dict[str, Any]:
        if self.environ is not None:
            return self.environ
        request, channel = self.request, self.channel
        host, port = channel.addr[:2]
        environ: dict[str, Any] = _ENVIRON | {
            "REMOTE_ADDR": host,
            "REMOTE_HOST": host,
            "REMOTE_PORT": str(port),
            "REQUEST_METHOD": request.command,
            "SERVER_NAME": channel.server.server_name,
            "SERVER_PORT": str(channel.server.effective_port),
            "SERVER_PROTOCOL": f"HTTP/{self.version}",
            "PATH_INFO": "/" + request.path.lstrip("/"),
            "REQUEST_URI": request.request_uri,
            "QUERY_STRING": request.query,
            "wsgi.url_scheme": request.url_scheme,
            "wsgi.input": request.get_body_stream(),
            "waitress.client_disconnected": channel.check_client_disconnected,
            RESPONSE_SHARE: channel.share,
        }
        for name, value in request.headers.items():
            environ[_UNPREFIXED.get(name) or f"HTTP_{name}"] = value
        self.environ = environ
        return environ

    def service(self) -> None:
        try:
            super().service()
        except ResponseCutError as error:
            logger.warning("a response was cut off: %s", error)
            self.close_on_finish = True

    def write(self, data: bytes) -> None:
        """Send head and body of a complete small response together, without a buffer between."""
        is_whole = len(data) == self.content_length and not self.wrote_header
        if not is_whole or not self.has_body or not 0 < len(data) <= _WHOLE_BYTES:
            super().write(data)
            return
        self.channel.write_whole(self.build_response_header() + data)
        self.wrote_header = True
        self.content_bytes_written = len(data)


class ErrorTask(_ResponseHead, task.ErrorTask):  # type: ignore[misc]
    """Sends the server's own error response, without running the application."""

    def execute(self) -> None:
        error = self.request.error
        if not isinstance(error, RequestError):  # the application raised; waitress has logged the traceback
            error = RequestError(500, "internal_error", "The broker failed because of a bug. Its log has the details.")
        refusals[error.code] += 1
        request, render = self.request, self.channel.server.render_error
        rendered = render and render(request.command, request.path, request.headers, error)
        status, media_type, body, headers = rendered or _own_response(error)
        self.status = f"{status} {HTTPStatus(status).phrase}"
        self.response_headers += [("Content-Type", media_type), *headers.items()]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.rejected = True
        self.write(body)


def _own_response(error: RequestError) -> ErrorResponse:
    body = encode_json(error_object(error.status, error.code, str(error), error.field)) + b"\n"
    return ErrorResponse(error.status, JSON, body, error.headers)


def too_many_connections(error: RequestError, received: bytes, render: RenderError | None) -> bytes:
    """Return a complete response for a connection that is rejected. ``received`` is what has arrived of its request."""
    refusals[error.code] += 1
    parts = find_format_parts(received.decode("latin-1"))
    rendered = render and render(parts.method, parts.path, parts.headers, error)
    status, media_type, body, headers = rendered or _own_response(error)
    fields = {"Connection": "close", "Content-Type": media_type, "Content-Length": str(len(body)), **headers}
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}{_security_headers(())}\r\n".encode() + body


def _at_limit(status: int, message: str) -> RequestError:
    return RequestError(status, "too_many_connections", message, headers={"Retry-After": "5"})


CLIENT_AT_LIMIT = _at_limit(
    429,
    "This address or network has too many open connections. Close some, or keep connections open and reuse them.",
)
BROKER_AT_LIMIT = _at_limit(503, "The broker has reached its limit of connections, and none is idle. Try again later.")
