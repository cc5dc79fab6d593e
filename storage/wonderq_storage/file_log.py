"""The log as a folder of segment files: appending and group commit."""

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
    FolderMissingError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    RecordTooLargeError,
    TrimmedError,
    is_bad_medium,
    remedy,
)
from wonderq_storage.group_writer import End, Group, GroupWriter
from wonderq_storage.log import LogFiles, Mark, Position
from wonderq_storage.observer import Observer
from wonderq_storage.recovery import Recovery, wall_clock_ms
from wonderq_storage.segment import Segment, SegmentReader, pack_position, unpack_position
from wonderq_storage.segment_files import TAIL_BYTES, SegmentFiles, record_room
from wonderq_storage.sync_policy import SyncPolicy

logger = logging.getLogger("wonderq.storage")

DEFAULT_SEGMENT_BYTES = 64 << 20
MIN_SEGMENT_BYTES = 4096

#: Spans with at most this gap between them are read in one call, which reads at most `_READ_BYTES`.
_READ_GAP_BYTES = 4096
_READ_BYTES = 1 << 20

#: Interval at which the log checks that its folder is still in its place.
_CHECK_FOLDER_S = 0.5

#: Length of a pause in traffic before a closing group is written.
_PAUSE_S = 0.1


class FileLog:
    """A `wonderq_storage.log.Log` in a folder that this process has locked.

    Appended records gather in an open group. Three objects share the work: this one holds the open groups and the
    threads that wait for them, `GroupWriter` writes groups to disk, `SegmentFiles` reserves space for more.

    Threads: any thread appends under a mutex. The first thread that waits becomes the leader. It takes all gathered
    groups and writes and syncs them outside the mutex; meanwhile the others wait, and new records gather for the next
    leader. So no thread waits for a sync that began before its own append, and a single client needs no hand-over.

    Raises, from the constructor:
        FolderLockedError: another process has locked the folder. Nothing was written.
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
        self._disk = disk or Disk()
        self._observer = observer or Observer()
        self._now_ms = now_ms
        self.failure: str | None = None
        self._mutex = threading.Lock()
        self._closed = False
        self._disk.make_folder(folder)
        self._folder_lock = self._disk.lock(folder)
        try:
            self._recovery = Recovery(self._disk, folder)
        except BaseException:
            self._disk.unlock(self._folder_lock)
            raise
        self._files = SegmentFiles(
            self._disk,
            folder,
            self._mutex,
            segment_bytes=segment_bytes,
            smallest_bytes=MIN_SEGMENT_BYTES,
            now_ms=now_ms,
        )

        self._writer: GroupWriter  # the leader's; set by `start`
        self._written_end: End  # where the writer was when the last leader ended, for the threads that do not lead

        self._open: Group | None = None  # records gather here; None until `start`
        self._full: list[Group] = []  # gathered earlier, in segments without room for more
        self._ended: Group | None = None  # the last one before a `rotate`

        self._leading = False
        self._rounds_begun = 0  # rounds of leading
        self._rounds_done = 0
        self._sync_due = False  # the next round must sync, whatever the policy
        self._committed: Position = 0  # everything before it is as durable as the policy promises
        self._taken: Position = 0  # a leader has taken everything before it
        self._gathering = threading.Condition(self._mutex)  # waiters whose records are still gathering
        self._flying = threading.Condition(self._mutex)  # waiters whose records a leader has taken

        self._traffic = threading.Event()
        self._stopping = threading.Event()
        self._background_thread = threading.Thread(target=self._run_in_background, name="wonderq-log", daemon=True)

    @property
    def max_record_bytes(self) -> int:
        return record_room(self._segment_bytes) - frame.FRAME_BYTES

    @property
    def torn_bytes(self) -> int:
        """Size of the torn tail that the start cut off and set aside."""
        return self._recovery.torn_bytes

    @property
    def base(self) -> int:
        """Number of the oldest segment that the log needs, as its newest group records it. Known after the replay."""
        return self._recovery.base

    @property
    def files(self) -> LogFiles:
        with self._mutex:
            published = self._files.published.values()
            return LogFiles(len(published), sum(each.file.size() for each in published))

    def on_lost(self, callback: Callable[[LogLostError], None]) -> None:
        """Do nothing: the folder is locked, so no other process can take over the log."""

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, memoryview]]:
        return self._recovery.replay(mark)

    def start(self) -> None:
        recovery = self._recovery
        if self._closed or self._open is not None or not recovery.complete:
            raise LogClosedError("a log starts once, after its replay was read to the end and before it is closed")
        recovery.finish(self._segment_bytes, self._now_ms)
        self._writer = writer = GroupWriter(recovery, self._files, self._observer)
        self._files.open(recovery.segments, recovery.spare)
        # A removed segment frees its disk space only when no process holds it open any more, so recovery must not.
        recovery.segments, recovery.active = [], None
        self._open = Group(writer.active, writer.written)
        self._committed = self._taken = self._position(self._open)
        self._written_end = writer.end()
        if writer.active.header.version < frame.VERSION:
            self._leave_older_version()
        if self._files.spare is None and writer.written > writer.active.header.capacity // 2:
            # The last run gave its spare up. Deletes need one on a full disk.
            with suppress(DiskFullError), self._mutex:
                self._files.reserve(writer.active.number)
        self._background_thread.start()

    def _leave_older_version(self) -> None:
        """Continue in a segment of this version. Without room for one, the log can be read but not written."""
        active = self._writer.active
        try:
            with self._mutex:
                self._enter(self._files.spare_after(active.number))
        except DiskFullError as error:
            logger.warning(
                "%s has format version %d, which this WonderQ does not write; "
                "nothing is written until the disk has room for a segment of version %d: %s",
                active.path,
                active.header.version,
                frame.VERSION,
                error,
            )
        else:
            self.sync()

    @staticmethod
    def _position(group: Group) -> Position:
        return pack_position(group.target.number, group.end)

    def append(self, record: bytes, *, leave_bytes: int = 0) -> Position:
        return self.append_together((record,), leave_bytes=leave_bytes)[0]

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        need = sum(map(len, records)) + frame.FRAME_BYTES * len(records)
        if need > record_room(self._segment_bytes):
            raise RecordTooLargeError(f"{need} bytes of records exceed what a segment of {self._segment_bytes} holds")
        with self._mutex:
            group = self._room_for(need, leave_bytes)
            start = pack_position(group.target.number, group.offset + frame.GROUP_HEADER_BYTES)
            positions = []
            for record in records:
                positions.append(start + group.length + frame.FRAME_BYTES)
                group.records.append(record)
                group.length += frame.FRAME_BYTES + len(record)
            return positions

    def _room_for(self, need: int, leave_bytes: int) -> Group:
        """Return a group with room for ``need`` more bytes: the open one, or a new one in the next segment."""
        group = self._gathering_group()
        room = group.target.header.capacity - TAIL_BYTES - group.end
        if not group.records:
            room -= frame.GROUP_HEADER_BYTES
        if group.target.header.version < frame.VERSION:
            room = 0  # a program that knows only the older version would misread new records
        if need + leave_bytes <= room:
            return group
        fits = need <= room
        if fits and need + leave_bytes <= room + self._bytes_freed_soon():
            return group
        # Space is reserved before a record is accepted, so a full disk is noticed before anything has changed.
        spare = self._files.spare_after(group.target.number, need + leave_bytes - (room if fits else 0))
        return group if fits else self._enter(spare)

    def _bytes_freed_soon(self) -> int:
        """Return the unused bytes of the segment that `rotate` ended, while no leader has cut them off."""
        ended = self._ended
        if ended is None or ended.target.number < self._written_end.number:
            return 0
        return ended.target.header.capacity - TAIL_BYTES - ended.end

    def _gathering_group(self) -> Group:
        if self._open is None or self._closed:
            raise LogClosedError("the log is not open for appending")
        self._check_failure()
        return self._open

    def _enter(self, target: Segment) -> Group:
        """Open a group in the next segment."""
        assert self._open is not None
        if self._open.records:
            self._full.append(self._open)
        self._open = Group(target, frame.SEGMENT_HEADER_BYTES)
        self._files.spare = None
        return self._open

    def rotate(self) -> Position:
        """Continue in an empty segment and return where it begins. The next leader seals the one before it.

        Raises: as `wonderq_storage.log.Log.rotate`.
        """
        with self._mutex:
            group, spare = self._gathering_group(), self._files.spare
            if spare is None or spare.header.capacity != self._segment_bytes:
                spare = self._files.reserve(group.target.number)
            self._ended = group
            return self._position(self._enter(spare))

    def end(self) -> Position:
        with self._mutex:
            assert self._open is not None
            return self._position(self._open)

    def call_when_durable(self, position: Position, callback: Callable[[], None]) -> bool:  # noqa: ARG002
        return False  # a sync blocks its thread

    def confirm(self) -> Position:
        """Return the position of the last byte so far: the folder is locked, so nobody else can have appended."""
        return self.end() - 1

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
        """Write and sync all gathered groups. The caller has set ``_leading``, and waits for nothing newer."""
        with self._mutex:
            self._rounds_begun += 1
            sync_due = self._sync_due or self.sync_policy.name == "always"
            self._sync_due = False
            groups, self._full = self._full, []
            assert self._open is not None
            if self._open.records:
                groups.append(self._open)
                self._open = Group(self._open.target, self._open.end)
            target = self._open.target
            committed = self._position(self._open)
            self._taken = committed
            flying, self._flying = self._flying, self._gathering
            self._gathering = flying
        try:
            for group in groups:
                self._writer.write(group)
            self._writer.advance_to(target)
            if sync_due:
                self._writer.sync()
            if target.file.is_removed():  # a sync of it succeeds, but no later start finds it
                raise self._missing(str(target.path))
        except Exception as reason:  # noqa: BLE001 - whatever failed, the end of the log is unknown now
            self._fail(reason)
        self._traffic.set()
        with self._mutex:
            if self.failure is None:
                self._committed = committed
                self._rounds_done += 1
            self._flying.notify_all()
            self._step_down()
        self._check_failure()

    def _step_down(self) -> None:
        self._leading = False
        self._written_end = self._writer.end()
        if self.failure is None:
            # One of the waiters that came meanwhile leads the next round, and wakes the others when it ends.
            self._gathering.notify()
        else:
            self._gathering.notify_all()

    def _fail(self, reason: Exception) -> None:
        if isinstance(reason, FolderMissingError):
            logger.critical("%s", reason)
            self.failure = str(reason)
            return
        logger.critical("the log cannot be written any more: %s", reason, exc_info=reason)
        self.failure = (
            f"the log in {self.folder} could not be written ({reason}). {remedy(reason)}, and restart the process: "
            "acknowledged records are kept, and no new ones are accepted until then."
        )

    def check_folder(self) -> None:
        """Let the log fail if its folder or one of its segments was moved or removed.

        Writes to a removed file succeed. So without this check, all records would be lost at the end of the process.
        """
        if self.failure is not None or self._closed:
            return
        if not self._disk.is_in_place(self.folder, self._folder_lock):
            self._fail(self._missing(str(self.folder)))
            return
        with self._mutex:
            published = list(self._files.published.values())
        for each in published:
            # `trim` raises the base first, and then removes the segments below.
            if each.file.is_removed() and each.number >= self._writer.base:
                self._fail(self._missing(str(each.path)))
                return

    def _missing(self, path: str) -> FolderMissingError:
        return FolderMissingError(
            f"{path} was moved or removed while the broker runs. No records are accepted any more, and those in files "
            "that were removed are lost. Stop the process, put the folder back or restore a backup, and start again."
        )

    def _run_in_background(self) -> None:
        """Check the folder, sync at the policy's interval, and write a closing group when traffic pauses.

        The closing group records that the groups before it are durable. Without it, recovery could not distinguish
        damage to the last acknowledged group from a torn write.
        """
        interval = self.sync_policy.name == "interval"
        checked_s = time.monotonic()
        while not self._stopping.is_set():
            has_traffic = self._traffic.wait(_CHECK_FOLDER_S)
            if time.monotonic() - checked_s >= _CHECK_FOLDER_S:
                self.check_folder()
                checked_s = time.monotonic()
            if not has_traffic:
                continue
            self._traffic.clear()
            # Half the interval: if another thread leads just then, it syncs only at the end of the next round.
            if self._stopping.wait(self.sync_policy.interval_ms / 2000 if interval else _PAUSE_S):
                return  # `close` does the rest
            if interval and not self._lead_alone(self._writer.sync):
                with self._mutex:
                    self._sync_due = True
            if self.sync_policy.name != "os" and not self._traffic.is_set():
                self._lead_alone(self._put_closing_group)

    def _lead_alone(self, work: Callable[[], None]) -> bool:
        """Do ``work`` as the leader; return False instead if there is a leader already, or the log has failed."""
        with self._mutex:
            if self._leading or self.failure is not None:
                return False
            self._leading = True
        try:
            work()
        except Exception as reason:  # noqa: BLE001 - whatever failed, the end of the log is unknown now
            self._fail(reason)
        with self._mutex:
            self._step_down()
        return True

    def _put_base(self) -> None:
        """Write the base in a group without records. A full disk may have no room for the next segment before that."""
        self._put_closing_group(tail_bytes=TAIL_BYTES - frame.GROUP_HEADER_BYTES)

    def _put_closing_group(self, tail_bytes: int = TAIL_BYTES) -> None:
        """Write a group without records, unless it would take one of the last ``tail_bytes`` after the records."""
        with self._mutex:
            # It takes the open group's place, which must still be empty, and in the segment written last.
            group = self._open
            if group is None or group.records or self._full or group.target is not self._writer.active:
                return
            if group.end + tail_bytes > group.target.header.capacity:
                return  # the newest group is a closing group already: it took the space kept for one
            group.offset += frame.GROUP_HEADER_BYTES
            self._taken = self._committed = self._position(group)
        self._writer.write_closing_group()

    def sync(self) -> None:
        # Only a round that begins from now on takes everything appended so far.
        with self._mutex:
            self._sync_due = True
            awaited = self._rounds_begun + 1
            while self._rounds_done < awaited:
                self._check_failure()
                if not self._leading:
                    self._leading = True
                    break
                (self._gathering if self._rounds_begun < awaited else self._flying).wait()
            else:
                return
        self._lead()

    def mark(self) -> Mark:
        with self._mutex:
            assert self._open is not None
            log_id = self._open.target.header.log_id
            # The replay begins with the newest group instead of after it, so that it notices a log that lost its end.
            # The base is the one before that group, as in a replay of all groups: a newer one may never be written.
            place = msgpack.packb((log_id, *self._written_end.newest_group))
            return Mark(self._position(self._open), place)

    def oldest(self) -> tuple[Position, Iterator[tuple[Position, memoryview]]] | None:
        with self._mutex:
            found = self._files.oldest()
            if found.number >= self._written_end.number:
                return None
        return pack_position(found.number + 1, 0), _records(found)

    def trim(self, end: Position) -> None:
        number, _ = unpack_position(end)
        writer = self._writer
        with self._mutex:
            writer.base = max(writer.base, number)
        # A group on the medium must record the new base before a segment is removed.
        while writer.durable_base < number and not self._lead_alone(self._put_base):
            self.sync()  # another thread leads: its group may record the base
        if writer.durable_base < number:
            self.sync()
        if writer.durable_base < number:
            self.rotate()  # the segment in use has no room for another group; its seal records the base
            self.sync()
        while True:
            with self._mutex:
                oldest = self._files.oldest()
            if oldest.number >= number:
                return
            # If this fails, the segment remains the oldest: later ones must not be removed before it.
            segment.remove_oldest(self._disk, oldest)
            with self._mutex:
                del self._files.published[oldest.number]

    def free_bytes(self) -> int:
        return self._disk.free_bytes(self.folder)

    def used_bytes(self) -> int:
        with self._mutex:
            if self._open is None:
                recovery = self._recovery
                if recovery.active is None:
                    return 0  # not replayed yet
                number, written, segments = recovery.active.number, recovery.offset, recovery.segments
            else:
                number, written, _ = self._written_end
                segments = list(self._files.published.values())
            return written + sum(each.file.size() for each in segments if each.number < number)

    @property
    def replay_overhead_bytes(self) -> int:
        return 0

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        found: list[bytes] = []
        together: list[tuple[Position, int]] = []
        end = last = 0
        for span in spans:
            position, length = span
            # Neighbouring spans are read in one call: the bytes between them cost less than another one.
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
        number, offset = unpack_position(position)
        target = self._files.published.get(number)
        if target is None:
            raise TrimmedError(f"the record at {position:#x} was dropped")
        try:
            data = target.file.read(length, offset) if block else target.file.read_cached(length, offset)
        except BlockingIOError:
            raise
        except OSError as error:
            if self._closed:
                raise LogClosedError("the log is closed") from error
            if not is_bad_medium(error):
                raise LogFailedError(f"{target.path} cannot be read: {error.strerror}. {remedy(error)}.") from error
            raise CorruptLogError(str(target.path), offset, f"cannot be read: {error.strerror}") from error
        if len(data) < length:
            raise CorruptLogError(str(target.path), offset, f"{length} bytes should be here, and {len(data)} are")
        return data

    def locate(self, position: Position) -> tuple[str, int]:
        number, offset = unpack_position(position)
        return str(self.folder / segment.file_name(number)), offset

    def close(self) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True  # before the sync below, so that nothing is appended after it
        self._stopping.set()
        self._traffic.set()
        if self._background_thread.is_alive():
            self._background_thread.join()
        try:
            if self._open is not None and self.failure is None:
                # Under every policy, a clean end is synced and marked by a closing group.
                self.sync()
                self._lead_alone(self._put_closing_group)
                self._check_failure()
        finally:
            try:
                self._files.close(remove_reserved=self.failure is None)
                self._recovery.close()
            finally:
                self._disk.unlock(self._folder_lock)


def _records(sealed: Segment) -> Iterator[tuple[Position, memoryview]]:
    reader = SegmentReader(sealed, None, None)
    for records in reader:
        for offset, record in records:
            yield pack_position(sealed.number, offset), record
    if not reader.sealed:
        reason = reader.problem or "the seal is missing"
        raise CorruptLogError(str(sealed.path), reader.offset, reason)
