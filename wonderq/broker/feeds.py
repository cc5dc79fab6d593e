"""Feeds: which subscriptions deliver to a queue, and those that need somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple

from wonderq.broker.core import Core
from wonderq.broker.problems import Problem
from wonderq.broker.topic_history import Loss
from wonderq.model.errors import QueueFullError
from wonderq.model.topics import WhenFull
from wonderq.runtime.fibers import in_turns, took
from wonderq.state.state import Queue

#: Subscriptions, topics or queues to inspect under the lock at a time.
_PER_STEP = 500

#: Steps of `took` for a subscription, for its topic, and for finding out whether a queue refuses messages.
_STEPS_PER_SUBSCRIPTION, _STEPS_PER_TOPIC, _STEPS_PER_QUEUE = 4, 5, 10


class Feed(NamedTuple):
    """A subscription by which messages get to a queue."""

    topic: str
    subscription: str
    gets: Literal["published", "refused"]
    """Whether the queue gets what is published, or as a dead-letter queue what the subscription's queue refused."""
    paused: bool
    when_full: WhenFull


class Feeds(NamedTuple):
    """The subscriptions of all topics, by the queues that they deliver to."""

    of_queue: Mapping[str, Sequence[Feed]]
    of_dead_letters: AbstractSet[str]
    """Queues that get what the queues of subscriptions refuse."""


NO_FEEDS = Feeds({}, frozenset())


class FeedsReader:
    """Reads the feeds of all queues. The result is kept until a subscription changes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._read: tuple[Sequence[tuple[int, int]], Feeds] = (), NO_FEEDS

    def current(self) -> Feeds:
        """Return the feeds of all queues. Other requests have their turn meanwhile."""
        with self._core.lock:
            topics = list(self._core.state.topics.values())
        version = [(each.number, each.changes) for each in in_turns(topics, _PER_STEP)]
        if version == self._read[0]:
            return self._read[1]
        of_queue: dict[str, list[Feed]] = {}
        dead_letters: set[str] = set()
        for topic in topics:
            with self._core.lock:
                subscriptions = list(topic.subscriptions.values())
            for at in range(0, len(subscriptions), _PER_STEP):
                with self._core.lock:
                    for each in subscriptions[at : at + _PER_STEP]:
                        queue = self._core.state.find(each.queue)
                        if queue is None:
                            continue
                        feed = Feed(topic.name, each.name, "published", each.paused, each.when_full)
                        of_queue.setdefault(queue.name, []).append(feed)
                        if each.dead_letter_queue:
                            dead_letters.add(each.dead_letter_queue)
                            feeds = of_queue.setdefault(each.dead_letter_queue, [])
                            feeds.append(feed._replace(gets="refused"))
                took(_STEPS_PER_SUBSCRIPTION * len(subscriptions[at : at + _PER_STEP]))
            took(_STEPS_PER_TOPIC)
        self._read = version, Feeds(of_queue, dead_letters)
        return self._read[1]


def refusals(core: Core, feeds: Feeds) -> Iterator[Problem]:
    """Yield the queues that refuse messages at present, for each topic whose publishes fail by that."""
    for name, found in feeds.of_queue.items():
        took(_STEPS_PER_QUEUE)
        with core.lock:
            queue = core.state.queues.get(name)
            reason = None if queue is None else _refusal_of(core, queue)
        if reason is None:
            continue
        for each in found:
            if each.gets == "published" and each.when_full == "fail" and not each.paused:
                text = f"{name} is {reason}, so publishes to the topic {each.topic} that it would get are refused."
                yield Problem("publish_refused", "error", text, name, topic=each.topic)


class Refused(NamedTuple):
    """Messages of a topic that a queue refused in the last hour."""

    topic: str
    queue: str
    messages: int
    dead_letter_queue: str
    """Queue that they went to; empty for none."""


def refused(core: Core, found: Sequence[Loss]) -> list[Refused]:
    """Return which queues refused messages, as the subscriptions are now."""
    result: list[Refused] = []
    for each in found:
        with core.lock:
            topic = core.state.topics.get(each.topic)
            subscription = None if topic is None else topic.subscriptions.get(each.subscription)
            queue = None if subscription is None else core.state.find(subscription.queue)
        if subscription is not None and queue is not None:
            result.append(Refused(each.topic, queue.name, each.messages, subscription.dead_letter_queue))
    return result


def of_refused(found: Sequence[Refused]) -> Iterator[Problem]:
    """Yield the queues that refused messages of a topic in the last hour."""
    for topic, queue, count, where in found:
        messages = f"{count:,} {'message' if count == 1 else 'messages'}"
        end = f"Such messages go to {where}." if where else "It does not get them any more."
        text = f"{queue} refused {messages} of the topic {topic} in the last hour. {end}"
        yield Problem("skipped", "warning", text, queue, topic=topic)


def _refusal_of(core: Core, queue: Queue) -> str | None:
    """Return why a queue takes no message, in a word; None if it does."""
    if queue.settings.draining:
        return "draining"
    if core.admission.limits_queues or queue.limits_size:
        try:
            core.admission.check_queue_room(queue, 1, 1)
        except QueueFullError:
            return "full"
    return None
