"""Measure the cost of a long backlog and of many queues: `python -m benchmarks.scale [--messages N] [--rounds R]`.

Two brokers get the same load in turn: batches of 100 over four connections, produced and then consumed. The first
comparison is a backlog of a few thousand messages with one of N; the second is a single queue with a thousand queues.
Prints the median of the ratios.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median

from benchmarks import load
from benchmarks.load import Script
from benchmarks.scripts import MSGPACK, consumer, producer
from benchmarks.servers import RunningServer, broker, running
from benchmarks.start_up import make

CONNECTIONS, BATCH, REQUESTS = 4, 100, 1600


def rates(server: RunningServer, queues: list[str]) -> tuple[float, float]:
    """Return the rates of producing, and of consuming and deleting, in messages per second."""
    shares = [queues[number::CONNECTIONS] or queues for number in range(CONNECTIONS)]
    produced = load.run(server.url, [_turns(share) for share in shares], requests=REQUESTS)
    # Each connection consumes its own messages, so every claim finds a whole batch.
    consumed = load.run(server.url, [consumer(BATCH, MSGPACK, share) for share in shares], requests=2 * REQUESTS)
    return produced.rate * BATCH, consumed.rate * BATCH / 2


def _turns(queues: list[str]) -> Script:
    scripts = cycle([producer(100, BATCH, MSGPACK, queue) for queue in queues])

    def ask(answer: bytes) -> bytes:
        return next(scripts)(answer)

    return ask


def fill(server: RunningServer, queues: list[str]) -> None:
    """Produce spare messages in each queue, for connections that are ahead of the others."""
    for queue in queues:
        load.run(server.url, [producer(100, BATCH, MSGPACK, queue)], requests=40 if len(queues) == 1 else 2)


def compare(
    name: str, rounds: int, few: Callable[[], tuple[float, float]], many: Callable[[], tuple[float, float]]
) -> str:
    ratios = []
    for number in range(rounds):
        if number % 2:
            with_many, with_few = many(), few()
        else:
            with_few, with_many = few(), many()
        ratios.append([after / before for before, after in zip(with_few, with_many, strict=True)])
    produce, consume = (median(each) for each in zip(*ratios, strict=True))
    return f"{name}: produce {produce:.0%}, consume and delete {consume:.0%} ({rounds} rounds)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wonderq-scale-") as name:
        short, long = Path(name) / "short", Path(name) / "long"
        make(short, 0)
        make(long, chosen.messages)
        with running(*broker(short)) as first, running(*broker(long)) as second:
            fill(first, ["default"])
            what = f"with {chosen.messages:,} waiting, of the rate with 4,000"
            print(
                compare(what, chosen.rounds, lambda: rates(first, ["default"]), lambda: rates(second, ["default"])),
                flush=True,
            )
        with running(*broker(Path(name) / "one")) as first, running(*broker(Path(name) / "thousand")) as second:
            thousand = [f"queue-{number}" for number in range(1000)]
            fill(first, ["one"])
            fill(second, thousand)
            what = "with 1,000 queues, of the rate with one"
            print(compare(what, chosen.rounds, lambda: rates(first, ["one"]), lambda: rates(second, thousand)))


if __name__ == "__main__":
    main()
