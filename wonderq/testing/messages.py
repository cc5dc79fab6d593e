"""Messages between the process of a test, the launcher and the brokers."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any

_RECEIVE_BYTES = 1 << 16


class Messages:
    """Objects as JSON, one a line, over one of a pair of sockets. macOS has no pairs that keep messages apart."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received = b""
        self.sockets: list[socket.socket] = []
        """Sockets that were received with the messages, the oldest first."""

    def send(self, message: dict[str, Any], *sockets: socket.socket) -> None:
        """Send a message, with sockets for the other process.

        Raises:
            OSError: the other process has ended.
        """
        line = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(self._socket, [line], [each.fileno() for each in sockets])
        self._socket.sendall(line[sent:])

    def receive(self) -> dict[str, Any] | None:
        """Return the next message; None if the other process has ended."""
        while b"\n" not in self._received:
            try:
                data, numbers, _, _ = socket.recv_fds(self._socket, _RECEIVE_BYTES, 1)
            except OSError:
                return None
            if not data:
                return None
            self._received += data
            self.sockets += [socket.socket(fileno=each) for each in numbers]
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def is_at_end(self) -> bool:
        """Return whether the other process has ended, or sends nothing more."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def end(self) -> None:
        """Send nothing more. The other process can still send."""
        with suppress(OSError):  # it has ended
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()
