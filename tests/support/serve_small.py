"""`wonderq serve` with segments smaller than its command line allows, and with checkpoints and compaction all the time.

So nearly every kill is near a rotation, and many are in the middle of a checkpoint, a compaction or a removal.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from functools import partial
from pathlib import Path

from wonderq import serve
from wonderq.broker.maintenance import LogMaintenance
from wonderq.cli.main import raise_file_limit
from wonderq.config import Settings
from wonderq.logs import set_up_logging
from wonderq.runtime.signals import Signals
from wonderq_storage import SyncPolicy

CHECKPOINT_EVERY_BYTES = 64 << 10
TICK_S = 0.01


def main() -> None:
    """Run the broker with the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--fsync", type=SyncPolicy.parse, default=SyncPolicy.parse("always"))
    parser.add_argument("--segment-bytes", type=int, required=True)
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    raise_file_limit()
    logs = set_up_logging("info")
    hurried = partial(LogMaintenance, checkpoint_every_bytes=CHECKPOINT_EVERY_BYTES, tick_s=TICK_S)
    serve.LogMaintenance = hurried  # type: ignore[assignment, attr-defined]
    settings = Settings(
        data=options.data,
        listen=(host, int(port)),
        fsync=options.fsync,
        segment_bytes=options.segment_bytes,
    )
    with closing(logs), Signals() as signals:
        serve.serve(settings, signals)


if __name__ == "__main__":
    main()
