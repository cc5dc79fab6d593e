"""A server that accepts requests and answers them too slowly, or never."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Answering = Callable[[socket.socket, threading.Event], None]
"""Answers a request on a connection until the event is set."""


def hang(_connection: socket.socket, over: threading.Event) -> None:
    """Answer nothing."""
    over.wait()


def trickle(connection: socket.socket, over: threading.Event) -> None:
    """Answer with one header byte at a time, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.01):
        connection.sendall(b"x")


def trickle_body(connection: socket.socket, over: threading.Event) -> None:
    """Answer at once, but with one byte of the body at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[")
    while not over.wait(0.01):
        connection.sendall(b" ")


@contextmanager
def slow_server(answering: Answering) -> Iterator[SlowServer]:
    server = SlowServer(answering)
    try:
        yield server
    finally:
        server.close()


class SlowServer:
    """The server. It counts the requests."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if connection.recv(65536):
                self.requests += 1
                self._answering(connection, self._over)

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()
