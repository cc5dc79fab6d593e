"""The command `wonderq` on a machine whose clock is wrong: ``python -m tests.cluster_faults.wrong_clock MS cluster start ...``"""

from __future__ import annotations

import sys
import time

_AHEAD_NS = int(sys.argv.pop(1)) * 1_000_000
_right_ns = time.time_ns

time.time_ns = lambda: _right_ns() + _AHEAD_NS
time.time = lambda: time.time_ns() / 1e9

from wonderq.cli.main import main  # noqa: E402 - after the clock is wrong

if __name__ == "__main__":
    sys.exit(main())
