"""Measure sends by many callers in one process: `python -m benchmarks.client`.

Each caller sends one message at a time and waits until it is durable. The rounds take turns between the client, a
client that makes a request of each send, and Redis Streams with a sync before each answer, if redis-server and redis-py
are installed. Each line shows messages per second (median), CPU time of the client per message, and the client's rate
divided by that of the line.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.servers import broker, running
from wonderq import AsyncClient, Client

_BODY = "x" * 100


class Figures(NamedTuple):
    """Result of one round."""

    rate: float
    cpu_us: float
    """CPU time of this process per message."""


Load = Callable[[int, int], None]
"""Let a number of callers send a number of messages each."""


def threads(send: Callable[[], object], callers: int, messages: int) -> None:
    def work() -> None:
        for _ in range(messages):
            send()

    running_threads = [threading.Thread(target=work) for _ in range(callers)]
    for each in running_threads:
        each.start()
    for each in running_threads:
        each.join()


@contextmanager
def client_threads(url: str) -> Iterator[Load]:
    with Client(url) as client:
        queue = client.queue("load")
        yield lambda callers, messages: threads(lambda: queue.send(_BODY), callers, messages)


@contextmanager
def single_requests(url: str, callers: int) -> Iterator[Load]:
    with Client(url, pool=callers) as client:
        yield lambda callers, messages: threads(
            lambda: client.call("POST", "/queues/load/messages/produce", dict[str, str], {"message": _BODY}),
            callers,
            messages,
        )


@contextmanager
def client_tasks(url: str) -> Iterator[Load]:
    async def work(messages: int, callers: int) -> None:
        async with AsyncClient(url) as client:
            queue = client.queue("load")

            async def one() -> None:
                for _ in range(messages):
                    await queue.send(_BODY)

            await asyncio.gather(*(one() for _ in range(callers)))

    yield lambda callers, messages: asyncio.run(work(messages, callers))


@contextmanager
def redis_threads(address: str, callers: int) -> Iterator[Load]:
    import redis  # noqa: PLC0415 - only `make bench-peers` installs it

    client = redis.Redis(port=int(address.rpartition(":")[2]), max_connections=callers)
    yield lambda callers, messages: threads(lambda: client.xadd("queue", {"b": _BODY}), callers, messages)
    client.close()


def measure(load: Load, callers: int, messages: int) -> Figures:
    began, began_cpu = time.perf_counter(), time.process_time()
    load(callers, messages)
    total = callers * messages
    return Figures(total / (time.perf_counter() - began), (time.process_time() - began_cpu) / total * 1e6)


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """Run Redis until the end of the block; yield its address, or None if it is not installed."""
    try:
        from benchmarks.peers.on_redis import RedisStreams  # noqa: PLC0415
    except ImportError:
        yield None
        return
    peer = RedisStreams()
    if peer.installed() is not None:
        yield None
        return
    folder.mkdir()
    address = peer.start(folder)
    try:
        yield address
    finally:
        peer.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--messages", type=int, default=100, help="messages of each caller in a round")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wonderq-client-") as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(running(*broker(folder / "broker"))).url
        address = stack.enter_context(redis_server(folder / "redis"))
        loads = {
            "client, threads": stack.enter_context(client_threads(url)),
            "client, tasks": stack.enter_context(client_tasks(url)),
            "a request for each send": stack.enter_context(single_requests(url, chosen.callers)),
        }
        if address is not None:
            loads["redis-py XADD, threads"] = stack.enter_context(redis_threads(address, chosen.callers))
        found: dict[str, list[Figures]] = {each: [] for each in loads}
        for load in loads.values():
            measure(load, chosen.callers, 2)  # connect
        for number in range(chosen.rounds):
            for each in loads if number % 2 else reversed(loads):
                found[each].append(measure(loads[each], chosen.callers, chosen.messages))
    ours = median(each.rate for each in found["client, threads"])
    print(f"{chosen.callers} callers, one message at a time, {chosen.rounds} rounds")
    print(f"{'':26}{'messages/s':>12}{'CPU us':>9}{'ratio':>8}")
    for each, figures in found.items():
        rate = median(figure.rate for figure in figures)
        print(f"{each:26}{rate:12,.0f}{median(figure.cpu_us for figure in figures):9.0f}{ours / rate:8.2f}")


if __name__ == "__main__":
    main()
