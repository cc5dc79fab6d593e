"""Compare the worker with those of Celery and dramatiq: `python -m benchmarks.workers`.

All run tasks that do nothing but count, with the same number of slots, on brokers that sync before each answer, in
turns. The table shows tasks per second (median), CPU time of the worker per task, and the median of the ratios of
WonderQ's rates to those of the line.

Then it prints the CPU time of an idle worker, and the time from a send to the start of its handler, beside a round
trip of the bare application and two fdatasyncs: the send is durable before the delivery, and so is the claim.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers import bare, running
from benchmarks.waiting import print_latencies
from benchmarks.workers.contenders import contenders
from benchmarks.workers.rounds import Row, measure
from benchmarks.workers.waiting import idle_share, latencies_s


def table(rows: Sequence[Row]) -> str:
    """Return the table. Rows of WonderQ come first, and are compared with all others."""
    bases = [row for row in rows if row.name.startswith("wonderq") and row.problem is None]
    lines = [f"{'':18}{'tasks/s':>10}{'CPU us':>9}" + "".join(f"{base.name:>18}" for base in bases)]
    for row in rows:
        if row.problem is not None:
            lines.append(f"{row.name:18}{row.problem}")
            continue
        ratios = "".join(f"{'' if base is row else f'{base.ratio_to(row):.2f}x':>18}" for base in bases)
        lines.append(f"{row.name:18}{row.rate:10,.0f}{row.cpu:9.0f}{ratios}")
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks of WonderQ in a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default %(default)s); 0 for none")
    parser.add_argument("--slots", type=int, default=64, help="tasks that run at a time (default %(default)s)")
    parser.add_argument("--idle-seconds", type=float, default=60, help="default %(default)s; 0 for none")
    parser.add_argument("--deliveries", type=int, default=1000, help="default %(default)s; 0 for none")
    chosen = parser.parse_args()
    failed = False
    if chosen.rounds:
        rows = measure(
            contenders(),
            tasks=chosen.tasks,
            rounds=chosen.rounds,
            slots=chosen.slots,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        )
        print(f"{chosen.slots} slots, median of {chosen.rounds} rounds\n{table(rows)}")
        failed = any(row.problem is not None for row in rows)
    with tempfile.TemporaryDirectory(prefix="wonderq-workers-") as name:
        for part in ("idle", "latency"):
            (Path(name) / part).mkdir()
        if chosen.idle_seconds:
            share = idle_share(Path(name) / "idle", chosen.idle_seconds, chosen.slots)
            print(f"an idle worker uses {share:.3%} of a core")
        if chosen.deliveries:
            with running(*bare(100)) as limit:
                taken, trips, syncs = latencies_s(Path(name) / "latency", limit, chosen.deliveries, chosen.slots)
            print_latencies("from send to handler", taken, trips, syncs)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
