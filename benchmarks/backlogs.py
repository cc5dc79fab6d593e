"""Measure the memory and the start of a broker that holds very many of one thing:

    python -m benchmarks.backlogs [--scale S] [--only NAME ...] [--rounds R]

For each kind of backlog, it makes a folder, stops cleanly, and starts `wonderq serve` on it in two ways: with the
checkpoint of the stop, and without any, so that the whole log is replayed. Prints the seconds from the start of the
process to the first 200 of /readyz, and the memory that the process has beyond that of an empty broker.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.capacity import table
from benchmarks.start_up import resident_bytes, start, stop
from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import LogMaintenance
from wonderq.broker.schedules import MAX_SCHEDULES
from wonderq.model.limits import UNLIMITED, Limits
from wonderq.model.messages import NewMessage, Target
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy

BODY = "x" * 100
BATCH = 1000
DAY_MS = 86_400_000

#: Wider than the defaults, so that a folder can be filled. A start checks no limits.
LIMITS = Limits(queues=UNLIMITED, total_keys=UNLIMITED)

MILLION = 1_000_000

#: Of which one message is left of each so many.
SPARSE = 50


class Backlog(NamedTuple):
    """Something that a broker holds very many of."""

    name: str
    amount: int
    fill: Callable[[Broker, int], None]
    """Makes so many, in an empty broker."""


def _messages(message: Callable[[int], NewMessage]) -> Callable[[Broker, int], None]:
    """Return a function that produces messages. ``message`` makes the one with a number, from 0."""

    def fill(broker: Broker, count: int) -> None:
        for first in range(0, count, BATCH):
            broker.send("default", [message(number) for number in range(first, min(first + BATCH, count))])

    return fill


def _waiting(broker: Broker, count: int) -> None:
    for first in range(0, count, BATCH):
        broker.produce("default", [BODY] * min(BATCH, count - first))


def _claimed(batch: int) -> Callable[[Broker, int], None]:
    def fill(broker: Broker, count: int) -> None:
        _waiting(broker, count)
        for _ in range(0, count, batch):
            broker.claim("default", limit=batch, visibility_timeout_ms=broker.limits.visibility_timeout_ms)

    return fill


def _sparse(broker: Broker, count: int) -> None:
    """Claim messages, and delete all but one of each `SPARSE`."""
    for _ in range(0, count * SPARSE, BATCH):
        broker.produce("default", [BODY] * BATCH)
        claimed = broker.claim("default", limit=BATCH)
        broker.delete_batch("default", [Target(each.id) for at, each in enumerate(claimed) if at % SPARSE])


def _queues(broker: Broker, count: int) -> None:
    for number in range(count):
        broker.put_queue(f"queue-{number}")


def _schedules(broker: Broker, count: int) -> None:
    for number in range(count):
        cron = f"{number % 60} {number // 60 % 24} 1 1 *"
        broker.schedules.put(f"schedule-{number}", cron=cron, queue="default", body=BODY)


def _subscriptions(broker: Broker, count: int) -> None:
    """Make topics with ten subscriptions each, all to the same ten queues."""
    for number in range(10):
        broker.put_queue(f"queue-{number}")
    for number in range(count):
        topic = f"topic-{number // 10}"
        if not number % 10:
            broker.topics.put(topic)
        broker.topics.subscribe(topic, "s" + str(number % 10), queue=f"queue-{number % 10}")


BACKLOGS = (
    Backlog("messages that wait", MILLION, _waiting),
    Backlog("messages with priorities", MILLION, _messages(lambda at: NewMessage(BODY, priority=at % 10))),
    Backlog("messages in 1,000 groups", MILLION, _messages(lambda at: NewMessage(BODY, group=f"group-{at % 1000}"))),
    Backlog("groups of one message", MILLION, _messages(lambda at: NewMessage(BODY, group=f"group-{at}"))),
    Backlog("messages with dedup keys", MILLION, _messages(lambda at: NewMessage(BODY, key=f"key-{at}"))),
    Backlog("messages with one delay", MILLION, _messages(lambda _: NewMessage(BODY, delay_ms=DAY_MS))),
    Backlog("messages with own delays", MILLION, _messages(lambda at: NewMessage(BODY, delay_ms=DAY_MS + at))),
    Backlog("messages claimed by the thousand", MILLION, _claimed(BATCH)),
    Backlog("messages claimed one by one", MILLION, _claimed(1)),
    Backlog(f"messages left, one of {SPARSE}", 20_000, _sparse),
    Backlog("queues", 100_000, _queues),
    Backlog("subscriptions", 100_000, _subscriptions),
    Backlog("schedules", MAX_SCHEDULES, _schedules),
)


class Start(NamedTuple):
    """One start of a broker."""

    seconds: float
    memory_bytes: int
    """Resident memory, less that of an empty broker."""


class Measured(NamedTuple):
    """The starts with one backlog."""

    backlog: str
    amount: int
    folder_bytes: int
    with_checkpoint: list[Start]
    without_checkpoint: list[Start]

    @property
    def bytes_each(self) -> float:
        """Memory of one item, from the lower figure of both ways to start: a replay leaves memory behind."""
        starts = (*self.with_checkpoint, *self.without_checkpoint)
        return min(each.memory_bytes for each in starts) / self.amount


def make(folder: Path, backlog: Backlog, count: int) -> None:
    """Fill a folder, and stop cleanly. Run this in a process of its own, which gives its memory back."""
    log, checkpoints = FileLog(folder, sync=SyncPolicy("os")), FileCheckpoints(folder)
    broker = Broker(log, checkpoints=checkpoints, limits=LIMITS)
    maintenance = LogMaintenance(broker, log, checkpoints, slack_bytes=UNLIMITED)
    backlog.fill(broker, count)
    maintenance.stop()
    broker.close()


def measure(place: Path, backlog: Backlog, count: int, rounds: int, empty_bytes: int) -> Measured:
    """Start brokers with a backlog."""
    folder = place / "data"
    maker = multiprocessing.get_context("spawn").Process(target=_make_named, args=(folder, backlog.name, count))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise SystemExit(f"the folder with {count:,} {backlog.name} could not be made")
    with_checkpoint, without = [], []
    for _ in range(rounds):
        with_checkpoint.append(_start(folder, empty_bytes))
        for each in folder.glob("*.ckpt"):
            each.unlink()
        without.append(_start(folder, empty_bytes))  # and its stop writes a checkpoint again
    size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    return Measured(backlog.name, count, size, with_checkpoint, without)


def _make_named(folder: Path, name: str, count: int) -> None:
    make(folder, next(each for each in BACKLOGS if each.name == name), count)


def _start(folder: Path, empty_bytes: int) -> Start:
    process, _, seconds = start(folder)
    try:
        return Start(seconds, resident_bytes(process.pid) - empty_bytes)
    finally:
        stop(process, signal.SIGTERM)


def _empty_bytes(place: Path) -> int:
    process, _, _ = start(place / "empty")
    try:
        return resident_bytes(process.pid)
    finally:
        stop(process, signal.SIGTERM)


def lines(found: Sequence[Measured]) -> Iterator[str]:
    """Return the lines of the report."""
    head = ("what", "how many", "folder", "memory", "bytes each", "start with a checkpoint", "start without one")
    rows = []
    for each in found:
        memory = median(one.memory_bytes for one in each.with_checkpoint)
        times = [median(one.seconds for one in way) for way in (each.with_checkpoint, each.without_checkpoint)]
        sizes = (f"{each.folder_bytes / 1e6:,.0f} MB", f"{memory / 1e6:,.0f} MB", f"{each.bytes_each:,.0f}")
        rows.append((each.backlog, f"{each.amount:,}", *sizes, *(f"{seconds:.2f} s" for seconds in times)))
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlogs", description=__doc__)
    parser.add_argument("--scale", type=float, default=1, help="of all numbers")
    parser.add_argument("--only", action="append", choices=[each.name for each in BACKLOGS])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="wonderq-backlogs-") as name:
        empty_bytes = _empty_bytes(Path(name))
        for backlog in BACKLOGS:
            if given.only and backlog.name not in given.only:
                continue
            place = Path(name) / backlog.name.replace(" ", "-")
            place.mkdir()
            found.append(measure(place, backlog, max(int(backlog.amount * given.scale), 1), given.rounds, empty_bytes))
            print(list(lines(found[-1:]))[-1], flush=True)
    print()
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
