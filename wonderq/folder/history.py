"""The history of one message: the changes that each record and each passed deadline made to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wonderq.folder.verify import entries_of
from wonderq.model.ids import Ids
from wonderq.model.status import BURIED, CLAIMED, DELAYED, WAITING
from wonderq.state import record
from wonderq.state.record import Runs
from wonderq_storage.salvage import Found

_STATUS = {WAITING: "released", CLAIMED: "renewed", DELAYED: "delayed", BURIED: "buried"}


class Event(NamedTuple):
    """A change of the message."""

    at_ms: int
    what: str
    detail: dict[str, Any]
    file: str | None
    """Name of the file that contains the record, or None for a passed deadline."""
    offset: int | None


class History:
    """Tracks one message through the records of a log, in order."""

    def __init__(self, ids: Ids, queue: int, sequence: int) -> None:
        self._ids = ids
        self._queue = queue
        self._sequence = sequence
        self._status = 0
        self._due_ms = 0
        self._receives = 0
        self._token = 0
        self._entry = b""

    def add(self, found: Found, fields: list[Any]) -> Iterator[Event]:
        """Yield the changes that a record, and the deadlines before it, made to the message."""
        kind, at_ms = fields[:2]
        if kind in (record.IDENTITY, record.METADATA) or fields[2] != self._queue:
            return
        yield from self.until(at_ms)  # any record of the queue shows that its clock has reached this time
        for what, detail in self._events(kind, at_ms, fields):
            yield Event(at_ms, what, detail, found.path.name, found.offset)

    def until(self, now_ms: int) -> Iterator[Event]:
        """Yield the end of a claim or delay whose deadline has passed at ``now_ms``."""
        if self._status in (CLAIMED, DELAYED) and self._due_ms <= now_ms:
            yield Event(self._due_ms, "expired" if self._status == CLAIMED else "due", {}, None, None)
            self._status = WAITING

    def _events(self, kind: int, at_ms: int, fields: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        if kind in (record.PRODUCE, record.SEND):
            index = self._sequence - fields[3]
            if 0 <= index < len(fields[5]):
                self._entry = self._entry_in(fields)
                due = fields[4][index] if fields[4] else 0
                self._set(DELAYED if due > at_ms else WAITING, due)
                yield "produced", {"bytes": len(self._entry), **({"delayed_until_ms": due} if due > at_ms else {})}
        elif kind == record.CLAIM and _in_runs(self._sequence, fields[3]):
            self._receives += 1
            self._token = fields[5]
            self._set(CLAIMED, at_ms + fields[4])
            yield "claimed", {"receipt": self._receipt(), "until_ms": self._due_ms, "receive_count": self._receives}
        elif kind == record.DELETE and _in_runs(self._sequence, fields[3]):
            self._status = 0
            yield "deleted", {}
        elif kind == record.UPDATE:
            yield from self._updates(fields)
        elif kind == record.PURGE and self._sequence < fields[3]:
            self._status = 0
            yield "purged", {}
        elif kind == record.DROP:
            self._status = 0
            yield "queue deleted", {}

    def _updates(self, fields: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for sequence, status, due, *_ in fields[3]:
            if sequence == self._sequence:
                self._set(status, due)
                if status != CLAIMED:
                    self._token = 0
                yield _STATUS[status], {"until_ms": due} if status in (CLAIMED, DELAYED) else {}
        if _in_runs(self._sequence, fields[4]):
            claims = {claim[0]: claim[1:] for claim in fields[7]}
            status, due, _, receives, token, *_ = claims.get(self._sequence, (WAITING, 0, 0, 0, 0))
            entry = self._entry_in(fields)
            before = self._status
            same = (entry, status, receives, token) == (self._entry, before, self._receives, self._token)
            self._entry, self._receives, self._token = entry, receives, token
            self._set(status, due)
            what = "restated" if same or not before else "updated"
            produced = {"produced_at_ms": self._produced_ms(fields)} if what == "restated" else {}
            yield what, {"bytes": len(entry), "receive_count": receives, **produced, **self._claim()}

    def _claim(self) -> dict[str, Any]:
        if self._status == CLAIMED:
            return {"receipt": self._receipt(), "until_ms": self._due_ms}
        return {"until_ms": self._due_ms} if self._status == DELAYED else {}

    def _set(self, status: int, due_ms: int) -> None:
        self._status, self._due_ms = status, due_ms

    def _receipt(self) -> str:
        return self._ids.receipt(self._queue, self._sequence, self._token)

    def _produced_ms(self, fields: list[Any]) -> int:
        sequences = record.from_runs(fields[4])
        by_sequence: dict[int, int] = dict(zip(sequences, fields[5], strict=True))
        return by_sequence[self._sequence]

    def _entry_in(self, fields: list[Any]) -> bytes:
        return next(entry for _, sequence, entry in entries_of(fields) if sequence == self._sequence)


def _in_runs(sequence: int, runs: Runs) -> bool:
    return any(first <= sequence < first + count for first, count in zip(runs[::2], runs[1::2], strict=True))
