"""Adding messages: produce, send, and the hand-over from one queue to others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from wonderq.broker.core import PRODUCE_LEAVES, Core
from wonderq.model.errors import (
    BatchTooLargeError,
    InvalidValueError,
    MessageTooLargeError,
    QueueDrainingError,
    QueueNotFoundError,
)
from wonderq.model.messages import NewMessage, SendResult, Target, size_of
from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.state import record
from wonderq.state.record import Record, Runs
from wonderq.state.state import Queue, State, queue_record


class Sending(Core):
    """What adds messages."""

    def produce(self, queue: str, bodies: Sequence[str], delays_ms: Sequence[int | None] | None = None) -> list[str]:
        """Add messages, all or none, and return their ids in order.

        ``delays_ms`` holds for each message how long it stays hidden, or None for the queue's own delay.
        """
        entries = self.limits.encode(bodies)
        lengths = [len(entry) for entry in entries]
        data = b"".join(entries)
        with self._transaction as now_ms:
            found = self._state.queues.get(queue)
            records: list[Record] = []
            if found is None:
                found = self._queue_to_be(queue, now_ms)
                records.append(queue_record(found, found.settings, now_ms))
            is_plain = found.is_plain
            if is_plain:
                self.limits.check_room(self._state, found, len(entries), len(data))
                number, first = found.number, found.messages.next_sequence
                due_ms = self._due_ms(found.settings, now_ms, len(entries), delays_ms)
                records.append(record.Produce(record.PRODUCE, now_ms, number, first, due_ms, lengths, data))
                position = self._append_and_apply(*records, leave=PRODUCE_LEAVES)
                self.counters.of(queue).count(record.PRODUCE, len(entries))
                self._consumers.notify(self._state.queues[queue])
        if not is_plain:
            delays = delays_ms or [None] * len(bodies)
            messages = [NewMessage(body, delay_ms) for body, delay_ms in zip(bodies, delays, strict=True)]
            return [each.id for each in self.send(queue, messages)]
        self._durability.wait(position)
        return self._ids.message_ids(number, range(first, first + len(entries)))

    def is_plain(self, queue: str) -> bool:
        """Tell whether `produce` is all that it takes to add messages that have only a body: no duplicate is looked for."""
        found = self._state.queues.get(queue)
        return not queue.endswith(FIFO_SUFFIX) if found is None else found.is_plain

    def send(self, queue: str, messages: Sequence[NewMessage]) -> list[SendResult]:
        """Add messages that may have more to them than a body, all or none; returns what became of each, in order.

        Of a key that the queue remembers nothing is added, and the answer is about the message that was.
        """
        return self._hand_over(queue, [], {queue: messages})[queue]

    def hand_over(
        self, queue: str, targets: Sequence[Target], outputs: Mapping[str, Sequence[NewMessage]]
    ) -> dict[str, list[SendResult]]:
        """Delete messages of a queue and add others, to whichever queues, at once: all of it is done, or none.

        So work that leads to more work neither gets lost nor is done twice in between. ``outputs`` are by queue, and so are
        those that are returned.
        """
        self.limits.check_batch(len(targets))
        return self._hand_over(queue, targets, outputs)

    def _hand_over(
        self, queue: str, targets: Sequence[Target], outputs: Mapping[str, Sequence[NewMessage]]
    ) -> dict[str, list[SendResult]]:
        if sum(map(len, outputs.values())) > self.limits.batch_messages:
            raise BatchTooLargeError(f"A batch may have {self.limits.batch_messages} messages, and this has more.")
        entries = {name: self._encode(name, messages) for name, messages in outputs.items()}
        if len(outputs) > 1:
            lengths = [len(entry) for each in entries.values() for entry in each]
            self.limits.check_batch_bytes(sum(lengths), len(lengths))
        with self._transaction as now_ms:
            runs: Runs = []
            produced_ms: Sequence[int] = ()
            if targets:
                found = self._find_queue(queue)
                runs = self._resolve_all(found, targets)
                produced_ms = found.messages.produced_ms(runs)
            sent, records = self._decide_outputs(outputs, entries, now_ms)
            if runs:
                records.insert(0, record.Delete(record.DELETE, now_ms, found.number, runs))
            if records:
                self._append_and_apply(*records, leave=PRODUCE_LEAVES)
            if runs:
                self.counters.of(queue).deleted(now_ms, produced_ms)
                self._consumers.notify(found)
            self._sent(sent)
        self._wait_until_durable()
        return sent

    def send_with(
        self, queue: str, messages: Sequence[NewMessage], also: Callable[[State, int], Sequence[Record] | None]
    ) -> bool:
        """Add messages together with other records: those that ``also`` returns, given the state and the time, under the lock.

        If it returns None, nothing is done; returns whether something was.
        """
        entries = self._encode(queue, messages)
        with self._transaction as now_ms:
            others = also(self._state, now_ms)
            if others is None:
                return False
            sent, records = self._decide_outputs({queue: messages}, {queue: entries}, now_ms)
            self._append_and_apply(*records, *others, leave=PRODUCE_LEAVES)
            self._sent(sent)
        self._wait_until_durable()
        return True

    def _encode(self, queue: str, messages: Sequence[NewMessage]) -> list[bytes]:
        """Check messages, and return their entries."""
        for message in messages:
            message.check(is_fifo=queue.endswith(FIFO_SUFFIX))
        return self.limits.encode([message.body for message in messages], [message.headers() for message in messages])

    def _decide_outputs(
        self, outputs: Mapping[str, Sequence[NewMessage]], entries: Mapping[str, Sequence[bytes]], now_ms: int
    ) -> tuple[dict[str, list[SendResult]], list[Record]]:
        """Return what becomes of the messages for each queue, and the records that make it so."""
        records: list[Record] = []
        sent = {}
        new = 0
        for name, messages in outputs.items():
            output = self._state.queues.get(name)
            if output is None:
                output = self._queue_to_be(name, now_ms, new)
                new += 1
                records.append(queue_record(output, output.settings, now_ms))
            sent[name], more = self._decide_send(output, messages, entries[name], now_ms)
            records += more
        return sent, records

    def _sent(self, sent: Mapping[str, Sequence[SendResult]]) -> None:
        """Count what was added, and wake whom it is for."""
        for name, each in sent.items():
            fresh = sum(not one.is_duplicate for one in each)
            if fresh:
                self.counters.of(name).count(record.PRODUCE, fresh)
                self._consumers.notify(self._state.queues[name])

    def _resolve_all(self, queue: Queue, targets: Sequence[Target]) -> Runs:
        """Return the messages of all targets; raises if there is one that may not be deleted, or twice the same."""
        sequences = sorted(self._resolve(queue, target).sequence for target in targets)
        if len(set(sequences)) < len(sequences):
            raise InvalidValueError("receipts", "A batch may delete a message only once.")
        return record.to_runs(sequences)

    def _queue_to_be(self, name: str, now_ms: int, before: int = 0) -> Queue:
        """Return a queue that there is not yet, and ``before`` others will be made before it."""
        if not self._create_queues:
            raise QueueNotFoundError(name)
        return self._new_queue(name, now_ms, before)

    def _decide_send(
        self, queue: Queue, messages: Sequence[NewMessage], entries: Sequence[bytes], now_ms: int
    ) -> tuple[list[SendResult], list[Record]]:
        """Return what becomes of each message, and the records that make it so."""
        settings = queue.settings
        if settings.draining:
            raise QueueDrainingError(queue.name)
        if settings.max_message_bytes:
            for message in messages:
                size = size_of(message.body, message.attributes)
                if size > settings.max_message_bytes:
                    raise MessageTooLargeError(size, settings.max_message_bytes)
        first = queue.messages.next_sequence
        places: list[int] = []
        fresh: list[int] = []
        used: dict[str, int] = {}
        for index, message in enumerate(messages):
            key = _memory_key(settings, message)
            place = (used.get(key) if key in used else queue.dedup.get(key, now_ms)) if key else None
            if place is None:
                place = first + len(fresh)
                fresh.append(index)
                if key:
                    used[key] = place
            places.append(place)
        ids = self._ids.message_ids(queue.number, places)
        new = {first + at: index for at, index in enumerate(fresh)}
        sent = [SendResult(*each, new.get(each[1]) != at) for at, each in enumerate(zip(ids, places, strict=True))]
        if not fresh:
            return sent, []
        self.limits.check_keys(self._state, len(used), now_ms)
        chosen = [entries[index] for index in fresh]
        lengths = list(map(len, chosen))
        self.limits.check_room(self._state, queue, len(chosen), sum(lengths))
        due_ms = self._due_ms(settings, now_ms, len(chosen), [_delay_ms(messages[index], now_ms) for index in fresh])
        lanes = [queue.lane_for(messages[index].priority, messages[index].group) for index in fresh]
        number, data = queue.number, b"".join(chosen)
        records: list[Record] = [
            record.Send(record.SEND, now_ms, number, first, due_ms, lengths, lanes, data)
            if any(map(any, lanes))
            else record.Produce(record.PRODUCE, now_ms, number, first, due_ms, lengths, data)
        ]
        if used:
            until_ms = now_ms + settings.deduplication_window_ms
            memories = [(key, place, until_ms) for key, place in used.items()]
            records.append(record.Dedup(record.DEDUP, now_ms, queue.number, memories))
        return sent, records

    def _due_ms(
        self, settings: QueueSettings, now_ms: int, count: int, delays_ms: Sequence[int | None] | None
    ) -> list[int]:
        own = settings.delay_ms
        if delays_ms is None:
            return [now_ms + own] * count if own else []
        delays = [own if delay is None else delay for delay in delays_ms]
        for delay in delays:
            self.limits.check_range("delay", delay)
        return [now_ms + delay for delay in delays] if any(delays) else []


def _delay_ms(message: NewMessage, now_ms: int) -> int | None:
    return message.delay_ms if message.deliver_at_ms is None else max(message.deliver_at_ms - now_ms, 0)


def _memory_key(settings: QueueSettings, message: NewMessage) -> str:
    """Return under what a queue remembers that it has had a message; empty if it does not."""
    key = message.key
    if not key and settings.content_deduplication:
        key = sha256(message.body.encode()).hexdigest()
    if not key:
        return ""
    return f"m{message.group}\0{key}" if settings.deduplication_per_group else f"m{key}"
