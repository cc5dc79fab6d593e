"""A web server of the tests as an endpoint: it fails, hangs, redirects, answers slowly or without end, and comes back."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from tests.support.waiting import PATIENCE_S


class Received(NamedTuple):
    """A request that the endpoint got."""

    line: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


Behavior = Callable[[socket.socket, Received, threading.Event], None]
"""Answers a request on its connection, which is closed afterwards. The event is set when the server is closed."""


def answer(status: int, *headers: str, body: bytes = b"") -> Behavior:
    """Answer with a status."""
    lines = [f"HTTP/1.1 {status} As Told", f"Content-Length: {len(body)}", *headers, "", ""]

    def behave(connection: socket.socket, _received: Received, _closed: threading.Event) -> None:
        connection.sendall("\r\n".join(lines).encode() + body)

    return behave


def raw(data: bytes) -> Behavior:
    """Answer with bytes that need not be HTTP."""

    def behave(connection: socket.socket, _received: Received, _closed: threading.Event) -> None:
        connection.sendall(data)

    return behave


def hang(connection: socket.socket, _received: Received, closed: threading.Event) -> None:
    """Never answer, until the client leaves."""
    connection.settimeout(0.02)
    while not closed.is_set():
        with suppress(TimeoutError):
            if not connection.recv(1):
                return


def endless(begin: bytes) -> Behavior:
    """Begin an answer, and continue it without end."""

    def behave(connection: socket.socket, _received: Received, closed: threading.Event) -> None:
        connection.sendall(begin)
        with suppress(OSError):
            while not closed.wait(0.001):
                connection.sendall(b"x" * 1024)

    return behave


def hang_up(connection: socket.socket, _received: Received, _closed: threading.Event) -> None:
    """Close the connection without an answer."""
    connection.shutdown(socket.SHUT_RDWR)


class HookServer:
    """An endpoint on loopback. It answers each request with `behavior`, which a test may change at any time."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.behavior: Behavior = answer(200)
        self.keeps_connections = False
        """Whether a connection stays open for further requests, and does not end with its answer."""
        self.received: list[Received] = []
        self.connections = 0
        """Number of connections so far."""
        self.open_connections = 0
        self.open = 0
        self.most_open = 0
        """Most requests that were open at a time."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=500)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def texts(self) -> list[str]:
        """Bodies of the requests so far."""
        return [each.text for each in list(self.received)]

    def has_received(self, count: int) -> bool:
        """Whether there were so many requests, and no more."""
        return len(self.received) == count

    def close(self) -> None:
        """Stop listening, so that connections are refused."""
        self._closed.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        with self._lock:
            self.connections += 1
            self.open_connections += 1
        try:
            with suppress(OSError):
                if self._tls is None:
                    with connection:
                        self._answer_all(connection)
                else:
                    with self._tls.wrap_socket(connection, True, do_handshake_on_connect=False) as encrypted:
                        encrypted.do_handshake()
                        self._answer_all(encrypted)
        finally:
            with self._lock:
                self.open_connections -= 1

    def _answer_all(self, connection: socket.socket) -> None:
        while self._answer(connection) and self.keeps_connections:
            pass

    def _answer(self, connection: socket.socket) -> bool:
        """Answer the next request, if there is one; return whether there was."""
        received = read_request(connection)
        if received is None:
            return False
        with self._lock:
            self.received.append(received)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            self.behavior(connection, received, self._closed)
        finally:
            with self._lock:
                self.open -= 1
        return True


def read_request(connection: socket.socket) -> Received | None:
    """Return the next request on a connection, or None if it ends before."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        more = connection.recv(65536)
        if not more:
            return None
        body += more
    return Received(line, headers, body)


@contextmanager
def hook_server(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[HookServer]:
    server = HookServer(port, tls)
    try:
        yield server
    finally:
        server.close()
