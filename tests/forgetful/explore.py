"""Cuts the power at every operation of many brokers' lives, in every way a file system allows, and opens what is left.

    python -m tests.forgetful.explore --states 10000000 --seed S --processes 2

The disk is in memory and forgets: what was not synced may be lost, whole or torn, each change by itself. Each folder that
can be left is opened by the broker's own start, and so is what a crash of that start leaves. SIGTERM ends a run early, with
the figures so far. A broken promise is printed with what to give to ``--repeat`` to see just it.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import queue
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.forgetful.explorer import Crash, Figures, Violation
from tests.forgetful.lives import explore, repeat
from tests.forgetful.workloads import WORKLOADS
from tests.support.mechanisms import (
    CHECKPOINTS_FOUND,
    CLAIMS_EXPIRED,
    DEAD_LETTERS,
    DELETES,
    NOT_WHOLE,
    PURGES,
    RETENTION,
    TORN_TAILS,
    UPDATES,
    Mechanisms,
)

#: States tried at each operation; enough for every subset, and every tear in each, in a life that has just one operation to
#: lose.
BUDGET = 250

#: Mechanisms that a whole run has to exercise: each step of each workload, and all that a start may meet.
MECHANISMS = (
    *sorted({f"step {name}" for theme in WORKLOADS.values() for name in (*theme.first, *theme.weights)}),
    *(CHECKPOINTS_FOUND, TORN_TAILS, CLAIMS_EXPIRED, RETENTION, DEAD_LETTERS, UPDATES, DELETES, PURGES),
)

_EXHAUSTIVE_BUDGET = 1_000_000

_PROGRESS_S = 10.0
_SHOWN = 10


class Found(NamedTuple):
    """Result of exploring one life."""

    workload: str
    seed: str
    life: int
    figures: Figures
    violations: list[Violation]


def work(seed: int, first: int, step: int, budget: int) -> Iterator[Found]:
    """Explore one workload after the other, with ever new seeds: every ``step``-th from ``first`` on."""
    names = list(WORKLOADS)
    for job in itertools.count(first, step):
        workload, round_ = names[job % len(names)], job // len(names)
        fixed = not WORKLOADS[workload].weights
        if fixed and round_:
            continue  # it is always the same
        for explored in explore(workload, f"{seed}.{round_}", _EXHAUSTIVE_BUDGET if fixed else budget):
            yield Found(workload, f"{seed}.{round_}", *explored)


def _work(results: multiprocessing.Queue[Found], seed: int, first: int, step: int, budget: int) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # the one who started this ends it
    parent = os.getppid()
    for found in work(seed, first, step, budget):
        if os.getppid() != parent:
            return
        results.put(found)


def show(found: Found, violation: Violation) -> str:
    """Say what is wrong, and how to see it again."""
    crashes = " ".join(f"{crash.operations}/{','.join(map(str, crash.fates))}" for crash in violation.crashes)
    again = f"{found.workload} {found.seed} {found.life} {crashes}"
    return "\n    ".join(
        [f"VIOLATION in {found.workload}, life {found.life}: {violation.what}", *violation.how, f"--repeat '{again}'"]
    )


def report(figures: dict[str, Figures], elapsed_s: float) -> str:
    total = sum(figures.values(), Figures())
    names = [name for name in Figures.__dataclass_fields__ if name != "mechanisms"]
    lines = [f"{'':20}" + "".join(f"{name:>17}" for name in names)]
    for workload, each in [*sorted(figures.items()), ("all", total)]:
        lines.append(f"{workload:20}" + "".join(f"{getattr(each, name):17,}" for name in names))
    lines.append(
        f"{total.states:,} crash states ({total.recovery_states:,} of them from {total.recoveries:,} recoveries that were "
        f"crashed again), {total.folders:,} different folders opened, {elapsed_s:.0f} s, {total.states / elapsed_s:,.0f} "
        "states/s"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.forgetful.explore", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--states", type=int, default=10_000_000, help="stop after this number of crash states")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--budget", type=int, default=BUDGET, help="states tried at each operation")
    parser.add_argument("--repeat", help="see one violation again: the words that were printed with it")
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    chosen = parser.parse_args(arguments)
    if chosen.repeat:
        return _repeat(chosen.repeat)
    seed = random.SystemRandom().randrange(1 << 32) if chosen.seed is None else chosen.seed
    return _run(chosen.states, seed, chosen.processes, chosen.budget, is_slice=chosen.slice)


def _run(states: int, seed: int, processes: int, budget: int, *, is_slice: bool) -> int:
    stopping: list[int] = []
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _: stopping.append(number))
    print(f"seed {seed}, {states:,} states, {processes} processes", flush=True)
    results: multiprocessing.Queue[Found] = multiprocessing.Queue(maxsize=100)
    workers = [
        multiprocessing.Process(target=_work, args=(results, seed, first, processes, budget), daemon=True)
        for first in range(processes)
    ]
    for worker in workers:
        worker.start()
    figures: defaultdict[str, Figures] = defaultdict(Figures)
    began = shown = time.monotonic()
    done = violations = died = 0
    while done < states and violations < _SHOWN and not stopping and not died:
        try:
            found = results.get(timeout=1)
        except queue.Empty:
            died = sum(not worker.is_alive() for worker in workers)
            continue
        figures[found.workload] += found.figures
        done += found.figures.states
        for violation in found.violations[: _SHOWN - violations]:
            violations += 1
            print(show(found, violation), flush=True)
        now = time.monotonic()
        if now - shown > _PROGRESS_S:
            shown = now
            print(f"{done:,} states, {done / (now - began):,.0f} states/s, now {found.workload}", flush=True)
    for worker in workers:
        worker.kill()
        worker.join()
    print(report(figures, time.monotonic() - began))
    print(f"seed {seed}: {violations or 'no'} violations{', stopped early' if stopping else ''}", flush=True)
    mechanisms = Mechanisms(MECHANISMS)
    for found_in in figures.values():
        mechanisms.counts.update(found_in.mechanisms)
    verdict, is_whole = mechanisms.verdict(is_slice=is_slice or bool(stopping))
    print(verdict)
    if died:
        print(f"{died} processes died", file=sys.stderr)
    return 1 if violations or died else 0 if is_whole else NOT_WHOLE


def _repeat(words: str) -> int:
    workload, seed, number, *crashes = words.split()
    parsed = []
    for crash in crashes:
        operations, _, fates = crash.partition("/")
        parsed.append(Crash(int(operations), tuple(int(fate) for fate in fates.split(",") if fate)))
    violations = repeat(workload, seed, int(number), parsed)
    for violation in violations:
        print(show(Found(workload, seed, int(number), Figures(), violations), violation))
    if not violations:
        print("all promises hold")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
