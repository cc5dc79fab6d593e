"""Compare the whole broker with the limit of its stack: `python -m benchmarks.whole [--rounds R] [--only NAME]`.

Each line is one load, on a durable `wonderq serve` and on `benchmarks.bare` in turn. The latter is a Falcon
application on the same server that gives the same answers and stores nothing. The important figure is the share:
WonderQ's requests per second divided by those of the bare application in the same round, as the median over the
rounds. One Python process on the same machine makes the load. Latencies are measured at a fixed rate, half of the
maximum of WonderQ, and count from the moment when each request was due.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import load
from benchmarks.load import Load, Script
from benchmarks.scripts import JSON, MSGPACK, consumer, producer
from benchmarks.servers import RunningServer, bare, broker, running

#: Extra messages, so that concurrent claims still find whole batches.
_TO_SPARE = 100


@dataclass(frozen=True)
class Case:
    """Parameters of a load."""

    name: str
    requests: int
    connections: int
    batch: int = 1
    body_bytes: int = 100
    media_type: str = JSON
    consumes: bool = False
    mixed: bool = False
    """Half of the connections produce; the others consume and delete the messages of `fill`."""

    def scripts(self) -> list[Script]:
        produce = partial(producer, self.body_bytes, self.batch, self.media_type)
        consume = partial(consumer, self.batch, self.media_type)
        if self.mixed:
            return [consume() if number % 2 else produce() for number in range(self.connections)]
        return [consume() if self.consumes else produce() for _ in range(self.connections)]

    def fill(self, url: str) -> None:
        """Produce the messages that the load consumes."""
        if self.consumes or self.mixed:
            messages = (self.requests // 2 + self.connections) * self.batch + _TO_SPARE
            size = max(1, min(1000, (4 << 20) // self.body_bytes))
            load.run(url, [producer(self.body_bytes, size, MSGPACK)] * 4, requests=-(-messages // size))


CASES = [
    *(
        Case(
            f"{what} one, {connections} connections",
            3000 if connections == 1 else 8000,
            connections,
            consumes=what == "consume",
            mixed=what == "mixed",
        )
        for connections in (1, 16, 64)
        for what in ("produce", "consume", "mixed")
    ),
    *(
        Case(f"{what} 100, {name}", 1500, 4, 100, media_type=media_type, consumes=what == "consume")
        for name, media_type in (("JSON", JSON), ("msgpack", MSGPACK))
        for what in ("produce", "consume")
    ),
    *(
        Case(f"{what} one of {name}", requests, 16, body_bytes=body_bytes, consumes=what == "consume")
        for body_bytes, name, requests in ((10_000, "10 KB", 4000), (256_000, "256 KB", 400))
        for what in ("produce", "consume")
    ),
]


@dataclass
class Result:
    case: Case
    ours: list[Load]
    limits: list[Load]
    at_half: Load

    def __str__(self) -> str:
        share = median(one.rate / other.rate for one, other in zip(self.ours, self.limits, strict=True))
        rates = [median(each.rate for each in loads) for loads in (self.ours, self.limits)]
        late = [self.at_half.percentile_ms(percent) for percent in (50, 99, 99.9)]
        messages = rates[0] * self.case.batch / (2 if self.case.consumes else 1)
        return (
            f"{self.case.name:30}{rates[0]:10,.0f}{rates[1]:10,.0f}{share:8.0%}{messages:12,.0f}"
            f"{late[0]:9.1f}{late[1]:9.1f}{late[2]:9.1f}"
        )


HEADER = f"{'':30}{'requests/s':>10}{'bare':>10}{'share':>8}{'messages/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>9}"


def measure(case: Case, ours: RunningServer, limit: RunningServer, rounds: int) -> Result:
    """Run the load on both servers in turn."""
    results: tuple[list[Load], list[Load]] = ([], [])
    for number in range(rounds):
        order = ((0, ours), (1, limit)) if number % 2 else ((1, limit), (0, ours))
        for side, server in order:
            if server is ours:
                case.fill(server.url)
            results[side].append(load.run(server.url, case.scripts(), requests=case.requests))
    case.fill(ours.url)
    rate = median(each.rate for each in results[0]) / 2
    return Result(case, *results, load.run(ours.url, case.scripts(), requests=case.requests, rate=rate))


def run(cases: Sequence[Case], rounds: int, tell: Callable[[str], None]) -> None:
    for case in cases:
        folder = Path(tempfile.mkdtemp(prefix="wonderq-whole-"))
        try:
            with running(*broker(folder / "data")) as ours, running(*bare(case.body_bytes)) as limit:
                tell(str(measure(case, ours, limit, rounds)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run only the loads with this text in their names")
    chosen = parser.parse_args()
    print(HEADER)
    run([case for case in CASES if chosen.only in case.name], chosen.rounds, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
