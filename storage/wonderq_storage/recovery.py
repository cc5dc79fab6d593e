"""Opening a folder: read and verify the log, and find the place where it continues.

Reading changes nothing. `Recovery.finish` changes the folder, once every segment is read and accepted, in at most three
ways. It copies a torn tail aside and overwrites it with zeros, removes unfinished segment files, and creates the first
segment.

**The decision table.** It is applied to each segment in order. The verdict depends on how the segment's groups end, on
whether a later group proves that place durable, and on the next segment (`Ending`, `Next`). docs/FORMAT.md has the same
table, and tests/storage/test_recovery_table.py tests every row.

    the groups end in        | a later group proves it | the next segment is | verdict
    -------------------------|-------------------------|---------------------|--------------------------------------
    a seal                   | -                       | there               | GO_ON with the next segment
    a seal                   | -                       | missing             | REFUSE: a segment is missing
    bytes behind a seal      | -                       | any                 | REFUSE: nothing is written there
    zeros                    | -                       | blank or missing    | APPEND here
    zeros                    | -                       | used                | REFUSE: a seal is missing
    damage                   | yes                     | any                 | REFUSE: durable bytes were lost
    damage                   | no                      | blank or missing    | CUT: a torn tail, never acknowledged
    damage                   | no                      | used                | REFUSE: durable bytes were lost

"Damage" means bytes that do not verify, or zeros followed by other bytes. "Proves" means that a later group header,
valid in itself, records that the group expected at the damage was durable. A segment is "used" once anything is written
after its header, which happens only after the segment before it was sealed and synced.
"""

from __future__ import annotations

import enum
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack

from wonderq_storage import frame, segment
from wonderq_storage.checkpoint import SUFFIX as CHECKPOINT_SUFFIX
from wonderq_storage.checksum import crc32
from wonderq_storage.disk import Disk, no_room_is_disk_full
from wonderq_storage.errors import CorruptLogError
from wonderq_storage.log import Mark, Position, StaleMarkError
from wonderq_storage.segment import Segment, SegmentReader, pack_position, remove_oldest

logger = logging.getLogger("wonderq.storage")

TORN_FOLDER = "torn"


class Ending(enum.Enum):
    """The bytes that follow the valid groups of a segment."""

    SEAL = enum.auto()
    BEHIND_SEAL = enum.auto()
    ZEROS = enum.auto()
    DAMAGE = enum.auto()


class Next(enum.Enum):
    """State of the next segment."""

    MISSING = enum.auto()
    BLANK = enum.auto()
    USED = enum.auto()


class Verdict(enum.Enum):
    """Decision of recovery on a segment."""

    GO_ON = enum.auto()
    APPEND = enum.auto()
    CUT = enum.auto()
    REFUSE = enum.auto()


def decide(ending: Ending, *, proved: bool, following: Next) -> Verdict:
    """Apply the decision table above."""
    match ending:
        case Ending.SEAL:
            return Verdict.REFUSE if following is Next.MISSING else Verdict.GO_ON
        case Ending.BEHIND_SEAL:
            return Verdict.REFUSE
        case Ending.ZEROS:
            return Verdict.REFUSE if following is Next.USED else Verdict.APPEND
        case Ending.DAMAGE:
            return Verdict.REFUSE if proved or following is Next.USED else Verdict.CUT


class Recovery:
    """One pass over a folder, oldest record first.

    Raises, from the constructor or while replaying:
        CorruptLogError: durable bytes do not verify.
        UnsupportedFormatError: a newer WonderQ wrote the folder.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self.segments: list[Segment] = []
        self.active: Segment | None = None
        """Segment to append to, known after the replay; None in an empty folder."""
        self.offset = frame.SEGMENT_HEADER_BYTES
        """Offset of the next group in it."""
        self.number = 1
        """Number of the next group."""
        self.chain = 0
        """Checksum that the next group is chained to."""
        self.base = 1
        """Oldest segment that belongs to the log, as the newest group records it. Older files may be left over."""
        self._unproven: dict[int, tuple[int, int]] = {}  # by segment: start and end of the groups not proved durable
        self.torn_bytes = 0
        """Size of the torn tail after ``offset``."""
        try:
            self._survey()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for each in self.segments:
            each.file.close()
        self.segments = []

    @property
    def spare(self) -> Segment | None:
        """A blank segment after the active one."""
        return self.segments[-1] if self.active is not None and self.segments[-1] is not self.active else None

    @property
    def complete(self) -> bool:
        """Whether the folder was read to its end and accepted."""
        return self.active is not None or not self.segments

    def _survey(self) -> None:
        names = self._disk.list(self._folder)
        numbers = sorted(number for name in names if (number := segment.file_number(name)) is not None)
        left_over = sorted(name for name in names if name.endswith(CHECKPOINT_SUFFIX))
        if left_over and not numbers:
            first = self._folder / segment.file_name(1)
            raise CorruptLogError(str(first), 0, f"there is no segment, but {left_over[-1]} is a checkpoint of one")
        for number in numbers:
            path = self._folder / segment.file_name(number)
            if self.segments and number != self.segments[-1].number + 1:
                missing = self._folder / segment.file_name(self.segments[-1].number + 1)
                raise CorruptLogError(str(missing), 0, f"the segment is missing, but {path.name} comes after it")
            self.segments.append(segment.open_segment(self._disk, path))
            if self.segments[-1].header.log_id != self.segments[0].header.log_id:
                raise CorruptLogError(str(path), 0, "the segment belongs to another log")

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, memoryview]]:
        """Yield every record from the oldest, or from ``mark``, on as ``(position, bytes)``."""
        start = 0 if mark is None else self._find(mark)
        from_position = 0 if mark is None else mark.end
        for index in range(start, len(self.segments)):
            current = self.segments[index]
            known = mark is not None or index > start or current.number == 1
            reader = SegmentReader(
                current,
                self.number if known else None,
                self.chain if known else None,
                self.offset if index == start else frame.SEGMENT_HEADER_BYTES,
            )
            start_position = pack_position(current.number, 0)
            for records in reader:
                for offset, record in records:
                    if start_position + offset >= from_position:
                        yield start_position + offset, record
            self.number = reader.number or 1
            self.chain = reader.chain or 0
            self.base = reader.base or self.base
            self._unproven[current.number] = (reader.unproven, reader.offset)
            if not self._judge(reader, current, self.segments[index + 1 :]):
                break
        self._check_whole(from_position)

    def _find(self, mark: Mark) -> int:
        """Set the place of a mark, and return the index of its segment."""
        log_id, number, offset, group, chain, base = msgpack.unpackb(mark.place)
        for index, found in enumerate(self.segments):
            if found.number == number and found.header.log_id == log_id:
                self.offset, self.number, self.chain, self.base = offset, group, chain, base
                return index
        if self.segments and self.segments[-1].header.log_id == log_id and self.segments[-1].number < number:
            missing = self._folder / segment.file_name(number)
            raise CorruptLogError(
                str(missing), 0, "the segment is missing, but a checkpoint records that the log reached it"
            )
        raise StaleMarkError(f"segment {number} is not in this log")

    def _check_whole(self, reached: Position) -> None:
        """Check both ends of the log: its base against the oldest segment, its end against the mark's position."""
        if not self.segments:
            return
        active, self.active = self.active, None
        oldest = self.segments[0]
        if self.base < oldest.number:
            missing = self._folder / segment.file_name(oldest.number - 1)
            raise CorruptLogError(str(missing), 0, f"the segment is missing, but {oldest.path.name} comes after it")
        if active is not None and pack_position(active.number, self.offset) < reached:
            raise CorruptLogError(
                str(active.path),
                self.offset,
                f"the log ends here, but a checkpoint records that it reached {reached:#x}",
            )
        self.active = active

    def _judge(self, reader: SegmentReader, current: Segment, later: list[Segment]) -> bool:
        """Apply the decision table to a segment; return whether the log continues in the next one."""
        size = current.file.size()
        tail = segment.read_tail(current, reader.offset, self.number)
        reason = reader.problem
        if reader.sealed:
            ending = Ending.BEHIND_SEAL if tail.end > reader.offset else Ending.SEAL
            reason = "there are bytes behind the seal"
        elif size != current.header.capacity:
            short = f"the file is {size} bytes long, was created with {current.header.capacity}, and has no seal"
            if tail.proof is not None:
                reason = reason or f"group {self.number} is missing here"
            if reason is not None:
                later_groups = f"group {tail.proof.number} records that it was durable" if tail.proof else short
                raise CorruptLogError(str(current.path), reader.offset, f"{reason}; {later_groups}")
            raise CorruptLogError(str(current.path), min(size, current.header.capacity), short)
        elif reason is not None or tail.end > reader.offset:
            ending = Ending.DAMAGE
            reason = reason or f"group {self.number} is missing here"
        else:
            ending = Ending.ZEROS
            reason = "the seal of this segment is missing"
        following = self._following(ending, later)
        match decide(ending, proved=tail.proof is not None, following=following):
            case Verdict.GO_ON:
                return True
            case Verdict.APPEND:
                pass
            case Verdict.CUT:
                self.torn_bytes = tail.end - reader.offset
            case Verdict.REFUSE if ending is Ending.SEAL:
                missing = self._folder / segment.file_name(current.number + 1)
                raise CorruptLogError(str(missing), 0, f"the segment is missing, but {current.path.name} is sealed")
            case Verdict.REFUSE:
                proof = f"; group {tail.proof.number} records that it was durable" if tail.proof else ""
                raise CorruptLogError(str(current.path), reader.offset, f"{reason}{proof}")
        self.active = current
        self.offset = reader.offset
        return False

    @staticmethod
    def _following(ending: Ending, later: list[Segment]) -> Next:
        if not later:
            return Next.MISSING
        if ending in (Ending.ZEROS, Ending.DAMAGE) and len(later) == 1 and segment.is_blank(later[0]):
            return Next.BLANK
        return Next.USED

    def finish(self, capacity: int, now_ms: Callable[[], int]) -> None:
        """Prepare the folder for appending. Nothing was changed before this call.

        Raises:
            DiskFullError: the disk has no room for the first segment of an empty folder, for the unallocated part of
                the active segment, or for the copy of a torn tail.
        """
        if self.torn_bytes:
            self._cut_torn_tail()
        for name in self._disk.list(self._folder):
            if segment.file_number(name.removesuffix(".tmp")) is not None and name.endswith(segment.UNFINISHED_SUFFIX):
                self._disk.remove(self._folder / name)
        if self.active is None:
            new = segment.reserve(self._disk, self._folder, 1, os.urandom(16), capacity, now_ms())
            self.segments.append(segment.publish(self._disk, new))
            self.active = new
        else:
            self._reopen_to_append()
            # Not earlier: only now the group that records this base is certain to be on the medium.
            while self.segments[0].number < self.base:
                remove_oldest(self._disk, self.segments.pop(0))

    def _reopen_to_append(self) -> None:
        assert self.active is not None
        index = self.segments.index(self.active)
        for at in range(index, len(self.segments)):
            found = self.segments[at]
            found.file.close()
            self.segments[at] = Segment(self._disk.open(found.path, write=True), found.header)
        self.active = self.segments[index]
        with no_room_is_disk_full(f"no room for all of {self.active.path}"):
            self.active.file.allocate(self.active.header.capacity)  # a copied file may have holes
        # The bytes just read may be in the page cache only: the process was killed before its sync, or the sync failed.
        # After a failed sync the kernel may consider the pages clean, and another sync would do nothing. The broker
        # acts on these bytes from here on, so they are written again and synced. That concerns the newest groups of the
        # active segment or, while it has none, those of the segment before.
        first = index - 1 if self.offset == frame.SEGMENT_HEADER_BYTES and index > 0 else index
        for found in self.segments[first : index + 1]:
            start, end = self._unproven.get(found.number, (0, 0))  # a segment before the mark is proved
            file = found.file if found is self.active else self._disk.open(found.path, write=True)
            file.write(file.read(end - start, start), start)
            file.sync()
            if file is not found.file:
                file.close()
        self._disk.sync_folder(self._folder)

    def _cut_torn_tail(self) -> None:
        assert self.active is not None
        source = self.active.path
        aside = self._folder / TORN_FOLDER
        torn = self.active.file.read(self.torn_bytes, self.offset)
        name = f"{source.stem}-{self.offset}-{crc32(torn):08x}.bin"
        with no_room_is_disk_full(f"no room to set aside the torn tail of {source}"):
            self._disk.make_folder(aside)
            copy = self._disk.create(aside / name)
            copy.write(torn, 0)
            copy.sync()
            copy.close()
            self._disk.sync_folder(aside)
        # Zeros instead of a shorter file: the length distinguishes a truncated segment from a torn one.
        file = self._disk.open(source, write=True)
        file.write(bytes(self.torn_bytes), self.offset)
        file.sync()
        file.close()
        logger.warning(
            "cut off a torn tail of %d bytes at %s, byte %d: it was never acknowledged; a copy is in %s/%s",
            self.torn_bytes,
            source,
            self.offset,
            TORN_FOLDER,
            name,
        )


def wall_clock_ms() -> int:
    """Return the wall clock's time in ms since 1970."""
    return time.time_ns() // 1_000_000
