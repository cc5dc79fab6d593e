"""Moving messages from one queue to another: dead loaded there, and their way back (`wonderq.broker.redrive`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from wonderq.broker.core import CLAIM_LEAVES, Core
from wonderq.broker.reader import Reader
from wonderq.model.errors import TooManyQueuesError
from wonderq.model.status import BURIED
from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.record import Record
from wonderq.state.state import Queue, change_record, queue_record

#: How many messages are moved in one record, and up to which part of a segment.
_MOVE_MESSAGES = 100
_MOVE_PART = 4

Headers = dict[str, Any]


class LoadedMessage(NamedTuple):
    """A message that was read to be moved."""

    view: MessageView
    """As it was looked at."""
    body: str
    headers: Headers
    """What it carries besides; see `wonderq.model.messages`."""


class Transfer(NamedTuple):
    """A message that is to be moved."""

    message: LoadedMessage
    target: str
    """The queue it goes to."""
    headers: Headers
    """What it carries from then on."""


class Transfers:
    """Moves messages to other queues."""

    def __init__(self, core: Core, reader: Reader) -> None:
        self._core = core
        self._reader = reader

    def dead_letter(self, queue: Queue, views: Sequence[MessageView]) -> None:
        """Move messages that were claimed too often where the queue's settings want them."""
        target = queue.settings.dead_letter_queue
        if not target:
            self._bury(queue, views)
            return
        reason = f"received {queue.settings.max_receives} times without being deleted"
        try:
            self._move_away(queue, views, target, reason)
        except TooManyQueuesError:  # where they are in the way of the others they cannot stay
            self._bury(queue, views)

    def _move_away(self, queue: Queue, views: Sequence[MessageView], target: str, reason: str) -> None:
        while views:
            count = portion_of(views, _MOVE_MESSAGES, self._core.log.max_record_bytes // _MOVE_PART)
            loaded = self.load_messages(queue, views[:count])
            with self._core.transaction as now_ms:
                transfers = [
                    Transfer(message, target, self._with_origin(queue, message, reason, now_ms))
                    for message in loaded
                    if self.is_unchanged(queue, message)
                ]
                if transfers:
                    self.move(queue, now_ms, transfers, leave=CLAIM_LEAVES)
            views = views[count:]

    def _with_origin(self, queue: Queue, message: LoadedMessage, reason: str, now_ms: int) -> Headers:
        view = message.view
        message_id = self._core.ids.message_id(queue.number, view.sequence)
        return {**message.headers, "origin": (queue.name, message_id, reason, now_ms, view.produced_ms, view.receives)}

    def _bury(self, queue: Queue, views: Sequence[MessageView]) -> None:
        with self._core.transaction as now_ms:
            still = [view for view in views if queue.messages.find(view.sequence) == view]
            if still:
                changes = [record.Change(view.sequence, BURIED, 0, view.timeout_ms) for view in still]
                self._core.append_and_apply(change_record(queue, changes, now_ms), leave=CLAIM_LEAVES)
                self._core.counters.of(queue.name).buried += len(still)

    def load_messages(self, queue: Queue, views: Sequence[MessageView]) -> list[LoadedMessage]:
        """Read messages to be moved, without the lock; those that are gone meanwhile are left out."""
        self._core.wait_until_durable()  # what is not durable cannot be read
        views, entries = self._reader.entries(queue, views)
        if not views:
            return []
        bodies, headers = self._reader.decode(views, entries)
        return [LoadedMessage(view, bodies[at], headers.get(at, {})) for at, view in enumerate(views)]

    @staticmethod
    def is_unchanged(queue: Queue, message: LoadedMessage) -> bool:
        """Tell, under the lock, whether a message is still as it was looked at."""
        return queue.messages.find(message.view.sequence) == message.view

    def move(
        self, queue: Queue, now_ms: int, transfers: Sequence[Transfer], also: Sequence[Record] = (), *, leave: int
    ) -> None:
        """Move messages, which have to be unchanged, under the lock, and commit other records with that.

        Each is gone here and new there at one moment, whatever limits and settings the other queue has. A queue that is not
        there is made.
        """
        records: list[Record] = []
        by_target: dict[str, list[Transfer]] = {}
        for each in transfers:
            by_target.setdefault(each.target, []).append(each)
        new = 0
        for name, those in by_target.items():
            target = self._core.state.queues.get(name)
            if target is None:
                target = self._core.new_queue(name, now_ms, new)
                new += 1
                records.append(queue_record(target, target.settings, now_ms))
            entries = [record.encode_entry(each.message.body, each.headers) for each in those]
            lanes = [target.lane_for(each.headers.get("priority", 0), each.headers.get("group", "")) for each in those]
            first = target.messages.next_sequence
            lengths, data = list(map(len, entries)), b"".join(entries)
            records.append(record.Send(record.SEND, now_ms, target.number, first, [], lengths, lanes, data))
        if transfers:
            runs = record.to_runs(sorted(each.message.view.sequence for each in transfers))
            records.append(record.Delete(record.DELETE, now_ms, queue.number, runs))
        self._core.append_and_apply(*records, *also, leave=leave)
        self._core.counters.of(queue.name).moved += len(transfers)
        for name in by_target:
            self._core.consumers.notify(self._core.state.queues[name])


def portion_of(views: Sequence[MessageView], most: int, most_bytes: int) -> int:
    """Return how many messages, from the first on, are few and small enough to be moved together; at least one."""
    count, size = 1, views[0].length
    while count < min(len(views), most) and size + views[count].length <= most_bytes:
        size += views[count].length
        count += 1
    return count
