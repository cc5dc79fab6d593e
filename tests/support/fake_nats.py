"""A NATS server in this process that answers as a test says, and breaks its connections on request."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

from tests.support.waiting import PATIENCE_S


class Request(NamedTuple):
    """A message that a client sent."""

    subject: str
    reply_to: str
    headers: bytes
    payload: bytes


#: Returns the bytes to send for a request, or None to close the connection.
Answer = Callable[[Request], bytes | None]


def message(
    request: Request, payload: bytes = b"", headers: Mapping[str, str] | None = None, status: str = ""
) -> bytes:
    """Encode a reply."""
    if headers is None and not status:
        return b"MSG %s 1 %d\r\n%s\r\n" % (request.reply_to.encode(), len(payload), payload)
    lines = [f"NATS/1.0 {status}".rstrip(), *(f"{name}: {value}" for name, value in (headers or {}).items())]
    head = "\r\n".join([*lines, "", ""]).encode()
    sizes = b"%d %d" % (len(head), len(head) + len(payload))
    return b"HMSG %s 1 %s\r\n%s%s\r\n" % (request.reply_to.encode(), sizes, head, payload)


def echo(request: Request) -> bytes:
    """Answer with the payload of the request."""
    return message(request, request.payload)


class FakeNats:
    """Serves connections on a port of this machine until its context ends."""

    def __init__(self, answer: Answer = echo, *, tls: ssl.SSLContext | None = None, **info: Any) -> None:
        self.answer = answer
        info = {"headers": True, "max_payload": 1 << 20, **({"tls_required": True} if tls else {}), **info}
        self.greeting = b"INFO " + json.dumps(info).encode() + b"\r\n"
        self.options: list[dict[str, Any]] = []
        """The options of each client's CONNECT."""
        self.requests: list[Request] = []
        self.subscriptions: list[tuple[str, int]] = []
        """Subject and number of each subscription."""
        self.pings = 0
        """Number of PINGs, of which each connection begins with one."""
        self.pong = b"PONG\r\n"
        """The answer to each PING."""
        self.refusal = ""
        """Error that CONNECT is answered with, if any."""
        self._tls = tls
        self._connections: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            connection.sendall(self.greeting)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._connections.append(connection)
            with connection, connection.makefile("rb") as file:
                while line := file.readline():
                    reply = self._carry_out(line, file.read)
                    if reply is None:
                        return
                    connection.sendall(reply)

    def _carry_out(self, line: bytes, read: Callable[[int], bytes]) -> bytes | None:
        operation, *fields = line.split()
        match operation:
            case b"CONNECT":
                self.options.append(json.loads(line.split(None, 1)[1]))
                return f"-ERR '{self.refusal}'\r\n".encode() if self.refusal else b""
            case b"PING":
                self.pings += 1
                return self.pong
            case b"PUB" | b"HPUB":
                headers = read(int(fields[2])) if operation == b"HPUB" else b""
                payload = read(int(fields[-1]) - len(headers))
                end = read(2)
                if not end:
                    return None  # the client has closed the connection in the middle
                assert end == b"\r\n"
                has_reply = len(fields) == (4 if operation == b"HPUB" else 3)
                reply_to = fields[1].decode() if has_reply else ""
                request = Request(fields[0].decode(), reply_to, headers, payload)
                self.requests.append(request)
                return self.answer(request)
            case b"SUB":
                self.subscriptions.append((fields[0].decode(), int(fields[1])))
        return b"" if operation in (b"SUB", b"PONG") else None

    def send(self, data: bytes) -> None:
        """Send bytes to all clients."""
        for each in self._connections:
            with suppress(OSError):
                each.sendall(data)

    def drop(self) -> None:
        """Close all connections."""
        while self._connections:
            each = self._connections.pop()
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Accept no more connections, and close those there are."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        self._thread.join(timeout=PATIENCE_S)
