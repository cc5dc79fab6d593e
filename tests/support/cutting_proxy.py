"""A TCP proxy that cuts connections in the middle of requests and answers."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

_CHUNK_BYTES = 65536

#: Closing a socket with this option resets the connection, as a crash of its host does.
_RESET = struct.pack("ii", 1, 0)


class _Link:
    """A connection of a client and the one to the server, cut after a number of bytes in one direction."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._ends = (client, server)
        for end in self._ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each body waits for the receipt of its head
        self._lock = threading.Lock()
        self.is_cut = False

    def forward(self, source: socket.socket, target: socket.socket, most_bytes: int | None) -> None:
        """Pass bytes on until one side closes, or until ``most_bytes`` are passed."""
        left = most_bytes
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES)):
                target.sendall(data)
                if left is not None:
                    left -= len(data)
                    if not left:
                        break
        self.cut()

    def cut(self) -> None:
        """Reset both connections."""
        with self._lock:
            if self.is_cut:
                return
            self.is_cut = True
            for end in self._ends:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
                end.close()


class CuttingProxy:
    """Passes connections to a port of this machine on, and cuts each after a number of bytes that a seed decides.

    The cut is in requests or in answers, at any byte up to ``most_bytes`` of that direction; with None, only
    `close_gate` cuts. If nothing listens at the port, a connection is cut at once.
    """

    def __init__(self, port: int, seed: int, *, most_bytes: int | None = 4000) -> None:
        self._target = ("127.0.0.1", port)
        self._random = random.Random(seed)
        self._most_bytes = most_bytes
        self._links: list[_Link] = []
        self._is_closed = False
        self._gate = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def connections(self) -> int:
        """Number of connections that were passed on."""
        return len(self._links)

    @property
    def ended_connections(self) -> int:
        """Number of those that have ended, by a cut or by one of the sides."""
        return sum(each.is_cut for each in self._links)

    def _accept(self) -> None:
        with suppress(OSError):  # the proxy was closed
            while True:
                client, _ = self._socket.accept()
                self._pass_on(client)

    def close_gate(self) -> None:
        """Cut all connections, and new ones too, until `open_gate`."""
        with self._gate:
            self._is_closed = True
        for link in self._links:
            link.cut()

    def open_gate(self) -> None:
        with self._gate:
            self._is_closed = False

    def _pass_on(self, client: socket.socket) -> None:
        in_request = self._random.random() < 0.5
        most_bytes = None if self._most_bytes is None else self._random.randint(1, self._most_bytes)
        with self._gate:
            if self._is_closed:
                client.close()
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                return
            link = _Link(client, server)
            self._links.append(link)
        for source, target, limit in (
            (client, server, most_bytes if in_request else None),
            (server, client, None if in_request else most_bytes),
        ):
            threading.Thread(target=link.forward, args=(source, target, limit), daemon=True).start()

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._target)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for link in self._links:
            link.cut()


class Balancer(CuttingProxy):
    """A TCP load balancer: passes each connection on to any of several ports that accepts it."""

    def __init__(self, ports: Sequence[int], seed: int) -> None:
        super().__init__(ports[0], seed, most_bytes=None)
        self._ports = ports

    def _connect(self) -> socket.socket:
        for port in self._random.sample(self._ports, len(self._ports)):
            with suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", port))
        raise ConnectionRefusedError("nobody listens")
