"""A `wonderq_storage.log.Log` in memory that a test can hold back, fill, or cut off as a crash does."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator, Sequence

from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    LogClosedError,
    Mark,
    Position,
    RecordTooLargeError,
    StaleMarkError,
    TrimmedError,
)


class MemoryLog:
    """A log in memory; `hold` and `release` control when records become durable."""

    def __init__(self, records: Sequence[bytes] = ()) -> None:
        self.max_record_bytes = 1 << 26
        self.failure: str | None = None
        self.records: list[bytes] = []
        self.positions: list[Position] = []
        self.room_bytes = 1 << 40
        self.blocked = 0
        """Number of calls of `wait` that have not returned yet."""
        self._end = 1
        self._durable = 1
        self._held = False
        self._started = False
        self._closed = False
        self._changed = threading.Condition()
        for data in records:
            self._put(data)
        self._durable = self._end

    def _put(self, data: bytes) -> Position:
        position = self._end
        self.records.append(data)
        self.positions.append(position)
        self._end += len(data)
        return position

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, bytes]]:
        begin = mark.end if mark else 0
        if self.positions and begin and begin < self.positions[0]:
            raise StaleMarkError("the mark is from before the oldest record")
        yield from ((at, data) for at, data in zip(self.positions, self.records, strict=True) if at >= begin)

    def start(self) -> None:
        self._started = True

    def append(self, record: bytes, *, leave_bytes: int = 0) -> Position:
        return self.append_together((record,), leave_bytes=leave_bytes)[0]

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        need = sum(map(len, records))
        with self._changed:
            if not self._started or self._closed:
                raise LogClosedError("the log is not open for appending")
            if need > self.max_record_bytes:
                raise RecordTooLargeError("the records are too large")
            if need > self.room_bytes - leave_bytes:
                raise DiskFullError("no room")
            self.room_bytes -= need
            return [self._put(record) for record in records]

    def wait(self, position: Position) -> None:
        with self._changed:
            if not self._held:
                self._durable = self._end
            self.blocked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._durable > position)
            self.blocked -= 1

    def end(self) -> Position:
        with self._changed:
            return self._end

    def sync(self) -> None:
        self.wait(self.end() - 1)

    def rotate(self) -> Position:
        return self.end()

    def mark(self) -> Mark:
        return Mark(self.end(), b"")

    def oldest(self) -> tuple[Position, Iterator[tuple[Position, bytes]]] | None:
        """The older half."""
        half = len(self.records) // 2
        if not half:
            return None
        return self.positions[half], iter(list(zip(self.positions[:half], self.records[:half], strict=True)))

    def trim(self, end: Position) -> None:
        with self._changed:
            count = bisect.bisect_left(self.positions, end)
            del self.positions[:count], self.records[:count]

    def free_bytes(self) -> int:
        return self.room_bytes

    def used_bytes(self) -> int:
        return sum(map(len, self.records))

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
        self.release()
        self._closed = True

    def hold(self) -> None:
        """Let nothing become durable until `release`."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        with self._changed:
            self._held = False
            self._durable = self._end
            self._changed.notify_all()

    def after_crash(self) -> MemoryLog:
        """Return the log as it would be found after a crash at this moment: what was not durable is lost."""
        with self._changed:
            return MemoryLog([r for p, r in zip(self.positions, self.records, strict=True) if p < self._durable])
