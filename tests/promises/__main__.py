"""Holds a broker that is killed again and again to the sentences of docs/SEMANTICS.md:

    python -m tests.promises --minutes 60 [--seed S] [--only NAME ...] [--slice]

Each round starts `wonderq serve` on a new folder, with segments of 64 KiB, and with checkpoints and compaction all the time. Some
scenarios work on it at once, while it is killed and started again. Then the judge of each scenario reads its journal. The run ends
with how often each judge saw what. The exit code is 1 if a promise was broken, and 3 if a judge never saw something that its
scenario is for; `--slice` is for short runs, which only report that.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.promises.catalogue import SCENARIOS
from tests.promises.run import Plan, Run

#: Exit code of a run that broke no promise, and did not exercise everything that it is for.
NOT_WHOLE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.promises", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    parser.add_argument(
        "--only", action="append", choices=list(SCENARIOS), help="run this scenario; repeat it for more"
    )
    parser.add_argument("--lives", type=int, default=Plan.lives, help="kills in a round")
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the broker ends too
    folder = Path(tempfile.mkdtemp(prefix="wonderq-promises-"))
    began_s = time.monotonic()
    run = Run(Plan(seed, minutes=given.minutes, only=given.only or (), lives=given.lives), folder)
    try:
        run.run(lambda text: print(text, flush=True))
    except AssertionError as error:
        print(f"the run cannot go on: {error}\nthe data folder and the broker's log are kept in {folder}")
        return 1
    except SystemExit:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    print(
        f"{run.rounds} rounds, {run.exchanges:,} requests, {run.violations} violations, {time.monotonic() - began_s:.0f} s"
    )
    print("mechanisms: " + ", ".join(f"{what} {number:,}" for what, number in run.counts().items()))
    if run.violations:
        for path in sorted(folder.glob("*.violations")):
            print(path.read_text())
        print(f"the journals, the data folder and the broker's log are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    unseen = run.unseen()
    if unseen:
        print(f"NEVER RAN: {', '.join(unseen)}")
    return NOT_WHOLE if unseen and not given.slice else 0


if __name__ == "__main__":
    sys.exit(main())
