"""`wonderq serve` with segments smaller than its command line allows, so that nearly every kill is near a rotation."""

from __future__ import annotations

import argparse
from pathlib import Path

from storage import SyncPolicy
from wonderq.config import Settings
from wonderq.serve import serve, set_up_logging


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--fsync", type=SyncPolicy.parse, required=True)
    parser.add_argument("--segment-bytes", type=int, required=True)
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    set_up_logging("info")
    serve(
        Settings(
            data=options.data,
            listen=(host, int(port)),
            fsync=options.fsync,
            segment_bytes=options.segment_bytes,
        )
    )


if __name__ == "__main__":
    main()
