"""Measure a log in JetStream:

python -m benchmarks.replicated speed [--rounds R]
python -m benchmarks.replicated availability [--times N] [--messages M]
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.replicated import availability, speed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicated", description=__doc__)
    parser.add_argument("what", choices=("speed", "availability"))
    parser.add_argument("--rounds", type=int, default=5, help="of speed (default %(default)s)")
    parser.add_argument("--times", type=int, default=30, help="each event of availability (default %(default)s)")
    parser.add_argument("--messages", type=int, default=1_000_000, help="that wait when a process takes over")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that brokers and servers are ended too
    logging.getLogger("wonderq").addHandler(logging.NullHandler())
    print(f"load average {os.getloadavg()[0]:.1f} at the start", flush=True)
    with tempfile.TemporaryDirectory(prefix="wonderq-replicated-") as folder:
        if given.what == "speed":
            print(speed.run(Path(folder), given.rounds))
        else:
            availability.run(Path(folder), given.times, given.messages)
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
