"""Messages that a damaged log is known to have lost: used numbers that no later record rewrites or deletes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import add
from typing import Any

from wonderq.state import record

_Runs = list[tuple[int, int]]


class Losses:
    """Finds lost messages in the remaining records of a log, which it takes in order."""

    def __init__(self, *, from_beginning: bool) -> None:
        """``from_beginning``: the log's first segment exists. Otherwise a queue may begin at any number."""
        self._from_beginning = from_beginning
        self.next_sequence: dict[int, int] = {}
        """By queue: a number above all numbers known to be used."""
        self.lost: dict[int, _Runs] = {}
        """By queue: ranges of lost messages, as first number and number behind the last."""
        self.unknown_below: dict[int, int] = {}
        """By queue: the first number that a record mentions, in a log whose beginning is missing."""

    def add(self, fields: Sequence[Any], *, damaged: bool) -> None:
        """Take in a record; ``damaged`` means that something before it did not verify."""
        kind = fields[0]
        if kind in (record.IDENTITY, record.METADATA):
            return
        queue = fields[2]
        if kind == record.QUEUE:
            self._reach(queue, fields[6], damaged)
        elif kind in (record.PRODUCE, record.SEND):
            self._reach(queue, fields[3], damaged)
            self.next_sequence[queue] = max(self.next_sequence[queue], fields[3] + len(fields[5]))
        elif kind in (record.CLAIM, record.DELETE):
            runs = fields[3]
            self._reach(queue, max(map(add, runs[::2], runs[1::2]), default=0), damaged)
            if kind == record.DELETE:
                self._found(queue, zip(runs[::2], runs[1::2], strict=True))
        elif kind == record.UPDATE:
            changes, runs = fields[3], fields[4]
            restated = list(zip(runs[::2], runs[1::2], strict=True))
            named = [each[0] + 1 for each in changes] + [first + count for first, count in restated]
            self._reach(queue, max(named, default=0), damaged)
            self._found(queue, restated)
        elif kind == record.PURGE:
            self._reach(queue, fields[3], damaged)
            self._found(queue, [(0, fields[3])])
        elif kind == record.DROP:
            for known in (self.lost, self.next_sequence, self.unknown_below):
                known.pop(queue, None)

    def lose(self, queue: int, sequences: Iterable[int]) -> None:
        """Add messages whose record verifies, but whose contents could not be read."""
        for sequence in sequences:
            self._found(queue, [(sequence, 1)])
            self.lost[queue] = sorted([*self.lost.get(queue, ()), (sequence, sequence + 1)])

    def count(self) -> int:
        return sum(end - start for runs in self.lost.values() for start, end in runs)

    def _reach(self, queue: int, sequence: int, damaged: bool) -> None:
        """Record that every number below ``sequence`` has been used."""
        known = self.next_sequence.get(queue)
        if known is None:
            known = 0
            if not self._from_beginning:
                self.unknown_below[queue] = known = sequence
        if sequence > known and damaged:
            self.lost.setdefault(queue, []).append((known, sequence))
        self.next_sequence[queue] = max(known, sequence)

    def _found(self, queue: int, runs: Iterable[tuple[int, int]]) -> None:
        """Remove messages from the lost ones: a later record deletes or rewrites them."""
        lost = self.lost.get(queue)
        if not lost:
            return
        for first, count in runs:
            left: _Runs = []
            for start, end in lost:
                left += [(a, b) for a, b in ((start, min(end, first)), (max(start, first + count), end)) if a < b]
            lost = left
        self.lost[queue] = lost
