"""Messages that a damaged log is known to have lost: used numbers that no later record rewrites or deletes."""

from __future__ import annotations

from collections.abc import Iterable
from operator import add

from wonderq.state import record, record_contents
from wonderq.state.record import Record

_Runs = list[tuple[int, int]]


class Losses:
    """Finds lost messages in the remaining records of a log, which it takes in order."""

    def __init__(self, *, from_beginning: bool) -> None:
        """``from_beginning``: the log's first segment exists. Otherwise a queue may begin at any number."""
        self._from_beginning = from_beginning
        self.next_sequence: dict[int, int] = {}
        """By queue: a number above all numbers known to be used."""
        self.lost: dict[int, _Runs] = {}
        """By queue: ranges of lost messages, as first number and number after the last."""
        self.unknown_below: dict[int, int] = {}
        """By queue: the first number that a record mentions, in a log whose beginning is missing."""

    def add(self, read: Record, *, damaged: bool) -> None:
        """Process a record. ``damaged``: something before it did not verify."""
        match read:
            case record.DefineQueue():
                self._reach(read.queue, read.next_sequence, damaged)
            case record.Produce() | record.Send():
                self._reach(read.queue, read.first, damaged)
                end = read.first + len(read.lengths)
                self.next_sequence[read.queue] = max(self.next_sequence[read.queue], end)
            case record.Claim() | record.NamedClaim() | record.Delete():
                runs = read.runs
                self._reach(read.queue, max(map(add, runs[::2], runs[1::2]), default=0), damaged)
                if isinstance(read, record.Delete):
                    self._found(read.queue, zip(runs[::2], runs[1::2], strict=True))
            case record.Update():
                rewritten = list(zip(read.runs[::2], read.runs[1::2], strict=True))
                named = [sequence + 1 for sequence, *_ in read.changes] + [first + count for first, count in rewritten]
                self._reach(read.queue, max(named, default=0), damaged)
                self._found(read.queue, rewritten)
            case record.Publish():
                for queue, _, _, sequences in record_contents.sharers_of(read):
                    self._reach(queue, sequences[0], damaged)
                    self.next_sequence[queue] = max(self.next_sequence[queue], sequences[-1] + 1)
            case record.Restate():
                for queue, _, _, sequences in record_contents.sharers_of(read):
                    self._reach(queue, sequences[-1] + 1, damaged)
                    self._found(queue, ((sequence, 1) for sequence in sequences))
            case record.Purge():
                self._reach(read.queue, read.end, damaged)
                self._found(read.queue, [(0, read.end)])
            case record.Drop():
                for known in (self.lost, self.next_sequence, self.unknown_below):
                    known.pop(read.queue, None)

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
