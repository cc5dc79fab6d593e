"""Redrive: the waiting and buried messages of a queue are moved to another one, or back to where each came from.

A move is a task that goes on portion by portion, also after a restart: how far it has come stands in a METADATA record that is
written together with each portion, so no message is moved, or counted, twice. The keeper (`wonderq.broker.housekeeping`) drives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, Literal, Self
from uuid import uuid4

from wonderq.broker.core import DELETE_LEAVES, PRODUCE_LEAVES, Core
from wonderq.broker.transfers import LoadedMessage, Transfer, Transfers, portion_of
from wonderq.model.errors import InvalidValueError, RedriveNotFoundError, RedriveRunningError
from wonderq.model.messages import has_attribute
from wonderq.model.status import BURIED, WAITING
from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.record import Record
from wonderq.state.state import Queue, State

#: The space of records that has redrives, by id.
NAMESPACE = "move"

#: So many moves of a queue that have ended are kept, to be looked at.
KEPT = 10

#: How much is moved while the broker's lock is held.
_PORTION_MESSAGES = 100
_PORTION_BYTES = 256 << 10

#: A move with a rate goes on this often each second, if it is to move so many messages.
_PORTIONS_PER_SECOND = 10

MAX_PER_SECOND = 1_000_000
MAX_FILTER_CHARACTERS = 1024

_MOVABLE = (WAITING, BURIED)

Status = Literal["running", "completed", "cancelled", "failed"]


@dataclass(frozen=True)
class Redrive:
    """One redrive, as it is by now."""

    id: str
    source: str
    destination: str | None
    """None: each message goes to the queue that its `DeadLetterSource` names."""
    status: Status
    moved: int
    """In a dry run: that would be moved."""
    skipped: int
    """Messages that it came to, and left: others than were asked for, without a way back, or claimed or delayed just then."""
    total: int
    """How many messages waited or were buried when it began."""
    per_second: int | None
    limit: int | None
    """It ends when so many were moved."""
    contains: str | None
    """Only messages with this in their text are moved."""
    attribute: str | None
    """Only those with this attribute; see `has_attribute`."""
    dry_run: bool
    started_ms: int
    ended_ms: int | None
    failure: str | None
    queue_number: int
    next_sequence: int
    """It has come to all messages of the source below this."""
    end_sequence: int
    """It does not come to those that were produced after it began: from here on."""

    def to_record(self) -> dict[str, Any]:
        value = asdict(self)
        del value["id"]
        return value

    @classmethod
    def from_record(cls, redrive_id: str, value: Any) -> Self:
        return cls(redrive_id, **value)

    def wants(self, message: LoadedMessage) -> bool:
        """Tell whether a message is one that is to be moved."""
        if self.contains is not None and self.contains not in message.body:
            return False
        return self.attribute is None or has_attribute(message.headers.get("attributes", {}), self.attribute)

    def target_of(self, message: LoadedMessage) -> str | None:
        """Return the queue that a message is to go to, if it is known."""
        origin = message.headers.get("origin")
        return self.destination or (origin[0] if origin else None)

    @property
    def portion_messages(self) -> int:
        """How many messages it may move at once."""
        most = _PORTION_MESSAGES
        if self.per_second is not None:
            most = min(most, max(self.per_second // _PORTIONS_PER_SECOND, 1))
        return most if self.limit is None else min(most, self.limit - self.moved)


class Redrives:
    """All moves of a broker. Methods may be called from any thread, but `run` by one alone."""

    def __init__(self, core: Core, transfers: Transfers) -> None:
        self._core = core
        self._transfers = transfers
        with core.locked() as (state, _, now_ms):
            records = state.metadata.get(NAMESPACE, {})
            # When each of those that run goes on, in ms. Changed under the broker's lock.
            self._running = {name: now_ms for name, note in records.items() if note.value["status"] == "running"}

    @property
    def running(self) -> int:
        """How many are under way."""
        return len(self._running)

    def start(
        self,
        source: str,
        destination: str | None = None,
        *,
        per_second: int | None = None,
        limit: int | None = None,
        contains: str | None = None,
        attribute: str | None = None,
        dry_run: bool = False,
    ) -> str:
        """Begin to move messages of a queue, and return the move's id.

        It moves those that wait or are buried now, and at most ``per_second`` of them in a second; claimed and delayed ones
        stay. Moved, a message has never been claimed, and has no origin.

        Raises:
            QueueNotFoundError: the source is not there, or the destination.
            RedriveRunningError: another move of the source has not ended.
            InvalidValueError: something is out of range.
        """
        _check(per_second, limit, contains, attribute)
        if destination == source:
            raise InvalidValueError("destination", "The destination must be another queue than the source.")
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            queue = self._core.find_queue(source)
            if destination is not None:
                self._core.find_queue(destination)
            for each in _redrives_of(state, queue.number):
                if each.status == "running":
                    raise RedriveRunningError(source, each.id)
            messages = queue.messages
            self._core.advance(queue, now_ms)
            redrive = Redrive(
                id=str(uuid4()),
                source=source,
                destination=destination,
                status="running",
                moved=0,
                skipped=0,
                total=sum(messages.counts[status] for status in _MOVABLE),
                per_second=per_second,
                limit=limit,
                contains=contains,
                attribute=attribute,
                dry_run=dry_run,
                started_ms=now_ms,
                ended_ms=None,
                failure=None,
                queue_number=queue.number,
                next_sequence=0,
                end_sequence=messages.next_sequence,
            )
            append_and_apply(_metadata(redrive, now_ms), leave=PRODUCE_LEAVES)
            self._running[redrive.id] = now_ms
        return redrive.id

    def list(self, source: str) -> Sequence[Redrive]:
        """Return the moves of a queue, the newest first: the one that runs, and those that ended last."""
        with self._core.durable_transaction() as (state, _, _):
            return _redrives_of(state, self._core.find_queue(source).number)

    def get(self, redrive_id: str) -> Redrive:
        """Return a redrive.

        Raises:
            RedriveNotFoundError: there is none with this id.
        """
        with self._core.durable_transaction() as (state, _, _):
            return _find(state, redrive_id)

    def cancel(self, redrive_id: str) -> Redrive:
        """End a move where it is, and return it; one that has ended stays as it is. What was moved stays moved."""
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            redrive = _find(state, redrive_id)
            if redrive.status == "running":
                redrive = replace(redrive, status="cancelled", ended_ms=now_ms)
                append_and_apply(*self._records(state, redrive, now_ms), leave=DELETE_LEAVES)
        return redrive

    def run(self) -> float:
        """Move a portion of each move that is due; returns after how many seconds there is more to do."""
        with self._core.locked() as (_, _, now_ms):
            due = [redrive_id for redrive_id, due_ms in self._running.items() if due_ms <= now_ms]
        for redrive_id in due:
            self._go_on(redrive_id)
        with self._core.locked() as (_, _, now_ms):
            return max(min(self._running.values(), default=inf) - now_ms, 0) / 1000

    def _go_on(self, redrive_id: str) -> None:
        with self._core.locked() as (state, _, now_ms):
            if redrive_id not in self._running:
                return
            redrive = _find(state, redrive_id)
            queue = state.find(redrive.queue_number)
            views: list[MessageView] = []
            if queue is not None:
                self._core.advance(queue, now_ms)
                after = queue.messages.after(redrive.next_sequence - 1, _PORTION_MESSAGES)
                views = [view for view in after if view.sequence < redrive.end_sequence]
                if views:
                    views = views[: portion_of(views, _PORTION_MESSAGES, _PORTION_BYTES)]
        loaded: dict[int, LoadedMessage] = {}
        movable = [view for view in views if view.status in _MOVABLE]
        if queue is not None and movable:
            loaded = {each.view.sequence: each for each in self._transfers.load_messages(queue, movable)}
        wanted = {sequence for sequence, message in loaded.items() if redrive.wants(message)}
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            if redrive_id not in self._running:
                return  # it was cancelled meanwhile
            if queue is None or state.find(queue.number) is not queue:
                gone = [
                    record.Metadata(record.METADATA, now_ms, NAMESPACE, each.id, None)
                    for each in _redrives_of(state, redrive.queue_number)
                ]
                append_and_apply(*gone, leave=DELETE_LEAVES)
                del self._running[redrive_id]
                return
            self._core.advance(queue, now_ms)
            transfers: Sequence[Transfer] = []
            if redrive.destination is not None and redrive.destination not in state.queues:
                failure = f"The queue {redrive.destination} was deleted."
                redrive = replace(redrive, status="failed", failure=failure, ended_ms=now_ms)
            elif not views or redrive.portion_messages <= 0:
                redrive = replace(redrive, status="completed", ended_ms=now_ms)
            else:
                redrive, transfers = self._choose(state, queue, redrive, views, loaded, wanted)
            records = self._records(state, redrive, now_ms)
            if transfers and not redrive.dry_run:
                self._transfers.move(queue, now_ms, transfers, records, leave=PRODUCE_LEAVES)
                if redrive.per_second is not None:
                    self._running[redrive_id] = now_ms + -(-1000 * len(transfers) // redrive.per_second)
            else:
                append_and_apply(*records, leave=PRODUCE_LEAVES)

    def _choose(
        self,
        state: State,
        queue: Queue,
        redrive: Redrive,
        views: Sequence[MessageView],
        loaded: dict[int, LoadedMessage],
        wanted: set[int],
    ) -> tuple[Redrive, Sequence[Transfer]]:
        """Return what redrives, of messages as they were looked at, and how far the move has come with that."""
        transfers: list[Transfer] = []
        skipped, come_to = 0, redrive.next_sequence
        for view in views:
            if len(transfers) == redrive.portion_messages:
                break
            message = loaded.get(view.sequence)
            if message is not None and self._transfers.is_unchanged(queue, message):
                target = redrive.target_of(message) if view.sequence in wanted else None
                if target is None or target == queue.name or target not in state.queues:
                    skipped += 1
                else:
                    headers = {name: value for name, value in message.headers.items() if name != "origin"}
                    transfers.append(Transfer(message, target, headers))
            else:
                found = queue.messages.find(view.sequence)
                if found is not None and found.status in _MOVABLE:
                    break  # it has come back, or compaction has moved it in the log: it is looked at again
                skipped += found is not None
            come_to = view.sequence + 1
        return replace(
            redrive, moved=redrive.moved + len(transfers), skipped=redrive.skipped + skipped, next_sequence=come_to
        ), transfers

    def _records(self, state: State, redrive: Redrive, now_ms: int) -> Sequence[Record]:
        """Return the records that say how a move is by now; with one that has ended, another may be forgotten."""
        records: list[Record] = [_metadata(redrive, now_ms)]
        if redrive.status != "running":
            self._running.pop(redrive.id, None)
            others = [each for each in _redrives_of(state, redrive.queue_number) if each.id != redrive.id]
            records += [
                record.Metadata(record.METADATA, now_ms, NAMESPACE, each.id, None) for each in others[KEPT - 1 :]
            ]
        return records


def _check(per_second: int | None, limit: int | None, contains: str | None, attribute: str | None) -> None:
    if per_second is not None and not 1 <= per_second <= MAX_PER_SECOND:
        raise InvalidValueError("per_second", f"per_second must be from 1 to {MAX_PER_SECOND}.")
    if limit is not None and limit < 1:
        raise InvalidValueError("limit", "limit must be at least 1.")
    for field, text in (("contains", contains), ("attribute", attribute)):
        if text is not None and not 1 <= len(text) <= MAX_FILTER_CHARACTERS:
            raise InvalidValueError(field, f"{field} must have 1 to {MAX_FILTER_CHARACTERS} characters.")


def _metadata(redrive: Redrive, now_ms: int) -> Record:
    return record.Metadata(record.METADATA, now_ms, NAMESPACE, redrive.id, redrive.to_record())


def _find(state: State, redrive_id: str) -> Redrive:
    note = state.metadata.get(NAMESPACE, {}).get(redrive_id)
    if note is None:
        raise RedriveNotFoundError
    return Redrive.from_record(redrive_id, note.value)


def _redrives_of(state: State, queue_number: int) -> list[Redrive]:
    """Return the moves of a queue, the newest first."""
    records = state.metadata.get(NAMESPACE, {}).items()
    found = [
        Redrive.from_record(name, note.value) for name, note in records if note.value["queue_number"] == queue_number
    ]
    return sorted(found, key=lambda redrive: (redrive.started_ms, redrive.id), reverse=True)
