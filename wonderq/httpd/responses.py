"""Answers as the server sends them: the application's and its own, each with what all have in their heads, and measured.

What waitress does for a WSGI application, as far as this one needs it, in a third of the time.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import build_http_date

from wonderq.httpd.errors import JSON, RequestError, encode_json, refusal

_ALWAYS = "Server: wonderq\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
_UNLESS_SAID = {
    "Content-Security-Policy": "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n",
    "Cache-Control": "Cache-Control: no-store\r\n",
}

#: What the application tells the server: the template of the path that was asked for.
ROUTE = "wonderq.route"

#: What WSGI wants to know of every request alike.
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


def _hardening(said: Any) -> str:
    """Return the lines to add to a head, of those that have not been ``said`` otherwise."""
    return _ALWAYS + "".join([line for name, line in _UNLESS_SAID.items() if name not in said])


class _Answering:
    """Of a task: its answer is counted, and this is how its head is written."""

    environ: dict[str, Any] | None = None

    def build_response_header(self: Any) -> bytes:
        channel = self.channel
        request = channel.requests[0]  # ours is another one if the application failed
        route = self.environ.get(ROUTE) if self.environ is not None else None
        took_s = time.time() - self.start_time
        channel.server.counters.answered(request.command, route, self.status, took_s, channel.addr[0])
        head: bytes = self._head(request.name_line or request.make_name())
        return head

    def _head(self: Any, name_line: str) -> bytes:
        fields = self.response_headers = [(_canonical(name), value) for name, value in self.response_headers]
        said = dict(fields)
        sized = "Content-Length" in said
        has_body = self.has_body
        if not has_body:
            fields[:] = [field for field in fields if field[0] != "Content-Length"]
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
        head = f"HTTP/{self.version} {self.status}\r\n{lines}Date: {date}\r\n{name_line}{_hardening(said)}\r\n"
        return head.encode("latin-1")


class Answer(_Answering, WSGITask):  # type: ignore[misc] # waitress has no types
    """Answers with what the application says."""

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
        }
        for name, value in request.headers.items():
            environ[_UNPREFIXED.get(name) or f"HTTP_{name}"] = value
        self.environ = environ
        return environ


class Refusal(_Answering, ErrorTask):  # type: ignore[misc]
    """Answers a request that the application never sees, in the shape of all our errors."""

    def execute(self) -> None:
        error = self.request.error
        if not isinstance(error, RequestError):  # the application failed, of which waitress has written the details
            error = RequestError(500, "internal_error", "WonderQ made a mistake. The broker's log has the details.")
        self.status = f"{error.status} {HTTPStatus(error.status).phrase}"
        body = encode_json(refusal(error.status, error.code, str(error), error.field))
        self.response_headers += [("Content-Type", JSON), *error.headers.items()]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.refused = True
        self.write(body)


def too_many(status: int, message: str) -> bytes:
    """Return a whole answer to whoever connects, before anything was asked."""
    body = encode_json(refusal(status, "too_many_connections", message))
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\nContent-Type: {JSON}\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 5\r\n{_hardening(())}\r\n"
    )
    return head.encode() + body


TOO_MANY_OF_ONE = 429, "Close some connections, or keep and reuse them: too many come from this address or network."
TOO_MANY_IN_ALL = 503, "Try again later: the broker has as many connections as it may, and all are at work."
