"""Run the rounds and print the table: `python -m benchmarks.peers`. With --svg, also draw a chart."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.peers.peer import CONNECTIONS
from benchmarks.peers.plot import make_svg
from benchmarks.peers.registry import PEERS
from benchmarks.peers.rounds import measure
from benchmarks.peers.table import make_table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="messages per round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default %(default)s); the table shows medians")
    parser.add_argument(
        "--body-bytes", type=int, default=100, help="size of each message (default %(default)s, at least 10)"
    )
    parser.add_argument("--only", metavar="NAMES", help=f"run only wonderq and these peers: {','.join(PEERS)}")
    parser.add_argument("--timeout", type=float, default=600, help="time limit of one peer in one round, in seconds")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw the table as a chart")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(PEERS)
    unknown = sorted(set(chosen) - set(PEERS))
    if unknown:
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if arguments.messages < 1 or arguments.rounds < 1 or arguments.body_bytes < 10:
        parser.error("at least 1 message, 1 round and 10 bytes (a message begins with its number)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds the stack, which stops the running server
    rows = measure(
        {name: spec for name, spec in PEERS.items() if name == "wonderq" or name in chosen},
        messages=arguments.messages,
        rounds=arguments.rounds,
        body_bytes=arguments.body_bytes,
        timeout_s=arguments.timeout,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    caption = (
        f"{arguments.messages:,} messages of {arguments.body_bytes} bytes in batches of 100, "
        f"{CONNECTIONS} connections, median of {arguments.rounds}"
    )
    print(f"{caption}\n\n{make_table(rows)}")
    if arguments.svg is not None:
        arguments.svg.write_text(make_svg(rows, caption), encoding="utf-8")
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
