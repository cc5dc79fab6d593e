"""Transfers of messages from one queue to another: dead letters, and redrives (`wonderq.broker.redrive`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wonderq.broker.core import CLAIM_LEAVES, Core
from wonderq.broker.reader import Headers, LoadedMessage, Reader
from wonderq.model.errors import TooManyQueuesError
from wonderq.model.failures import FAILURE_HEADER
from wonderq.model.settings import QueueSettings
from wonderq.model.status import BURIED
from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.record import Record
from wonderq.state.state import Queue, change_record, queue_record

#: Most dead letters in one write, and most bytes of them: the broker's lock is held while they are moved.
PORTION_MESSAGES = 250
_PORTION_BYTES = 256 << 10


class Transfer(NamedTuple):
    """Move of one message."""

    sequence: int
    target: str
    """Name of the queue that gets the message."""
    entry: bytes
    """Entry of the message in that queue."""
    priority: int
    group: str

    @classmethod
    def of(cls, message: LoadedMessage, target: str, headers: Headers) -> Transfer:
        """Return the move of a message, which has ``headers`` in the queue ``target``."""
        entry = record.encode_entry(message.body, headers)
        return cls(message.view.sequence, target, entry, headers.get("priority", 0), headers.get("group", ""))


class Transfers:
    """Moves messages to other queues."""

    def __init__(self, core: Core, reader: Reader) -> None:
        self._core = core
        self._reader = reader

    def dead_letter(self, queue: Queue, views: Sequence[MessageView]) -> None:
        """Move messages that were claimed too often to the dead-letter queue, or bury them if there is none.

        Moves one portion in one write, and leaves the other messages. A message that changes meanwhile stays as it is.
        If the settings change meanwhile, all stay for the next round, which decides by the new ones.
        """
        views = views[: portion_of(views, PORTION_MESSAGES, _PORTION_BYTES)]
        settings = queue.settings
        if not settings.dead_letter_queue:
            self._bury(queue, views, settings)
            return
        try:
            self._move_away(queue, views, settings)
        except TooManyQueuesError:  # the dead-letter queue cannot be created, and a FIFO group waits for its head
            self._bury(queue, views, settings)

    def _move_away(self, queue: Queue, views: Sequence[MessageView], settings: QueueSettings) -> None:
        target, most = settings.dead_letter_queue, settings.max_receives
        reason = f"received {'once' if most == 1 else f'{most} times'} without being deleted"
        loaded = self._reader.load(queue, views)
        headers = self.with_source(queue, loaded, reason, self._core.clock.now_ms())
        prepared = [Transfer.of(message, target, each) for message, each in zip(loaded, headers, strict=True)]
        with self._core.transaction as now_ms:
            dead = _still_dead(queue, [message.view for message in loaded], settings)
            transfers = [each for each in prepared if each.sequence in dead]
            if transfers:
                self.move(queue, now_ms, transfers, leave=CLAIM_LEAVES)
                self._core.counters.of(queue.name).dead_letters_moved += len(transfers)
                self._core.consumers.notify(queue)  # their groups may go on

    def with_source(self, queue: Queue, messages: Sequence[LoadedMessage], reason: str, now_ms: int) -> list[Headers]:
        """Return the headers of each message as a dead letter."""
        ids = self._core.ids.message_ids(queue.number, [view.sequence for view, _, _ in messages])
        return [
            {**headers, "origin": (queue.name, message_id, reason, now_ms, view.produced_ms, view.receives)}
            for (view, _, headers), message_id in zip(messages, ids, strict=True)
        ]

    def _bury(self, queue: Queue, views: Sequence[MessageView], settings: QueueSettings) -> None:
        with self._core.transaction as now_ms:
            dead = _still_dead(queue, views, settings)
            changes = [
                record.Change(each.sequence, BURIED, 0, each.timeout_ms) for each in views if each.sequence in dead
            ]
            if changes:
                self._core.append_and_apply(change_record(queue, changes, now_ms), leave=CLAIM_LEAVES)
                self._core.counters.of(queue.name).buried += len(changes)
                self._core.consumers.notify(queue)  # their groups may go on

    @staticmethod
    def is_unchanged(queue: Queue, message: LoadedMessage) -> bool:
        """Return whether a message is still as it was when it was read, under the lock."""
        return queue.messages.find(message.view.sequence) == message.view

    def move(
        self, queue: Queue, now_ms: int, transfers: Sequence[Transfer], also: Sequence[Record] = (), *, leave: int
    ) -> None:
        """Move unchanged messages to other queues, and append ``also`` together with that, under the lock.

        Each message is deleted here and new there in one step. The limits and settings of the target do not apply. A
        target that does not exist is created. For a target of another shard, "there" is its outbox.

        Raises:
            TooManyQueuesError: a target cannot be created. Nothing was moved.
        """
        records = self.arrivals([(queue, transfers)], now_ms)
        if transfers:
            runs = record.to_runs(sorted(each.sequence for each in transfers))
            records.append(record.Delete(record.DELETE, now_ms, queue.number, runs))
        self._core.append_and_apply(*records, *also, leave=leave)
        self.count_arrivals(queue, transfers)

    def arrivals(self, departures: Sequence[tuple[Queue, Sequence[Transfer]]], now_ms: int) -> list[Record]:
        """Return the records that add transferred messages to their targets, given the messages by source.

        The caller appends them together with the deletions in the sources.

        Raises:
            TooManyQueuesError: a target cannot be created.
        """
        records: list[Record] = []
        by_target: dict[str, list[Transfer]] = {}
        source_of: dict[str, Queue] = {}
        for queue, transfers in departures:
            for each in transfers:
                by_target.setdefault(each.target, []).append(each)
                source_of.setdefault(each.target, queue)
        created = 0
        for name, moved in by_target.items():
            target = self._core.state.queues.get(name)
            if target is None:
                target = self._core.new_target(name, now_ms, created)
                created += 1
                settings = target.settings  # an outbox keeps its messages until they have crossed
                if self._core.has_name(name):
                    settings = source_of[name].settings.of_created_target()
                records.append(queue_record(target, settings, now_ms))
            lanes = [target.lane_for(each.priority, each.group) for each in moved]
            lengths, data = [len(each.entry) for each in moved], b"".join(each.entry for each in moved)
            first = target.messages.next_sequence
            records.append(record.Send(record.SEND, now_ms, target.number, first, [], lengths, lanes, data))
        return records

    def count_arrivals(self, queue: Queue, transfers: Sequence[Transfer]) -> None:
        """Count transfers out of a queue that were applied, and wake the consumers of their targets."""
        self._core.counters.of(queue.name).moved += len(transfers)
        for name in {each.target for each in transfers}:
            self._core.consumers.notify(self._core.state.queues[name])


def _still_dead(queue: Queue, views: Sequence[MessageView], decided_by: QueueSettings) -> set[int]:
    """Return those of the messages that `_is_still_dead`, under the lock.

    In a FIFO queue, those that come after one which has changed, and is still there, stay behind it.
    """
    dead: set[int] = set()
    waiting: set[int] = set()
    for view in views:
        if view.lane not in waiting and _is_still_dead(queue, view, decided_by):
            dead.add(view.sequence)
        elif queue.is_fifo and queue.messages.find(view.sequence) is not None:
            waiting.add(view.lane)
    return dead


def _is_still_dead(queue: Queue, view: MessageView, decided_by: QueueSettings) -> bool:
    """Return whether a message is unchanged, and a dead letter by settings that still hold, under the lock.

    They may have changed before they were read, too: after the message was found, which was under the lock.
    """
    settings = queue.settings
    return (
        settings.dead_letter_queue == decided_by.dead_letter_queue
        and settings.max_receives == decided_by.max_receives
        and 0 < settings.max_receives <= view.receives
        and not settings.paused
        and queue.messages.find(view.sequence) == view
    )


def source_of(message: LoadedMessage) -> str | None:
    """Return the queue that a dead letter came from, or None if the message is none."""
    origin = message.headers.get("origin")
    return origin[0] if origin else None


def without_source(message: LoadedMessage) -> Headers:
    """Return the headers of a message that is no dead letter any more. Its failure stays behind, as its tries do."""
    return {name: value for name, value in message.headers.items() if name not in ("origin", FAILURE_HEADER)}


def portion_of(views: Sequence[MessageView], most: int, most_bytes: int) -> int:
    """Return the number of leading messages that fit into ``most`` messages and ``most_bytes``; at least one."""
    count, size = 1, views[0].length
    while count < min(len(views), most) and size + views[count].length <= most_bytes:
        size += views[count].length
        count += 1
    return count
