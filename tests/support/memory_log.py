"""A `wonderq_storage.log.Log` in memory that a test can hold back, fill, break, take over, or cut off as a crash does."""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Callable, Iterator, Sequence

from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    FolderLockedError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    Mark,
    Position,
    RecordTooLargeError,
    StaleMarkError,
    TrimmedError,
)

MAX_RECORD_BYTES = 1 << 26


class MemoryLog:
    """A log in memory; `hold` and `release` control when records become durable.

    A ``shared`` one is like a replicated log: whoever opens it again takes it over, and the former writer learns of it
    when its next records, or an empty group, are to become durable. Any other one is like a folder: locked.
    """

    def __init__(
        self,
        records: Sequence[bytes] = (),
        *,
        max_record_bytes: int = MAX_RECORD_BYTES,
        part_bytes: int = 0,
        shared: bool = False,
    ) -> None:
        """``part_bytes`` of records are not old yet, so that they cannot be dropped without a rotation."""
        self.max_record_bytes = max_record_bytes
        self.failure: str | None = None
        self.files = None
        self.records: list[bytes] = []
        self.positions: list[Position] = []
        self.room_bytes = 1 << 40
        self.is_broken = False
        """Whether nothing can become durable: the log fails when somebody waits."""
        self.blocked = 0
        """Number of calls of `wait` that have not returned yet."""
        self._part_bytes = part_bytes
        self._shared = shared
        self._id = os.urandom(8)
        self._begin = 1
        self._end = 1
        self._durable = 1
        self._rotated: Position = 0
        self._held = False
        self._replayed = False
        self._started = False
        self._closed = False
        self._taken_over = False
        self._on_lost: list[Callable[[LogLostError], None]] = []
        self._changed = threading.Condition()
        for data in records:
            self._put(data)
        self._durable = self._end

    def _put(self, data: bytes) -> Position:
        position = self._end
        self.records.append(data)
        self.positions.append(position)
        self._end += max(len(data), 1)  # no two records are at the same place
        return position

    def on_lost(self, callback: Callable[[LogLostError], None]) -> None:
        with self._changed:
            self._on_lost.append(callback)
        self._tell_lost()

    def _tell_lost(self) -> None:
        """Call those who want to know, without the log's lock."""
        with self._changed:
            callbacks: Sequence[Callable[[LogLostError], None]] = ()
            if self._taken_over and self.failure is not None:
                callbacks, self._on_lost = self._on_lost, []
        for callback in callbacks:
            callback(LogLostError(self.failure))

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, bytes]]:
        if mark is not None and (mark.place != self._id or not self._begin <= mark.end <= self._end):
            raise StaleMarkError("the mark is of another log, or from before its oldest record")
        begin = mark.end if mark else 0
        yield from ((at, data) for at, data in zip(self.positions, self.records, strict=True) if at >= begin)
        self._replayed = True

    def start(self) -> None:
        if not self._replayed or self._started or self._closed:
            raise LogClosedError("a log starts once, after its replay was read to the end and before it is closed")
        self._started = True

    def append(self, record: bytes, *, leave_bytes: int = 0) -> Position:
        return self.append_together((record,), leave_bytes=leave_bytes)[0]

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        need = sum(map(len, records))
        with self._changed:
            self._check_open()
            if need > self.max_record_bytes:
                raise RecordTooLargeError("the records are too large")
            if need > self.room_bytes - leave_bytes:
                raise DiskFullError("no room")
            self.room_bytes -= need
            return [self._put(record) for record in records]

    def _check_open(self) -> None:
        if not self._started or self._closed:
            raise LogClosedError("the log is not open for appending")
        self._check_failure()

    def _check_failure(self) -> None:
        if self.failure is not None:
            raise (LogLostError if self._taken_over else LogFailedError)(self.failure)

    def wait(self, position: Position) -> None:
        try:
            with self._changed:
                self.blocked += 1
                self._changed.notify_all()
                if not self._held:
                    self._commit()
                self._changed.wait_for(lambda: self._durable > position or self.failure is not None)
                self.blocked -= 1
                if self._durable <= position:
                    self._check_failure()
        finally:
            self._tell_lost()

    def _commit(self) -> None:
        """Make durable what was appended, unless that is not possible any more."""
        if self._durable < self._end and self.failure is None:
            if self._taken_over:
                self.failure = "Another writer has taken over the log."
            elif self.is_broken:
                self.failure = "The log is broken."
            else:
                self._durable = self._end
        self._changed.notify_all()

    def end(self) -> Position:
        with self._changed:
            return self._end

    def call_when_durable(self, position: Position, callback: Callable[[], None]) -> bool:
        return False

    def confirm(self) -> Position:
        with self._changed:
            if self._shared and self._durable == self._end:
                self._end += 1  # an empty group
            return self._end - 1

    def sync(self) -> None:
        with self._changed:
            self._check_failure()
        self.wait(self.end() - 1)

    def rotate(self) -> Position:
        with self._changed:
            self._check_open()
            self._rotated = self._end
            return self._end

    def mark(self) -> Mark:
        return Mark(self.end(), self._id)

    def oldest(self) -> tuple[Position, Iterator[tuple[Position, bytes]]] | None:
        """The part before the last rotation, or else the older half."""
        with self._changed:
            count, end = bisect.bisect_left(self.positions, self._rotated), self._rotated
            if not count:
                count = len(self.records) // 2
                if not count or self.used_bytes() <= self._part_bytes:
                    return None
                end = self.positions[count]
            return end, iter(list(zip(self.positions[:count], self.records[:count], strict=True)))

    def trim(self, end: Position) -> None:
        with self._changed:
            count = bisect.bisect_left(self.positions, end)
            self.room_bytes += sum(map(len, self.records[:count]))
            del self.positions[:count], self.records[:count]
            self._begin = max(self._begin, end)

    def free_bytes(self) -> int:
        return self.room_bytes

    def used_bytes(self) -> int:
        return sum(map(len, self.records))

    @property
    def replay_overhead_bytes(self) -> int:
        return 0

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        with self._changed:
            return [self._read(position, length) for position, length in spans]

    def _read(self, position: Position, length: int) -> bytes:
        at = bisect.bisect(self.positions, position) - 1
        if at < 0:
            raise TrimmedError("it was dropped")
        start = position - self.positions[at]
        data = self.records[at][start : start + length]
        if len(data) < length:
            raise CorruptLogError("memory", position, "it is not there")
        assert position + length <= self._durable, "read before it was waited for"
        return data

    def locate(self, position: Position) -> tuple[str, int]:
        return "memory", position

    def close(self) -> None:
        with self._changed:
            self._held = False
            self._closed = True
            self._commit()
        self._tell_lost()

    def hold(self) -> None:
        """Let nothing become durable until `release`."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        with self._changed:
            self._held = False
            self._commit()
        self._tell_lost()

    def after_crash(self) -> MemoryLog:
        """Return the log as it would be found after a crash at this moment: what was not durable is lost."""
        with self._changed:
            found = MemoryLog(max_record_bytes=self.max_record_bytes, part_bytes=self._part_bytes, shared=self._shared)
            kept = bisect.bisect_left(self.positions, self._durable)
            found.records, found.positions = self.records[:kept], self.positions[:kept]
            found._id, found._begin, found._end, found._durable = self._id, self._begin, self._durable, self._durable
            return found

    def opened_again(self) -> MemoryLog:
        """Return the log as another process opens it: this one has lost it then, unless it is closed.

        Raises:
            FolderLockedError: the log is not shared, and not closed.
        """
        if not self._closed:
            if not self._shared:
                raise FolderLockedError("the log is in use")
            with self._changed:
                self._taken_over = True
        return self.after_crash()
