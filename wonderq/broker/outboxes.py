"""Outboxes: messages of this shard that are to get into queues of other shards of a cluster.

An outbox is a queue of this shard's log under the name of a queue of another shard. So a dead letter, a published
message or one of a schedule gets into it in the same write as into any queue, and a crash leaves all of that or none.
`wonderq.cluster.crossing` sends what is in it to the other shard, in order, and deletes it when that has it.
`wonderq.broker.crossings` is the other side, which recognizes what it has got before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wonderq.broker.consumers import Waiter
from wonderq.broker.core import DELETE_LEAVES, Core
from wonderq.broker.crossings import Crossing
from wonderq.broker.reader import Reader
from wonderq.broker.redrive import NAMESPACE as REDRIVES
from wonderq.broker.redrive import Redrives
from wonderq.broker.schedules import NAMESPACE as SCHEDULES
from wonderq.broker.topics import drop_queue, end_subscriptions, subscriptions_of
from wonderq.broker.transfers import portion_of
from wonderq.state import record
from wonderq.state.state import Queue
from wonderq_storage import Position

#: Most messages that cross at a time, and most bytes of them.
_PORTION_MESSAGES = 250
_PORTION_BYTES = 256 << 10


class Departure(NamedTuple):
    """The oldest messages of an outbox, to be sent together."""

    queue: str
    """Queue of another shard that they are for."""
    source: str
    """Text that names the outbox among those of a cluster, for `Crossings.accept`."""
    messages: Sequence[Crossing]
    number: int
    """Number of the outbox."""
    position: Position
    """End of the log when they left. What was changed after that, an answer to them says nothing about."""


class Waiting(NamedTuple):
    """The messages that wait in an outbox, as figures."""

    queue: str
    messages: int
    oldest_ms: int | None
    """Time since which the oldest message waits; None without any."""


class Outboxes:
    """The outboxes of a broker. You may call every method from any thread, but send from one thread at a time."""

    def __init__(self, core: Core, reader: Reader, redrives: Redrives) -> None:
        self._core = core
        self._reader = reader
        self._redrives = redrives

    def filled(self, waiter: Waiter) -> list[str]:
        """Return the names of the outboxes that have messages, and have ``waiter`` woken when one gets more."""
        with self._core.transaction:
            found = self._found()
            for each in found:
                self._core.consumers.join(each, waiter)
            return [each.name for each in found if len(each.messages)]

    def waiting(self) -> list[Waiting]:
        """Return what waits in each outbox, without waiting for the log."""
        with self._core.lock:
            return [
                Waiting(each.name, len(each.messages), each.messages.oldest_ms())
                for each in sorted(self._found(), key=lambda each: each.name)
            ]

    def _found(self) -> list[Queue]:
        queues = self._core.state.queues
        return [queues[name] for name in self._core.outboxes if name in queues]

    def departure(self, name: str) -> Departure | None:
        """Return the oldest messages of an outbox, once they are durable; None if it has none."""
        with self._core.transaction:
            position = self._core.log.end()
            outbox = self._core.state.queues.get(name)
            views = [] if outbox is None else outbox.messages.after(-1, _PORTION_MESSAGES)
        if outbox is None or not views:
            return None
        loaded = self._reader.load(outbox, views[: portion_of(views, _PORTION_MESSAGES, _PORTION_BYTES)])
        messages = [
            Crossing(
                view.sequence,
                view.produced_ms,
                view.due_ms,
                headers.get("priority", 0),
                headers.get("group", ""),
                record.encode_entry(body, headers),
            )
            for view, body, headers in loaded
        ]
        source = f"{self._core.identity}.{outbox.number}"
        return Departure(name, source, messages, outbox.number, position) if messages else None

    def remove(self, departure: Departure, last: int) -> None:
        """Delete the messages that the other shard has: those up to the sequence number ``last``.

        This does not wait until the deletion is durable. If it is lost, the messages are sent again, and the other
        shard recognizes them.
        """
        gone = [each.sequence for each in departure.messages if each.sequence <= last]
        with self._core.transaction as now_ms:
            if gone and self._core.state.find(departure.number) is not None:
                delete = record.Delete(record.DELETE, now_ms, departure.number, record.to_runs(gone))
                self._core.append_and_apply(delete, leave=DELETE_LEAVES)
            self._core.counters.crossed[departure.queue] += len(gone)

    def end_subscriptions(self, departure: Departure) -> bool:
        """End the subscriptions to a queue that does not exist any more. Return whether messages for it are left.

        Subscriptions of after the departure stay, because the queue exists again. Otherwise messages are not left, and
        neither is the outbox, unless something else than subscriptions sends to the queue: a dead letter, for one,
        then creates it again.
        """
        core = self._core
        with core.transaction as now_ms:
            outbox = core.state.find(departure.number)
            if outbox is None:
                return False
            found = list(subscriptions_of(core.state, outbox.number))
            ended = [(topic, name) for topic, name in found if topic.stored[name].position <= departure.position]
            if ended and len(ended) == len(found) and not self._is_used(outbox.name):
                drop_queue(core, self._redrives, outbox, now_ms)
                return False
            for each in ended:
                end_subscriptions(core, [each], now_ms)
            return True

    def _is_used(self, name: str) -> bool:
        """Return whether anything but the queue of a subscription leads to a queue of another shard, under the lock."""
        state = self._core.state
        return (
            any(each.settings.dead_letter_queue == name for each in state.queues.values())
            or any(
                each.dead_letter_queue == name
                for topic in state.topics.values()
                for each in topic.subscriptions.values()
            )
            or any(each.value["queue"] == name for each in state.metadata.get(SCHEDULES, {}).values())
            or any(each.value["destination"] == name for each in state.metadata.get(REDRIVES, {}).values())
        )
