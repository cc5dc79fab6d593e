"""Crossings: messages that come from an outbox of another shard (`wonderq.broker.outboxes`), each once.

An outbox sends its messages in order, and sends them again until it learns that they have arrived. So the queue
remembers, for each outbox, the newest message that it has got: one entry in its dedup table, in the same write as the
messages. Older ones are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wonderq.broker.core import PRODUCE_LEAVES, Core
from wonderq.model.errors import BrokerFullError, QueueDrainingError, QueueFullError, QueueNotFoundError
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import Queue, queue_record

#: Prefix of outboxes in a queue's dedup table.
_OUTBOX = "o"

REMEMBERED_MS = 14 * 86_400_000
"""Time for which a queue remembers the newest message of an outbox."""


class Crossing(NamedTuple):
    """A message on its way to a queue of another shard."""

    sequence: int
    """Sequence number in the outbox."""
    produced_ms: int
    """Time at which it got into the outbox."""
    due_ms: int
    """Time at which it becomes available; 0 or in the past if it has no delay."""
    priority: int
    group: str
    entry: bytes


class _Newest(NamedTuple):
    """The newest message that a queue has got from an outbox."""

    sequence: int
    produced_ms: int

    def covers(self, message: Crossing) -> bool:
        """Return whether the queue has got a message.

        Sequence numbers alone do not tell: if the log of the other shard loses its end, and a person accepts that,
        later messages have numbers that were used before.
        """
        return message.sequence <= self.sequence and message.produced_ms <= self.produced_ms


class Crossings:
    """Adds messages from outboxes to the queues of a broker."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def accept(self, name: str, source: str, messages: Sequence[Crossing], *, creates: bool) -> int:
        """Add messages of an outbox to a queue, without those that it has got before.

        ``source`` names the outbox. Add as many of the messages as fit, in order, and return the sequence number in the
        outbox of the last one that the queue has. ``creates`` says whether to create the queue if it does not exist.
        The limits of the queue apply, but for the size of a message; so does the broker's setting that producers create
        queues.

        Raises:
            QueueNotFoundError: the queue does not exist and is not to be created, or producers may not create queues.
            QueueDrainingError: the queue accepts no messages.
            QueueFullError, BrokerFullError, TooManyQueuesError: a limit is reached, and no message fits.
        """
        core = self._core
        with core.transaction as now_ms:
            records: list[Record] = []
            core.check_shard(name)
            queue = core.state.queues.get(name)
            if queue is None:
                if not creates:
                    raise QueueNotFoundError(name)
                queue = core.new_output_queue(name, now_ms)
                records.append(queue_record(queue, queue.settings, now_ms))
            newest = _Newest(*(queue.dedup.get(_OUTBOX + source, now_ms) or (-1, 0)))
            fresh = [each for each in messages if not newest.covers(each)]
            if fresh:
                fresh = fresh[: self._fitting(queue, fresh)]
                newest = _Newest(fresh[-1].sequence, max(newest.produced_ms, *(each.produced_ms for each in fresh)))
                row = _OUTBOX + source, list(newest), now_ms + REMEMBERED_MS  # at most one for each other shard
                records += [
                    _send_record(queue, fresh, now_ms),
                    record.Dedup(record.DEDUP, now_ms, queue.number, [row]),
                ]
                position = core.append_and_apply(*records, leave=PRODUCE_LEAVES)
                core.counters.of(name).count(record.PRODUCE, len(fresh))
                core.consumers.notify(core.state.queues[name])
            else:
                position = core.log.confirm()
        core.durability.wait(position)
        left = [each for each in messages if each.sequence <= newest.sequence]
        return left[-1].sequence if left else -1

    def _fitting(self, queue: Queue, messages: Sequence[Crossing]) -> int:
        """Return how many of the messages have room in a queue, at least one, under the lock.

        Raises:
            QueueDrainingError, QueueFullError, BrokerFullError: not even the first one has.
        """
        if queue.settings.draining:
            raise QueueDrainingError(queue.name)
        count = len(messages)
        while True:
            try:
                self._core.admission.check_room(queue, count, sum(len(each.entry) for each in messages[:count]))
            except (QueueFullError, BrokerFullError):
                if count == 1:
                    raise
                count //= 2
            else:
                return count


def _send_record(queue: Queue, messages: Sequence[Crossing], now_ms: int) -> Record:
    due_ms = [max(each.due_ms, now_ms) for each in messages]
    return record.Send(
        record.SEND,
        now_ms,
        queue.number,
        queue.messages.next_sequence,
        due_ms if max(due_ms) > now_ms else [],
        [len(each.entry) for each in messages],
        [queue.lane_for(each.priority, each.group) for each in messages],
        b"".join(each.entry for each in messages),
    )
