"""Measure the client with many callers in one process, and with batches: `python -m benchmarks.client`.

In the first part, each of many threads or tasks sends one message at a time and waits until it is durable. The client
is compared with one that makes a request of each send, and with Redis Streams. In the second part, four threads send
batches of 100, then delete the last batch and receive the next one with one request, until all are deleted. The third
part compares sends whose requests are numbered, so that a repetition adds nothing twice, with the same without numbers.

Redis syncs its append-only file before each answer. It is left out if redis-server or redis-py is not installed. All
sides take turns in each round. The tables show messages per second (median), CPU time of this process and of the broker
per message, and the median of the ratios of the client's rates to those of the line.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.client_batches import BATCH, THREADS, Batches, RedisBatches, WonderQBatches, together
from benchmarks.client_numbers import NUMBERED, numbered_and_plain
from benchmarks.servers import RunningServer, broker, running
from wonderq import AsyncClient, Client

_BODY = "x" * 100
_PRODUCE = ("POST", "/queues/load/messages/produce", dict[str, object], {"message": _BODY})


class Figures(NamedTuple):
    """Result of one round."""

    rate: float
    cpu_us: float
    """CPU time of this process per message."""
    broker_us: float
    """CPU time of the broker per message; 0 on the sides of Redis."""


Load = Callable[[int, int], None]
"""Let a number of callers send a number of messages each."""


def threads(send: Callable[[], object], callers: int, messages: int) -> None:
    def work(_: int) -> int:
        for _ in range(messages):
            send()
        return messages

    together(work, callers)


async def tasks(send: Callable[[], Awaitable[object]], callers: int, messages: int) -> None:
    async def work() -> None:
        for _ in range(messages):
            await send()

    await asyncio.gather(*(work() for _ in range(callers)))


@contextmanager
def client_threads(url: str) -> Iterator[Load]:
    with Client(url) as client:
        queue = client.queue("load")
        yield lambda callers, messages: threads(lambda: queue.send(_BODY), callers, messages)


@contextmanager
def request_threads(url: str, callers: int) -> Iterator[Load]:
    with Client(url, pool=callers) as client:
        yield lambda callers, messages: threads(lambda: client.call(*_PRODUCE), callers, messages)


@contextmanager
def in_a_loop(url: str, send_of: Callable[[AsyncClient], Callable[[], Awaitable[object]]]) -> Iterator[Load]:
    """Send from tasks of one event loop, whose client stays connected between the rounds."""
    with asyncio.Runner() as runner:
        client = AsyncClient(url)
        send = send_of(client)
        yield lambda callers, messages: runner.run(tasks(send, callers, messages))
        runner.run(client.close())


def client_tasks(url: str) -> AbstractContextManager[Load]:
    def send_of(client: AsyncClient) -> Callable[[], Awaitable[object]]:
        queue = client.queue("load")
        return lambda: queue.send(_BODY)

    return in_a_loop(url, send_of)


def request_tasks(url: str) -> AbstractContextManager[Load]:
    return in_a_loop(url, lambda client: lambda: client.call(*_PRODUCE))


@contextmanager
def redis_threads(address: str, callers: int) -> Iterator[Load]:
    import redis  # noqa: PLC0415 - only `make bench-peers` installs it

    client = redis.Redis(port=int(address.rpartition(":")[2]), max_connections=callers)
    yield lambda callers, messages: threads(lambda: client.xadd("load", {"b": _BODY}), callers, messages)
    client.close()


def timed(server: RunningServer, work: Callable[[], object], messages: int) -> Figures:
    began, began_cpu, began_broker = time.perf_counter(), time.process_time(), server.cpu_s()
    work()
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    return Figures(messages / took_s, cpu_s / messages * 1e6, (server.cpu_s() - began_broker) / messages * 1e6)


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


def print_table(title: str, found: Mapping[str, Sequence[Figures]], ours: Sequence[str]) -> None:
    """Print the figures of each side, and the ratios of ``ours`` to them."""
    print(f"\n{title}")
    print(f"{'':26}{'messages/s':>12}{'CPU us':>9}{'broker us':>11}" + "".join(f"{name:>18}" for name in ours))
    for each, figures in found.items():
        ratios = (
            median(mine.rate / theirs.rate for mine, theirs in zip(found[name], figures, strict=True)) for name in ours
        )
        rate, cpu_us = median(one.rate for one in figures), median(one.cpu_us for one in figures)
        broker_us = median(one.broker_us for one in figures)
        print(f"{each:26}{rate:12,.0f}{cpu_us:9.1f}{broker_us:11.1f}" + "".join(f"{ratio:17.2f}x" for ratio in ratios))


def measure_single(server: RunningServer, loads: dict[str, Load], callers: int, messages: int, rounds: int) -> None:
    found: dict[str, list[Figures]] = {each: [] for each in loads}
    for load in loads.values():
        load(callers, 2)  # connect
    for number in range(rounds):
        for each in loads if number % 2 else reversed(loads):
            found[each].append(timed(server, partial(loads[each], callers, messages), callers * messages))
    title = f"{callers} callers, one message of {len(_BODY)} bytes at a time, {rounds} rounds"
    print_table(title, found, ["client, threads", "client, tasks"])


def measure_batches(server: RunningServer, sides: dict[str, Batches], messages: int, rounds: int) -> None:
    produced: dict[str, list[Figures]] = {each: [] for each in sides}
    consumed: dict[str, list[Figures]] = {each: [] for each in sides}
    for side in sides.values():
        side.produce(THREADS * BATCH)
        side.consume(THREADS * BATCH)
    for number in range(rounds):
        for each in sides if number % 2 else reversed(sides):
            produced[each].append(timed(server, partial(sides[each].produce, messages), messages))
            consumed[each].append(timed(server, partial(sides[each].consume, messages), messages))
    conditions = f"batches of {BATCH}, {THREADS} threads, {messages} messages, {rounds} rounds"
    print_table(f"produce: {conditions}", produced, ["client"])
    print_table(f"delete and receive: {conditions}", consumed, ["client"])


def measure_numbers(server: RunningServer, messages: int, rounds: int) -> None:
    """Compare requests with numbers to those without."""
    for size, threads, requests in ((1, 64, messages // 4), (BATCH, THREADS, messages // BATCH)):
        with numbered_and_plain(server.url, size) as sides:
            found: dict[str, list[Figures]] = {each: [] for each in sides}
            for send in sides.values():
                send(threads, 2)
            each = requests // threads
            for number in range(rounds):
                for name in sides if number % 2 else reversed(sides):
                    found[name].append(timed(server, partial(sides[name], threads, each), threads * each * size))
        title = f"messages a request: {size}, {threads} threads, {requests} requests, {rounds} rounds"
        print_table(title, found, [NUMBERED])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.client", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--messages", type=int, default=200, help="messages of each caller in a round; 0 for none")
    parser.add_argument("--batched", type=int, default=100_000, help="messages in batches in a round; 0 for none")
    parser.add_argument(
        "--numbered", type=int, default=100_000, help="messages in batches in a round of the third part; 0 for none"
    )
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wonderq-client-") as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(running(*broker(folder / "broker")))
        url = server.url
        address = stack.enter_context(redis_server(folder / "redis"))
        loads: dict[str, Load] = {
            "client, threads": stack.enter_context(client_threads(url)),
            "client, tasks": stack.enter_context(client_tasks(url)),
            "request each, threads": stack.enter_context(request_threads(url, chosen.callers)),
            "request each, tasks": stack.enter_context(request_tasks(url)),
        }
        sides: dict[str, Batches] = {"client": stack.enter_context(WonderQBatches(url))}
        if address is not None:
            loads["redis-py XADD, threads"] = stack.enter_context(redis_threads(address, chosen.callers))
            sides["redis-py"] = stack.enter_context(RedisBatches(address))
        if chosen.messages:
            measure_single(server, loads, chosen.callers, chosen.messages, chosen.rounds)
        if chosen.batched:
            measure_batches(server, sides, chosen.batched, chosen.rounds)
        if chosen.numbered:
            measure_numbers(server, chosen.numbered, chosen.rounds)


if __name__ == "__main__":
    main()
