"""Measure HTTP libraries for the use of the Python client: `python -m benchmarks.client_http`.

Each side sends the same produce request over one kept connection to the bare application, one after the other. The
libraries for threads are the client's own HTTP, urllib3 and httpx; those for asyncio are aiohttp, which the client
uses, and httpx. All sides take turns in each round. The table shows CPU time of this process per request (median), and
requests per second. A library that is not installed is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from importlib import import_module
from statistics import median
from typing import Any

from benchmarks.servers import bare, running
from wonderq.client.endpoint import Endpoint
from wonderq.client.http_asyncio import AsyncHttpPool
from wonderq.client.http_threads import HttpPool
from wonderq.client.requests import Answer, Request

_TARGET = "/queues/load/messages/produce"
_BODY = b'{"message":"' + b"x" * 100 + b'"}'
_HEADERS = {"Content-Type": "application/json"}
_REQUEST = Request("POST", _TARGET, _BODY)

Side = Callable[[int], None]
"""Make a number of requests."""


def own(url: str, _library: Any) -> Side:
    pool = HttpPool(Endpoint.of(url, None), 1, 5)

    def send(requests: int) -> None:
        for _ in range(requests):
            answer = pool.exchange(_REQUEST)
            assert isinstance(answer, Answer)

    return send


def urllib3(url: str, library: Any) -> Side:
    pool = library.connectionpool.connection_from_url(url, maxsize=1)

    def send(requests: int) -> None:
        for _ in range(requests):
            assert pool.urlopen("POST", _TARGET, body=_BODY, headers=_HEADERS).data

    return send


def httpx(url: str, library: Any) -> Side:
    client = library.Client(base_url=url)

    def send(requests: int) -> None:
        for _ in range(requests):
            assert client.post(_TARGET, content=_BODY, headers=_HEADERS).content

    return send


async def _with_aiohttp(url: str, stack: AsyncExitStack) -> Callable[[], Any]:
    pool = AsyncHttpPool(Endpoint.of(url, None), 1, 5)
    stack.push_async_callback(pool.close)
    return lambda: pool.exchange(_REQUEST)


async def _with_httpx(library: Any, url: str, stack: AsyncExitStack) -> Callable[[], Any]:
    client = await stack.enter_async_context(library.AsyncClient(base_url=url))
    return lambda: client.post(_TARGET, content=_BODY, headers=_HEADERS)


@contextmanager
def in_a_loop(connect: Callable[[AsyncExitStack], Any]) -> Iterator[Side]:
    """Make requests in an event loop, whose client stays connected between the rounds."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        request = runner.run(connect(stack))

        async def send(requests: int) -> None:
            for _ in range(requests):
                assert await request()

        yield lambda requests: runner.run(send(requests))
        runner.run(stack.aclose())


def library_of(name: str) -> Any:
    """Return a library, or None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


def sides_of(url: str, stack: ExitStack) -> dict[str, Side]:
    """Return all sides whose library is installed."""
    found: dict[str, Side] = {"threads: own": own(url, None)}
    libraries = {name: library_of(name) for name in ("urllib3", "httpx")}
    if libraries["urllib3"] is not None:
        found["threads: urllib3"] = urllib3(url, libraries["urllib3"])
    if libraries["httpx"] is not None:
        found["threads: httpx"] = httpx(url, libraries["httpx"])
    found["asyncio: aiohttp"] = stack.enter_context(in_a_loop(partial(_with_aiohttp, url)))
    if libraries["httpx"] is not None:
        connect = partial(_with_httpx, libraries["httpx"], url)
        found["asyncio: httpx"] = stack.enter_context(in_a_loop(connect))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.client_http",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=2000, help="requests of each side in a round")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with running(*bare(100)) as server, ExitStack() as stack:
        sides = sides_of(server.url, stack)
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for side in sides.values():
            side(10)
        for number in range(chosen.rounds):
            for name in sides if number % 2 else reversed(sides):
                began, began_cpu = time.perf_counter(), time.process_time()
                sides[name](chosen.requests)
                took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
                figures[name].append((cpu_s / chosen.requests * 1e6, chosen.requests / took_s))
    print(f"{chosen.requests} requests, {chosen.rounds} rounds\n{'':20}{'CPU us':>9}{'requests/s':>12}")
    for name, found in figures.items():
        print(f"{name:20}{median(cpu for cpu, _ in found):9.0f}{median(rate for _, rate in found):12,.0f}")


if __name__ == "__main__":
    main()
