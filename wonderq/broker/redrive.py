"""Redrives: tasks that move the waiting and buried messages of a queue to another queue, or back to their sources.

A redrive proceeds in portions and continues after a restart. Its progress is a METADATA record that is appended
together with each portion, so no message is moved or counted twice. Housekeeping (`wonderq.broker.housekeeping`) runs
the portions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any, Literal, NamedTuple, Self
from uuid import uuid4

from wonderq.broker.core import DELETE_LEAVES, PRODUCE_LEAVES, Core
from wonderq.broker.reader import LoadedMessage, Reader
from wonderq.broker.transfers import Transfer, Transfers, portion_of, source_of, without_source
from wonderq.model.attributes import has_attribute
from wonderq.model.errors import (
    InvalidValueError,
    NotPermittedError,
    RedriveNotFoundError,
    RedriveRunningError,
    ShardUnavailableError,
    TooManyQueuesError,
)
from wonderq.model.permits import Permits, everything
from wonderq.model.status import BURIED, WAITING
from wonderq.model.times import ANY_TIME, Period
from wonderq.runtime.fibers import in_turns, sorted_in_turns
from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.record import Record
from wonderq.state.state import Queue, State

#: Namespace of the METADATA records of redrives. Their name is the redrive's id.
NAMESPACE = "move"

#: Number of finished redrives of a queue that are kept for inspection.
KEPT = 10

#: Redrives that a listing reads before other requests have their turn.
_READ_PER_TURN = 100

#: Size of a portion: the broker's lock is held while one is moved.
_PORTION_MESSAGES = 100
_PORTION_BYTES = 256 << 10

#: Portions per second of a redrive with a rate, if the rate is at least as many messages.
_PORTIONS_PER_SECOND = 10

#: Pause of a redrive that needs to ask a shard which does not answer.
_RETRY_MS = 1000

MAX_PER_SECOND = 1_000_000
MAX_FILTER_CHARACTERS = 1024

#: Statuses of messages that can be moved.
MOVABLE = (WAITING, BURIED)

Status = Literal["running", "completed", "cancelled", "failed"]


@dataclass(frozen=True)
class Redrive:
    """A redrive and its progress."""

    id: str
    source: str
    destination: str | None
    """Queue that gets the messages. None moves each message to the queue that its `DeadLetterSource` names."""
    status: Status
    moved: int
    """Messages moved so far. In a dry run, messages that would be moved."""
    skipped: int
    """Messages left in place: they did not match the filters, had no source, or were claimed or delayed."""
    total: int
    """Messages that were waiting or buried when the redrive started."""
    per_second: int | None
    limit: int | None
    """Number of moved messages at which the redrive ends."""
    contains: str | None
    """Text that the body of a message must contain to be moved."""
    attribute: str | None
    """Attribute that a message must have to be moved; see `has_attribute`."""
    dry_run: bool
    started_ms: int
    ended_ms: int | None
    failure: str | None
    queue_number: int
    next_sequence: int
    """Sequence number of the next message to inspect."""
    end_sequence: int
    """Sequence number at which the redrive ends: later messages were produced after it started."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Period in which a message must have come to be moved."""

    def to_record(self) -> dict[str, Any]:
        """Return the value of the redrive's METADATA record."""
        value = asdict(self)
        del value["id"]
        for name in ("since_ms", "until_ms"):  # earlier programs do not know them
            if value[name] is None:
                del value[name]
        return value

    @classmethod
    def from_record(cls, redrive_id: str, value: Any) -> Self:
        """Return the redrive of a METADATA record."""
        return cls(redrive_id, **value)

    def wants(self, message: LoadedMessage) -> bool:
        """Return whether a message matches the filters."""
        if not Period(self.since_ms, self.until_ms).has(message.view.produced_ms):
            return False
        if self.contains is not None and self.contains not in message.body:
            return False
        return self.attribute is None or has_attribute(message.headers.get("attributes", {}), self.attribute)

    def target_of(self, message: LoadedMessage) -> str | None:
        """Return the queue to move a message to, or None if the message has no source."""
        return self.destination or source_of(message)

    @property
    def portion_messages(self) -> int:
        """Most messages in the next portion."""
        most = _PORTION_MESSAGES
        if self.per_second is not None:
            most = min(most, max(self.per_second // _PORTIONS_PER_SECOND, 1))
        return most if self.limit is None else min(most, self.limit - self.moved)


class _Targets(NamedTuple):
    """Where the messages of a portion are to go."""

    of_message: Mapping[int, str | None]
    """By sequence number, for those that match the filters: the queue to move it to; None without one."""
    elsewhere: Collection[str]
    """The queues among them that are in other shards and exist."""


class Redrives:
    """All redrives of a broker. You may call methods from any thread, but `run` from one thread only."""

    def __init__(self, core: Core, reader: Reader, transfers: Transfers) -> None:
        self._core = core
        self._reader = reader
        self._transfers = transfers
        with core.locked() as (state, _, now_ms):
            stored = state.metadata.get(NAMESPACE, {})
            # Due time in ms of the next portion of each running redrive. Changed under the broker's lock. Earlier
            # programs kept the redrives of deleted queues: those are due too, to be deleted.
            self._running = {
                name: now_ms
                for name, each in stored.items()
                if each.value["status"] == "running" or state.find(each.value["queue_number"]) is None
            }
            # Ids of the redrives of each queue, by its number; some may have been deleted. Changed under the lock.
            self._by_queue: dict[int, list[str]] = {}
            for name, each in stored.items():
                self._by_queue.setdefault(each.value["queue_number"], []).append(name)

    @property
    def running(self) -> int:
        """Number of running redrives."""
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
        produced: Period = ANY_TIME,
        dry_run: bool = False,
        permits: Permits = everything,
    ) -> str:
        """Start to move messages of a queue, and return the redrive's id.

        The redrive moves messages that are waiting or buried now, at most ``per_second`` of them per second. Claimed
        and delayed messages stay. A moved message counts as never claimed and has no source. See `Redrive` for the
        filters. Without a destination the messages themselves name the queues to move to, so the client must be
        permitted all queues.

        Raises:
            NotPermittedError: the client may not use the destination.
            QueueNotFoundError: the source or the destination does not exist.
            ShardUnavailableError: the destination is in another shard, which does not answer.
            RedriveRunningError: another redrive of the source is running.
            InvalidValueError: an argument is out of range.
        """
        _check(per_second, limit, contains, attribute)
        if destination == source:
            raise InvalidValueError("destination", "The destination must be another queue than the source.")
        if destination is not None and not self._core.has_name(destination):
            check_destination(permits, destination)
            with self._core.transaction:
                self._core.find_queue(source)
            self._core.check_exists(destination)
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            check_destination(permits, destination)
            queue = self._core.find_queue(source)
            if destination is not None and self._core.has_name(destination):
                self._core.find_queue(destination)
            for each in self._redrives_of(state, queue.number):
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
                total=sum(messages.counts[status] for status in MOVABLE),
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
                since_ms=produced.since_ms,
                until_ms=produced.until_ms,
            )
            append_and_apply(_metadata(redrive, now_ms), leave=PRODUCE_LEAVES)
            self._by_queue.setdefault(queue.number, []).append(redrive.id)
            self._core.target_changes += 1
            self._running[redrive.id] = now_ms
        return redrive.id

    def list(self, source: str) -> Sequence[Redrive]:
        """Return the redrives of a queue, the newest first: the running one, and the last finished ones."""
        with self._core.durable_transaction() as (state, _, _):
            return self._redrives_of(state, self._core.find_queue(source).number)

    def list_all(self, permits: Permits = everything) -> Sequence[Redrive]:
        """Return the redrives of all queues that the client may use, the newest first, in any status."""
        with self._core.durable_transaction() as (state, _, _):
            stored = state.metadata.get(NAMESPACE, {}).copy()
        passed = in_turns(stored.items(), _READ_PER_TURN)
        found = [Redrive.from_record(name, each.value) for name, each in passed if permits(each.value["source"])]
        return list(sorted_in_turns(found, _age, reverse=True))

    def get(self, redrive_id: str, *, source: str | None = None, permits: Permits = everything) -> Redrive:
        """Return a redrive, of the queue ``source`` if that is given.

        Raises:
            RedriveNotFoundError: no redrive has this id, or its source is another queue, or is not permitted.
            QueueNotFoundError: the queue ``source`` does not exist.
        """
        with self._core.durable_transaction() as (state, _, _):
            return self._find_permitted(state, redrive_id, source, permits)

    def cancel(
        self, redrive_id: str, *, source: str | None = None, permits: Permits = everything
    ) -> tuple[Redrive, bool]:
        """Stop a redrive; return it, and whether it was running. Moved messages stay moved.

        Raises:
            RedriveNotFoundError, QueueNotFoundError: see `get`.
        """
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            redrive = self._find_permitted(state, redrive_id, source, permits)
            was_running = redrive.status == "running"
            if was_running:
                redrive = replace(redrive, status="cancelled", ended_ms=now_ms)
                append_and_apply(*self._records(state, redrive, now_ms), leave=DELETE_LEAVES)
                self._forget_if_ended(redrive)
        return redrive, was_running

    def _find_permitted(self, state: State, redrive_id: str, source: str | None, permits: Permits) -> Redrive:
        number = None if source is None else self._core.find_queue(source).number
        redrive = _find(state, redrive_id)
        if number not in (None, redrive.queue_number) or not permits(redrive.source):
            raise RedriveNotFoundError
        return redrive

    def append_drop(self, drop: record.Drop, also: Sequence[Record]) -> None:
        """Append the record that deletes a queue, with those that delete its redrives, and others, under the lock."""
        redrives = self._redrives_of(self._core.state, drop.queue)
        self._core.append_and_apply(drop, *(_deleted(each.id, drop.at_ms) for each in redrives), *also)
        self._by_queue.pop(drop.queue, None)
        for each in redrives:
            self._running.pop(each.id, None)

    def run(self) -> float:
        """Move one portion of each redrive that is due; return the seconds until the next portion is due."""
        with self._core.locked() as (_, _, now_ms):
            due = [redrive_id for redrive_id, due_ms in self._running.items() if due_ms <= now_ms]
        for redrive_id in due:
            self._go_on(redrive_id)
        with self._core.locked() as (_, _, now_ms):
            return max(min(self._running.values(), default=inf) - now_ms, 0) / 1000

    def _go_on(self, redrive_id: str) -> None:
        found = self._look(redrive_id)
        if found is None:
            return
        redrive, queue, views = found
        loaded: dict[int, LoadedMessage] = {}
        movable = [view for view in views if view.status in MOVABLE]
        if queue is not None and movable:
            loaded = {each.view.sequence: each for each in self._reader.load(queue, movable)}
        # Filters run outside the lock: they may read megabytes of text.
        targets = {
            sequence: redrive.target_of(message) for sequence, message in loaded.items() if redrive.wants(message)
        }
        try:
            elsewhere = self._elsewhere(redrive, targets)
        except ShardUnavailableError:
            with self._core.locked() as (_, _, now_ms):
                if redrive_id in self._running:
                    self._running[redrive_id] = now_ms + _RETRY_MS
            return
        self._apply(redrive, queue, views, loaded, _Targets(targets, elsewhere))

    def _elsewhere(self, redrive: Redrive, targets: Mapping[int, str | None]) -> Collection[str]:
        """Return the queues of other shards to which messages may move, outside the lock.

        A destination was there when the redrive started. If it was deleted since, the other shard creates it again.
        """
        if redrive.destination is not None:
            return {redrive.destination}
        return self._core.existing_elsewhere({each for each in targets.values() if each})

    def _look(self, redrive_id: str) -> tuple[Redrive, Queue | None, Sequence[MessageView]] | None:
        """Return a running redrive, its source (None if deleted) and the messages of its next portion."""
        with self._core.locked() as (state, _, now_ms):
            if redrive_id not in self._running:
                return None
            redrive = _find(state, redrive_id)
            queue = state.find(redrive.queue_number)
            if queue is None:
                return redrive, None, []
            self._core.advance(queue, now_ms)
            after = queue.messages.after(redrive.next_sequence - 1, _PORTION_MESSAGES)
            views = [view for view in after if view.sequence < redrive.end_sequence]
            return redrive, queue, views[: portion_of(views, _PORTION_MESSAGES, _PORTION_BYTES)] if views else []

    def _apply(
        self,
        redrive: Redrive,
        queue: Queue | None,
        views: Sequence[MessageView],
        loaded: dict[int, LoadedMessage],
        targets: _Targets,
    ) -> None:
        """Move a portion, and record the progress together with it."""
        with self._core.durable_transaction() as (state, append_and_apply, now_ms):
            if redrive.id not in self._running:
                return  # it was cancelled meanwhile, or its source was deleted
            if queue is None:
                append_and_apply(_deleted(redrive.id, now_ms), leave=DELETE_LEAVES)
                del self._running[redrive.id]
                return
            self._core.advance(queue, now_ms)
            before = redrive
            transfers: Sequence[Transfer] = []
            destination = redrive.destination
            if destination and self._core.has_name(destination) and destination not in state.queues:
                failure = f"The queue {destination} was deleted."
                redrive = replace(redrive, status="failed", failure=failure, ended_ms=now_ms)
            elif not views or redrive.portion_messages <= 0:
                redrive = replace(redrive, status="completed", ended_ms=now_ms)
            else:
                redrive, transfers = self._choose(state, queue, redrive, views, loaded, targets)
            records = self._records(state, redrive, now_ms)
            if transfers and not redrive.dry_run:
                try:
                    self._transfers.move(queue, now_ms, transfers, records, leave=PRODUCE_LEAVES)
                    if redrive.per_second is not None:
                        self._running[redrive.id] = now_ms + -(-1000 * len(transfers) // redrive.per_second)
                except TooManyQueuesError as error:  # there is no room for an outbox
                    redrive = replace(before, status="failed", failure=str(error), ended_ms=now_ms)
                    append_and_apply(*self._records(state, redrive, now_ms), leave=PRODUCE_LEAVES)
            else:
                append_and_apply(*records, leave=PRODUCE_LEAVES)
            self._forget_if_ended(redrive)

    def _forget_if_ended(self, redrive: Redrive) -> None:
        """Let no more portions of a redrive run if it has ended, under the lock, once its records are in the log."""
        if redrive.status != "running":
            del self._running[redrive.id]

    def _choose(
        self,
        state: State,
        queue: Queue,
        redrive: Redrive,
        views: Sequence[MessageView],
        loaded: dict[int, LoadedMessage],
        targets: _Targets,
    ) -> tuple[Redrive, Sequence[Transfer]]:
        """Return the redrive after this portion, and the messages to move."""
        transfers: list[Transfer] = []
        skipped, next_sequence = 0, redrive.next_sequence
        for view in views:
            if len(transfers) == redrive.portion_messages:
                break
            message = loaded.get(view.sequence)
            if message is not None and self._transfers.is_unchanged(queue, message):
                target = targets.of_message.get(view.sequence)
                there = state.queues if target and self._core.has_name(target) else targets.elsewhere
                if target is None or target == queue.name or target not in there:
                    skipped += 1
                else:
                    transfers.append(Transfer.of(message, target, without_source(message)))
            else:
                found = queue.messages.find(view.sequence)
                if found is not None and found.status in MOVABLE:
                    break  # it was released meanwhile, or compaction moved it in the log: read it again
                skipped += found is not None
            next_sequence = view.sequence + 1
        moved = redrive.moved + len(transfers)
        after = replace(redrive, moved=moved, skipped=redrive.skipped + skipped, next_sequence=next_sequence)
        return after, transfers

    def _records(self, state: State, redrive: Redrive, now_ms: int) -> Sequence[Record]:
        """Return the record of a redrive's progress, and those that delete the oldest redrives if it has ended."""
        records: list[Record] = [_metadata(redrive, now_ms)]
        if redrive.status != "running":
            others = [each for each in self._redrives_of(state, redrive.queue_number) if each.id != redrive.id]
            records += [_deleted(each.id, now_ms) for each in others[KEPT - 1 :]]
        return records

    def _redrives_of(self, state: State, queue_number: int) -> Sequence[Redrive]:
        """Return the redrives of a queue, the newest first."""
        stored = state.metadata.get(NAMESPACE, {})
        there = [name for name in self._by_queue.get(queue_number, ()) if name in stored]
        if there:
            self._by_queue[queue_number] = there
        found = [Redrive.from_record(name, stored[name].value) for name in there]
        return sorted(found, key=_age, reverse=True)


def _check(per_second: int | None, limit: int | None, contains: str | None, attribute: str | None) -> None:
    if per_second is not None and not 1 <= per_second <= MAX_PER_SECOND:
        raise InvalidValueError("per_second", f"per_second must be from 1 to {MAX_PER_SECOND}.")
    if limit is not None and limit < 1:
        raise InvalidValueError("limit", "limit must be at least 1.")
    for field, text in (("contains", contains), ("attribute", attribute)):
        if text is not None and not 1 <= len(text) <= MAX_FILTER_CHARACTERS:
            raise InvalidValueError(field, f"{field} must have 1 to {MAX_FILTER_CHARACTERS} characters.")


def check_destination(permits: Permits, destination: str | None) -> None:
    """Check that a client may move messages to a queue, or for None to all queues, which the messages name.

    Raises:
        NotPermittedError: it may not.
    """
    if not permits(destination):
        scope = f"for the queue {destination}" if destination else "for all queues, or else a destination that it opens"
        raise NotPermittedError(scope)


def _metadata(redrive: Redrive, now_ms: int) -> Record:
    return record.Metadata(record.METADATA, now_ms, NAMESPACE, redrive.id, redrive.to_record())


def _deleted(redrive_id: str, now_ms: int) -> Record:
    return record.Metadata(record.METADATA, now_ms, NAMESPACE, redrive_id, None)


def _find(state: State, redrive_id: str) -> Redrive:
    stored = state.metadata.get(NAMESPACE, {}).get(redrive_id)
    if stored is None:
        raise RedriveNotFoundError
    return Redrive.from_record(redrive_id, stored.value)


def _age(redrive: Redrive) -> tuple[int, str]:
    """Return the place of a redrive in a list, whose first one is the oldest."""
    return redrive.started_ms, redrive.id
