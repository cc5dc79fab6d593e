"""Kill a broker at random moments under load, again and again on one folder, and check every promise:

    python -m tests.crash --cycles 200 [--seed S] [--fsync POLICY] [--segment-bytes N]

`tests.support.kill_cycles` has the cycles. Exit code 1 if a promise is broken; the folder is then kept.
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

from tests.support.kill_cycles import SEGMENT_BYTES, Options, Run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    parser.add_argument("--fsync", default="always", help="always, interval:MS or os")
    parser.add_argument(
        "--segment-bytes",
        type=int,
        default=SEGMENT_BYTES,
        help="less than 32 MiB rotates often, and has checkpoints and compaction all the time: every kill is near one",
    )
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    options = Options(cycles=given.cycles, seed=seed, fsync=given.fsync, segment_bytes=given.segment_bytes)
    print(f"seed {seed}, fsync {given.fsync}, segments of {given.segment_bytes} bytes", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the broker is ended too
    folder = Path(tempfile.mkdtemp(prefix="wonderq-kill-cycles-"))
    began_s = time.monotonic()
    report = Run(options, folder).run(lambda text: print(text, flush=True))
    print(f"{report}, {time.monotonic() - began_s:.0f} s")
    if report.violations:
        for violation in report.violations[:20]:
            print(violation)
        print(f"the data folder and the broker's log are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
