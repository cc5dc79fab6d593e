"""Measure the disk space of a broker over its life, and the bytes it writes: `python -m benchmarks.disk_use`.

*Steady*: many messages pass through a queue of 1,000. Prints the largest number of segment files.
*Cold and hot*: one queue is never consumed, another is busy. Prints the largest size of the log divided by the size of
the live records, and all bytes written (log, copies by compaction, checkpoints) divided by the bytes of the bodies.
*Traffic*: batches pass through the busy queue with and without compaction and checkpoints, in turn. Prints the ratio.
*Pause*: prints the longest time that a checkpoint of many messages holds the broker's lock.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path

from wonderq.broker.broker import Broker
from wonderq.broker.compaction import live_bytes
from wonderq.broker.maintenance import LogMaintenance
from wonderq.model.messages import Target
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy

BODY = "x" * 100
SEGMENT_BYTES = 64 << 20


class Running:
    """A broker in this process, with compaction and checkpoints by default."""

    def __init__(self, folder: Path, *, sync: str = "os", maintenance: bool = True) -> None:
        self.folder = folder
        self.log = FileLog(folder, sync=SyncPolicy(sync), segment_bytes=SEGMENT_BYTES)
        checkpoints = FileCheckpoints(folder)
        self.broker = Broker(self.log, checkpoints=checkpoints)
        self.maintenance = LogMaintenance(self.broker, self.log, checkpoints, slack_bytes=SEGMENT_BYTES)
        if maintenance:
            self.maintenance.start()

    def segments(self) -> int:
        return len(list(self.folder.glob("*.wal")))

    def close(self) -> None:
        self.maintenance.stop()
        self.broker.close()

    def pass_through(self, queue: str, batch: list[str]) -> None:
        """Produce a batch, then claim and delete the same number of the oldest messages."""
        self.broker.produce(queue, batch)
        claimed = self.broker.claim(queue, limit=len(batch))
        self.broker.delete_batch(queue, [Target(receipt=message.receipt) for message in claimed])


def written_bytes() -> int:
    """Return the bytes that this process has passed to write calls so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="utf-8").splitlines())
    return int(fields["wchar"])


def steady(folder: Path, messages: int) -> None:
    running = Running(folder)
    for _ in range(10):
        running.broker.produce("default", [BODY] * 100)
    most = 0
    for step in range(messages // 100):
        running.pass_through("default", [BODY] * 100)
        if step % 100 == 0:
            most = max(most, running.segments())
    running.close()
    print(f"steady: {messages:,} messages passed through a queue of 1,000; at most {most} segment files")


def cold_and_hot(folder: Path, cold_bytes: int, hot_bytes: int) -> None:
    running = Running(folder, sync="always")
    start = written_bytes()
    body = "c" * 1000
    for _ in range(cold_bytes // 100_000):
        running.broker.produce("cold", [body] * 100)
    asked = running.broker.log_bytes
    largest = 0.0
    for step in range(hot_bytes // 100_000):
        running.pass_through("hot", [body] * 100)
        if step % 50 == 0:
            largest = max(largest, running.log.used_bytes() / live_bytes(running.broker))
    copied = running.broker.log_bytes
    running.close()
    written = written_bytes() - start
    produced = (cold_bytes // 100_000 + hot_bytes // 100_000) * 100_000
    print(
        f"cold and hot: {cold_bytes / 1e6:,.0f} MB in a cold queue, {hot_bytes / 1e6:,.0f} MB through a hot queue; "
        f"the log was at most {largest:.2f} times the live records; {written / 1e6:,.0f} MB written in total, "
        f"{written / produced:.2f} times the bytes of the bodies produced "
        f"(records: {asked / 1e6:,.0f} MB for the cold queue, {copied / 1e6:,.0f} MB in total)"
    )


def traffic(folder: Path, rounds: int) -> None:
    sides = {
        True: Running(folder / "with", sync="always"),
        False: Running(folder / "without", sync="always", maintenance=False),
    }
    batch = [BODY] * 100
    for running in sides.values():
        for _ in range(200):
            running.broker.produce("cold", ["c" * 1000] * 1000)
    took: dict[bool, list[float]] = {True: [], False: []}
    totals: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for maintenance, running in sides.items():
            round_began = time.perf_counter()
            for _ in range(300):
                began = time.perf_counter()
                running.pass_through("hot", batch)
                took[maintenance].append(time.perf_counter() - began)
            totals[maintenance].append(time.perf_counter() - round_began)
    for running in sides.values():
        running.close()
    ratio = statistics.median(totals[True]) / statistics.median(totals[False])
    worst = {maintenance: statistics.quantiles(times, n=1000)[989] * 1000 for maintenance, times in took.items()}
    print(
        f"traffic: with maintenance a round takes {ratio:.2f} times as long (median of {rounds}); "
        f"p99 of a batch {worst[True]:.1f} ms with, {worst[False]:.1f} ms without; "
        f"maximum {max(took[True]) * 1000:.0f} and {max(took[False]) * 1000:.0f} ms"
    )


def pause(folder: Path, messages: int) -> None:
    """Measure the longest time that a checkpoint of a large state holds the lock."""
    running = Running(folder, maintenance=False)
    for _ in range(messages // 1000):
        running.broker.produce("default", ["x"] * 1000)
    held = deque[float]()
    for _ in range(5):
        with running.broker.locked() as (state, _, _):
            began = time.perf_counter()
            snapshot = state.begin_snapshot()
            running.log.mark()
            held.append(time.perf_counter() - began)
        for turn in (snapshot.freeze_more, snapshot.thaw_more):
            more = True
            while more:
                with running.broker.locked():
                    began = time.perf_counter()
                    more = turn()
                    held.append(time.perf_counter() - began)
    running.close()
    print(f"pause: a checkpoint of {messages:,} messages holds the broker's lock for at most {max(held) * 1000:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="factor on all sizes; 1 in the documentation")
    scale = parser.parse_args().scale
    with tempfile.TemporaryDirectory(prefix="wonderq-disk-use-") as name:
        folder = Path(name)
        steady(folder / "steady", int(2_000_000 * scale))
        cold_and_hot(folder / "cold", int(1_000_000_000 * scale), int(4_000_000_000 * scale))
        traffic(folder / "traffic", max(3, int(20 * scale)))
        pause(folder / "pause", int(10_000_000 * scale))


if __name__ == "__main__":
    main()
