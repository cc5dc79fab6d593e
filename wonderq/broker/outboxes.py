"""Outboxes: messages of this shard that are to get into queues of other shards of a cluster.

An outbox is a queue of this shard's log under the name of a queue of another shard. So a dead letter, a published
message or one of a schedule gets into it in the same write as into any queue, and a crash leaves all of that or none.
`wonderq.cluster.crossing` sends what is in it to the other shard, in order, and deletes it when that has it.
`wonderq.broker.crossings` is the other side, which recognizes what it has got before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from wonderq.broker.consumers import Waiter
from wonderq.broker.core import DELETE_LEAVES, Core
from wonderq.broker.crossings import Crossing
from wonderq.broker.reader import Reader
from wonderq.broker.redrive import NAMESPACE as REDRIVES
from wonderq.broker.redrive import Redrives
from wonderq.broker.schedules import NAMESPACE as SCHEDULES
from wonderq.broker.topics import ENDED_AT_ONCE, drop_queue, end_subscriptions, subscriptions_of
from wonderq.broker.transfers import portion_of
from wonderq.runtime.fibers import in_turns, yield_to_others
from wonderq.state import record
from wonderq.state.state import Queue
from wonderq.state.topics import Topic
from wonderq_storage import Position

#: Most messages that cross at a time, and most bytes of them.
_PORTION_MESSAGES = 250
_PORTION_BYTES = 256 << 10

#: Outboxes that one hold of the lock examines.
_OUTBOXES_AT_ONCE = 400

#: Queues, subscriptions, schedules or redrives that a search examines before other requests have a turn.
_LOOKED_AT = 1000


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
    """End of the log when they left. The answer of the other shard says nothing about later changes."""


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
        found: list[str] = []
        for names in self._portions():
            with self._core.transaction:
                for each in self._existing(names):
                    self._core.consumers.join(each, waiter)
                    if len(each.messages):
                        found.append(each.name)
        return found

    def waiting(self) -> list[Waiting]:
        """Return what waits in each outbox, without waiting for the log. Other requests have their turn meanwhile."""
        found: list[Waiting] = []
        for names in self._portions():
            with self._core.lock:
                found += [
                    Waiting(each.name, len(each.messages), each.messages.oldest_ms()) for each in self._existing(names)
                ]
        return found

    def _portions(self) -> Iterator[Sequence[str]]:
        """Yield the names of the outboxes, some at a time, so that each hold of the lock is short."""
        with self._core.lock:
            names = list(self._core.outboxes)
        for at in range(0, len(names), _OUTBOXES_AT_ONCE):
            yield names[at : at + _OUTBOXES_AT_ONCE]
            yield_to_others()

    def _existing(self, names: Sequence[str]) -> Iterator[Queue]:
        queues = self._core.state.queues
        return (queues[name] for name in names if name in queues)

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

        If what leads to queues changes meanwhile, this returns False and leaves the outbox for another departure.
        """
        core = self._core
        with core.transaction:
            changes = core.target_changes
        is_used = self._is_used(departure.queue)
        while True:
            with core.transaction as now_ms:
                outbox = core.state.find(departure.number)
                if outbox is None:
                    return False
                ended = list(islice(self._before(departure), ENDED_AT_ONCE + 1))
                if ended and len(ended) <= ENDED_AT_ONCE and not is_used and not self._has_newer(departure):
                    if core.target_changes == changes:
                        drop_queue(core, self._redrives, outbox, now_ms)
                    return False
                if ended:
                    end_subscriptions(core, ended[:ENDED_AT_ONCE], now_ms)
                if len(ended) <= ENDED_AT_ONCE:
                    return True
            yield_to_others()

    def _before(self, departure: Departure) -> Iterator[tuple[Topic, str]]:
        """Yield the subscriptions to a queue of another shard of before a departure, under the lock."""
        for topic, name in subscriptions_of(self._core.state, departure.number):
            if topic.stored[name].position <= departure.position:
                yield topic, name

    def _has_newer(self, departure: Departure) -> bool:
        found = subscriptions_of(self._core.state, departure.number)
        return any(topic.stored[name].position > departure.position for topic, name in found)

    def _is_used(self, name: str) -> bool:
        """Return whether anything but the queue of a subscription leads to a queue of another shard.

        The lock is held for copies only. `Core.target_changes` tells whether the answer is still right.
        """
        state, lock = self._core.state, self._core.lock
        with lock:
            queues, topics = list(state.queues.values()), list(state.topics.values())
            scheduled = state.metadata.get(SCHEDULES, {}).copy()
            redriven = state.metadata.get(REDRIVES, {}).copy()
        if any(each.settings.dead_letter_queue == name for each in in_turns(queues, _LOOKED_AT)):
            return True
        for topic in in_turns(topics, _LOOKED_AT):
            with lock:
                subscriptions = list(topic.subscriptions.values())
            if any(each.dead_letter_queue == name for each in in_turns(subscriptions, _LOOKED_AT)):
                return True
        return any(each.value["queue"] == name for each in in_turns(scheduled.values(), _LOOKED_AT)) or any(
            each.value["destination"] == name for each in in_turns(redriven.values(), _LOOKED_AT)
        )
