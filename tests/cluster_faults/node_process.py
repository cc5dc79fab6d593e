"""The command `wonderq` for a node whose clock may be wrong: ``python -m tests.cluster_faults.node_process MS cluster start ...``

Parts of the logs are small, with checkpoints and compaction all the time, so that faults meet them.
"""

from __future__ import annotations

import sys
import time
from functools import partial

PART_BYTES = 64 << 10
CHECKPOINT_EVERY_BYTES = 256 << 10
TICK_S = 0.1


def main() -> None:
    """Set the clock before anything reads it, and run the command."""
    ahead_ns, right_ns = int(sys.argv.pop(1)) * 1_000_000, time.time_ns
    time.time_ns = lambda: right_ns() + ahead_ns
    time.time = lambda: time.time_ns() / 1e9

    from wonderq.cli.main import main as run_command  # noqa: PLC0415
    from wonderq.serve_cluster import parts  # noqa: PLC0415
    from wonderq_storage import jetstream_log  # noqa: PLC0415

    jetstream_log.DEFAULT_PART_BYTES = PART_BYTES
    defaults = jetstream_log.JetStreamLog.__init__.__kwdefaults__
    assert defaults is not None
    defaults["part_bytes"] = PART_BYTES
    defaults["settle_s"] = 0.0  # no fault of the run cuts the power of all machines
    parts._CHECKPOINT_EVERY_BYTES = CHECKPOINT_EVERY_BYTES
    hurried = partial(parts.LogMaintenance, tick_s=TICK_S)  # type: ignore[attr-defined]
    parts.LogMaintenance = hurried  # type: ignore[assignment, attr-defined]
    sys.exit(run_command())


if __name__ == "__main__":
    main()
