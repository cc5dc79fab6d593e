"""History of topics: rates, and the messages that the queues of subscriptions refused in the last hour.

Bounded as the history of queues is: the rates of the first 100 topics, and the refused messages of 100 subscriptions.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from wonderq.broker.core import Core
from wonderq.broker.counters import NAMED_QUEUES, TopicCounters
from wonderq.broker.rates import Samples

#: Topics to inspect under the lock at a time.
_PER_STEP = 500

#: Period for which refused messages count, and the parts of it that are told apart.
_RECENT_MS = 3_600_000
_PART_MS = 60_000


class TopicFlows(NamedTuple):
    """Messages of a topic: since the start of the broker, or per second."""

    published: float
    delivered: float
    """Messages that queues got."""
    skipped: float
    """Messages that queues refused, and that passed by or went to the dead-letter queue of the subscription."""


NO_TOPIC_FLOWS = TopicFlows(0, 0, 0)


class Loss(NamedTuple):
    """Messages that the queue of a subscription refused in the last hour."""

    topic: str
    subscription: str
    messages: int


class _Lost(NamedTuple):
    counters: TopicCounters
    """Those of the topic: another topic of the same name has others."""
    parts: deque[tuple[int, int]]
    """Times, and the number of messages from each until a minute later."""


class TopicHistory:
    """Samples of the counters of topics. Only `sample` changes it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._samples: dict[str, tuple[TopicCounters, Samples]] = {}
        self._seen: dict[str, tuple[TopicCounters, int, Counter[str]]] = {}  # with refusals in all and by subscription
        self._lost: dict[tuple[str, str], _Lost] = {}  # by topic and subscription

    def sample(self, now_ms: int) -> None:
        """Add a sample of each topic to its rates, and look which subscriptions have lost messages since the last."""
        with self._core.lock:
            topics = list(self._core.counters.by_topic.items())
        for at in range(0, len(topics), _PER_STEP):
            with self._core.lock:
                for place, (name, counters) in enumerate(topics[at : at + _PER_STEP], at):
                    if place < NAMED_QUEUES:
                        self._add_sample(name, counters, now_ms)
                    self._find_losses(name, counters, now_ms)
        with self._core.lock:
            for key in [key for key, lost in self._lost.items() if not self._is_recent(key, lost, now_ms)]:
                del self._lost[key]
        there = dict(topics)
        for name in [name for name, (counters, _) in self._samples.items() if there.get(name) is not counters]:
            del self._samples[name]
        for name in [name for name in self._seen if name not in there]:
            del self._seen[name]

    def _add_sample(self, name: str, counters: TopicCounters, now_ms: int) -> None:
        found = self._samples.get(name)
        if found is None or found[0] is not counters:
            self._samples[name] = counters, Samples(now_ms, _flows_of(counters))
        else:
            found[1].add(now_ms, _flows_of(counters))

    def _find_losses(self, name: str, counters: TopicCounters, now_ms: int) -> None:
        known = self._seen.get(name)
        if known is None or known[0] is not counters:
            known = counters, 0, Counter()
        _, skips, before = known
        if counters.skips == skips and len(counters.skipped) == len(before):
            return
        for subscription, count in counters.skipped.items():
            added = count - before[subscription]
            if added:  # below 0 if there was another subscription of this name
                self._add_loss((name, subscription), counters, added if added > 0 else count, now_ms)
        self._seen[name] = counters, counters.skips, Counter(counters.skipped)

    def _add_loss(self, key: tuple[str, str], counters: TopicCounters, messages: int, now_ms: int) -> None:
        lost = self._lost.get(key)
        if lost is None or lost.counters is not counters:
            if lost is None and len(self._lost) >= NAMED_QUEUES:
                return
            lost = self._lost[key] = _Lost(counters, deque(maxlen=_RECENT_MS // _PART_MS))
        parts = lost.parts
        if parts and now_ms - parts[-1][0] < _PART_MS:
            parts[-1] = parts[-1][0], parts[-1][1] + messages
        else:
            parts.append((now_ms, messages))

    def _is_recent(self, key: tuple[str, str], lost: _Lost, now_ms: int) -> bool:
        """Return whether a subscription is still the one that lost messages, and lost them in the last hour."""
        topic, subscription = key
        is_same = self._core.counters.by_topic.get(topic) is lost.counters and subscription in lost.counters.skipped
        return is_same and now_ms - lost.parts[-1][0] < _RECENT_MS

    def per_second(self, topic: str, period_ms: int) -> TopicFlows | None:
        """Return the present rates of a topic; None before its first sample, or if it is not among the first 100."""
        with self._core.lock:
            counters = self._core.counters.by_topic.get(topic)
            is_idle = counters is None and len(self._core.counters.by_topic) < NAMED_QUEUES
        found = self._samples.get(topic)
        if counters is None or found is None or found[0] is not counters:
            return NO_TOPIC_FLOWS if is_idle else None
        return TopicFlows(*found[1].per_second(self._core.clock.now_ms(), _flows_of(counters), period_ms))

    def since_start(self, topic: str) -> TopicFlows:
        """Return the messages of a topic since the start of the broker."""
        with self._core.lock:
            counters = self._core.counters.by_topic.get(topic)
            return NO_TOPIC_FLOWS if counters is None else _flows_of(counters)

    def losses(self) -> list[Loss]:
        """Return the subscriptions whose queues refused messages in the last hour, the largest numbers first."""
        now_ms = self._core.clock.now_ms()
        found: list[Loss] = []
        with self._core.lock:
            for key, lost in self._lost.items():
                if self._is_recent(key, lost, now_ms):
                    count = sum(messages for at_ms, messages in lost.parts if now_ms - at_ms < _RECENT_MS)
                    found.append(Loss(*key, count))
        return sorted(found, key=lambda each: -each.messages)


def _flows_of(counters: TopicCounters) -> TopicFlows:
    return TopicFlows(counters.published, counters.deliveries, counters.skips)
