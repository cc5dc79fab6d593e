"""Redis Streams: one stream, one consumer group, the append-only file synced before every answer."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import redis

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server, accepts, free_port, missing_program

STREAM, GROUP = "queue", "workers"
_numbers = itertools.count()


def start_redis(folder: Path) -> tuple[Server, int]:
    """Start a server that syncs before each answer; return it and its port."""
    port = free_port()
    settings = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder)}
    durable = {"appendonly": "yes", "appendfsync": "always", "save": ""}  # snapshots would be extra work
    options = [word for name, value in (settings | durable).items() for word in (f"--{name}", value)]
    server = Server(["redis-server", *options], folder)
    server.wait_until(lambda: accepts(port))
    return server, port


class RedisStreams:
    name = "redis"
    durability = "append-only file, fsync before every answer"
    share = 1

    def __init__(self) -> None:
        self._server: Server | None = None

    def installed(self) -> str | None:
        return missing_program("redis-server", "apt-get install redis-server")

    def start(self, folder: Path) -> str:
        self._server, port = start_redis(folder)
        client = redis.Redis(port=port)
        assert client.config_get("appendfsync")["appendfsync"] == "always"
        client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
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
            pipeline.xadd(STREAM, {"b": body})
        assert len(pipeline.execute()) == len(bodies)

    def consume(self, limit: int) -> Claimed:
        answer = self._client.xreadgroup(GROUP, self._name, {STREAM: ">"}, count=limit)
        found = entries(answer)
        return Claimed([fields[b"b"] for _, fields in found], [entry_id for entry_id, _ in found])

    def delete(self, handles: list[Any]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xack(STREAM, GROUP, *handles)
        pipeline.xdel(STREAM, *handles)
        assert pipeline.execute() == [len(handles), len(handles)]

    def left(self) -> int:
        return int(self._client.xlen(STREAM))

    def close(self) -> None:
        self._client.close()


def entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of the stream; the library has two forms of the answer."""
    if not answer:
        return []
    found = answer[STREAM.encode()][0] if isinstance(answer, dict) else answer[0][1]
    return list(found)
