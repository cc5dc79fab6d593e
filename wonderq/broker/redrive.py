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

from wonderq.broker.core import DELETE_LEAVES, PRODUCE_LEAVES
from wonderq.broker.transfers import LoadedMessage, Moving, Transfer, portion_of
from wonderq.model.attributes import has_attribute
from wonderq.model.errors import InvalidValueError, QueueNotFoundError, RedriveNotFoundError, RedriveRunningError
from wonderq.model.status import BURIED, WAITING
from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.record import Record
from wonderq.state.state import Queue, State

#: The space of notes that has moves, by id.
SPACE = "move"

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
    """One move, as it is by now."""

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
    def from_record(cls, move_id: str, value: Any) -> Self:
        return cls(move_id, **value)

    def wants(self, letter: LoadedMessage) -> bool:
        """Tell whether a message is one that is to be moved."""
        if self.contains is not None and self.contains not in letter.body:
            return False
        return self.attribute is None or has_attribute(letter.headers.get("attributes", {}), self.attribute)

    def target_of(self, letter: LoadedMessage) -> str | None:
        """Return the queue that a message is to go to, if it is known."""
        origin = letter.headers.get("origin")
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

    def __init__(self, broker: Moving) -> None:
        self._broker = broker
        with broker.locked() as (state, _, now_ms):
            notes = state.metadata.get(SPACE, {})
            # When each of those that run goes on, in ms. Changed under the broker's lock.
            self._running = {name: now_ms for name, note in notes.items() if note.value["status"] == "running"}

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
        with self._broker.transaction() as (state, commit, now_ms):
            queue = _find_queue(state, source)
            if destination is not None:
                _find_queue(state, destination)
            for each in _moves_of(state, queue.number):
                if each.status == "running":
                    raise RedriveRunningError(source, each.id)
            messages = queue.messages
            messages.advance(now_ms)
            move = Redrive(
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
            commit(_note(move, now_ms), leave=PRODUCE_LEAVES)
            self._running[move.id] = now_ms
        return move.id

    def list(self, source: str) -> Sequence[Redrive]:
        """Return the moves of a queue, the newest first: the one that runs, and those that ended last."""
        with self._broker.transaction() as (state, _, _):
            return _moves_of(state, _find_queue(state, source).number)

    def get(self, move_id: str) -> Redrive:
        """Return a move.

        Raises:
            RedriveNotFoundError: there is none with this id.
        """
        with self._broker.transaction() as (state, _, _):
            return _find(state, move_id)

    def cancel(self, move_id: str) -> Redrive:
        """End a move where it is, and return it; one that has ended stays as it is. What was moved stays moved."""
        with self._broker.transaction() as (state, commit, now_ms):
            move = _find(state, move_id)
            if move.status == "running":
                move = replace(move, status="cancelled", ended_ms=now_ms)
                commit(*self._notes(state, move, now_ms), leave=DELETE_LEAVES)
        return move

    def run(self) -> float:
        """Move a portion of each move that is due; returns after how many seconds there is more to do."""
        with self._broker.locked() as (_, _, now_ms):
            due = [move_id for move_id, due_ms in self._running.items() if due_ms <= now_ms]
        for move_id in due:
            self._go_on(move_id)
        with self._broker.locked() as (_, _, now_ms):
            return max(min(self._running.values(), default=inf) - now_ms, 0) / 1000

    def _go_on(self, move_id: str) -> None:
        with self._broker.locked() as (state, _, now_ms):
            if move_id not in self._running:
                return
            move = _find(state, move_id)
            queue = state.find(move.queue_number)
            views: list[MessageView] = []
            if queue is not None:
                queue.messages.advance(now_ms)
                after = queue.messages.after(move.next_sequence - 1, _PORTION_MESSAGES)
                views = [view for view in after if view.sequence < move.end_sequence]
                if views:
                    views = views[: portion_of(views, _PORTION_MESSAGES, _PORTION_BYTES)]
        letters: dict[int, LoadedMessage] = {}
        movable = [view for view in views if view.status in _MOVABLE]
        if queue is not None and movable:
            letters = {each.view.sequence: each for each in self._broker.load_messages(queue, movable)}
        wanted = {sequence for sequence, letter in letters.items() if move.wants(letter)}
        with self._broker.transaction() as (state, commit, now_ms):
            if move_id not in self._running:
                return  # it was cancelled meanwhile
            if queue is None or state.find(queue.number) is not queue:
                gone = [
                    record.Metadata(record.METADATA, now_ms, SPACE, each.id, None)
                    for each in _moves_of(state, move.queue_number)
                ]
                commit(*gone, leave=DELETE_LEAVES)
                del self._running[move_id]
                return
            queue.messages.advance(now_ms)
            going: Sequence[Transfer] = []
            if move.destination is not None and move.destination not in state.queues:
                failure = f"The queue {move.destination} was deleted."
                move = replace(move, status="failed", failure=failure, ended_ms=now_ms)
            elif not views or move.portion_messages <= 0:
                move = replace(move, status="completed", ended_ms=now_ms)
            else:
                move, going = self._choose(state, queue, move, views, letters, wanted)
            notes = self._notes(state, move, now_ms)
            if going and not move.dry_run:
                self._broker.move(queue, now_ms, going, notes, leave=PRODUCE_LEAVES)
                if move.per_second is not None:
                    self._running[move_id] = now_ms + -(-1000 * len(going) // move.per_second)
            else:
                commit(*notes, leave=PRODUCE_LEAVES)

    def _choose(
        self,
        state: State,
        queue: Queue,
        move: Redrive,
        views: Sequence[MessageView],
        letters: dict[int, LoadedMessage],
        wanted: set[int],
    ) -> tuple[Redrive, Sequence[Transfer]]:
        """Return what moves, of messages as they were looked at, and how far the move has come with that."""
        going: list[Transfer] = []
        skipped, come_to = 0, move.next_sequence
        for view in views:
            if len(going) == move.portion_messages:
                break
            letter = letters.get(view.sequence)
            if letter is not None and self._broker.is_unchanged(queue, letter):
                target = move.target_of(letter) if view.sequence in wanted else None
                if target is None or target == queue.name or target not in state.queues:
                    skipped += 1
                else:
                    headers = {name: value for name, value in letter.headers.items() if name != "origin"}
                    going.append(Transfer(letter, target, headers))
            else:
                found = queue.messages.find(view.sequence)
                if found is not None and found.status in _MOVABLE:
                    break  # it has come back, or compaction has moved it in the log: it is looked at again
                skipped += found is not None
            come_to = view.sequence + 1
        return replace(
            move, moved=move.moved + len(going), skipped=move.skipped + skipped, next_sequence=come_to
        ), going

    def _notes(self, state: State, move: Redrive, now_ms: int) -> Sequence[Record]:
        """Return the records that say how a move is by now; with one that has ended, another may be forgotten."""
        notes: list[Record] = [_note(move, now_ms)]
        if move.status != "running":
            self._running.pop(move.id, None)
            others = [each for each in _moves_of(state, move.queue_number) if each.id != move.id]
            notes += [record.Metadata(record.METADATA, now_ms, SPACE, each.id, None) for each in others[KEPT - 1 :]]
        return notes


def _check(per_second: int | None, limit: int | None, contains: str | None, attribute: str | None) -> None:
    if per_second is not None and not 1 <= per_second <= MAX_PER_SECOND:
        raise InvalidValueError("per_second", f"per_second must be from 1 to {MAX_PER_SECOND}.")
    if limit is not None and limit < 1:
        raise InvalidValueError("limit", "limit must be at least 1.")
    for field, text in (("contains", contains), ("attribute", attribute)):
        if text is not None and not 1 <= len(text) <= MAX_FILTER_CHARACTERS:
            raise InvalidValueError(field, f"{field} must have 1 to {MAX_FILTER_CHARACTERS} characters.")


def _note(move: Redrive, now_ms: int) -> Record:
    return record.Metadata(record.METADATA, now_ms, SPACE, move.id, move.to_record())


def _find(state: State, move_id: str) -> Redrive:
    note = state.metadata.get(SPACE, {}).get(move_id)
    if note is None:
        raise RedriveNotFoundError
    return Redrive.from_record(move_id, note.value)


def _find_queue(state: State, name: str) -> Queue:
    found = state.queues.get(name)
    if found is None:
        raise QueueNotFoundError(name)
    return found


def _moves_of(state: State, queue_number: int) -> list[Redrive]:
    """Return the moves of a queue, the newest first."""
    notes = state.metadata.get(SPACE, {}).items()
    found = [
        Redrive.from_record(name, note.value) for name, note in notes if note.value["queue_number"] == queue_number
    ]
    return sorted(found, key=lambda move: (move.started_ms, move.id), reverse=True)
