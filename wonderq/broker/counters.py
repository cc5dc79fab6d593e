"""Counters of a broker's work. They are plain numbers, because every request counts.

`wonderq.metrics` exports them. A start of the broker resets them to zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from wonderq.model.topics import LastAttempt
from wonderq.runtime.histogram import Histogram
from wonderq.state import record

#: Most queues that have counters of their own: each adds some dozens of time series. The other queues share one set.
NAMED_QUEUES = 100
#: Name of the shared set, which no queue can have.
OTHER_QUEUES = "(others)"

#: Inclusive upper bounds of the histograms' buckets: from the time of a sync to the retention of messages.
_AGES_MS = (5, 25, 100, 250, 500, *(1000 * s for s in (1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43_200, 86_400)))

_DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)


class QueueCounters:
    """Counters of one queue, or of all queues that share a set. Changed only under the broker's lock."""

    __slots__ = (
        "buried",
        "calls",
        "claims_timed_out",
        "dead_letters_moved",
        "lifetime_ms",
        "messages",
        "moved",
        "retention_expired",
        "time_to_claim_ms",
    )

    def __init__(self) -> None:
        self.calls = [0] * (record.DROP + 1)
        """Number of operations that changed something, by the kind of their record."""
        self.messages = [0] * (record.DROP + 1)
        """Number of messages that these operations changed."""
        self.claims_timed_out = 0
        """Claims that ended at their deadline."""
        self.retention_expired = 0
        """Messages deleted because they were older than their queue's retention."""
        self.moved = 0
        """Messages moved to another queue, as dead letters or by a redrive."""
        self.dead_letters_moved = 0
        """Dead letters that were moved to a dead-letter queue."""
        self.buried = 0
        """Dead letters that were buried, because there was no dead-letter queue for them."""
        self.time_to_claim_ms = Histogram(_AGES_MS)
        """Age of the message at each claim."""
        self.lifetime_ms = Histogram(_AGES_MS)
        """Age of each message at its deletion by a consumer."""

    def count(self, kind: int, messages: int) -> None:
        """Count an operation that changed ``messages`` messages; ``kind`` is that of its record."""
        self.calls[kind] += 1
        self.messages[kind] += messages

    def claimed(self, now_ms: int, produced_ms: Sequence[int]) -> None:
        """Count a claim of messages, given when each was produced, in ascending order."""
        self.count(record.CLAIM, len(produced_ms))
        self.time_to_claim_ms.observe_ages(now_ms, produced_ms)

    def deleted(self, now_ms: int, produced_ms: Sequence[int]) -> None:
        """Count a deletion of messages, given when each was produced, in ascending order."""
        self.count(record.DELETE, len(produced_ms))
        self.lifetime_ms.observe_ages(now_ms, produced_ms)


class TopicCounters:
    """Counters of one topic. Changed only under the broker's lock."""

    def __init__(self) -> None:
        self.published = 0
        """Messages that were published, without duplicates."""
        self.delivered: Counter[str] = Counter()
        """By subscription: messages that its queue got."""
        self.skipped: Counter[str] = Counter()
        """By subscription: messages that its queue refused."""
        self.deliveries = 0
        """Messages that the queues of all subscriptions got."""
        self.skips = 0
        """Messages that the queues of all subscriptions refused."""

    def deliver(self, subscription: str, messages: int) -> None:
        """Count messages that the queue of a subscription got."""
        self.delivered[subscription] += messages
        self.deliveries += messages

    def skip(self, subscription: str, messages: int) -> None:
        """Count messages that the queue of a subscription refused."""
        self.skipped[subscription] += messages
        self.skips += messages

    def forget(self, subscription: str) -> None:
        """Drop the counters of a subscription that has ended. The sums stay."""
        self.delivered.pop(subscription, None)
        self.skipped.pop(subscription, None)


class PushCounters:
    """Counters of deliveries to endpoints. Changed only by the push thread."""

    def __init__(self) -> None:
        self.attempts = {"delivered": 0, "failed": 0, "dead": 0}
        """Attempts by their outcome. After ``failed``, another attempt follows."""
        self.duration_s = Histogram(_DURATIONS_S)
        """Seconds of each attempt."""
        self.in_flight = 0
        """Requests under way."""
        self.endpoints = 0
        """Subscriptions with endpoints."""
        self.failing = 0
        """Endpoints whose last attempt failed."""
        self.last: dict[tuple[int, str], LastAttempt] = {}
        """Last attempt of each endpoint, by the number of the topic and the name of the subscription."""

    def count(self, outcome: str, seconds: float) -> None:
        """Count an attempt."""
        self.attempts[outcome] += 1
        self.duration_s.observe(seconds)


class BrokerCounters:
    """Counters of a broker."""

    def __init__(self, has_name: Callable[[str], bool] = lambda _: True) -> None:
        """``has_name`` tells a queue of this broker from an outbox, which is counted where its messages arrive."""
        self._has_name = has_name
        self._of_outboxes = QueueCounters()
        self.by_queue: dict[str, QueueCounters] = {}
        self.by_topic: dict[str, TopicCounters] = {}
        self.others = QueueCounters()
        self.push = PushCounters()
        self._any_others = False
        self.checkpoints = 0
        self.checkpoint_bytes = 0
        """Size of the last checkpoint."""
        self.checkpoint_s = 0.0
        """Seconds that the last checkpoint took."""
        self.checkpoint_at_s: float | None = None
        """Time of the last checkpoint, in seconds since 1970."""
        self.checkpointed_bytes = 0
        """`Broker.log_bytes` at the last checkpoint."""
        self.housekeeper_runs = False
        """Whether the housekeeper was started and has not ended."""
        self.schedules_fired = 0
        """Due times of schedules for which a message was produced."""
        self.schedules_missed = 0
        """Due times of schedules that passed without a message."""
        self.dropped_segments = 0
        self.copied_bytes = 0
        """Bytes of messages that compaction copied."""
        self.crossed: Counter[str] = Counter()
        """By queue of another shard: messages that it has got from here."""
        self.crossings_refused: Counter[str] = Counter()
        """By queue of another shard: tries to send it messages that it refused, such as for want of room."""
        self.crossings_failed: Counter[str] = Counter()
        """By queue of another shard: tries whose outcome is not known, or that reached no owner of the shard."""

    def of(self, queue: str) -> QueueCounters:
        """Return the counters of a queue: its own, or the shared set if `NAMED_QUEUES` others have their own."""
        found = self.by_queue.get(queue)
        if found is None:
            if not self._has_name(queue):
                return self._of_outboxes
            if len(self.by_queue) >= NAMED_QUEUES:
                self._any_others = True
                return self.others
            found = self.by_queue[queue] = QueueCounters()
        return found

    def of_topic(self, topic: str) -> TopicCounters:
        """Return the counters of a topic."""
        found = self.by_topic.get(topic)
        if found is None:
            found = self.by_topic[topic] = TopicCounters()
        return found

    def named_topics(self) -> list[tuple[str, TopicCounters]]:
        """Return the counters of the first `NAMED_QUEUES` topics by name, and the sums of the others under one name."""
        topics = list(self.by_topic.items())
        named, others = topics[:NAMED_QUEUES], topics[NAMED_QUEUES:]
        if others:
            rest = TopicCounters()
            for _, each in others:
                rest.published += each.published
                rest.deliveries += each.deliveries
                rest.skips += each.skips
            named.append((OTHER_QUEUES, rest))
        return named

    def named(self) -> list[tuple[str, QueueCounters]]:
        """Return the counters of all queues, each with the name to show."""
        return [*self.by_queue.items(), *([(OTHER_QUEUES, self.others)] if self._any_others else [])]

    def name_of(self, queue: str) -> str:
        """Return the name under which a queue's counters are shown."""
        return OTHER_QUEUES if self.of(queue) is self.others else queue

    def forget(self, queue: str) -> None:
        """Drop the counters of a deleted queue, so that another queue can have its own."""
        self.by_queue.pop(queue, None)
