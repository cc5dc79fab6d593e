"""Producing: new messages, and hand-overs from one queue to others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, TypeGuard

from wonderq.broker.core import PRODUCE_LEAVES, Core
from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerError,
    InvalidValueError,
    MessageTooLargeError,
    QueueDrainingError,
    RequestSupersededError,
)
from wonderq.model.messages import NewMessage, RequestNumber, SendResults, Target, size_of
from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.runtime.fibers import took
from wonderq.state import record
from wonderq.state.record import Record, Runs
from wonderq.state.state import Queue, State, queue_record

#: Prefix of producers that number their requests in a queue's dedup table, and how long each is kept after its newest.
_PRODUCER = "n"
_PRODUCER_MS = 3_600_000

#: Characters that are digested in a step of `took`.
_CHARACTERS_PER_STEP = 300

NewMessages = Sequence[str | NewMessage]
"""Messages to produce. A string is a message that has a body and nothing else."""


@dataclass
class _Placed:
    """Messages of one batch, with their places in the queue."""

    sequences: list[int]
    """Sequence number of each message. A duplicate has that of the earlier message."""
    fresh: list[int]
    """Indexes of the messages that are added."""
    keys: dict[str, int]
    """Dedup keys of the messages that are added, with their sequence numbers."""


class _Encoded(NamedTuple):
    """Messages that were checked, with their entries."""

    messages: NewMessages
    entries: list[bytes]
    typed: Sequence[NewMessage] | None
    """The messages, if one of them has more than a body."""
    digests: Sequence[str]
    """Digest of each body, if the queue had `content_deduplication`; otherwise empty."""


class _Output(NamedTuple):
    """Decision on the messages for one queue."""

    queue: Queue
    sequences: Sequence[int]
    """Sequence number of each message, or of the earlier message that it duplicates."""
    duplicates: frozenset[int]
    """Indexes of the duplicates."""
    records: list[Record]
    """Records that create the queue if needed, and add the messages."""
    size: int = 0
    """Bytes of the messages that are added."""
    keys: int = 0
    """Number of their dedup keys."""

    @property
    def added(self) -> int:
        """Number of messages that are added."""
        return len(self.sequences) - len(self.duplicates)


class Producer:
    """Adds messages to queues."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def produce(self, queue: str, bodies: Sequence[str], delays_ms: Sequence[int | None] | None = None) -> list[str]:
        """Add messages that have a body and at most a delay, as `send` does; return their ids in order.

        ``delays_ms`` holds the delay of each message, or None for the default delay of the queue.
        """
        if delays_ms is None or not any(delay_ms is not None for delay_ms in delays_ms):
            return self.send(queue, bodies).ids
        messages = [NewMessage(body, delay_ms) for body, delay_ms in zip(bodies, delays_ms, strict=True)]
        return self.send(queue, messages).ids

    def send(self, queue: str, messages: NewMessages, number: RequestNumber | None = None) -> SendResults:
        """Add messages to a queue, all of them or none. Create the queue if it does not exist.

        A message whose dedup key is in the queue's dedup table is a duplicate. It adds nothing, and its result has the
        id of the earlier message.

        ``number`` identifies the request. If the newest request of its producer in this queue had the same one, nothing
        is added, and the results are the same.

        Raises:
            InvalidValueError: a message is malformed, or the batch is empty.
            RequestSupersededError: a later request of the producer was carried out.
            BatchTooLargeError, MessageTooLargeError: the batch or a message is too large.
            QueueNotFoundError: the queue does not exist, and producers may not create queues.
            QueueDrainingError: the queue accepts no messages.
            QueueFullError, BrokerFullError, TooManyQueuesError, TooManyKeysError: a limit is reached.
        """
        core = self._core
        encoded = self._encode(queue, messages)
        with core.transaction as now_ms:
            output = self._earlier_output(queue, number, now_ms) if number is not None else None
            if output is None:
                output = self._decide_output(queue, encoded, now_ms)
                if number is not None:
                    output = self._with_request_row(output, number, now_ms)
                self._check_totals((output,), now_ms)
            records = output.records
            position = core.append_and_apply(*records, leave=PRODUCE_LEAVES) if records else core.log.confirm()
            if records:
                self._count(output)
        core.durability.wait(position)
        return self._results(output)

    def _earlier_output(self, name: str, number: RequestNumber, now_ms: int) -> _Output | None:
        """Return the outcome of the request with this number, without records; None if it is a new request."""
        queue = self._core.state.queues.get(name)
        before = None if queue is None else queue.dedup.get(_PRODUCER + number.producer_id, now_ms)
        if queue is None or before is None or before[0] < number.number:
            return None
        newest, sequences, duplicates = before
        if newest > number.number:
            raise RequestSupersededError(number.number, newest)
        if isinstance(sequences, int):
            sequences = range(sequences, sequences + duplicates)
            duplicates = ()
        return _Output(queue, sequences, frozenset(duplicates), [])

    def _with_request_row(self, output: _Output, number: RequestNumber, now_ms: int) -> _Output:
        """Return an output that also keeps the outcome of a producer's newest request, for `_earlier_output`."""
        queue, key = output.queue, _PRODUCER + number.producer_id
        sequences = output.sequences
        value: list[Any] = [number.number, list(sequences), sorted(output.duplicates)]
        if isinstance(sequences, range):
            value = [number.number, sequences.start, len(sequences)]
        output.records.append(record.Dedup(record.DEDUP, now_ms, queue.number, [(key, value, now_ms + _PRODUCER_MS)]))
        return output._replace(keys=output.keys + (queue.dedup.get(key, now_ms) is None))

    def _check_totals(self, outputs: Collection[_Output], now_ms: int) -> None:
        """Check that what one write adds to all its queues together is within the limits of the broker.

        Raises:
            BrokerFullError, TooManyKeysError: it is not.
        """
        keys = count = size = 0
        for each in outputs:  # nearly always one: three sums would take a microsecond of each produce
            keys += each.keys
            count += each.added
            size += each.size
        self._core.admission.check_keys(keys, now_ms)
        self._core.admission.check_total_room(count, size)

    def hand_over(
        self, queue: str, targets: Sequence[Target], outputs: Mapping[str, NewMessages]
    ) -> dict[str, SendResults]:
        """Delete messages of a queue and add messages to any queues, in one step. A crash leaves all of it or none.

        ``targets`` identify the messages to delete. ``outputs`` and the results are by queue.

        Raises:
            MessageNotFoundError, StaleReceiptError: a message to delete does not exist, or its receipt is stale.
            BrokerError: the outputs are refused; see `send`.
        """
        core = self._core
        core.admission.check_batch(len(targets))
        if sum(map(len, outputs.values())) > core.limits.batch_messages:
            raise BatchTooLargeError(f"A batch may have {core.limits.batch_messages} messages, and this has more.")
        encoded = {name: self._encode(name, messages) for name, messages in outputs.items()}
        if len(outputs) > 1:
            lengths = [len(entry) for each in encoded.values() for entry in each.entries]
            core.admission.check_batch_bytes(sum(lengths), len(lengths))
        with core.transaction as now_ms:
            found = core.find_queue(queue)
            runs = self._resolve_all(found, targets)
            produced_ms = found.messages.produced_ms(runs)
            decided: dict[str, _Output] = {}
            created = 0
            for name, each in encoded.items():
                decided[name] = self._decide_output(name, each, now_ms, created)
                created += name not in core.state.queues
            self._check_totals(decided.values(), now_ms)
            delete = record.Delete(record.DELETE, now_ms, found.number, runs)
            records = [added for output in decided.values() for added in output.records]
            core.append_and_apply(delete, *records, leave=PRODUCE_LEAVES)
            core.counters.of(queue).deleted(now_ms, produced_ms)
            core.consumers.notify(found)
            for output in decided.values():
                self._count(output)
        core.wait_until_durable()
        return {name: self._results(output) for name, output in decided.items()}

    def send_with(
        self, queue: str, messages: NewMessages, also: Callable[[State, int], Sequence[Record] | None]
    ) -> bool:
        """Add messages together with the records that ``also`` returns, and return True. The caller waits for the log.

        For a queue of another shard, add them to its outbox.
        ``also`` is called under the lock with the state and the time. If it returns None, add nothing and return False.
        A refusal does not wait for the log either, so the caller must not tell anybody of it before it has waited.
        """
        core = self._core
        encoded = self._encode(queue, messages)
        refusal: BrokerError | None = None
        with core.transaction as now_ms:
            others = also(core.state, now_ms)
            if others is None:
                return False
            try:
                output = self._decide_output(queue, encoded, now_ms, may_cross=True)
                self._check_totals((output,), now_ms)
            except BrokerError as error:
                refusal = error
            else:
                core.append_and_apply(*output.records, *others, leave=PRODUCE_LEAVES)
                self._count(output)
        if refusal is not None:
            raise refusal
        return True

    def _encode(self, queue: str, messages: NewMessages) -> _Encoded:
        """Check messages, and encode them."""
        admission, typed = self._core.admission, None
        if are_bodies(messages):
            entries = admission.encode(messages)
        else:
            is_fifo = queue.endswith(FIFO_SUFFIX)
            typed = _typed(messages)
            for message in typed:
                message.check(is_fifo=is_fifo)
                if message.attributes:
                    took(8 * len(message.attributes))
            entries = admission.encode([each.body for each in typed], [each.headers() for each in typed])
        found = self._core.state.queues.get(queue)
        needs_digests = found is not None and found.settings.content_deduplication
        return _Encoded(messages, entries, typed, digests_of(messages) if needs_digests else ())

    def _decide_output(
        self, name: str, encoded: _Encoded, now_ms: int, created: int = 0, *, may_cross: bool = False
    ) -> _Output:
        """Decide on the messages for one queue; ``created`` counts queues that the same transaction creates before.

        The caller checks the limits of the broker, for all that it adds together.
        ``may_cross`` says whether they may get into an outbox.
        """
        core = self._core
        queue = core.state.queues.get(name)
        records: list[Record] = []
        if not may_cross and name in core.outboxes:
            core.check_shard(name)
        if queue is None:
            crosses = may_cross and not core.has_name(name)
            queue = (core.new_target if crosses else core.new_output_queue)(name, now_ms, created)
            records.append(queue_record(queue, queue.settings, now_ms))
        if encoded.typed is None and queue.is_plain:
            return self._decide_bodies(queue, encoded, now_ms, records)
        return self._decide(queue, encoded, now_ms, records)

    def _decide_bodies(self, queue: Queue, encoded: _Encoded, now_ms: int, records: list[Record]) -> _Output:
        """Do what `_decide` does, for messages without headers in a queue without settings that concern them."""
        lengths, first = list(map(len, encoded.entries)), queue.messages.next_sequence
        count, size = len(lengths), sum(lengths)
        self._core.admission.check_queue_room(queue, count, size)
        delay_ms = queue.settings.delay_ms
        due_ms = [now_ms + delay_ms] * count if delay_ms else []
        data = record.joined(encoded.entries, size)
        records.append(record.Produce(record.PRODUCE, now_ms, queue.number, first, due_ms, lengths, data))
        return _Output(queue, range(first, first + count), frozenset(), records, size)

    def _decide(self, queue: Queue, encoded: _Encoded, now_ms: int, records: list[Record]) -> _Output:
        """Give each message its place in the queue, and add the records of the new ones."""
        core, settings, entries = self._core, queue.settings, encoded.entries
        messages = _typed(encoded.messages) if encoded.typed is None else encoded.typed
        _check_settings(queue, messages, entries)
        digests: Sequence[str] = ()
        if settings.content_deduplication:
            digests = encoded.digests or [digest_of(message.body) for message in messages]
        placed = _deduplicate(queue, messages, digests, now_ms)
        duplicates = frozenset(range(len(messages))).difference(placed.fresh)
        if not placed.fresh:
            return _Output(queue, placed.sequences, duplicates, records)
        added = [messages[index] for index in placed.fresh]
        chosen = [entries[index] for index in placed.fresh]
        lengths = list(map(len, chosen))
        number, first, size = queue.number, queue.messages.next_sequence, sum(lengths)
        core.admission.check_queue_room(queue, len(chosen), size)
        due_ms, data = self._due_ms(settings, added, now_ms), record.joined(chosen, size)
        lanes = [queue.lane_for(message.priority, message.group) for message in added]
        if any(map(any, lanes)):
            records.append(record.Send(record.SEND, now_ms, number, first, due_ms, lengths, lanes, data))
        else:
            records.append(record.Produce(record.PRODUCE, now_ms, number, first, due_ms, lengths, data))
        if placed.keys:
            until_ms = now_ms + settings.deduplication_window_ms
            rows = [(key, sequence, until_ms) for key, sequence in placed.keys.items()]
            records.append(record.Dedup(record.DEDUP, now_ms, number, rows))
        return _Output(queue, placed.sequences, duplicates, records, size, len(placed.keys))

    def _due_ms(self, settings: QueueSettings, messages: Sequence[NewMessage], now_ms: int) -> list[int]:
        """Return the time at which each message becomes available, or an empty list if none is delayed."""
        given = [delay_of(message, now_ms) for message in messages]
        delays_ms = [settings.delay_ms if delay_ms is None else delay_ms for delay_ms in given]
        for delay_ms in set(delays_ms):
            self._core.limits.check_range("delay", delay_ms)
        return [now_ms + delay_ms for delay_ms in delays_ms] if any(delays_ms) else []

    def _count(self, output: _Output) -> None:
        """Count the messages that were added, and wake their consumers."""
        if output.added:
            name = output.queue.name
            self._core.counters.of(name).count(record.PRODUCE, output.added)
            self._core.consumers.notify(self._core.state.queues[name])

    def _results(self, output: _Output) -> SendResults:
        """Return the results for clients. They are made outside the lock: a batch has many ids."""
        ids = self._core.ids.message_ids(output.queue.number, output.sequences)
        return SendResults(ids, output.sequences, output.duplicates)

    def _resolve_all(self, queue: Queue, targets: Sequence[Target]) -> Runs:
        """Return the messages to delete; refuse all if one of them may not be deleted, or occurs twice."""
        sequences = sorted(self._core.resolve(queue, target).sequence for target in targets)
        if len(set(sequences)) < len(sequences):
            raise InvalidValueError("receipts", "A batch may delete a message only once.")
        return record.to_runs(sequences)


def are_bodies(messages: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Return whether all messages have a body and nothing else. False if there are none."""
    return set(map(type, messages)) == {str}


def _typed(messages: NewMessages) -> list[NewMessage]:
    return [NewMessage(message) if isinstance(message, str) else message for message in messages]


def digest_of(body: str) -> str:
    """Return the idempotency key of a message without one, in a queue or topic with `content_deduplication`."""
    return sha256(body.encode()).hexdigest()


def digests_of(messages: NewMessages) -> list[str]:
    """Return the digests of messages, in turns."""
    digests = []
    for message in messages:
        body = message if isinstance(message, str) else message.body
        digests.append(digest_of(body))
        took(1 + len(body) // _CHARACTERS_PER_STEP)
    return digests


def _check_settings(queue: Queue, messages: Sequence[NewMessage], entries: Sequence[bytes]) -> None:
    """Refuse messages that the settings of a queue do not allow.

    Raises:
        QueueDrainingError: the queue accepts no messages.
        MessageTooLargeError: a message is larger than the queue allows.
    """
    settings = queue.settings
    if settings.draining:
        raise QueueDrainingError(queue.name)
    most_bytes = settings.max_message_bytes
    if most_bytes and max(map(len, entries)) > most_bytes:  # an entry is a few bytes longer than its message
        for message in messages:
            size = size_of(message.body, message.attributes)
            if size > most_bytes:
                raise MessageTooLargeError(size, most_bytes)


def _deduplicate(queue: Queue, messages: Sequence[NewMessage], digests: Sequence[str], now_ms: int) -> _Placed:
    """Give each message a place in the queue: a new one, or that of the earlier message with the same key.

    ``digests`` are the keys of messages that give none. It is empty if those have no key.
    """
    placed, per_group = _Placed([], [], {}), queue.settings.deduplication_per_group
    first = queue.messages.next_sequence
    for index, message in enumerate(messages):
        given = message.key or (digests[index] if digests else "")
        key = dedup_key(message, given, per_group=per_group) if given else ""
        sequence: int | None = None
        if key:
            sequence = placed.keys[key] if key in placed.keys else queue.dedup.message(key, now_ms)
            if sequence is None:
                sequence = queue.dedup.message(_former_dedup_key(message, given, per_group=per_group), now_ms)
        if sequence is None:
            sequence = first + len(placed.fresh)
            placed.fresh.append(index)
            if key:
                placed.keys[key] = sequence
        placed.sequences.append(sequence)
    return placed


def delay_of(message: NewMessage, now_ms: int) -> int | None:
    """Return the delay in ms that a message has of its own, or None for that of its queue."""
    return message.delay_ms if message.deliver_at_ms is None else max(message.deliver_at_ms - now_ms, 0)


def dedup_key(message: NewMessage, key: str, *, per_group: bool = False) -> str:
    """Return the key of a message in the dedup table, given its idempotency key.

    Two messages have the same one only if their idempotency keys are equal and of the same kind, and their groups are
    equal where groups count. The group's length comes first, because both texts may contain any character.
    """
    kind = "b" if message.key_of_batch else "s"
    return f"g{kind}{len(message.group)}:{message.group}{key}" if per_group else f"k{kind}{key}"


def _former_dedup_key(message: NewMessage, key: str, *, per_group: bool) -> str:
    """Return the key under which earlier programs stored a message, so that a key is valid across an upgrade.

    These keys are read only, because different messages may have the same one.
    """
    return f"m{message.group}\0{key}" if per_group else f"m{key}"
