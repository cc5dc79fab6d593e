"""Clients of the HTTP API: in process for tests of the application, over a socket for tests of the server."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from wsgiref.validate import WSGIWarning

import falcon.inspect
from falcon.testing import Result, TestClient

from tests.support.waiting import PATIENCE_S, eventually
from wonderq.app import App, create_app
from wonderq.auth.access import Access
from wonderq.auth.roles import RULES, SNS_CERTIFICATE, SQS_ADDRESSES
from wonderq.broker.broker import Broker
from wonderq.httpd.server import Server

JSON = "application/json"
MSGPACK = "application/msgpack"

#: The endpoint of SQS' clients, which has tests of its own (tests/sqs).
SQS_ROUTES = {
    ("POST", "/"),
    ("GET", SNS_CERTIFICATE),
    *((method, address) for address in SQS_ADDRESSES for method in ("GET", "POST")),
}

#: The dashboard, which is no part of the API (tests/ui).
UI_ROUTES = {(method, path) for path, methods in RULES.items() if path.startswith("/ui") for method in methods}


def routes_of(app: App) -> set[tuple[str, str]]:
    """Return the method and the template of each call that an application takes."""
    return {
        (method.method, route.path)
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if not method.internal
    }


class Client:
    """Calls the application in process."""

    def __init__(self, broker: Broker, access: Access | None = None) -> None:
        self.broker = broker
        self._client = TestClient(create_app(broker, access))

    def __call__(
        self,
        method: str,
        target: str,
        *,
        json: Any = None,
        body: bytes | str | None = None,
        media_type: str | None = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Result:
        path, _, query = target.partition("?")
        if json is not None:
            body = encode(json)
        sent = dict(headers or {})
        if body is not None and media_type is not None:
            sent["Content-Type"] = media_type
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Unknown REQUEST_METHOD", WSGIWarning)
            return self._client.simulate_request(method, path, query_string=query, body=body, headers=sent)

    def produce(self, *messages: str | dict[str, Any], queue: str = "default", **fields: Any) -> list[str]:
        reply = self("POST", f"/queues/{queue}/messages/produce", json={"messages": messages, **fields})
        assert reply.status_code == 201, reply.text
        ids: list[str] = reply.json["ids"]
        return ids

    def consume(self, query: str = "", *, queue: str = "default") -> list[dict[str, Any]]:
        reply = self("GET", f"/queues/{queue}/messages/consume?{query}")
        assert reply.status_code == 200, reply.text
        messages: list[dict[str, Any]] = reply.json
        return messages

    def get(self, target: str) -> Any:
        reply = self("GET", target)
        assert reply.status_code == 200, reply.text
        return reply.json

    def counts(self, queue: str = "default") -> dict[str, int]:
        counts: dict[str, int] = self.get(f"/queues/{queue}")["counts"]
        return counts


def encode(value: Any) -> bytes:
    """Encode a value as JSON."""
    return json.dumps(value).encode()


def check_error(status: int, content_type: str | None, content: bytes) -> dict[str, Any]:
    """Check that this is an error in the one shape, and return its inner object."""
    assert 400 <= status < 500 or status in (503, 507), (status, content[:500])
    assert content_type == JSON
    value = json.loads(content)
    assert value.keys() == {"success", "statusCode", "error"}
    assert value["success"] is False
    assert value["statusCode"] == status
    error: dict[str, Any] = value["error"]
    assert {"code", "message"} <= error.keys() <= {"code", "message", "field"}
    assert all(isinstance(each, str) for each in error.values())
    assert error["code"]
    assert error["message"]
    return error


def check_refused(reply: Result, status: int, code: str, name: str | None = None) -> None:
    """Check the status, the code and the field of a refusal."""
    error = check_error(reply.status_code, reply.headers.get("content-type"), reply.content)
    assert (reply.status_code, error["code"], error.get("field")) == (status, code, name), error


@dataclass
class WireReply:
    """An answer that came over a socket."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def read_reply(connection: socket.socket, method: str = "GET") -> WireReply:
    """Read one answer from a socket."""
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    content = response.read()
    return WireReply(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


@dataclass
class Wire:
    """Speaks to a server through real sockets."""

    host: str
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE_S)

    def send(self, data: bytes, *, method: str = "GET") -> WireReply:
        """Send these bytes, whatever they are, and read the answer."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_reply(connection, method)

    def __call__(self, method: str, target: str, *, json: Any = None) -> WireReply:
        return self.send(request(method, target, json=json), method=method)


def request(method: str, target: str, *, json: Any = None) -> bytes:
    """Return the bytes of a request."""
    body = b"" if json is None else encode(json)
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    if body:
        head += f"Content-Type: {JSON}\r\n"
    return head.encode() + b"\r\n" + body


@dataclass
class ServedBroker(Wire):
    """A broker behind a real server in this process."""

    broker: Broker
    server: Server
    thread: threading.Thread = field(repr=False)

    def waiting(self) -> int:
        """Return the number of consumers that wait at this moment."""
        return self.broker.core.consumers._count

    def wait_for_waiting(self, count: int) -> None:
        eventually(lambda: self.waiting() == count, f"{count} consumers wait, not {self.waiting()}")


@contextmanager
def serving(broker: Broker, app: Any = None, *, host: str = "127.0.0.1", **settings: Any) -> Iterator[ServedBroker]:
    """Serve a broker on a free port, in a thread of this process."""
    server = Server(app or create_app(broker), host, 0, **settings)
    thread = threading.Thread(target=server.run, kwargs={"on_stop": broker.stop_claiming})
    thread.start()
    try:
        yield ServedBroker(server.effective_host, int(server.effective_port), broker, server, thread)
    finally:
        server.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
