"""Runs a broker under mixed traffic for a long time, with everything that can happen to it, and checks every promise.

    python -m tests.soak --minutes 30 [--seed S]

Clients produce, consume, renew, release, delete, update, list; a queue is made, purged and dropped. They speak JSON and
msgpack, reconnect, and hang up. Meanwhile the broker is killed, stopped and started, its disk gets full and free again,
backups are made of its folder; checkpoints and compaction run all the time. After each round it is stopped, its folder is
verified and replayed, everything is consumed, and the checker judges the whole history. Memory and file descriptors are
sampled and must not grow (how that is judged: `tests.soak.resources`).
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
from contextlib import ExitStack
from pathlib import Path

from tests.soak.soak import DISK_BYTES, Plan, Soak
from tests.support.mechanisms import NOT_WHOLE
from tests.support.tmpfs import Tmpfs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    parser.add_argument("--round-seconds", type=float, default=180, help="after how long everything is checked")
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the broker and the mount end too
    folder = Path(tempfile.mkdtemp(prefix="wonderq-soak-"))
    began_s = time.monotonic()
    plan = Plan(given.minutes * 60, round_s=given.round_seconds, seed=seed)
    with ExitStack() as stack, Tmpfs(folder / "disk", size_bytes=DISK_BYTES) as disk:
        if disk.why_not:
            print(f"the disk will not get full, as no tmpfs can be mounted: {disk.why_not}", flush=True)
        soak = Soak(plan, folder, disk, lambda text: print(text, flush=True))
        try:
            soak.soak()
        except SystemExit:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            raise
        finally:
            print(f"{soak}, {time.monotonic() - began_s:.0f} s", flush=True)
        mechanisms, is_whole = soak.mechanisms.verdict(is_slice=given.slice)
        print(mechanisms)
        violations = soak.report.violations
        for violation in violations[:20]:
            print(violation)
        if violations and not disk.why_not and soak.data.is_dir():
            shutil.copytree(soak.data, folder / "kept")
    if violations:
        print(f"the data folder and the broker's log are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0 if is_whole else NOT_WHOLE


if __name__ == "__main__":
    sys.exit(main())
