"""Measure what open dashboards cost: `python -m benchmarks.dashboards`.

The options are ``--dashboards``, ``--queues``, ``--rounds`` and ``--messages``, each with a number.

Each dashboard asks, over a connection of its own, what the overview page asks every two seconds. The first figure is
the broker's CPU time for one such turn of one dashboard, and the share of a core that all of them take; it hardly
depends on other work of the machine. The second one is the rate of produces with dashboards divided by the rate
without, in turn in one run, as the median over the rounds. A machine that is busy lowers it, since a round then has
more turns. With ``--messages``, the last figures are the times for pages of messages of a queue with so many.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing import get_context
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from statistics import median

from benchmarks import load
from benchmarks.scripts import producer
from benchmarks.servers import RunningServer, broker, running
from wonderq.client.sync import Client

#: Seconds between two turns of a page, as wonderq/ui/app/live.js has it.
INTERVAL_S = 2.0
#: Calls of a turn, each with the number of turns after which it is repeated: those of wonderq/ui/pages/overview.js.
CALLS = {"/overview": 1, "/overview/history": 5, "/queues?figures=true&limit=51&sort=name": 1}

#: Headers of its calls, as wonderq/ui/app/api.js has them.
_HEADERS = {"Accept": "application/json", "X-WonderQ-UI": "1", "Cache-Control": "max-age=1"}
_CONNECTIONS, _REQUESTS = 16, 8000
_TURNS, _PAGES = 600, 50


def connect(url: str) -> HTTPConnection:
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Page:
    """An open page, which remembers the ETags of its answers."""

    def __init__(self, url: str) -> None:
        self.connection = connect(url)
        self._etags: dict[str, str] = {}
        self._turns = 0

    def turn(self) -> None:
        """Ask what the page asks."""
        for path in [path for path, every in CALLS.items() if self._turns % every == 0]:
            known = {"If-None-Match": self._etags[path]} if path in self._etags else {}
            self.connection.request("GET", path, headers={**_HEADERS, **known})
            answer = self.connection.getresponse()
            answer.read()
            if answer.status not in (200, 304):
                raise SystemExit(f"{path}: {answer.status}")
            self._etags[path] = answer.headers["ETag"]
        self._turns += 1


def poll(url: str, number: int, count: int, ready: Semaphore, stop: Event) -> None:
    """Be one of ``count`` dashboards, whose turns are spread over the interval."""
    page = Page(url)
    ready.release()
    due_s = time.monotonic() + INTERVAL_S * number / count
    while not stop.wait(max(due_s - time.monotonic(), 0)):
        page.turn()
        due_s = max(due_s + INTERVAL_S, time.monotonic())
    page.connection.close()


def _poll_all(url: str, count: int, ready: Semaphore, stop: Event) -> None:
    threads = [threading.Thread(target=poll, args=(url, number, count, ready, stop)) for number in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


@contextmanager
def dashboards(url: str, count: int) -> Iterator[None]:
    """Open ``count`` dashboards, in a process of their own, until the end of the block."""
    context = get_context("spawn")
    stop, ready = context.Event(), context.Semaphore(0)
    process = context.Process(target=_poll_all, args=(url, count, ready, stop), daemon=True)
    process.start()
    try:
        for _ in range(count):
            ready.acquire()
        yield
    finally:
        stop.set()
        process.join(60)


def cost_of_turn_s(server: RunningServer, dashboards: int) -> float:
    """Return the broker's CPU time for one turn of one of the pages, which share what can be shared."""
    pages = [Page(server.url) for _ in range(dashboards)]
    for page in pages:
        page.turn()
    cpu_s, began_s = server.cpu_s(), time.monotonic()
    for number in range(_TURNS):
        # As far apart as the turns of so many pages, each of which waits for its interval.
        time.sleep(max(began_s + number * INTERVAL_S / dashboards - time.monotonic(), 0))
        pages[number % dashboards].turn()
    passed_s, used_s = time.monotonic() - began_s, server.cpu_s() - cpu_s
    cpu_s, began_s = server.cpu_s(), time.monotonic()
    time.sleep(10)
    idle_share = (server.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    print(f"without dashboards, the broker takes {idle_share:.2%} of a core", flush=True)
    return (used_s - idle_share * passed_s) / _TURNS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboards", description=__doc__)
    parser.add_argument("--dashboards", type=int, default=20)
    parser.add_argument("--queues", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=0)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="wonderq-dashboards-"))
    try:
        with running(*broker(folder / "data")) as server:
            measure(server, chosen.queues, chosen.dashboards, chosen.rounds)
            if chosen.messages:
                measure_pages(server, chosen.messages)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(server: RunningServer, queues: int, count: int, rounds: int) -> None:
    with Client(server.url) as client:
        for number in range(queues):
            client.queue(f"queue-{number:05}").configure()
    turn_s = cost_of_turn_s(server, count)
    share = turn_s * count / INTERVAL_S
    print(f"one turn of a page: {1000 * turn_s:.2f} ms of CPU; {count} pages: {share:.1%} of a core", flush=True)
    ratios = []
    for number in range(rounds):
        rates, costs_us = {}, {}
        for is_watched in (True, False) if number % 2 else (False, True):
            with dashboards(server.url, count if is_watched else 0):
                scripts, cpu_s = [producer() for _ in range(_CONNECTIONS)], server.cpu_s()
                rates[is_watched] = load.run(server.url, scripts, requests=_REQUESTS).rate
                costs_us[is_watched] = 1e6 * (server.cpu_s() - cpu_s) / _REQUESTS
        ratios.append(rates[True] / rates[False])
        print(
            f"produces per second: {rates[False]:,.0f}, with dashboards {rates[True]:,.0f}; the broker's CPU time for "
            f"each, with what the dashboards ask meanwhile: {costs_us[False]:.0f} and {costs_us[True]:.0f} µs",
            flush=True,
        )
    if ratios:
        print(f"rate with dashboards / without: {median(ratios):.1%} (median of {rounds} rounds)")


def measure_pages(server: RunningServer, count: int) -> None:
    """Print how long a page of messages of a queue of ``count`` takes, at both ends and in the middle."""
    batch, middle = 1000, ""
    with Client(server.url) as client:
        queue = client.queue("long")
        for first in range(0, count, batch):
            sent = queue.send_together([f"letter {first + number}" for number in range(batch)])
            if first <= count // 2:
                middle = sent[0].id
    connection = connect(server.url)
    places = {
        "the oldest": "",
        "the newest": "&order=newest",
        "in the middle": f"&after={middle}",
        "backwards from there": f"&order=newest&after={middle}",
        "of an hour long ago": "&until=2020-01-01T00:00:00Z",
    }
    for name, query in places.items():
        took_s = []
        for _ in range(_PAGES):
            began_s = time.perf_counter()
            connection.request("GET", f"/queues/long/dev/messages?limit=51&preview=200{query}", headers=_HEADERS)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"{name}: {answer.status}")
            took_s.append(time.perf_counter() - began_s)
        took_s.sort()
        print(f"{count:,} messages, {name}: {1000 * median(took_s):.1f} ms, at most {1000 * took_s[-1]:.1f} ms")


if __name__ == "__main__":
    main()
