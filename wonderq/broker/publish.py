"""Publishing: messages that go to all queues of a topic whose subscriptions match, in one record.

A publish has three steps. Entries are encoded and filters evaluated outside the broker's lock, in turns. Under the
lock, the publisher looks whether subscriptions have changed meanwhile, and decides on each queue. Then it appends one
PUBLISH record, so a crash leaves the messages in all queues or in none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import mul
from typing import NamedTuple

from wonderq.broker.core import PRODUCE_LEAVES, Core
from wonderq.broker.produce import dedup_key, delay_of, digest_of, digests_of
from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerError,
    MessageTooLargeError,
    QueueDrainingError,
)
from wonderq.model.filters import Subject
from wonderq.model.messages import NewMessage, size_of
from wonderq.model.permits import Permits, everything
from wonderq.model.topics import Match, Publication, PublishResult, Subscription, is_fifo
from wonderq.runtime.fibers import took
from wonderq.state import record
from wonderq.state.state import Queue
from wonderq.state.topics import Topic

#: Steps of `took` that a filter takes besides those that it counts.
_STEPS_PER_FILTER = 1

MAX_DELIVERIES = 20_000
"""Most messages that one publish adds to all queues together: they are added in one turn. One message always fits."""

Indexes = Sequence[int] | None
"""Messages of a batch, by index; None for all."""


class _Batch:
    """Messages that were checked and encoded, and what the filters have said of them so far."""

    def __init__(
        self, topic: Topic, publications: Sequence[Publication], entries: Sequence[bytes], digests: Sequence[str]
    ) -> None:
        self.publications = publications
        self.entries = entries
        self.digests = digests
        """Digest of each body, if the topic had `content_deduplication`; otherwise empty."""
        self.sizes = list(map(len, entries))
        self._evaluated: dict[str, Subscription] = {}
        self._chosen: dict[str, tuple[Subscription, Indexes]] = {}  # those of them that match a message
        self._deliveries = 0
        self._known = topic, -1  # the topic, and its changes before all its filters were evaluated

    def evaluate(self, topic: Topic, subscriptions: Sequence[Subscription], changes: int) -> None:
        """Evaluate the filters of all subscriptions of a topic, as they were after ``changes`` changes, in turns."""
        subjects = self.subjects(took)
        for each in subscriptions:
            self._choose(each, subjects)
            took(_STEPS_PER_FILTER)
        self._known = topic, changes

    def subjects(self, pause: Callable[[int], None]) -> list[Subject]:
        """Return the messages as filters see them; ``pause`` is called with each portion of the work."""
        return [Subject(message.attributes or {}, message.body, pause) for message, _ in self.publications]

    def chosen(self, topic: Topic) -> Iterable[tuple[Subscription, Indexes]]:
        """Return the subscriptions of a topic that match any message, with these messages, under the lock.

        A subscription that has changed since `evaluate` is evaluated now.

        Raises:
            BatchTooLargeError: see `_choose`.
        """
        if self._known != (topic, topic.changes):
            subjects = self.subjects(lambda _: None)
            chosen, self._chosen, self._deliveries = self._chosen, {}, 0
            for name, each in topic.subscriptions.items():
                if self._evaluated.get(name) is not each:
                    self._choose(each, subjects)
                elif name in chosen:
                    self._add(*chosen[name])
        return self._chosen.values()

    def _choose(self, subscription: Subscription, subjects: Sequence[Subject]) -> None:
        """Evaluate a subscription, and add it with the messages that match it, if any do.

        Raises:
            BatchTooLargeError: more messages would be added to queues than one publish may add.
        """
        self._evaluated[subscription.name] = subscription
        if subscription.paused:
            return
        found = subscription.compiled_filter
        if found is None:
            self._add(subscription, None)
            return
        indexes = [index for index, subject in enumerate(subjects) if found.accepts(subject)]
        if indexes:
            self._add(subscription, None if len(indexes) == len(subjects) else indexes)

    def _add(self, subscription: Subscription, indexes: Indexes) -> None:
        self._chosen[subscription.name] = subscription, indexes
        self._deliveries += len(self.entries) if indexes is None else len(indexes)
        if self._deliveries > MAX_DELIVERIES:
            raise BatchTooLargeError(
                f"A publish may add {MAX_DELIVERIES} messages to all queues together, and this would add more. Publish "
                "fewer messages at once."
            )


class _Placed(NamedTuple):
    """The messages of a batch in their topic."""

    sequences: list[int]
    """Number of each publication. A duplicate has that of the earlier one."""
    fresh: list[int]
    """Indexes of the messages that are no duplicates."""
    keys: dict[str, int]
    """Dedup keys of the fresh messages, with the numbers of their publications."""
    next_sequence: int


class _Delivery(NamedTuple):
    """Messages that one queue gets."""

    queue: Queue
    indexes: Sequence[int]
    subscription: Subscription
    is_refused: bool
    """Whether the queue is the dead-letter queue of the subscription, whose own queue has refused the messages."""


class _Decision:
    """The queues that get the fresh messages of a batch, and those that are passed over."""

    def __init__(self, count: int) -> None:
        self.deliveries: list[_Delivery] = []
        self.skipped: list[tuple[Subscription, int]] = []
        """Subscriptions whose queue refused messages, with the number of these."""
        self.queues_of = [0] * count
        """For each message of the batch, the number of queues that get it."""
        self.skips_of = [0] * count
        """For each message of the batch, the number of queues that refused it and were passed over."""

    def deliver(
        self, queue: Queue, indexes: Sequence[int], subscription: Subscription, *, is_refused: bool = False
    ) -> None:
        """Add the delivery of messages, at least one, to a queue."""
        self.deliveries.append(_Delivery(queue, indexes, subscription, is_refused))
        for index in indexes:
            self.queues_of[index] += 1

    def skip(self, subscription: Subscription, indexes: Sequence[int]) -> None:
        """Count messages that no queue gets for a subscription."""
        self.skipped.append((subscription, len(indexes)))
        for index in indexes:
            self.skips_of[index] += 1


class Publisher:
    """Publishes messages to topics."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def publish(self, topic: str, publications: Sequence[Publication]) -> list[PublishResult]:
        """Add messages to all queues whose subscriptions match them, or add nothing; return the results in order.

        A message whose idempotency key is in the dedup table of the topic is a duplicate: no queue gets it, also one
        that has subscribed since. The keys that the queues themselves remember do not count.

        If a queue refuses messages, because it is full or draining or a message is too large for it, the publish is
        refused, unless the subscription says otherwise (`Subscription.when_full`). A subscription that passes over a
        full queue gets none of the messages of the batch.

        Raises:
            TopicNotFoundError: the topic does not exist.
            InvalidValueError: a message is malformed, or the batch is empty.
            BatchTooLargeError, MessageTooLargeError: the batch or a message is too large for the broker, or too many
                queues match so large a batch.
            QueueFullError, QueueDrainingError, MessageTooLargeError: a queue refuses messages. The error names it.
            BrokerFullError, TooManyKeysError: a limit of the broker is reached.
        """
        core = self._core
        batch = self._prepare(topic, publications)
        with core.transaction as now_ms:
            found = self._core.find_topic(topic)
            placed = _place(found, batch, now_ms)
            core.admission.check_keys(len(placed.keys), now_ms)
            decision = self._decide(found, batch, placed)
            if placed.fresh:
                appended = self._record(found, batch, placed, decision, now_ms)
                position = core.append_and_apply(appended, leave=PRODUCE_LEAVES)
                self._count(found, placed, decision)
            else:
                position = core.log.confirm()
        core.durability.wait(position)
        ids = core.ids.message_ids(found.number, placed.sequences)
        duplicates = set(range(len(publications))).difference(placed.fresh)
        return [
            PublishResult(ids[at], sequence, at in duplicates, decision.queues_of[at], decision.skips_of[at])
            for at, sequence in enumerate(placed.sequences)
        ]

    def match(
        self, topic: str, publication: Publication, permits: Permits = everything, *, limit: int | None = None
    ) -> list[Match]:
        """Return what a publish of a message would do with each subscription. Nothing is published.

        ``permits`` leaves out subscriptions of queues that the client may not see. ``limit`` is the most to return.

        Raises: as `publish`, but for refusals of queues, which are reasons here.
        """
        batch = self._prepare(topic, [publication], evaluate=False)
        with self._core.transaction:
            subscriptions = list(self._core.find_topic(topic).subscriptions.values())
        matches: list[Match] = []
        for each in subscriptions:
            if limit is not None and len(matches) >= limit:
                break
            with self._core.transaction:
                queue = self._core.state.find(each.queue)
                if queue is None or not permits(queue.name):
                    continue
                refusal = self._refusal(queue, batch, [0])
            matches.append(_match(each, queue, batch, refusal))
            took(_STEPS_PER_FILTER)
        self._core.confirm()
        return matches

    def _prepare(self, topic: str, publications: Sequence[Publication], *, evaluate: bool = True) -> _Batch:
        """Check and encode messages, and evaluate the filters of the topic, outside the lock."""
        for each in publications:
            each.check(is_fifo=is_fifo(topic))
            if each.message.attributes:
                took(8 * len(each.message.attributes))
        messages = [each.message for each in publications]
        entries = self._core.admission.encode([each.body for each in messages], [each.headers() for each in messages])
        with self._core.transaction:
            found = self._core.find_topic(topic)
            subscriptions, changes = list(found.subscriptions.values()), found.changes
            needs_digests = found.settings.content_deduplication
        batch = _Batch(found, publications, entries, digests_of(messages) if needs_digests else ())
        if evaluate:
            batch.evaluate(found, subscriptions, changes)
        return batch

    def _decide(self, topic: Topic, batch: _Batch, placed: _Placed) -> _Decision:
        """Decide on each subscription, under the lock."""
        decision = _Decision(len(batch.entries))
        every, fresh = placed.fresh, set(placed.fresh)
        state = self._core.state
        for subscription, chosen in batch.chosen(topic) if every else ():
            indexes = every if chosen is None else [index for index in chosen if index in fresh]
            queue = state.find(subscription.queue) if indexes else None
            if queue is None:
                continue
            refusal = self._refusal(queue, batch, indexes)
            if refusal is None:
                decision.deliver(queue, indexes, subscription)
            elif subscription.when_full == "fail":
                raise refusal
            else:
                self._skip(decision, queue, subscription, batch, indexes)
        size = sum(map(mul, decision.queues_of, batch.sizes))
        self._core.admission.check_total_room(sum(decision.queues_of), size)
        return decision

    def _skip(
        self, decision: _Decision, queue: Queue, subscription: Subscription, batch: _Batch, indexes: Sequence[int]
    ) -> None:
        """Pass over a queue that refuses messages: those that are too large, or all of them."""
        fitting = [index for index in indexes if self._refusal(queue, batch, [index]) is None]
        if len(fitting) == len(indexes) or self._refusal(queue, batch, fitting) is not None:
            fitting = []
        if fitting:
            decision.deliver(queue, fitting, subscription)
        refused = sorted(set(indexes).difference(fitting))
        dead_letters = self._core.state.queues.get(subscription.dead_letter_queue)
        if dead_letters is None:
            decision.skip(subscription, refused)
        else:
            decision.deliver(dead_letters, refused, subscription, is_refused=True)

    def _refusal(self, queue: Queue, batch: _Batch, indexes: Sequence[int]) -> BrokerError | None:
        """Return why a queue does not take messages, at least one, or None if it does."""
        settings = queue.settings
        if settings.draining:
            return QueueDrainingError(queue.name)
        if not (settings.max_message_bytes or self._core.admission.limits_queues or queue.limits_size):
            return None
        sizes = batch.sizes
        if settings.max_message_bytes and indexes and max(sizes[at] for at in indexes) > settings.max_message_bytes:
            for index in indexes:
                message = batch.publications[index].message
                size = size_of(message.body, message.attributes)
                if size > settings.max_message_bytes:
                    return MessageTooLargeError(size, settings.max_message_bytes, queue.name)
        try:
            self._core.admission.check_queue_room(queue, len(indexes), sum(sizes[at] for at in indexes))
        except BrokerError as error:
            return error
        return None

    def _record(self, topic: Topic, batch: _Batch, placed: _Placed, decision: _Decision, now_ms: int) -> record.Publish:
        """Return the record of a decision. It has the entries of those messages that a queue gets."""
        used = [index for index, count in enumerate(decision.queues_of) if count]
        place_of = {index: place for place, index in enumerate(used)}
        heads: list[bytes] = []
        if not all(each.subscription.raw for each in decision.deliveries):
            heads = self._heads(topic, batch, placed, used, now_ms)
        entries = [batch.entries[index] for index in used]
        pieces = list(chain.from_iterable(zip(heads, entries, strict=True))) if heads else entries
        messages = [batch.publications[index].message for index in used]
        for index in placed.fresh:
            self._check_delay(batch.publications[index].message, now_ms)
        lanes = [(each.priority, each.group) for each in messages]
        until_ms = now_ms + topic.settings.deduplication_window_ms
        return record.Publish(
            record.PUBLISH,
            now_ms,
            topic.number,
            placed.next_sequence,
            [(key, sequence, until_ms) for key, sequence in placed.keys.items()],
            self._targets(decision, place_of, now_ms),
            _due_times_ms([delay_of(each, now_ms) for each in messages], now_ms),
            lanes if any(map(any, lanes)) else (),
            list(map(len, heads)),
            list(map(len, entries)),
            record.joined(pieces, sum(map(len, pieces))),
        )

    def _heads(self, topic: Topic, batch: _Batch, placed: _Placed, used: Sequence[int], now_ms: int) -> list[bytes]:
        ids = self._core.ids.message_ids(topic.number, [placed.sequences[index] for index in used]) if used else []
        return [
            record.encode_head((topic.name, publication_id, now_ms, batch.publications[index].subject))
            for index, publication_id in zip(used, ids, strict=True)
        ]

    @staticmethod
    def _targets(decision: _Decision, place_of: Mapping[int, int], now_ms: int) -> list[record.Target]:
        targets = []
        next_of: dict[int, int] = {}
        every = list(place_of)
        for queue, indexes, subscription, _ in decision.deliveries:
            first = next_of.get(queue.number, queue.messages.next_sequence)
            next_of[queue.number] = first + len(indexes)
            flags = (0 if subscription.raw else record.WITH_HEAD) | (record.FIFO if queue.is_fifo else 0)
            delay_ms = queue.settings.delay_ms
            due_ms = now_ms + delay_ms if delay_ms else 0
            runs = () if indexes == every else record.to_runs(place_of[index] for index in indexes)
            targets.append(record.Target(queue.number, first, flags, due_ms, runs))
        return targets

    def _check_delay(self, message: NewMessage, now_ms: int) -> None:
        """Refuse a message whose delay is out of range, whether a queue gets it or not."""
        delay_ms = delay_of(message, now_ms)
        if delay_ms is not None:
            self._core.limits.check_range("delay", delay_ms)

    def _count(self, topic: Topic, placed: _Placed, decision: _Decision) -> None:
        """Count what was published, and wake the consumers of the queues."""
        core = self._core
        counters = core.counters.of_topic(topic.name)
        counters.published += len(placed.fresh)
        for queue, indexes, subscription, is_refused in decision.deliveries:
            (counters.skip if is_refused else counters.deliver)(subscription.name, len(indexes))
            core.counters.of(queue.name).count(record.PRODUCE, len(indexes))
            core.consumers.notify(queue)
        for subscription, count in decision.skipped:
            counters.skip(subscription.name, count)


def _due_times_ms(delays_ms: Sequence[int | None], now_ms: int) -> list[int]:
    """Return the times of a PUBLISH record, given the delays that messages have of their own."""
    if not any(delay_ms is not None for delay_ms in delays_ms):
        return []
    return [0 if delay_ms is None else now_ms + delay_ms for delay_ms in delays_ms]


def _match(subscription: Subscription, queue: Queue, batch: _Batch, refusal: BrokerError | None) -> Match:
    """Return what a publish of the only message of a batch would do with one subscription."""
    message = batch.publications[0].message
    reason, fails = "", False
    found = subscription.compiled_filter
    if subscription.paused:
        reason = "The subscription is paused."
    elif found is not None and not found.matches(message.attributes or {}, message.body):
        reason = found.explain(message.attributes or {}, message.body)
    elif refusal is not None:
        reason, fails = str(refusal), subscription.when_full == "fail"
    return Match(subscription.name, queue.name, not reason, reason, fails)


def _place(topic: Topic, batch: _Batch, now_ms: int) -> _Placed:
    """Give each message the number of its publication: a new one, or that of the earlier message with the same key."""
    sequences: list[int] = []
    fresh: list[int] = []
    keys: dict[str, int] = {}
    next_sequence = topic.next_sequence
    by_content = topic.settings.content_deduplication
    for index, (message, _) in enumerate(batch.publications):
        given = message.key
        if not given and by_content:
            given = batch.digests[index] if batch.digests else digest_of(message.body)
        key = dedup_key(message, given) if given else ""
        known: int | None = None
        if key:
            known = keys.get(key)
            if known is None:
                known = topic.dedup.get(key, now_ms)
        if known is None:
            known = next_sequence
            next_sequence += 1
            fresh.append(index)
            if key:
                keys[key] = known
        sequences.append(known)
    return _Placed(sequences, fresh, keys, next_sequence)
