"""The log as a folder of segment files: appending, group commit, rotation."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgpack

from wonderq_storage import frame, segment
from wonderq_storage.disk import Disk
from wonderq_storage.errors import (
    CorruptLogError,
    DiskFullError,
    LogClosedError,
    LogFailedError,
    RecordTooLargeError,
    TrimmedError,
)
from wonderq_storage.log import Mark, Position
from wonderq_storage.observer import Observer
from wonderq_storage.recovery import Recovery, wall_clock_ms
from wonderq_storage.segment import Segment, SegmentReader
from wonderq_storage.sync_policy import SyncPolicy

logger = logging.getLogger("wonderq.storage")

DEFAULT_SEGMENT_BYTES = 64 << 20
MIN_SEGMENT_BYTES = 4096

#: A closing group, and in its place or behind it a seal, must always find room behind records.
_SEAL_BYTES = frame.GROUP_HEADER_BYTES
_CLOSING_BYTES = frame.GROUP_HEADER_BYTES

#: Spans with no more than this between them are read in one call, up to so many bytes at once.
_READ_GAP_BYTES = 4096
_READ_BYTES = 1 << 20

#: On a disk that is nearly full, a segment may be half of its usual size, so many times over.
_HALVINGS = 4

#: How long traffic must have stopped before a closing group is written.
_PAUSE_S = 0.1


def _room_in(capacity: int) -> int:
    """Bytes of record frames that the first group of an empty segment may hold."""
    return capacity - frame.SEGMENT_HEADER_BYTES - frame.GROUP_HEADER_BYTES - _CLOSING_BYTES - _SEAL_BYTES


class _Group:
    """Records gathered in memory that will be written, and become durable, together."""

    def __init__(self, target: Segment, offset: int) -> None:
        self.target = target
        self.offset = offset
        self.records: list[bytes] = []
        self.length = 0

    @property
    def end(self) -> int:
        """Offset behind the group, were it written now."""
        return self.offset + frame.GROUP_HEADER_BYTES + self.length if self.records else self.offset


class FileLog:
    """A `wonderq_storage.log.Log` in a folder that this process holds alone.

    Threads: any thread appends under a mutex; the first that waits becomes the leader, takes all that was gathered,
    writes it and syncs it outside the mutex, while the others wait and new records gather for the next leader. So
    nobody waits on a sync that began before its own append, and with one client there is no hand-over at all.

    Raises, from the constructor:
        FolderLockedError: another process holds the folder. Nothing was written.
        CorruptLogError, UnsupportedFormatError: see `Recovery`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: SyncPolicy | None = None,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        disk: Disk | None = None,
        observer: Observer | None = None,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        if segment_bytes < MIN_SEGMENT_BYTES:
            raise ValueError(f"segment_bytes must be at least {MIN_SEGMENT_BYTES}")
        self.folder = folder
        self.sync_policy = sync or SyncPolicy()
        self._segment_bytes = segment_bytes
        halves = (segment_bytes >> times for times in range(1, _HALVINGS + 1))
        self._sizes = [segment_bytes, *(size for size in halves if size >= MIN_SEGMENT_BYTES)]
        self._disk = disk or Disk()
        self._observer = observer or Observer()
        self._now_ms = now_ms
        self.failure: str | None = None
        self._mutex = threading.Lock()
        self._closed = False
        self._disk_full = False
        self._disk.make_folder(folder)
        self._folder_lock = self._disk.lock(folder)
        try:
            self._recovery = Recovery(self._disk, folder)
        except BaseException:
            self._disk.unlock(self._folder_lock)
            raise

        self._segments: dict[int, Segment] = {}
        self._base = 1
        self._open: _Group | None = None  # where records gather; None until started
        self._full: list[_Group] = []  # gathered before it, in segments that had no more room
        self._next: Segment | None = None  # reserved, to go on in when the open group's segment is full
        self._reserved: dict[int, Segment] = {}  # that one, and those that groups gather for, until they are published

        # Owned by the leader.
        self._active: Segment  # the segment written last
        self._written = 0  # offset in it behind the last group
        self._number = 1  # of the next group
        self._chain = 0
        self._durable = 0  # number of the newest group known to be on the medium
        self._written_base = 1  # the base that the newest group states
        self._durable_base = 1  # the newest base that a group on the medium states
        self._newest = (0, 0, 0, 0, 0)  # segment, offset, number and chain of the newest group, and the base before it
        # What follows is as of a moment when nobody leads, for those who do not.
        self._boundary = (0, 0)  # number of the segment written last, and how far
        self._place = self._newest

        self._leading = False
        self._begun = 0  # rounds of leading so far
        self._done = 0  # and those of them that came to their end
        self._sync_due = False  # the next round is to sync, whatever the policy
        self._committed: Position = 0  # everything before it is as durable as the policy promises
        self._taken: Position = 0  # everything before it has been taken by a leader
        self._gathering = threading.Condition(self._mutex)  # waiters whose records are still gathering
        self._flying = threading.Condition(self._mutex)  # waiters whose records a leader has taken

        self._traffic = threading.Event()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="wonderq-log", daemon=True)

    @property
    def max_record_bytes(self) -> int:
        return _room_in(self._segment_bytes) - frame.FRAME_BYTES

    @property
    def torn_bytes(self) -> int:
        """Bytes of a torn tail that the start cut off and set aside."""
        return self._recovery.torn_bytes

    @property
    def base(self) -> int:
        """Number of the oldest segment that the log needs, as its newest group says; known once replayed."""
        return self._recovery.base

    @property
    def disk_bytes(self) -> int:
        """Size of all segment files, reserved space included."""
        with self._mutex:
            return sum(each.file.size() for each in self._segments.values())

    @property
    def segments(self) -> int:
        """How many segment files there are, the one in reserve not counted."""
        return len(self._segments)

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, memoryview]]:
        return self._recovery.replay(mark)

    def start(self) -> None:
        recovery = self._recovery
        if self._closed or self._open is not None or not recovery.complete:
            raise LogClosedError("a log starts once, after its replay was read to the end and before it is closed")
        recovery.finish(self._segment_bytes, self._now_ms)
        assert recovery.active is not None
        self._segments = {each.number: each for each in recovery.segments}
        self._base = self._written_base = self._durable_base = recovery.base
        spare = recovery.spare
        self._next = spare if spare is not None and spare.header.version == frame.VERSION else None
        self._active = recovery.active
        self._written = recovery.offset
        self._number = recovery.number
        self._chain = recovery.chain
        # Nobody else may hold a segment: once it is removed, its disk space is free only when it is closed.
        recovery.segments, recovery.active = [], None
        self._durable = self._number - 1
        self._open = _Group(self._active, self._written)
        self._committed = self._taken = self._position(self._open)
        self._newest = (self._active.number, self._written, self._number, self._chain, self._written_base)
        self._note_boundary()
        if self._active.header.version < frame.VERSION:
            self._leave_older_version()
        if self._next is None and self._written > self._active.header.capacity // 2:
            # The reserve of the last run was given up; on a full disk those who delete need it.
            with suppress(DiskFullError), self._mutex:
                self._next = self._reserve()
        self._keeper.start()

    def _leave_older_version(self) -> None:
        """Go on in a segment of this version. Without room for one the log can be read, and `_room_for` finds none."""
        try:
            with self._mutex:
                self._go_on_in(self._next or self._reserve())
        except DiskFullError as error:
            logger.warning(
                "%s has format version %d and takes nothing more, so nothing is written until version %d has room: %s",
                self._active.path,
                self._active.header.version,
                frame.VERSION,
                error,
            )
        else:
            self.sync()

    @staticmethod
    def _position(group: _Group) -> Position:
        return group.target.number << 32 | group.end

    def append(self, record: bytes, *, leave_bytes: int = 0) -> Position:
        return self.append_together((record,), leave_bytes=leave_bytes)[0]

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        need = sum(map(len, records)) + frame.FRAME_BYTES * len(records)
        if need > _room_in(self._segment_bytes):
            raise RecordTooLargeError(f"{need} bytes of records exceed what a segment of {self._segment_bytes} holds")
        with self._mutex:
            group = self._room_for(need, leave_bytes)
            start = group.target.number << 32 | (group.offset + frame.GROUP_HEADER_BYTES)
            positions = []
            for record in records:
                positions.append(start + group.length + frame.FRAME_BYTES)
                group.records.append(record)
                group.length += frame.FRAME_BYTES + len(record)
            return positions

    def _room_for(self, need: int, leave_bytes: int) -> _Group:
        """Return the open group once it has room for ``need`` more bytes, going over to the next segment if not."""
        group = self._gathering_group()
        room = group.target.header.capacity - _CLOSING_BYTES - _SEAL_BYTES - group.end
        if not group.records:
            room -= frame.GROUP_HEADER_BYTES
        if group.target.header.version < frame.VERSION:
            room = 0  # whoever reads no newer version than its own would misread what is written now
        if need + leave_bytes <= room:
            return group
        # The space comes before the record, so that a full disk is found out before anything has been changed.
        fits = need <= room
        wanted = need + leave_bytes - (room if fits else 0)
        spare = self._next
        if spare is None or (spare.header.capacity < self._segment_bytes and wanted > _room_in(spare.header.capacity)):
            spare = self._next = self._reserve(wanted)
        return group if fits else self._go_on_in(spare)

    def _gathering_group(self) -> _Group:
        if self._open is None or self._closed:
            raise LogClosedError("the log is not open for appending")
        self._check_failure()
        return self._open

    def _reserve(self, room: int = 0) -> Segment:
        """Reserve the segment to go on in; on a disk that is nearly full a smaller one with ``room`` bytes for records."""
        number = self._gathering_group().target.number + 1
        if number in self._segments:
            number += 1  # that one has another size, and stays empty
        sizes = [size for size in self._sizes if room <= _room_in(size)] or self._sizes[:1]
        try:
            if number in self._reserved:
                self._give_back(number, sizes[-1])
            new = self._reserve_one_of(number, sizes)
        except DiskFullError:
            self._tell_whether_full(True)
            raise
        except OSError as error:
            # Nothing of the log was touched, so the next append may try again (too many open files, say).
            raise LogFailedError(f"the next log segment could not be created: {error}") from error
        self._tell_whether_full(new.header.capacity < self._segment_bytes)
        self._reserved[number] = new
        return new

    def _reserve_one_of(self, number: int, sizes: Sequence[int]) -> Segment:
        log_id, now_ms = self._active.header.log_id, self._now_ms()
        *larger, last = sizes
        for size in larger:
            with suppress(DiskFullError):
                return segment.reserve(self._disk, self.folder, number, log_id, size, now_ms)
        return segment.reserve(self._disk, self.folder, number, log_id, last, now_ms)

    def _give_back(self, number: int, size: int) -> None:
        """Let go of a segment in reserve that is too small, if that makes room for one of ``size`` bytes."""
        small = self._reserved[number]
        if self._disk.free_bytes(self.folder) + small.header.capacity < size:
            raise DiskFullError(f"no room for another log segment of {size} bytes in {self.folder}; free some there")
        del self._reserved[number]
        self._next = None
        small.file.close()
        self._disk.remove(small.path)

    def _tell_whether_full(self, full: bool) -> None:
        if full and not self._disk_full:
            logger.warning("the disk of %s is full: nothing more is produced until there is room", self.folder)
        elif self._disk_full and not full:
            logger.warning("the disk of %s has room again", self.folder)
        self._disk_full = full

    def _go_on_in(self, target: Segment) -> _Group:
        assert self._open is not None
        if self._open.records:
            self._full.append(self._open)
        self._open = _Group(target, frame.SEGMENT_HEADER_BYTES)
        self._next = None
        return self._open

    def rotate(self) -> Position:
        """Seal the segment in use, and go on in an empty one of this log's segment size; returns where that begins.

        Everything appended before is then in parts that `oldest` returns, one after the other.

        Raises:
            DiskFullError: there is no room for it; nothing was changed.
            LogFailedError: it could not be written.
        """
        with self._mutex:
            spare = self._next
            if spare is None or spare.header.capacity != self._segment_bytes:
                spare = self._reserve()
            end = self._position(self._go_on_in(spare))
        self.sync()
        return end

    def end(self) -> Position:
        with self._mutex:
            assert self._open is not None
            return self._position(self._open)

    def wait(self, position: Position) -> None:
        with self._mutex:
            while self._committed <= position:
                self._check_failure()
                if not self._leading:
                    self._leading = True
                    break
                (self._gathering if position >= self._taken else self._flying).wait()
            else:
                return
        self._lead()

    def _check_failure(self) -> None:
        if self.failure is not None:
            raise LogFailedError(self.failure)

    def _lead(self) -> None:
        """Write and sync all that has gathered. The caller has set ``_leading``, and waits for nothing newer."""
        with self._mutex:
            self._begun += 1
            sync_due = self._sync_due or self.sync_policy.name == "always"
            self._sync_due = False
            groups, self._full = self._full, []
            assert self._open is not None
            if self._open.records:
                groups.append(self._open)
                self._open = _Group(self._open.target, self._open.end)
            target = self._open.target
            committed = self._position(self._open)
            self._taken = committed
            flying, self._flying = self._flying, self._gathering
            self._gathering = flying
        try:
            self._write(groups)
            self._go_over_to(target)
            if sync_due:
                self._sync()
        except Exception as reason:  # noqa: BLE001 - whatever it was, the log's end is unknown now
            self._fail(reason)
        self._traffic.set()
        with self._mutex:
            if self.failure is None:
                self._committed = committed
                self._done += 1
            self._flying.notify_all()
            self._step_down()
        self._check_failure()

    def _note_boundary(self) -> None:
        self._boundary = (self._active.number, self._written)
        self._place = self._newest

    def _step_down(self) -> None:
        self._leading = False
        self._note_boundary()
        if self.failure is None:
            # One of those who came meanwhile leads the next round, and wakes the others at its end.
            self._gathering.notify()
        else:
            self._gathering.notify_all()

    def _fail(self, reason: Exception) -> None:
        logger.critical("the log cannot be written any more: %s", reason, exc_info=reason)
        self.failure = (
            f"the log in {self.folder} could not be written ({reason}). Mend the disk and restart the broker: "
            "what was acknowledged is there, and nothing more is taken until then."
        )

    def _write(self, groups: list[_Group]) -> None:
        for group in groups:
            self._go_over_to(group.target)
            self._put(frame.GROUP, group.records)

    def _put(self, kind: int, records: list[bytes]) -> None:
        base = self._base
        self._newest = (self._active.number, self._written, self._number, self._chain, self._written_base)
        data, self._chain = frame.pack_group(
            self._active.header.crc,
            records,
            kind=kind,
            offset=self._written,
            base=base,
            number=self._number,
            durable=self._durable,
            chain=self._chain,
        )
        self._active.file.write(data, self._written)
        self._written += len(data)
        self._number += 1
        self._written_base = base
        if records:
            self._observer.group(len(records), len(data))

    def _sync(self) -> None:
        if self._durable < self._number - 1:
            began_s = time.monotonic()
            self._active.file.sync()
            self._observer.sync(time.monotonic() - began_s)
            self._durable = self._number - 1
            self._durable_base = self._written_base

    def _go_over_to(self, target: Segment) -> None:
        """Go on in that segment; those before it that nothing is written to are sealed empty."""
        while self._active is not target:
            number = self._active.number + 1
            self._rotate(self._reserved.get(number) or self._segments[number])

    def _rotate(self, target: Segment) -> None:
        """Go on in another segment. It is part of the folder before the seal that says so is written."""
        if target.number not in self._segments:
            segment.publish(self._disk, target)
            with self._mutex:
                self._segments[target.number] = self._reserved.pop(target.number)
        self._put(frame.SEAL, [])
        self._sync()
        self._active.file.truncate(self._written)
        self._active = target
        self._written = frame.SEGMENT_HEADER_BYTES

    def _keep(self) -> None:
        """Sync on an interval, and write a closing group when traffic pauses.

        The closing group tells recovery that the groups before it were durable: without it, damage to the last
        acknowledged group could not be told from a torn write.
        """
        interval = self.sync_policy.name == "interval"
        while True:
            self._traffic.wait()
            self._traffic.clear()
            # Half the interval: if somebody leads just then, the sync is his at the end of the next round.
            if self._stopping.wait(self.sync_policy.interval_ms / 2000 if interval else _PAUSE_S):
                return  # whoever closes the log does the rest
            if interval and not self._lead_alone(self._sync):
                with self._mutex:
                    self._sync_due = True
            if self.sync_policy.name != "os" and not self._traffic.is_set():
                self._lead_alone(self._put_closing_group)

    def _lead_alone(self, work: Callable[[], None]) -> bool:
        """Do ``work`` as the leader, unless there is one already (whose traffic will bring us back)."""
        with self._mutex:
            if self._leading or self.failure is not None:
                return False
            self._leading = True
        try:
            work()
        except Exception as reason:  # noqa: BLE001 - whatever it was, the log's end is unknown now
            self._fail(reason)
        with self._mutex:
            self._step_down()
        return True

    def _put_closing_group(self) -> None:
        with self._mutex:
            # It goes where the open group would: only if that is still empty and in the segment written last.
            group = self._open
            if group is None or group.records or self._full or group.target is not self._active:
                return
            if group.end + _CLOSING_BYTES + _SEAL_BYTES > group.target.header.capacity:
                return  # the newest group is a closing group already, else there would be room
            group.offset += frame.GROUP_HEADER_BYTES
            self._taken = self._committed = self._position(group)
        self._put(frame.GROUP, [])
        self._sync()

    def sync(self) -> None:
        # A round that begins from now on takes everything appended so far, and whoever leads now is done before it.
        with self._mutex:
            self._sync_due = True
            awaited = self._begun + 1
            while self._done < awaited:
                self._check_failure()
                if not self._leading:
                    self._leading = True
                    break
                (self._gathering if self._begun < awaited else self._flying).wait()
            else:
                return
        self._lead()

    def mark(self) -> Mark:
        with self._mutex:
            assert self._open is not None
            log_id = self._open.target.header.log_id
            # A replay begins with the newest group, not behind it: if the log lost its end, that shows. The base is what
            # the groups before say, as for a replay of all of them: a newer one may never get into the log.
            place = msgpack.packb((log_id, *self._place))
            return Mark(self._position(self._open), place)

    def oldest(self) -> tuple[Position, Iterator[tuple[Position, memoryview]]] | None:
        with self._mutex:
            found = self._segments[min(self._segments)]
            if found.number >= self._boundary[0]:
                return None
        return (found.number + 1) << 32, _records(found)

    def trim(self, end: Position) -> None:
        number = end >> 32
        with self._mutex:
            self._base = max(self._base, number)
        # A group on the medium has to say so before a segment goes.
        if self._durable_base < number:
            self._lead_alone(self._put_closing_group)
            self.sync()
        if self._durable_base < number:
            self.rotate()  # the segment in use has no room to say it; its seal does
        while True:
            with self._mutex:
                oldest = self._segments[min(self._segments)]
            if oldest.number >= number:
                return
            # If that fails it stays the oldest: the next one must not go before it.
            segment.remove_oldest(self._disk, oldest)
            with self._mutex:
                del self._segments[oldest.number]

    def free_bytes(self) -> int:
        return self._disk.free_bytes(self.folder)

    def used_bytes(self) -> int:
        with self._mutex:
            active, written = self._boundary
            segments = list(self._segments.values())
            if self._open is None and self._recovery.active is not None:  # not started, but replayed
                active, written = self._recovery.active.number, self._recovery.offset
                segments = self._recovery.segments
            return written + sum(each.file.size() for each in segments if each.number < active)

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        found: list[bytes] = []
        together: list[tuple[Position, int]] = []
        end = last = 0
        for span in spans:
            position, length = span
            # Neighbours are read together: what lies between them costs less than another call.
            if not end <= position <= end + _READ_GAP_BYTES or position + length > last:
                self._read_together(together, block, found)
                together = []
                last = position + _READ_BYTES
            together.append(span)
            end = position + length
        self._read_together(together, block, found)
        return found

    def _read_together(self, spans: list[tuple[Position, int]], block: bool, found: list[bytes]) -> None:
        if not spans:
            return
        start, end = spans[0][0], sum(spans[-1])
        data = self._read(start, end - start, block)
        found += [data[position - start : position - start + length] for position, length in spans]

    def _read(self, position: Position, length: int, block: bool) -> bytes:
        target = self._segments.get(position >> 32)
        if target is None:
            raise TrimmedError(f"the record at {position:#x} was dropped")
        offset = position & 0xFFFF_FFFF
        try:
            data = target.file.read(length, offset) if block else target.file.read_cached(length, offset)
        except BlockingIOError:
            raise
        except OSError as error:
            if self._closed:
                raise LogClosedError("the log is closed") from error
            raise CorruptLogError(str(target.path), offset, f"cannot be read: {error.strerror}") from error
        if len(data) < length:
            raise CorruptLogError(str(target.path), offset, f"{length} bytes should be here, and {len(data)} are")
        return data

    def locate(self, position: Position) -> tuple[str, int]:
        return str(self.folder / segment.file_name(position >> 32)), position & 0xFFFF_FFFF

    def close(self) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True  # before the wait below, so that nothing is appended behind what it waits for
        self._stopping.set()
        self._traffic.set()
        if self._keeper.is_alive():
            self._keeper.join()
        try:
            if self._open is not None and self.failure is None:
                # Whatever the policy, a clean end is synced and marked by a closing group.
                self.sync()
                self._lead_alone(self._put_closing_group)
                self._check_failure()
        finally:
            try:
                self._close_files()
            finally:
                self._disk.unlock(self._folder_lock)

    def _close_files(self) -> None:
        for each in self._reserved.values():
            each.file.close()
            if self.failure is None:
                self._disk.remove(each.path)
        for each in self._segments.values():
            each.file.close()
        self._recovery.close()


def _records(sealed: Segment) -> Iterator[tuple[Position, memoryview]]:
    reader = SegmentReader(sealed, None, None)
    for records in reader:
        for offset, record in records:
            yield sealed.number << 32 | offset, record
    if not reader.sealed:
        reason = reader.problem or "the seal is missing"
        raise CorruptLogError(str(sealed.path), reader.offset, reason)
