"""Opening what a crash left with the real recovery, and checking what every start promises."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.forgetful.life import STRANGERS, QuietLog
from tests.forgetful.reference import Records, everything
from tests.support.clock import FakeClock
from tests.support.forgetful_disk import FOLDER, ForgetfulDisk
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq.model.messages import Message, Target
from wonderq.model.status import BURIED
from wonderq_storage import FileCheckpoints, Position, frame
from wonderq_storage.segment import file_name

#: Number of records that the broker itself writes at its first start: its identity and its first queue.
OWN_RECORDS = 2

_LIMITS = Limits()

#: Longer than any claim or delay of the workloads.
_LONG_MS = 100_000

_TORN = "torn/"
_DAMAGED_CHECKPOINT = "skipping the checkpoint"


class _Warnings(logging.Handler):
    """Keeps what recovery warns of, instead of printing it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


_warnings = _Warnings()


@contextmanager
def warnings_kept() -> Iterator[None]:
    """Keep what is logged from everybody else: there are thousands of torn tails a second."""
    loggers = [logging.getLogger("wonderq"), logging.getLogger("wonderq.storage")]
    before = [each.propagate for each in loggers]
    for each in loggers:
        each.propagate = False
        each.addHandler(_warnings)
    try:
        yield
    finally:
        for each, propagate in zip(loggers, before, strict=True):
            each.propagate = propagate
            each.removeHandler(_warnings)


class Opened:
    """A folder after a start, made while `warnings_kept`. ``problems`` says which promises were broken."""

    def __init__(self, files: Mapping[str, bytes], records: Records, now_ms: int, segment_bytes: int) -> None:
        self.problems: list[str] = []
        self.prefix = 0
        """Number of records that it still has."""
        self.tail: tuple[str, bytes] | None = None
        """A torn tail that was cut off: how the files that hold a copy begin, and the bytes."""
        self.disk = ForgetfulDisk(files)
        self.clock = FakeClock(now_ms)
        self._records = records
        self._segment_bytes = segment_bytes
        _warnings.found.clear()
        try:
            self._open()
        except Exception as error:
            self.problems.append(f"the start failed: {type(error).__name__}: {error}")
            return
        self.prefix = self._count()
        self._find_tail(files)
        self._check_state()
        self._check_files()

    def _open(self) -> None:
        disk = self.disk
        self.log = QuietLog(FOLDER, disk=disk, segment_bytes=self._segment_bytes, now_ms=self.clock.now_ms)
        checkpoints = FileCheckpoints(FOLDER, disk)
        self.broker = Broker(self.log, checkpoints=checkpoints, clock=self.clock, limits=_LIMITS)
        checkpoints.remove_unfinished()

    def _count(self) -> int:
        """Return the number of records that survived.

        They end where this start found the log's end, or before: in a segment of an older version that an earlier start
        cut a torn tail from, and left.
        """
        count = self._records.before(self.log.started_at)
        while count and self._was_torn_off(*self._records.at(count - 1)):
            count -= 1
        return count

    def _was_torn_off(self, position: Position, data: bytes) -> bool:
        number, offset = self.disk.numbers.get(file_name(position >> 32)), position & 0xFFFF_FFFF
        if number is None or position >> 32 == self.log.started_at >> 32:
            return False
        return self.disk.contents[number][offset : offset + len(data)] != data

    def _find_tail(self, files: Mapping[str, bytes]) -> None:
        segment, offset = file_name(self.log.started_at >> 32), self.log.started_at & 0xFFFF_FFFF
        torn = files.get(segment, b"")[offset:].rstrip(b"\0")
        if torn:
            self.tail = f"{_TORN}{segment.removesuffix('.wal')}-{offset}-", torn

    def _check_state(self) -> None:
        if self.prefix < OWN_RECORDS:
            found = self.state()
            if list(found["queues"]) != ["default"] or found["queues"]["default"]["messages"]:
                self.problems.append(f"the log has {self.prefix} records, and it knows {found}")
            return
        if self._records.parted(self.prefix):
            self.problems.append(f"the log has {self.prefix} records, and not the next, which belongs to the last one")
        state, came_by = self.broker.core.state, self.broker.log_bytes
        wrong = self._records.check(state, self.prefix, self.clock.ms, came_by, self.log.read)
        if wrong is not None:
            self.problems.append(f"not the state of the first {self.prefix} records: {wrong}")

    def _check_files(self) -> None:
        names, contents = self.disk.numbers, self.disk.contents
        if self.log._writer.active.header.version != frame.VERSION:
            self.problems.append(f"{self.log._writer.active.path.name}, of an older version, is in use")
        for name, content in STRANGERS.items():
            if name not in names or contents[names[name]] != content:
                self.problems.append(f"{name}, which is not ours, was touched")
        self.problems += [f"{name} is left over" for name in names if name.endswith(".ckpt.tmp")]
        for warning in _warnings.found:
            if warning.msg.startswith(_DAMAGED_CHECKPOINT):
                self.problems.append(warning.getMessage())

    def aside(self) -> list[tuple[str, bytes]]:
        """The copies of torn tails that the folder has: their files' names, and what they hold."""
        return [
            (name, bytes(self.disk.contents[number]))
            for name, number in self.disk.numbers.items()
            if name.startswith(_TORN)
        ]

    def state(self) -> dict[str, Any]:
        """Everything that the broker knows now."""
        return everything(self.broker.core.state, self.clock.ms, self.log.read)


def is_aside(tail: tuple[str, bytes], aside: Sequence[tuple[str, bytes]]) -> bool:
    """Return whether there is a whole copy of a torn tail."""
    return any(name.startswith(tail[0]) and content == tail[1] for name, content in aside)


def check_claims(opened: Opened) -> str | None:
    """Wait until all claims and delays are over, and claim and delete all there is; returns what is wrong with it."""
    state, broker = opened.state(), opened.broker
    opened.clock.ms += _LONG_MS
    for name, about in state["queues"].items():
        broker.put_queue(name, retention_ms=0, paused=False, max_receives=0, max_in_flight=0, max_in_flight_per_group=0)
        lanes = {view.sequence: lane for view, lane in zip(about["messages"], about["lanes"], strict=True)}
        buried = {view.sequence for view in about["messages"] if view.status == BURIED}
        found = _drain(broker, name)
        newest: dict[tuple[int, str], int] = {}
        for message in found:
            lane = lanes.get(message.sequence, (0, ""))
            if message.sequence < newest.get(lane, -1):
                return f"queue {name} gives message {message.sequence} after {newest[lane]}, both of {lane}"
            newest[lane] = message.sequence
        if buried:
            broker.kick(name, len(buried))
            found += _drain(broker, name)
        given = sorted((message.sequence, message.produced_ms, message.receives) for message in found)
        expected = [
            (view.sequence, view.produced_ms, 1 if view.status == BURIED else view.receives + 1)
            for view in about["messages"]
        ]
        if given != expected:
            return f"queue {name} gives {given}, expected {expected}"
    return None


def _drain(broker: Broker, queue: str) -> list[Message]:
    found: list[Message] = []
    while claimed := broker.claim(queue, limit=1000):
        broker.delete_batch(queue, [Target(receipt=message.receipt) for message in claimed])
        found += claimed
    return found
