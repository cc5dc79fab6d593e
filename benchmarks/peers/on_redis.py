"""Redis Streams: one stream, one consumer group, the append-only file synced before every answer."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import redis

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server, accepts, free_port, missing_program

_STREAM, _GROUP = "queue", "workers"
_numbers = itertools.count()


class RedisStreams:
    name = "redis"
    durability = "append-only file, fsync before every answer"
    share = 1

    def __init__(self) -> None:
        self._server: Server | None = None

    def installed(self) -> str | None:
        return missing_program("redis-server", "apt-get install redis-server")

    def start(self, folder: Path) -> str:
        port = free_port()
        settings = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder)}
        durable = {"appendonly": "yes", "appendfsync": "always", "save": ""}  # snapshots would be extra work
        options = [word for name, value in (settings | durable).items() for word in (f"--{name}", value)]
        self._server = Server(["redis-server", *options], folder)
        self._server.wait_until(lambda: accepts(port))
        client = redis.Redis(port=port)
        assert client.config_get("appendfsync")["appendfsync"] == "always"
        client.xgroup_create(_STREAM, _GROUP, id="0", mkstream=True)
        client.close()
        return f"127.0.0.1:{port}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def connect(self, address: str) -> Connection:
        return _Streams(int(address.rpartition(":")[2]))


class _Streams:
    def __init__(self, port: int) -> None:
        self._client = redis.Redis(port=port, socket_timeout=CALL_TIMEOUT_S, single_connection_client=True)
        self._name = f"{os.getpid()}-{next(_numbers)}"
        self._client.ping()

    def produce(self, bodies: list[str]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for body in bodies:
            pipeline.xadd(_STREAM, {"b": body})
        assert len(pipeline.execute()) == len(bodies)

    def consume(self, limit: int) -> Claimed:
        answer = self._client.xreadgroup(_GROUP, self._name, {_STREAM: ">"}, count=limit)
        entries = _entries(answer)
        return Claimed([fields[b"b"] for _, fields in entries], [entry_id for entry_id, _ in entries])

    def delete(self, handles: list[Any]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xack(_STREAM, _GROUP, *handles)
        pipeline.xdel(_STREAM, *handles)
        assert pipeline.execute() == [len(handles), len(handles)]

    def left(self) -> int:
        return int(self._client.xlen(_STREAM))

    def close(self) -> None:
        self._client.close()


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of the stream; the library has two forms of the answer."""
    if not answer:
        return []
    found = answer[_STREAM.encode()][0] if isinstance(answer, dict) else answer[0][1]
    return list(found)
