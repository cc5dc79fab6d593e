"""The segment files of a running log: those in use, and those whose disk space is reserved ahead of need."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from wonderq_storage import frame, segment
from wonderq_storage.disk import Disk
from wonderq_storage.errors import DiskFullError, LogFailedError, remedy
from wonderq_storage.segment import Segment

logger = logging.getLogger("wonderq.storage")

#: Bytes at the end of a segment that records never take: they are for a closing group, for one that records which
#: segments `FileLog.trim` drops, and for a seal.
TAIL_BYTES = 3 * frame.GROUP_HEADER_BYTES

#: On a nearly full disk a segment may be half of the usual size, or half of that, up to this many times.
_HALVINGS = 4


def record_room(capacity: int) -> int:
    """Return how many bytes of record frames the first group of an empty segment may hold."""
    return capacity - frame.SEGMENT_HEADER_BYTES - frame.GROUP_HEADER_BYTES - TAIL_BYTES


class SegmentFiles:
    """All segment files of a log.

    Threads: the caller holds ``mutex`` for every method but `get` and `publish`. Those two are for the leader of the
    group commit.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        mutex: threading.Lock,
        *,
        segment_bytes: int,
        smallest_bytes: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._mutex = mutex
        self._now_ms = now_ms
        self._segment_bytes = segment_bytes
        halves = (segment_bytes >> times for times in range(1, _HALVINGS + 1))
        self._sizes = [segment_bytes, *(size for size in halves if size >= smallest_bytes)]
        self._disk_full = False
        self._log_id = b""
        self._reserved: dict[int, Segment] = {}
        self.published: dict[int, Segment] = {}
        """Segments that are part of the log, by number."""
        self.spare: Segment | None = None
        """Empty segment that follows the one in use. It is reserved, or published and blank."""

    def open(self, segments: Sequence[Segment], spare: Segment | None) -> None:
        """Take over the segments that recovery read. ``spare`` is the blank one among them."""
        self._log_id = segments[0].header.log_id
        self.published = {each.number: each for each in segments}
        self.spare = spare if spare is not None and spare.header.version == frame.VERSION else None

    def get(self, number: int) -> Segment:
        """Return a segment, reserved or published."""
        return self._reserved.get(number) or self.published[number]

    def oldest(self) -> Segment:
        """Return the oldest published segment."""
        return self.published[min(self.published)]

    def spare_after(self, number: int, room: int = 0) -> Segment:
        """Return the spare that follows segment ``number``. Reserve one if there is none with ``room`` for records.

        Raises: as `reserve`.
        """
        spare = self.spare
        if spare is None or (spare.header.capacity < self._segment_bytes and room > record_room(spare.header.capacity)):
            return self.reserve(number, room)
        return spare

    def reserve(self, after: int, room: int = 0) -> Segment:
        """Reserve a new spare that follows segment ``after``.

        On a nearly full disk the spare is smaller than usual, but has ``room`` bytes for records.

        Raises:
            DiskFullError: the disk has no space for it.
            LogFailedError: the file could not be created for another reason.
        """
        number = after + 1
        if number in self.published:
            number += 1  # the published one has another size, and stays empty
        sizes = [size for size in self._sizes if room <= record_room(size)] or self._sizes[:1]
        try:
            if number in self._reserved:
                self._give_up(number, sizes[-1])
            new = self._reserve_first_fit(number, sizes)
        except DiskFullError:
            self._log_disk_full(True)
            raise
        except OSError as error:
            # The log itself is untouched, so the next append may try again (after too many open files, for example).
            reason = f"the next log segment could not be created: {error}. {remedy(error)}."
            raise LogFailedError(reason) from error
        self._log_disk_full(new.header.capacity < self._segment_bytes)
        self._reserved[number] = self.spare = new
        return new

    def _reserve_first_fit(self, number: int, sizes: Sequence[int]) -> Segment:
        now_ms = self._now_ms()
        *larger, smallest = sizes
        for size in larger:
            with suppress(DiskFullError):
                return segment.reserve(self._disk, self._folder, number, self._log_id, size, now_ms)
        return segment.reserve(self._disk, self._folder, number, self._log_id, smallest, now_ms)

    def _give_up(self, number: int, size: int) -> None:
        """Remove a reserved segment that is too small, if the disk then has space for one of ``size`` bytes."""
        small = self._reserved[number]
        if self._disk.free_bytes(self._folder) + small.header.capacity < size:
            raise DiskFullError(segment.no_room_message(self._folder, size))
        del self._reserved[number]
        self.spare = None
        small.file.close()
        self._disk.remove(small.path)

    def _log_disk_full(self, full: bool) -> None:
        if full and not self._disk_full:
            logger.warning("the disk of %s is full: no more records are accepted until there is room", self._folder)
        elif self._disk_full and not full:
            logger.warning("the disk of %s has room again", self._folder)
        self._disk_full = full

    def publish(self, target: Segment) -> None:
        """Make a reserved segment part of the log, durably. The caller does not hold the mutex."""
        if target.number not in self.published:
            segment.publish(self._disk, target)
            with self._mutex:
                self.published[target.number] = self._reserved.pop(target.number)

    def close(self, *, remove_reserved: bool) -> None:
        """Close all files."""
        for each in self._reserved.values():
            each.file.close()
            if remove_reserved:
                self._disk.remove(each.path)
        for each in self.published.values():
            each.file.close()
