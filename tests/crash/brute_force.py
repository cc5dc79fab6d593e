"""Compares the checker with a search through all that can have happened, on small random histories.

    python -m tests.crash.brute_force --histories 100000 [--seed S]

The checker must report nothing on a history that is possible: neither on one that the model made, nor on one that was
spoiled and is possible all the same. How many of the impossible ones it reports is counted for each way of spoiling.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.crash.small_histories import SPOILERS, possible_history, spoiled
from tests.support.history.calls import History
from tests.support.history.checker import Rule, Violation, check
from tests.support.history.search import possible


@dataclass(slots=True)
class Comparison:
    histories: int = 0
    spoiled: int = 0
    impossible: Counter[str] = field(default_factory=Counter)
    """Counts by kind of mutation."""
    reported: Counter[str] = field(default_factory=Counter)
    rules: Counter[Rule] = field(default_factory=Counter)
    wrong: list[tuple[History, list[Violation], str]] = field(default_factory=list)
    """Possible histories that were reported, or histories of the model that the search does not find."""
    missed: list[tuple[History, str]] = field(default_factory=list)
    """Examples of impossible histories that were not reported."""

    def __str__(self) -> str:
        return (
            f"histories {self.histories}, spoiled {self.spoiled}, impossible {self.impossible.total()}, "
            f"of which reported {self.reported.total()} ({self.share:.1%}), wrong {len(self.wrong)}"
        )

    @property
    def share(self) -> float:
        """The share of the impossible ones that was reported."""
        return self.reported.total() / max(self.impossible.total(), 1)

    def table(self) -> str:
        lines = [
            f"    {how:28} impossible {self.impossible[how]:7}, reported {self.reported[how] / max(self.impossible[how], 1):6.1%}"
            for how in SPOILERS
        ]
        lines += [f"    rule {rule.value[:70]:70} {count:7}" for rule, count in sorted(self.rules.items(), key=str)]
        return "\n".join(lines)


def compare(
    rng: random.Random, histories: int, *, search_share: float = 1.0, say: Callable[[Comparison], None] = lambda _: None
) -> Comparison:
    """Compare on a number of histories, and one spoiled version of each.

    Whatever the checker reports is always searched; of the rest, a share, to learn what it misses.
    """
    done = Comparison()
    for _ in range(histories):
        history = possible_history(rng)
        done.histories += 1
        violations = check(history)
        if violations:
            done.wrong.append((history, violations, "made by the model, and reported"))
        elif rng.random() < search_share * 0.2 and not possible(history):
            done.wrong.append((history, [], "made by the model, and not found by the search"))
        changed = spoiled(rng, history)
        if changed is not None:
            done.spoiled += 1
            _judge(done, *changed, searched=rng.random() < search_share)
        say(done)
    return done


def _judge(done: Comparison, history: History, how: str, *, searched: bool) -> None:
    violations = check(history)
    if not violations and not searched:
        return
    if possible(history):
        if violations:
            done.wrong.append((history, violations, f"spoiled ({how}), possible, and reported"))
    elif searched or violations:
        done.impossible[how] += 1
        if violations:
            done.reported[how] += 1
            done.rules.update({violation.rule for violation in violations})
        elif len(done.missed) < 1000:
            done.missed.append((history, how))


def show(history: History) -> str:
    return "\n".join([f"    outages {history.outages}", *(f"    {call}" for call in history.calls)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.brute_force", description=__doc__)
    parser.add_argument("--histories", type=int, default=20_000)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--show-missed", type=int, default=0, metavar="N", help="show N impossible ones not reported")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began_s = said_s = time.monotonic()

    def say(done: Comparison) -> None:
        nonlocal said_s
        if time.monotonic() - said_s > 10:
            said_s = time.monotonic()
            print(done, flush=True)

    done = compare(random.Random(seed), given.histories, say=say)
    print(done.table())
    for history, how in done.missed[: given.show_missed]:
        print(f"not reported ({how}):\n{show(history)}")
    for history, violations, why in done.wrong[:5]:
        print(f"{why}:\n{show(history)}", *violations, sep="\n")
    print(f"{done}, {time.monotonic() - began_s:.0f} s")
    return 1 if done.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
