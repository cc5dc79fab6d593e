"""WonderQ itself: with msgpack over a persistent connection, and with its own JSON client."""

from __future__ import annotations

import http.client
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server
from wonderq.client.sync import Client

_HEADERS = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


class _Message(msgspec.Struct):
    """Fields of a message that a consumer needs."""

    message: str
    receipt: str


class _WonderQServer:
    durability = "fsync before every answer"
    share = 1

    def __init__(self) -> None:
        self._server: Server | None = None

    def installed(self) -> str | None:
        return None

    def start(self, folder: Path) -> str:
        serve = ["-m", "wonderq", "serve", "--listen", "127.0.0.1:0", "--data", str(folder / "data")]
        self._server = server = Server([sys.executable, *serve], folder)
        server.wait_until(lambda: "wonderq listening on http://" in server.output.read_text(encoding="utf-8"))
        line = next(
            line
            for line in server.output.read_text(encoding="utf-8").splitlines()
            if line.startswith("wonderq listening on")
        )
        return line.split()[3]

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()


class WonderQ(_WonderQServer):
    name = "wonderq"

    def connect(self, address: str) -> Connection:
        return _Msgpack(address)


class WonderQJson(_WonderQServer):
    name = "wonderq json"

    def connect(self, address: str) -> Connection:
        return _Json(address)


class _Msgpack:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=CALL_TIMEOUT_S)
        self._decode_messages = msgspec.msgpack.Decoder(list[_Message]).decode

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, decode: Any = msgspec.msgpack.decode
    ) -> Any:
        data = None if body is None else msgspec.msgpack.encode(body)
        self._http.request(method, path, data, _HEADERS)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content!r}")
        return decode(content)

    def produce(self, bodies: list[str]) -> None:
        ids = self._call("POST", "/messages/produce", {"messages": bodies})["ids"]
        assert len(ids) == len(bodies)

    def consume(self, limit: int) -> Claimed:
        messages = self._call("POST", "/messages/consume", {"max": limit}, self._decode_messages)
        return Claimed([each.message for each in messages], [each.receipt for each in messages])

    def delete(self, handles: list[Any]) -> None:
        assert self._call("POST", "/messages/delete", {"receipts": handles})["success"]

    def left(self) -> int:
        return sum(self._call("GET", "/queues/default")["counts"].values())

    def close(self) -> None:
        self._http.close()


class _Json:
    def __init__(self, url: str) -> None:
        self._client = Client(url, timeout=CALL_TIMEOUT_S, read_timeout=CALL_TIMEOUT_S)
        self._queue = self._client.queue()

    def produce(self, bodies: list[str]) -> None:
        assert len(self._queue.send_together(bodies)) == len(bodies)

    def consume(self, limit: int) -> Claimed:
        messages = self._queue.receive(limit)
        return Claimed([each.text for each in messages], [each.receipt for each in messages])

    def delete(self, handles: list[Any]) -> None:
        assert not any(self._queue.delete(handles))

    def left(self) -> int:
        return sum(self._queue.info().counts.values())

    def close(self) -> None:
        self._client.close()
