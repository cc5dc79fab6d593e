"""Updates: what a batch of them does to the messages of one queue.

An update that writes a message again (new contents, an error, a move to the dead-letter queue) needs its entry. So a
batch is done in two steps: `Updates.prepare` reads entries and makes new ones, outside the broker's lock, and
`Updates.decide` decides under it. If such a message has changed in between, the caller starts over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import compress
from typing import NamedTuple

from wonderq.broker.core import CLAIM_LEAVES, PORTION, PRODUCE_LEAVES, Core, Place
from wonderq.broker.reader import LoadedMessage, Reader
from wonderq.broker.transfers import Transfer, Transfers
from wonderq.model.attributes import check_attributes
from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerError,
    InvalidValueError,
    MessageTooLargeError,
    NotClaimedError,
    TooManyQueuesError,
    VersionConflictError,
)
from wonderq.model.failures import FAILURE_HEADER, MAX_ERROR_BYTES, Failure, check_consumer
from wonderq.model.limits import UNLIMITED
from wonderq.model.messages import Change, Target, size_of
from wonderq.model.status import BURIED, CLAIMED, DELAYED, WAITING
from wonderq.runtime.fibers import took
from wonderq.state import record
from wonderq.state.page import NO_TOKEN, MessageView
from wonderq.state.record import Record
from wonderq.state.state import Queue
from wonderq_storage import Position

#: Longest delay that backoff doubles up to, unless its first delay is longer. A claim may last as long.
MAX_BACKOFF_MS = 43_200_000
_MAX_DOUBLINGS = 40

#: Fields of a change of which one excludes the others.
_EXCLUSIVE = ("visibility_timeout", "delay", "backoff", "expire", "bury", "dead")

#: Characters of an error's message in the reason of a dead letter, which has the whole error in its last failure.
_REASON_CHARACTERS = 1000
_NO_REASON = "declared dead by its consumer"

#: Steps of `took` for each message that is written again, and bytes that are encoded in a step.
_STEPS_PER_MESSAGE = 15
_BYTES_PER_STEP = 500

Update = tuple[Target, Change]


class _Wanted(NamedTuple):
    """A message that an update writes again."""

    place: Place
    view: MessageView
    consumer: str
    """Name of the consumer that holds it."""


class Prepared(NamedTuple):
    """New entry of a message."""

    place: Place
    made_from: Position
    """Position of the entry that it replaces."""
    receives: int
    """Receive count for which it was made."""
    entry: bytes
    size: int
    """Size in bytes as limits count it; see `size_of`."""
    transfer: Transfer | None
    """The move to the dead-letter queue, if the update asks for it and there is one."""


class Decision:
    """The effect of a batch of updates on one queue. Nothing is appended yet."""

    def __init__(self, queue: Queue, seen: set[int]) -> None:
        """Begin with nothing decided; ``seen`` holds the messages that the request has named already."""
        self.queue = queue
        self.results: list[BrokerError | None] = []
        """For each update None, or its error."""
        self.transfers: list[Transfer] = []
        """Messages that move to the dead-letter queue."""
        self.seen = seen
        self._updated = 0
        self._buried = 0
        self._any_expire = False
        self._changes: list[tuple[int, ...]] = []
        self._rewrites: dict[int, tuple[MessageView, bytes]] = {}
        self._more_bytes = 0
        self._any_replaced = False

    def add(self, before: MessageView, after: MessageView, change: Change, prepared: Prepared | None) -> None:
        """Add an update that succeeds."""
        self.seen.add(before.sequence)
        self.results.append(None)
        self._any_expire |= change.expire
        if prepared is not None and prepared.transfer is not None:
            self.transfers.append(prepared.transfer)
            return
        self._updated += 1
        self._buried += change.dead
        if prepared is None or not (change.replaces_contents or change.error):
            fields = after.sequence, after.status, after.due_ms, after.timeout_ms
            self._changes.append(record.Reset(*fields, after.receives) if change.uncounted else record.Change(*fields))
            return
        if change.replaces_contents:
            self._any_replaced = True
            self._more_bytes += len(prepared.entry) - before.length
            after = after._replace(updates=before.updates + 1)
        self._rewrites[after.sequence] = after, prepared.entry

    @property
    def more_bytes(self) -> int:
        """Bytes by which new contents exceed the old ones. An error does not count: no limit may refuse it."""
        return self._more_bytes

    @property
    def leave(self) -> int:
        """Room to leave free on the disk, as `Core.append_and_apply` takes it."""
        return PRODUCE_LEAVES if self._any_replaced else CLAIM_LEAVES

    def records(self, now_ms: int) -> list[Record]:
        """Return the record of the messages that stay in the queue, if there are any."""
        if not (self._changes or self._rewrites):
            return []
        ordered = [self._rewrites[sequence] for sequence in sorted(self._rewrites)]
        messages, lengths = self.queue.messages, [len(entry) for _, entry in ordered]
        return [
            record.Update(
                record.UPDATE,
                now_ms,
                self.queue.number,
                self._changes,
                record.to_runs(view.sequence for view, _ in ordered),
                [view.produced_ms for view, _ in ordered],
                lengths,
                [messages.state_of(view).stored for view, _ in ordered if not view.is_pristine],
                record.joined([entry for _, entry in ordered], sum(lengths)),
            )
        ]

    def deleted(self) -> list[int]:
        """Return the messages that leave the queue."""
        return sorted(each.sequence for each in self.transfers)

    def applied(self, core: Core, transfers: Transfers, now_ms: int) -> None:
        """Count what was done, and wake those whom it concerns, once the records are applied."""
        counters = core.counters.of(self.queue.name)
        if self._updated:
            counters.count(record.UPDATE, self._updated)
            counters.buried += self._buried
        if self._any_expire:
            self.queue.messages.advance(now_ms, PORTION)  # not `Core.advance`: these claims did not time out
        if self.transfers:
            counters.dead_letters_moved += len(self.transfers)
            transfers.count_arrivals(self.queue, self.transfers)
        core.consumers.notify(self.queue)


class Updates:
    """Prepares and decides batches of updates."""

    def __init__(self, core: Core, reader: Reader, transfers: Transfers) -> None:
        self._core = core
        self._reader = reader
        self._transfers = transfers

    def check(self, updates: Sequence[Update]) -> None:
        """Check what needs no state: sizes and texts.

        Raises:
            InvalidValueError, MessageTooLargeError, BatchTooLargeError: an update is not allowed.
        """
        bodies = [change.body for _, change in updates if change.body is not None]
        if bodies:
            self._core.admission.encode(bodies)
        for target, change in updates:
            if change.attributes:
                check_attributes(change.attributes)
                took(8 * len(change.attributes))
            if change.error is not None:
                change.error.check()
                check_consumer("error.consumer", change.reporter)
            if change.uncounted:
                _check_uncounted(target, change)

    def prepare(self, queue: Queue, updates: Sequence[Update], now_ms: int) -> dict[int, Prepared]:
        """Return the new entries of messages that the updates write again, by the index of the update.

        An update whose message cannot be found has none. Called outside the lock.
        """
        places: dict[int, Place] = {}
        for index, (target, change) in enumerate(updates):
            if change.rewrites:
                with suppress(BrokerError):
                    places[index] = self._core.locate(queue, target)
        took(2 * len(places))
        wanted: dict[int, _Wanted] = {}
        with self._core.lock:
            target_queue = self._dead_letter_queue(queue)
            for index, place in places.items():
                with suppress(BrokerError):
                    view = self._core.look_up(queue, place)
                    wanted[index] = _Wanted(place, view, queue.messages.consumer_of(view.at(now_ms)))
        views = {each.view.sequence: each.view for each in wanted.values()}
        failing = sum(change.error is not None or change.dead for _, change in updates)
        most_bytes = self._core.limits.batch_bytes + 16 * len(wanted) + 2 * MAX_ERROR_BYTES * failing
        if len(views) == 1:  # there is nothing to split
            most_bytes = UNLIMITED
        _check_bytes(sum(view.length for view in views.values()), most_bytes)
        loaded = {each.view.sequence: each for each in self._reader.load(queue, list(views.values()))}
        prepared: dict[int, Prepared] = {}
        size = 0
        for index, each in wanted.items():
            message = loaded.get(each.view.sequence)
            if message is None:
                continue
            prepared[index] = new = self._prepare(queue, message, updates[index][1], each, target_queue, now_ms)
            size += len(new.entry)
            _check_bytes(size, most_bytes)
            took(_STEPS_PER_MESSAGE + len(new.entry) // _BYTES_PER_STEP)
        return prepared

    def _prepare(
        self, queue: Queue, message: LoadedMessage, change: Change, wanted: _Wanted, target_queue: str, now_ms: int
    ) -> Prepared:
        view, headers, body = message.view, message.headers, message.body
        if change.replaces_contents:  # the client has seen the envelope, and replaces a part of that
            body, headers = self._reader.enveloped(queue, body, headers)
        if change.body is not None:
            body = change.body
        if change.attributes is not None:
            headers = {**headers, "attributes": dict(change.attributes)}
        if change.error is not None:
            failure = Failure(change.error, now_ms, view.receives, wanted.consumer or change.reporter)
            headers = {**headers, FAILURE_HEADER: failure.to_header()}
        size = size_of(body, headers.get("attributes"))
        if change.dead and target_queue:
            reason = change.error.message[:_REASON_CHARACTERS] if change.error else ""
            [dead] = self._transfers.with_source(
                queue, [message._replace(headers=headers)], reason or _NO_REASON, now_ms
            )
            transfer = Transfer.of(message._replace(body=body), target_queue, dead)
            return Prepared(wanted.place, view.position, view.receives, transfer.entry, size, transfer)
        if change.replaces_contents:
            (entry,) = self._core.admission.encode([body], [headers])
        else:
            entry = record.encode_entry(body, headers)
        return Prepared(wanted.place, view.position, view.receives, entry, size, None)

    def _dead_letter_queue(self, queue: Queue) -> str:
        """Return the queue that gets the dead letters of a queue; empty if there is none and it cannot be created."""
        name = queue.settings.dead_letter_queue
        if name and name not in self._core.state.queues:
            try:
                self._core.admission.check_queues()
            except TooManyQueuesError:
                return ""
        return name

    def decide(
        self, queue: Queue, updates: Sequence[Update], prepared: Mapping[int, Prepared], now_ms: int, seen: set[int]
    ) -> Decision | None:
        """Decide on all updates of a queue, under the lock.

        Returns None if a message to write again has changed since its entry was prepared.

        Raises:
            QueueFullError, BrokerFullError: the new contents have no room.
        """
        decision = Decision(queue, seen)
        for index, (target, change) in enumerate(updates):
            try:
                new = prepared.get(index)
                place = self._core.locate(queue, target) if new is None else new.place
                view = self._core.look_up(queue, place).at(now_ms)
                if view.sequence in seen:
                    raise InvalidValueError("entries", "A batch may update a message only once.")
                after = self._decide(view, change, now_ms)
                if change.rewrites:
                    if new is None or (new.made_from, new.receives) != (view.position, view.receives):
                        return None
                    moves_to = self._dead_letter_queue(queue) if change.dead else ""
                    if moves_to != (new.transfer.target if new.transfer else ""):
                        return None
                    most_bytes = queue.settings.max_message_bytes
                    if change.replaces_contents and most_bytes and new.size > most_bytes:
                        raise MessageTooLargeError(new.size, most_bytes)
                decision.add(view, after, change, new)
            except BrokerError as error:
                decision.results.append(error)
        if decision.more_bytes > 0:
            self._core.admission.check_room(queue, 0, decision.more_bytes)
        return decision

    def _decide(self, view: MessageView, change: Change, now_ms: int) -> MessageView:
        """Return the state of the message after the change, apart from its contents."""
        if change.if_version is not None and change.if_version != view.updates + 1:
            raise VersionConflictError(view.updates + 1)
        _check_one_change(change)
        if change.bury or change.dead:
            return view._replace(status=BURIED, due_ms=0, token=NO_TOKEN)
        delay_ms = change.delay_ms
        if change.backoff_ms is not None:
            self._core.limits.check_range("delay", change.backoff_ms)
            doublings = min(max(view.receives - 1, 0), _MAX_DOUBLINGS)
            most_ms = max(change.backoff_ms, min(MAX_BACKOFF_MS, self._core.limits.delay_ms))
            delay_ms = min(change.backoff_ms << doublings, most_ms)
        if delay_ms is not None:
            self._core.limits.check_range("delay", delay_ms)
            return _released(view, change, now_ms, delay_ms)
        if change.rewrites and change.visibility_timeout_ms is None and not change.expire:
            return view
        if view.status != CLAIMED:
            raise NotClaimedError
        if change.expire:
            return view._replace(due_ms=now_ms)
        timeout_ms = view.timeout_ms if change.visibility_timeout_ms is None else change.visibility_timeout_ms
        self._core.limits.check_range("visibility_timeout", timeout_ms)
        if timeout_ms == 0:
            return _released(view, change, now_ms, 0)
        return view._replace(status=CLAIMED, due_ms=now_ms + timeout_ms, timeout_ms=timeout_ms)


def _check_bytes(size: int, most: int) -> None:
    """Refuse to write so many bytes of messages again in one request.

    Raises:
        BatchTooLargeError: they are too many.
    """
    if size > most:
        raise BatchTooLargeError(
            f"A request may write about {most} bytes of messages again, and these have {size}. Finish or change fewer "
            "messages in one request."
        )


def _released(view: MessageView, change: Change, now_ms: int, delay_ms: int) -> MessageView:
    """Return a message without its claim, available after a delay."""
    if change.uncounted:
        receives = max(view.receives - 1, 0)
        view = view._replace(receives=receives, first_claimed_ms=view.first_claimed_ms if receives else 0)
    if delay_ms:
        return view._replace(status=DELAYED, due_ms=now_ms + delay_ms, token=NO_TOKEN)
    return view._replace(status=WAITING, due_ms=0, token=NO_TOKEN)


def _check_uncounted(target: Target, change: Change) -> None:
    """Check that an uncounted release is one, and is by receipt: only the holder of a claim may undo it.

    Raises:
        InvalidValueError: it is not.
    """
    if target.receipt is None:
        raise InvalidValueError("uncounted", "uncounted needs the receipt of the claim that shall not count.")
    if change.visibility_timeout_ms != 0 and change.delay_ms is None and change.backoff_ms is None:
        raise InvalidValueError(
            "uncounted", "uncounted needs a release: give visibility_timeout 0, delay or backoff beside it."
        )


def _check_one_change(change: Change) -> None:
    """Check that a change asks for at most one of the things that exclude each other.

    Raises:
        InvalidValueError: it asks for two.
    """
    given = (
        change.visibility_timeout_ms is not None,
        change.delay_ms is not None,
        change.backoff_ms is not None,
        change.expire,
        change.bury,
        change.dead,
    )
    if sum(given) > 1:
        asked = list(compress(_EXCLUSIVE, given))
        raise InvalidValueError(asked[1], f"Give only one of {' and '.join(asked)}.")
