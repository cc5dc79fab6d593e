"""How much disk a broker uses over its life, and how much it writes: `python -m benchmarks.disk_use`.

*Steady*: 1,000 messages wait, and many pass through; the most segment files there ever were.
*Cold and hot*: a queue of old messages nobody consumes beside a busy one; the folder's largest size against what is live,
and all bytes written (log, copies by compaction, checkpoints) against the bytes of the records that were asked for.
*Traffic*: batches through the busy queue while compaction and checkpoints go on, against the same without any upkeep, in turn.
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
from wonderq_storage import Checkpoints, FileLog, SyncPolicy

BODY = "x" * 100
SEGMENT_BYTES = 64 << 20


class Running:
    """A broker in this process, with its upkeep unless told otherwise."""

    def __init__(self, folder: Path, *, sync: str = "os", maintenance: bool = True) -> None:
        self.folder = folder
        self.log = FileLog(folder, sync=SyncPolicy(sync), segment_bytes=SEGMENT_BYTES)
        checkpoints = Checkpoints(folder)
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
        """Produce a batch, claim as many of the oldest, and delete them."""
        self.broker.produce(queue, batch)
        claimed = self.broker.claim(queue, limit=len(batch))
        self.broker.delete_batch(queue, [Target(receipt=message.receipt) for message in claimed])


def written_bytes() -> int:
    """What this process has given to write calls so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
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
    print(f"steady: {messages:,} messages passed through with 1,000 waiting; never more than {most} segment files")


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
        f"cold and hot: {cold_bytes / 1e6:,.0f} MB cold, {hot_bytes / 1e6:,.0f} MB passed through a hot queue beside it; "
        f"the log was at most {largest:.2f} times what is live; {written / 1e6:,.0f} MB written in all, "
        f"{written / produced:.2f} times the bytes of the bodies produced "
        f"(records: {asked / 1e6:,.0f} MB for the cold queue, {copied / 1e6:,.0f} MB with everything)"
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
        f"traffic: with upkeep a round takes {ratio:.2f} times as long (median of {rounds}); "
        f"p99 of a batch {worst[True]:.1f} ms with, {worst[False]:.1f} ms without; "
        f"longest {max(took[True]) * 1000:.0f} and {max(took[False]) * 1000:.0f} ms"
    )


def pause(folder: Path, messages: int) -> None:
    """How long a checkpoint of a large state holds the lock."""
    running = Running(folder, maintenance=False)
    for _ in range(messages // 1000):
        running.broker.produce("default", ["x"] * 1000)
    held = deque[float]()
    for _ in range(5):
        with running.broker.locked() as (state, _, _):
            began = time.perf_counter()
            snapshot = state.freeze()
            running.log.mark()
            held.append(time.perf_counter() - began)
        with running.broker.locked():
            began = time.perf_counter()
            snapshot.release()
            held.append(time.perf_counter() - began)
    running.close()
    print(f"pause: a checkpoint of {messages:,} messages holds the broker's lock for at most {max(held) * 1000:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.1, help="1 for the sizes in the documentation")
    scale = parser.parse_args().scale
    with tempfile.TemporaryDirectory(prefix="wonderq-disk-use-") as name:
        folder = Path(name)
        steady(folder / "steady", int(2_000_000 * scale))
        cold_and_hot(folder / "cold", int(1_000_000_000 * scale), int(4_000_000_000 * scale))
        traffic(folder / "traffic", max(3, int(20 * scale)))
        pause(folder / "pause", int(10_000_000 * scale))


if __name__ == "__main__":
    main()
