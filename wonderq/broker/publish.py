"""Publishing: messages that go to all queues of a topic whose subscriptions match, in one record.

A publish has three steps. Entries are encoded and filters evaluated outside the broker's lock, in turns
(`wonderq.broker.publish_batch`). The publisher decides on each queue under the lock, in turns too if there are many
(`wonderq.broker.publish_plan`). Then it appends one PUBLISH record, so a crash leaves the messages in all queues or in
none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from wonderq.broker.core import PORTION, PRODUCE_LEAVES, Core
from wonderq.broker.counters import TopicCounters
from wonderq.broker.produce import delay_of, digests_of
from wonderq.broker.publish_batch import Batch, Placed, Variants
from wonderq.broker.publish_plan import Decision, Plan, refusal_of
from wonderq.model.errors import BrokerError, TopicNotFoundError
from wonderq.model.filters import Subject
from wonderq.model.messages import NewMessage
from wonderq.model.permits import Permits, everything
from wonderq.model.topics import Match, Publication, PublishResult, Subscription, is_fifo
from wonderq.runtime.collector import no_collections
from wonderq.runtime.fair_lock import FairLock
from wonderq.runtime.fibers import took, yield_to_others
from wonderq.state import record
from wonderq.state.state import Queue
from wonderq.state.topics import Topic
from wonderq_storage import Position

#: Steps of `took` for the dry run of one subscription, besides those that its filter counts. Its filter may have to be
#: compiled.
_STEPS_PER_MATCH = 50


class Publisher:
    """Publishes messages to topics."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._long = FairLock()  # two long plans at once would void each other's decisions

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
        batch = self._prepare(topic, publications)
        plan = Plan(self._core, batch)
        if plan.is_long:
            with self._long, no_collections():  # its many objects are freed soon
                placed, position = self._carry_out_in_turns(batch, plan)
        else:
            with self._core.transaction as now_ms:
                self._check_is_there(batch.topic)
                made = plan.make_more(now_ms)
                assert made is not None
                placed, position = made, self._append(batch, plan, made, now_ms)
                self._count(plan.topic, plan.decisions.values())
        self._core.durability.wait(position)
        ids = self._core.ids.message_ids(plan.topic.number, placed.sequences)
        fresh, queues, skips = (
            set(placed.fresh),
            batch.variants.sums(plan.queues_of),
            batch.variants.sums(plan.skips_of),
        )
        return [
            PublishResult(ids[at], placed.sequences[at], at not in fresh, queues[at], skips[at])
            for at in batch.variants.given
        ]

    def _carry_out_in_turns(self, batch: Batch, plan: Plan) -> tuple[Placed, Position]:
        """Make a plan, append its record, and let the queues get their messages: at most a portion in each turn."""
        core, placed = self._core, None
        try:
            while placed is None:
                yield_to_others()
                with core.transaction as now_ms:
                    self._check_is_there(batch.topic)
                    placed = plan.make_more(now_ms)
                    if placed is not None:
                        position = self._append(batch, plan, placed, now_ms)
                    else:
                        core.state.freeze_more()  # a snapshot of before must not see the queues change one by one
            for portion in plan.portions():
                yield_to_others()
                with core.locked():
                    self._count(plan.topic, portion)
        finally:
            has_more = True
            while has_more:
                yield_to_others()
                with core.locked():
                    has_more = plan.release(PORTION)
        return placed, position

    def match(
        self,
        topic: str,
        publication: Publication,
        permits: Permits = everything,
        *,
        limit: int | None = None,
        client_gone: Callable[[], bool] = lambda: False,
    ) -> list[Match]:
        """Return what a publish of a message would do with each subscription. Nothing is published.

        ``permits`` leaves out subscriptions of queues that the client may not see. ``limit`` is the most to return. The
        rest is left out once ``client_gone`` returns True.

        Raises: as `publish`, but for refusals of queues, which are reasons here.
        """
        batch = self._prepare(topic, [publication], evaluate=False)
        with self._core.transaction:
            subscriptions = list(self._core.find_topic(topic).subscriptions.values())
        [subject] = batch.subjects(took)
        matches: list[Match] = []
        for each in subscriptions:
            if (limit is not None and len(matches) >= limit) or client_gone():
                break
            with self._core.transaction:
                queue = self._core.state.find(each.queue)
                if queue is None or not each.is_open_to(permits, queue.name):
                    continue
                refusal = refusal_of(self._core.admission, queue, batch, [0])
            matches.append(_match(each, queue, subject, refusal))
            took(_STEPS_PER_MATCH)
        self._core.confirm()
        return matches

    def _prepare(self, topic: str, publications: Sequence[Publication], *, evaluate: bool = True) -> Batch:
        """Check and encode messages, and evaluate the filters of the topic, outside the lock."""
        for each in publications:
            each.check(is_fifo=is_fifo(topic))
            if each.message.attributes:
                took(8 * len(each.message.attributes))
        variants = Variants(publications)
        messages = [each.message for each in variants.publications]
        entries = self._core.admission.encode([each.body for each in messages], [each.headers() for each in messages])
        with self._core.transaction:
            found = self._core.find_topic(topic)
            subscriptions, change = list(found.subscriptions.values()), found.last_change
            needs_digests = found.settings.content_deduplication
        batch = Batch(found, change, variants, entries, digests_of(messages) if needs_digests else ())
        if evaluate:
            batch.evaluate(subscriptions)
        return batch

    def _check_is_there(self, topic: Topic) -> None:
        """Check that a topic was not deleted, under the lock. Another of its name is another topic.

        Raises:
            TopicNotFoundError: it was.
        """
        if self._core.find_topic(topic.name) is not topic:
            raise TopicNotFoundError(topic.name)

    def _append(self, batch: Batch, plan: Plan, placed: Placed, now_ms: int) -> Position:
        """Carry out a plan under the lock; return the position on which the answer waits."""
        for index in placed.fresh:
            self._check_delay(batch.publications[index].message, now_ms)
        plan.check_total_room()
        self._core.admission.check_keys(len(placed.keys), now_ms)
        if not placed.fresh:
            return self._core.log.confirm()
        appended = self._record(batch, plan, placed, now_ms)
        published = placed.next_sequence - plan.topic.next_sequence
        position = self._core.append_and_apply(appended, leave=PRODUCE_LEAVES)
        self._core.counters.of_topic(plan.topic.name).published += published
        return position

    def _record(self, batch: Batch, plan: Plan, placed: Placed, now_ms: int) -> record.Publish:
        """Return the record of a plan. It has the entries of those messages that a queue gets."""
        used = plan.messages
        heads = self._heads(batch, plan.topic, placed, used, now_ms) if plan.has_heads else []
        entries = [batch.entries[index] for index in used]
        pieces = list(chain.from_iterable(zip(heads, entries, strict=True))) if heads else entries
        messages = [batch.publications[index].message for index in used]
        lanes = [(each.priority, each.group) for each in messages]
        until_ms = now_ms + plan.topic.settings.deduplication_window_ms
        return record.Publish(
            record.PUBLISH,
            now_ms,
            plan.topic.number,
            placed.next_sequence,
            [(key, sequence, until_ms) for key, sequence in placed.keys.items()],
            plan.targets(now_ms),
            _due_times_ms([delay_of(each, now_ms) for each in messages], now_ms),
            lanes if any(map(any, lanes)) else (),
            list(map(len, heads)),
            list(map(len, entries)),
            record.joined(pieces, sum(map(len, pieces))),
        )

    def _heads(self, batch: Batch, topic: Topic, placed: Placed, used: Sequence[int], now_ms: int) -> list[bytes]:
        ids = self._core.ids.message_ids(topic.number, [placed.sequences[index] for index in used]) if used else []
        return [
            record.encode_head((topic.name, publication_id, now_ms, batch.publications[index].subject))
            for index, publication_id in zip(used, ids, strict=True)
        ]

    def _check_delay(self, message: NewMessage, now_ms: int) -> None:
        """Refuse a message whose delay is out of range, whether a queue gets it or not."""
        delay_ms = delay_of(message, now_ms)
        if delay_ms is not None:
            self._core.limits.check_range("delay", delay_ms)

    def _count(self, topic: Topic, decisions: Iterable[Decision]) -> None:
        """Count what the queues have got, and wake their consumers.

        A queue, topic or subscription that was deleted since the publish gets no new counters.
        """
        core = self._core
        is_there = core.state.find_topic(topic.number) is topic
        counters = core.counters.of_topic(topic.name) if is_there else TopicCounters()
        for subscription, deliveries, skipped, _ in decisions:
            for queue, indexes, is_refused in deliveries:
                (counters.skip if is_refused else counters.deliver)(subscription.name, len(indexes))
                if core.state.find(queue.number) is queue:
                    queue.settle()
                    core.counters.of(queue.name).count(record.PRODUCE, len(indexes))
                    core.consumers.notify(queue)
            if skipped:
                counters.skip(subscription.name, len(skipped))
            if subscription.name not in topic.subscriptions:
                counters.forget(subscription.name)


def _due_times_ms(delays_ms: Sequence[int | None], now_ms: int) -> list[int]:
    """Return the times of a PUBLISH record, given the delays that messages have of their own."""
    if not any(delay_ms is not None for delay_ms in delays_ms):
        return []
    return [0 if delay_ms is None else now_ms + delay_ms for delay_ms in delays_ms]


def _match(subscription: Subscription, queue: Queue, subject: Subject, refusal: BrokerError | None) -> Match:
    """Return what a publish of a message would do with one subscription."""
    reason, fails = "", False
    if subscription.paused:
        reason = "The subscription is paused."
    elif subscription.is_pending:
        reason = "The endpoint has not confirmed the subscription."
    elif (found := subscription.compiled_filter) is not None:
        reason = found.explain(subject)
    if not reason and refusal is not None:
        reason, fails = str(refusal), subscription.when_full == "fail"
    return Match(subscription.name, queue.name, not reason, reason, fails)
