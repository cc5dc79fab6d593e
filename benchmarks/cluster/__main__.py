"""Measure a cluster of three nodes, of one node, and a broker on a folder, in turns:

python -m benchmarks.cluster [--rounds R] [--scale S] [--idle-seconds N]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.cluster import report
from benchmarks.cluster.report import Found
from benchmarks.cluster.sides import FOLDER, SIDES
from benchmarks.cluster.work import WORKS, Work, cross, idle, measure, prepare

#: Messages through an outbox in each round.
CROSSING = 10_000


def run(
    folder: Path,
    rounds: int,
    works: Sequence[Work] = WORKS,
    sides: Sequence[str] = tuple(SIDES),
    *,
    crossing: int = CROSSING,
    idle_s: float = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Found:
    """Measure everything. In each round, the sides start, work and end one after the other."""
    found = Found(works)
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(sides):
            place = folder / f"{number}-{name.replace(' ', '-')}"
            place.mkdir()
            with SIDES[name](place) as side:
                if not number and idle_s:
                    found.idle[name] = idle(side, idle_s)
                prepare(side, max(work.batch for work in works))
                for work in works:
                    found.measured[name, work].append(measure(side, work))
                if name != FOLDER and crossing:
                    found.crossed[name].append(cross(side, crossing, number))
                found.repeated[name] += side.repeated
            say(f"round {number + 1}: {name}, load average {os.getloadavg()[0]:.1f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1, help="of the requests of each work")
    parser.add_argument("--idle-seconds", type=float, default=10)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nodes and servers are ended too
    works = [work._replace(requests=max(int(work.requests * given.scale), 2 * work.connections)) for work in WORKS]
    print(f"load average {os.getloadavg()[0]:.1f} at the start", flush=True)
    with tempfile.TemporaryDirectory(prefix="wonderq-cluster-") as folder:
        found = run(
            Path(folder), given.rounds, works, idle_s=given.idle_seconds, say=lambda text: print(text, flush=True)
        )
    print()
    print("\n".join(report.lines(found)))


if __name__ == "__main__":
    main()
