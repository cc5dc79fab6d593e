"""A TCP proxy that breaks one connection after an exact number of bytes, and passes on all others."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

from tests.support.waiting import PATIENCE_S

#: Closing a socket with this option resets the connection, as a crash of its host does.
_RESET = struct.pack("ii", 1, 0)


class OneCutProxy:
    """Passes connections on to a port of this machine.

    `arm` lets the connection break that next passes this many more bytes in a direction. The bytes up to there arrive.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._lock = threading.Lock()
        self._left: dict[str, int] = {}
        self._open: list[socket.socket] = []
        self.passed = {"requests": 0, "answers": 0}
        """Bytes that were passed on in each direction."""
        self.cuts = 0
        """Number of connections that were broken."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def arm(self, direction: str, after_bytes: int) -> None:
        """Break the connection when it has passed this many more bytes of "requests" or "answers"."""
        with self._lock:
            self._left = {direction: after_bytes}

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                server = socket.create_connection(self._target)
                self._open += (client, server)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, target, direction in ((client, server, "requests"), (server, client, "answers")):
                    threading.Thread(target=self._forward, args=(source, target, direction), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    allowed = self._left.get(direction, len(data))
                    is_cut = direction in self._left and allowed <= len(data)
                    if is_cut:
                        del self._left[direction]
                        self.cuts += 1
                    elif direction in self._left:
                        self._left[direction] -= len(data)
                    self.passed[direction] += min(allowed, len(data))
                target.sendall(data[:allowed])
                if is_cut:
                    break
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=PATIENCE_S)
        for each in self._open:
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.close()
