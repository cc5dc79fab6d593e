"""A TCP proxy that can hold answers back, and that never tells the server that a client has closed its connection."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.support.waiting import PATIENCE_S


class StallingProxy:
    """Passes connections to a port of this machine on.

    The server does not learn that a client has disconnected, as behind a load balancer or after a network failure.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def hold_answers(self) -> None:
        """Pass no answers on until `pass_answers`."""
        self._may_answer.clear()

    def pass_answers(self) -> None:
        """Pass all answers on, also those that were held back."""
        self._may_answer.set()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                server = socket.create_connection(self._target)
                self._open += (client, server)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for forward in (self._forward_requests, self._forward_answers):
                    thread = threading.Thread(target=forward, args=(client, server), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _forward_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)

    def _forward_answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                assert self._may_answer.wait(PATIENCE_S)
                with suppress(OSError):  # the client has disconnected
                    client.sendall(data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._may_answer.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE_S)
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for each in self._open:
            each.close()
