"""The history of one message: the changes that each record and each passed deadline made to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from wonderq.model.ids import Ids
from wonderq.model.status import BURIED, CLAIMED, DELAYED, WAITING
from wonderq.state import record, record_contents
from wonderq.state.record import MessageState, Record
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

    def add(self, found: Found, read: Record) -> Iterator[Event]:
        """Yield the changes that a record, and the deadlines before it, made to the message."""
        if not self._concerns(read):
            return
        yield from self.until(read.at_ms)  # any record of the queue shows that its clock has reached this time
        for what, detail in self._events(read):
            yield Event(read.at_ms, what, detail, found.path.name, found.offset)

    def _concerns(self, read: Record) -> bool:
        """Return whether a record may be about the queue of the message."""
        match read:
            case record.Identity() | record.Metadata() | record.DefineTopic() | record.Subscribe():
                return False
            case record.Publish() | record.Restate():
                return any(each.queue == self._queue for each in record_contents.sharers_of(read))
        return read.queue == self._queue

    def until(self, now_ms: int) -> Iterator[Event]:
        """Yield the end of a claim or delay whose deadline has passed at ``now_ms``."""
        if self._status in (CLAIMED, DELAYED) and self._due_ms <= now_ms:
            yield Event(self._due_ms, "expired" if self._status == CLAIMED else "due", {}, None, None)
            self._status = WAITING

    def _events(self, read: Record) -> Iterator[tuple[str, dict[str, Any]]]:
        match read:
            case record.Produce() | record.Send():
                yield from self._produced(read)
            case record.Claim() | record.NamedClaim() if _in_runs(self._sequence, read.runs):
                self._receives += 1
                self._token = read.token
                self._set(CLAIMED, read.at_ms + read.timeout_ms)
                named = {"consumer": read.consumer} if isinstance(read, record.NamedClaim) else {}
                claimed = {"receipt": self._receipt(), "until_ms": self._due_ms, "receive_count": self._receives}
                yield "claimed", {**claimed, **named}
            case record.Delete() if _in_runs(self._sequence, read.runs):
                self._status = 0
                yield "deleted", {}
            case record.Update():
                yield from self._updated(read)
            case record.Publish():
                yield from self._published(read)
            case record.Restate():
                yield from self._restated(read)
            case record.Purge() if self._sequence < read.end:
                self._status = 0
                yield "purged", {}
            case record.Drop():
                self._status = 0
                yield "queue deleted", {}

    def _produced(self, read: record.Produce | record.Send) -> Iterator[tuple[str, dict[str, Any]]]:
        index = self._sequence - read.first
        if 0 <= index < len(read.lengths):
            self._entry = self._entry_in(read)
            due_ms = read.due_ms[index] if read.due_ms else 0
            is_delayed = due_ms > read.at_ms
            self._set(DELAYED if is_delayed else WAITING, due_ms)
            yield "produced", {"bytes": len(self._entry), **({"delayed_until_ms": due_ms} if is_delayed else {})}

    def _published(self, read: record.Publish) -> Iterator[tuple[str, dict[str, Any]]]:
        for target, sharer in zip(read.targets, record_contents.sharers_of(read), strict=True):
            if sharer.queue == self._queue and self._sequence in sharer.sequences:
                self._entry = self._entry_in(read)
                index = sharer.indexes[sharer.sequences.index(self._sequence)]
                due_ms = (read.due_ms[index] if read.due_ms else 0) or target[3]
                is_delayed = due_ms > read.at_ms
                self._set(DELAYED if is_delayed else WAITING, due_ms)
                delayed = {"delayed_until_ms": due_ms} if is_delayed else {}
                yield "published", {"topic": read.topic, "bytes": len(self._entry), **delayed}

    def _restated(self, read: record.Restate) -> Iterator[tuple[str, dict[str, Any]]]:
        for part in map(record.Part._make, read.parts):
            if part.queue == self._queue and _in_runs(self._sequence, part.runs):
                yield from self._rewritten(part, self._entry_in(read))

    def _updated(self, read: record.Update) -> Iterator[tuple[str, dict[str, Any]]]:
        for sequence, status, due_ms, *_ in read.changes:
            if sequence == self._sequence:
                self._set(status, due_ms)
                if status != CLAIMED:
                    self._token = 0
                yield _STATUS[status], {"until_ms": due_ms} if status in (CLAIMED, DELAYED) else {}
        if _in_runs(self._sequence, read.runs):
            yield from self._rewritten(read, self._entry_in(read))

    def _rewritten(self, read: record.Update | record.Part, entry: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        pristine = MessageState(self._sequence, WAITING, 0, 0, 0, 0)
        states = {each.sequence: each for each in (MessageState(*claim) for claim in read.claims)}
        state = states.get(self._sequence, pristine)
        known = self._entry, self._status, self._receives, self._token
        is_same = not self._status or known == (entry, state.status, state.receives, state.token)
        self._entry, self._receives, self._token = entry, state.receives, state.token
        self._set(state.status, state.due_ms)
        what = "rewritten" if is_same else "updated"
        produced = {"produced_at_ms": self._produced_ms(read)} if is_same else {}
        yield what, {"bytes": len(entry), "receive_count": state.receives, **produced, **self._claim()}

    def _claim(self) -> dict[str, Any]:
        if self._status == CLAIMED:
            return {"receipt": self._receipt(), "until_ms": self._due_ms}
        return {"until_ms": self._due_ms} if self._status == DELAYED else {}

    def _set(self, status: int, due_ms: int) -> None:
        self._status, self._due_ms = status, due_ms

    def _receipt(self) -> str:
        return self._ids.receipt(self._queue, self._sequence, self._token)

    def _produced_ms(self, read: record.Update | record.Part) -> int:
        return dict(zip(record.from_runs(read.runs), read.produced_ms, strict=True))[self._sequence]

    def _entry_in(self, read: Record) -> bytes:
        return next(
            entry.data
            for entry in record_contents.entries_of(read)
            if (entry.queue, entry.sequence) == (self._queue, self._sequence)
        )


def _in_runs(sequence: int, runs: Sequence[int]) -> bool:
    return any(first <= sequence < first + count for first, count in zip(runs[::2], runs[1::2], strict=True))
