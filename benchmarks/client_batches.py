"""Batches from one client process: produced, and then deleted and received with one request, as the peers can."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

from wonderq import Client, Message

BATCH = 100
THREADS = 4
_BODY = "x" * 100


class WrongCountError(Exception):
    """Messages were lost, or came twice."""


class Batches(Protocol):
    """A queue that four threads use."""

    def produce(self, messages: int) -> None:
        """Add messages, of which there are four batches or a multiple."""

    def consume(self, messages: int) -> None:
        """Receive and delete all messages.

        Raises:
            WrongCountError: there are more or fewer.
        """


def together(work: Callable[[int], int], threads: int = THREADS) -> int:
    """Run ``work`` with the number of each thread, and return the sum of its results."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def check(found: int, wanted: int) -> None:
    if found != wanted:
        raise WrongCountError(f"{found} messages came, and {wanted} were sent")


class WonderQBatches:
    """The client."""

    def __init__(self, url: str) -> None:
        self._client = Client(url, pool=THREADS)
        self._queue = self._client.queue("batches")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.close()

    def produce(self, messages: int) -> None:
        def work(_: int) -> int:
            for _ in range(messages // THREADS // BATCH):
                self._queue.send_together([_BODY] * BATCH)
            return 0

        together(work)

    def consume(self, messages: int) -> None:
        def work(_: int) -> int:
            received = 0
            done: list[Message] = []
            while True:
                found = self._queue.next(delete=done, limit=BATCH)
                assert not found.results.errors
                done = found.messages
                received += len(done)
                if not done:
                    return received

        check(together(work), messages)


class RedisBatches:
    """Redis Streams, with a connection for each thread."""

    def __init__(self, address: str) -> None:
        import redis  # noqa: PLC0415 - only `make bench-peers` installs it

        port = int(address.rpartition(":")[2])
        self._clients: list[Any] = [redis.Redis(port=port, single_connection_client=True) for _ in range(THREADS)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for each in self._clients:
            each.close()

    def produce(self, messages: int) -> None:
        from benchmarks.peers.on_redis import STREAM  # noqa: PLC0415

        def work(number: int) -> int:
            for _ in range(messages // THREADS // BATCH):
                pipeline = self._clients[number].pipeline(transaction=False)
                for _ in range(BATCH):
                    pipeline.xadd(STREAM, {"b": _BODY})
                pipeline.execute()
            return 0

        together(work)

    def consume(self, messages: int) -> None:
        from benchmarks.peers.on_redis import GROUP, STREAM, entries  # noqa: PLC0415 - it needs redis-py

        def work(number: int) -> int:
            received = 0
            done: list[Any] = []
            while True:
                pipeline = self._clients[number].pipeline(transaction=False)
                if done:
                    pipeline.xack(STREAM, GROUP, *done)
                    pipeline.xdel(STREAM, *done)
                pipeline.xreadgroup(GROUP, str(number), {STREAM: ">"}, count=BATCH)
                *deleted, answer = pipeline.execute()
                assert all(each == len(done) for each in deleted)
                found = [(fields[b"b"], entry_id) for entry_id, fields in entries(answer)]
                done = [entry_id for _, entry_id in found]
                received += len(found)
                if not found:
                    return received

        check(together(work), messages)
