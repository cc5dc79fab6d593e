"""Topics: their subscriptions, and the idempotency keys that were used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from wonderq.model.topics import Subscription, TopicSettings
from wonderq.state import record
from wonderq.state.dedup import DedupTable


class Stored(NamedTuple):
    """The record of a subscription."""

    position: int
    """Position after the record."""
    bytes: int
    """Bytes of the value in the record."""


class Topic:
    """One topic."""

    def __init__(self, number: int, name: str, created_ms: int) -> None:
        self.number = number
        self.name = name
        """Name. During replay of a log whose old parts were dropped, it may be empty until the TOPIC record follows."""
        self.created_ms = created_ms
        self.settings = TopicSettings()
        self.next_sequence = 0
        """Number of the next publication."""
        self.subscriptions: dict[str, Subscription] = {}
        self.changes = 0
        """Number of changes of the subscriptions, since the start."""
        self.stored: dict[str, Stored] = {}
        """Newest SUBSCRIPTION record of each subscription."""
        self.dedup = DedupTable()
        self.record_position = 0
        """Position after the newest TOPIC record."""

    def subscribe(self, name: str, value: Mapping[str, Any] | None, end: int) -> None:
        """Set a subscription; None deletes it."""
        self.changes += 1
        if value is None:
            self.subscriptions.pop(name, None)
            self.stored.pop(name, None)
        else:
            self.subscriptions[name] = Subscription.from_record(name, value)
            self.stored[name] = Stored(end, len(record.encode(value)))

    @property
    def stored_bytes(self) -> int:
        """Bytes of the subscriptions in their records."""
        return sum(each.bytes for each in self.stored.values())


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


def snapshot_rows(topic: Topic) -> Iterator[tuple[Any, ...]]:
    """Yield what `load` restores a topic from: a row of its fields, then its subscriptions, then its dedup entries."""
    fixed = topic.number, topic.name, topic.settings.to_record(), topic.created_ms, topic.record_position
    yield (*fixed, topic.next_sequence, len(topic.subscriptions), len(topic.dedup))
    for name, each in topic.subscriptions.items():
        yield name, each.to_record(), topic.stored[name].position
    yield from topic.dedup.entries()


def load(rows: Iterator[Any]) -> Topic:
    """Return the topic whose rows come next."""
    number, name, settings, created_ms, record_position, next_sequence, subscriptions, keys = next(rows)
    topic = Topic(number, name, created_ms)
    topic.settings = TopicSettings.from_record(settings)
    topic.record_position = record_position
    topic.next_sequence = next_sequence
    for _ in range(subscriptions):
        topic.subscribe(*next(rows))
    for _ in range(keys):
        topic.dedup.put(*next(rows))
    return topic
