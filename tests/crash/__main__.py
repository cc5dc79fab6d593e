"""Kill a broker at random moments under load, again and again on one folder, and check every promise:

    python -m tests.crash --cycles 200 [--seed S] [--fsync POLICY] [--segment-bytes N] [--slice]

`tests.support.kill_cycles` has the cycles. Exit code 1 if a promise is broken; the folder is then kept. Exit code 3 if one of
the mechanisms that the kills are to hit never ran; a slice only reports it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.kill_cycles import SMALL_SEGMENT_BYTES, Options, Run, carry_out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, help="repeats the choices of a run (not its timing)")
    parser.add_argument("--fsync", default="always", help="always, interval:MS or os")
    parser.add_argument(
        "--segment-bytes",
        type=int,
        default=SMALL_SEGMENT_BYTES,
        help="from 32 MiB on, checkpoints and compaction are as rare as in production",
    )
    parser.add_argument("--slice", action="store_true", help="a short run, which need not exercise everything")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    options = Options(cycles=given.cycles, seed=seed, fsync=given.fsync, segment_bytes=given.segment_bytes)
    print(f"seed {seed}, fsync {given.fsync}, segments of {given.segment_bytes} bytes", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the broker is ended too
    folder = Path(tempfile.mkdtemp(prefix="wonderq-kill-cycles-"))
    return carry_out(Run(options, folder), "the data folder and the broker's log", is_slice=given.slice)


if __name__ == "__main__":
    sys.exit(main())
