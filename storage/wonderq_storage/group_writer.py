"""The written end of a log: encodes groups, writes and syncs them, and seals full segments."""

from __future__ import annotations

import time
from typing import NamedTuple

from wonderq_storage import frame
from wonderq_storage.observer import Observer
from wonderq_storage.recovery import Recovery
from wonderq_storage.segment import Segment
from wonderq_storage.segment_files import SegmentFiles


class Group:
    """Records gathered in memory, to be written and synced together."""

    def __init__(self, target: Segment, offset: int) -> None:
        self.target = target
        self.offset = offset
        self.records: list[bytes] = []
        self.length = 0

    @property
    def end(self) -> int:
        """Offset after the group, as if it were written now."""
        return self.offset + frame.GROUP_HEADER_BYTES + self.length if self.records else self.offset


class End(NamedTuple):
    """Place up to which the log is written."""

    number: int
    """Number of the segment written last."""
    offset: int
    """Offset in it after the last group."""
    newest_group: tuple[int, int, int, int, int]
    """Segment, offset, number and chain of the newest group, and the base of the group before it."""


class GroupWriter:
    """Writes groups in order, each chained to the one before it.

    Threads: only the leader of the group commit calls it, outside the log's mutex.
    """

    def __init__(self, recovery: Recovery, files: SegmentFiles, observer: Observer) -> None:
        assert recovery.active is not None
        self._files = files
        self._observer = observer
        self.active = recovery.active
        """Segment written last."""
        self.written = recovery.offset
        """Offset in it after the last group."""
        self.base = recovery.base
        """Oldest segment that the log needs; the next group records it."""
        self.durable_base = recovery.base
        """Newest base that a group on the medium records."""
        self._written_base = recovery.base
        self._number = recovery.number  # of the next group
        self._chain = recovery.chain
        self._durable = recovery.number - 1  # number of the newest group known to be on the medium
        self._newest_group = (self.active.number, self.written, self._number, self._chain, self._written_base)

    def end(self) -> End:
        """Return the place up to which the log is written."""
        return End(self.active.number, self.written, self._newest_group)

    def write(self, group: Group) -> None:
        """Write a group to the segment it was gathered for."""
        self.advance_to(group.target)
        self._put(frame.GROUP, group.records)

    def write_closing_group(self) -> None:
        """Write a group without records and sync it: it records that all groups before it are durable."""
        self._put(frame.GROUP, [])
        self.sync()

    def _put(self, kind: int, records: list[bytes]) -> None:
        base = self.base
        self._newest_group = (self.active.number, self.written, self._number, self._chain, self._written_base)
        data, self._chain = frame.pack_group(
            self.active.header.crc,
            records,
            kind=kind,
            offset=self.written,
            base=base,
            number=self._number,
            durable=self._durable,
            chain=self._chain,
        )
        self.active.file.write(data, self.written)
        self.written += len(data)
        self._number += 1
        self._written_base = base
        if records:
            self._observer.group(len(records), len(data))

    def sync(self) -> None:
        """Sync all groups that are written."""
        if self._durable < self._number - 1:
            began_s = time.monotonic()
            self.active.file.sync()
            self._observer.sync(time.monotonic() - began_s)
            self._durable = self._number - 1
            self.durable_base = self._written_base

    def advance_to(self, target: Segment) -> None:
        """Continue in ``target``. Segments in between stay empty, and are sealed."""
        while self.active is not target:
            self._rotate(self._files.get(self.active.number + 1))

    def _rotate(self, target: Segment) -> None:
        """Seal the active segment and continue in ``target``."""
        # Before the seal is written: a sealed segment without a successor is refused.
        self._files.publish(target)
        self._put(frame.SEAL, [])
        self.sync()
        self.active.file.truncate(self.written)
        self.active = target
        self.written = frame.SEGMENT_HEADER_BYTES
