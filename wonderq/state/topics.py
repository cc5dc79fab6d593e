"""Topics: their subscriptions, and the idempotency keys that were used."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from wonderq.model.topics import Subscription, TopicSettings
from wonderq.state import record
from wonderq.state.dedup import DedupEntry, DedupTable
from wonderq.state.disposal import free


class Stored(NamedTuple):
    """The record of a subscription."""

    position: int
    """Position after the record."""
    bytes: int
    """Bytes of the value in the record."""


class Change:
    """A change of a subscription. It has the next one, so a reader who keeps one finds all later changes of the topic.

    Changes that no reader keeps are freed, and a reader need not be known to the topic.
    """

    __slots__ = ("name", "next", "number")

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        """Name of the subscription; empty if it is not one change of one subscription."""
        self.number = number
        """Number of changes of the topic up to this one, since the start."""
        self.next: Change | None = None


class Subscribers:
    """The topics to which each queue has subscribed, so that the deletion of a queue finds its subscriptions."""

    def __init__(self) -> None:
        self._topics: dict[int, int | set[int]] = {}  # by queue; most have subscribed to one

    def __len__(self) -> int:
        return len(self._topics)

    def add(self, queue: int, topic: int) -> None:
        """Add a topic to those of a queue."""
        found = self._topics.setdefault(queue, topic)
        if isinstance(found, set):
            found.add(topic)
        elif found != topic:
            self._topics[queue] = {found, topic}

    def remove(self, queue: int, topic: int) -> None:
        """Remove a topic from those of a queue, if it is there."""
        found = self._topics.get(queue)
        if isinstance(found, set):
            found.discard(topic)
        if found == topic or found == set():
            del self._topics[queue]

    def topics_of(self, queue: int) -> list[int]:
        """Return the numbers of the topics of a queue, ascending. Some may have been deleted a moment ago."""
        found = self._topics.get(queue)
        if found is None:
            return []
        return sorted(found) if isinstance(found, set) else [found]


class Topic:
    """One topic."""

    def __init__(self, number: int, name: str, created_ms: int, subscribers: Subscribers | None = None) -> None:
        """``subscribers`` is kept up to date with the subscriptions."""
        self._subscribers = Subscribers() if subscribers is None else subscribers
        self.number = number
        self.name = name
        """Name. During replay of a log whose old parts were dropped, it may be empty until the TOPIC record follows."""
        self.created_ms = created_ms
        self.settings = TopicSettings()
        self.next_sequence = 0
        """Number of the next publication."""
        self.subscriptions: dict[str, Subscription] = {}
        self.names: list[str] = []
        """Names of the subscriptions, ascending."""
        self.by_queue: dict[int, str] = {}
        """Names of the subscriptions by the number of their queue."""
        self.last_change = Change("", 0)
        self.filters = 0
        """About how many filters are compiled."""
        self.stored: dict[str, Stored] = {}
        """Newest SUBSCRIPTION record of each subscription."""
        self.stored_bytes = 0
        """Bytes of the subscriptions in their records."""
        self.dedup = DedupTable()
        self.record_position = 0
        """Position after the newest TOPIC record."""

    @property
    def changes(self) -> int:
        """Number of changes of the subscriptions, since the start."""
        return self.last_change.number

    def _note_change(self, name: str) -> None:
        before = self.last_change
        self.last_change = before.next = Change(name, before.number + 1)

    def subscribe(self, name: str, value: Mapping[str, Any] | None, end: int) -> None:
        """Set a subscription; None deletes it."""
        self._note_change(name)
        before = self.stored.get(name)
        if before is not None:
            self.stored_bytes -= before.bytes
        if value is None:
            if before is not None:
                del self.stored[name], self.names[bisect_left(self.names, name)]
                self._leave(self.subscriptions.pop(name).queue)
            return
        if before is not None:
            self._leave(self.subscriptions[name].queue)
        self.subscriptions[name] = Subscription.from_record(name, value)
        self.by_queue[self.subscriptions[name].queue] = name
        self._subscribers.add(self.subscriptions[name].queue, self.number)
        self.stored[name] = Stored(end, len(record.encode(value)))
        self.stored_bytes += self.stored[name].bytes
        if before is None:
            insort(self.names, name)

    def _leave(self, queue: int) -> None:
        """Forget the queue of a subscription."""
        self.by_queue.pop(queue, None)
        self._subscribers.remove(queue, self.number)

    def take_all(self) -> Topic:
        """Return another topic with the subscriptions and keys of this one, which has none any more."""
        taken = Topic(self.number, self.name, self.created_ms, self._subscribers)
        for name in ("subscriptions", "names", "by_queue", "filters", "stored", "stored_bytes", "dedup"):
            mine = getattr(self, name)
            setattr(self, name, getattr(taken, name))
            setattr(taken, name, mine)
        self._note_change("")
        return taken

    def free(self, most: int) -> int:
        """Free the contents of a topic that was deleted, in portions; see `wonderq.state.disposal.free`."""
        while most > 0 and self.subscriptions:
            _, ended = self.subscriptions.popitem()
            self._subscribers.remove(ended.queue, self.number)
            most -= 1  # a compiled filter has many objects
        most = free(most, self.names, self.by_queue, self.stored)
        return self.dedup.free(most) if most > 0 else most


class FrozenTopic(NamedTuple):
    """A topic at the moment of a snapshot."""

    number: int
    name: str
    settings: TopicSettings
    created_ms: int
    record_position: int
    next_sequence: int
    subscriptions: dict[str, Subscription]
    stored: dict[str, Stored]
    dedup: list[DedupEntry]

    @classmethod
    def of(cls, topic: Topic) -> FrozenTopic:
        """Freeze a topic."""
        fixed = topic.number, topic.name, topic.settings, topic.created_ms, topic.record_position, topic.next_sequence
        return cls(*fixed, topic.subscriptions.copy(), topic.stored.copy(), topic.dedup.entries())

    @property
    def row_count(self) -> int:
        """Number of `rows`."""
        return 1 + len(self.subscriptions) + len(self.dedup)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield what `load` restores the topic from: a row of its fields, its subscriptions, and its dedup entries."""
        fixed = self.number, self.name, self.settings.to_record(), self.created_ms, self.record_position
        yield (*fixed, self.next_sequence, len(self.subscriptions), len(self.dedup))
        for name, each in self.subscriptions.items():
            yield name, each.to_record(), self.stored[name].position
        yield from self.dedup


def topic_record(topic: Topic, settings: TopicSettings, now_ms: int) -> record.DefineTopic:
    """Return the TOPIC record that gives a topic these settings."""
    return record.DefineTopic(
        record.TOPIC, now_ms, topic.number, topic.name, settings.to_record(), topic.created_ms, topic.next_sequence
    )


def subscription_record(topic: Topic, subscription: Subscription, now_ms: int) -> record.Subscribe:
    """Return the SUBSCRIPTION record of a subscription."""
    return record.Subscribe(record.SUBSCRIPTION, now_ms, topic.number, subscription.name, subscription.to_record())


def rows_record(topic: Topic, rows: Sequence[tuple[str, Any, int]], now_ms: int) -> record.Publish:
    """Return the PUBLISH record that has rows of the dedup table, and no messages."""
    fields = record.PUBLISH, now_ms, topic.number, topic.next_sequence, rows
    return record.Publish(*fields, (), (), (), (), (), b"")


def load(rows: Iterator[Any], subscribers: Subscribers) -> Topic:
    """Return the topic whose rows come next."""
    number, name, settings, created_ms, record_position, next_sequence, subscriptions, keys = next(rows)
    topic = Topic(number, name, created_ms, subscribers)
    topic.settings = TopicSettings.from_record(settings)
    topic.record_position = record_position
    topic.next_sequence = next_sequence
    for _ in range(subscriptions):
        topic.subscribe(*next(rows))
    for _ in range(keys):
        topic.dedup.put(*next(rows))
    return topic
