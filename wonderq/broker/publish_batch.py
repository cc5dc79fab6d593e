"""A batch of messages that is published: checked and encoded, with what the filters of a topic have decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from wonderq.broker.produce import dedup_key, digest_of
from wonderq.model.errors import BatchTooLargeError
from wonderq.model.filters import Subject
from wonderq.model.topics import Publication, Subscription
from wonderq.runtime.fibers import took
from wonderq.state.topics import Change, Topic

#: Steps of `took` that a filter takes besides those that it counts.
_STEPS_PER_FILTER = 1

#: The same for compiling one.
_STEPS_PER_COMPILATION = 50

MAX_DELIVERIES = 20_000
"""Most messages that one publish adds to all queues together. One message always fits."""

Indexes = Sequence[int] | None
"""Messages of a batch, by index; None for all."""


class Variants:
    """Publications with their variants: the same message with another text, for HTTP endpoints of one protocol.

    A variant has an entry of its own, and the number of its original in the topic. Each queue gets one of both.
    """

    def __init__(self, given: Sequence[Publication]) -> None:
        self.publications: Sequence[Publication] = given
        """All of them: each publication, and after it its variants."""
        self.originals: dict[int, int] = {}
        """Index of the original of each variant, by the index of the variant."""
        self._by_protocol: dict[str, list[int]] = {}
        if any(each.texts for each in given):
            self._add(given)

    def _add(self, given: Sequence[Publication]) -> None:
        every: list[Publication] = []
        self._by_protocol = {"": [], "http": [], "https": []}
        for each in given:
            original = len(every)
            every.append(each)
            at = dict.fromkeys(self._by_protocol, original)
            for protocol, text in (each.texts or {}).items():
                at[protocol] = len(every)
                self.originals[len(every)] = original
                every.append(each._replace(message=each.message._replace(body=text)))
            for protocol, indexes in self._by_protocol.items():
                indexes.append(at[protocol])
        self.publications = every

    @property
    def given(self) -> Sequence[int]:
        """Indexes of the publications that are no variants."""
        return self._by_protocol[""] if self._by_protocol else range(len(self.publications))

    def of(self, protocol: str) -> Sequence[int]:
        """Return the indexes of the publications that a subscription with this protocol may get, ascending."""
        return self._by_protocol[protocol] if self._by_protocol else range(len(self.publications))

    def sums(self, counts: Sequence[int]) -> list[int]:
        """Return counts of all publications, with those of variants added to their originals."""
        sums = list(counts)
        for variant, original in self.originals.items():
            sums[original] += counts[variant]
        return sums


class Batch:
    """Messages that were checked and encoded, and what the filters have said of them so far."""

    def __init__(
        self, topic: Topic, change: Change, variants: Variants, entries: Sequence[bytes], digests: Sequence[str]
    ) -> None:
        """``change`` is the last change of the topic before its subscriptions were read for `evaluate`."""
        self.topic = topic
        self._change = change
        self.variants = variants
        self.publications = variants.publications
        self.entries = entries
        self.digests = digests
        """Digest of each body, if the topic had `content_deduplication`; otherwise empty."""
        self.sizes = list(map(len, entries))
        self.deliveries = 0
        """Number of messages that all subscriptions together match."""
        self.chosen: dict[str, tuple[Subscription, Indexes]] = {}
        """Subscriptions that match any message, by name, with these messages."""
        self._matches = [0] * len(entries)  # subscriptions that match each message, besides those that match all
        self._matches_of_all = 0

    def evaluate(self, subscriptions: Sequence[Subscription]) -> None:
        """Evaluate the filters of all subscriptions of the topic, in turns."""
        subjects = self.subjects(took)
        for number, each in enumerate(subscriptions, 1):
            if each.filter and not each.is_compiled:
                took(_STEPS_PER_COMPILATION)
            self._choose(each, subjects)
            self.topic.filters = max(self.topic.filters, number)
            took(_STEPS_PER_FILTER)

    def subjects(self, pause: Callable[[int], None]) -> list[Subject]:
        """Return the messages as filters see them; ``pause`` is called with each portion of the work."""
        return [Subject(each.message.attributes or {}, each.message.body, pause) for each in self.publications]

    @property
    def changes(self) -> int:
        """Number of changes of the topic that `catch_up` has left."""
        return self.topic.changes - self._change.number

    def catch_up(self, most: int) -> list[str]:
        """Evaluate the subscriptions of the next changes of the topic again, at most ``most``, under the lock.

        Returns the names of these subscriptions, some of which may have ended.

        Raises:
            BatchTooLargeError: see `_choose`.
        """
        names: list[str] = []
        subjects: Sequence[Subject] = self.subjects(lambda _: None) if self.changes else ()
        while len(names) < most and self._change.next is not None:
            self._change = self._change.next
            names.append(self._change.name)
            _, indexes = self.chosen.pop(names[-1], (None, ()))
            self._count(indexes, -1)
            if (subscription := self.topic.subscriptions.get(names[-1])) is not None:
                self._choose(subscription, subjects)
        return names

    def places(self, fresh: Sequence[int]) -> dict[int, int]:
        """Return the place in the record of each of some messages that any subscription matches, by index."""
        matching = fresh if self._matches_of_all else [index for index in fresh if self._matches[index]]
        return {index: at for at, index in enumerate(matching)}

    def _choose(self, subscription: Subscription, subjects: Sequence[Subject]) -> None:
        """Evaluate a subscription, and add it with the messages that match it, if any do.

        Raises:
            BatchTooLargeError: more messages would be added to queues than one publish may add.
        """
        if subscription.paused or subscription.is_pending:
            return
        found, every = subscription.compiled_filter, self.variants.of(subscription.protocol)
        indexes = every if found is None else [index for index in every if found.accepts(subjects[index])]
        if indexes:
            self._add(subscription, None if len(indexes) == len(subjects) else indexes)

    def _add(self, subscription: Subscription, indexes: Indexes) -> None:
        self.chosen[subscription.name] = subscription, indexes
        self._count(indexes, 1)
        if self.deliveries > MAX_DELIVERIES:
            raise BatchTooLargeError(
                f"A publish may add {MAX_DELIVERIES} messages to all queues together, and this would add more. Publish "
                "fewer messages at once."
            )

    def _count(self, indexes: Indexes, by: int) -> None:
        if indexes is None:
            self._matches_of_all += by
            self.deliveries += by * len(self.entries)
            return
        self.deliveries += by * len(indexes)
        for index in indexes:
            self._matches[index] += by


class Placed(NamedTuple):
    """The messages of a batch in their topic."""

    sequences: list[int]
    """Number of each publication. A duplicate has that of the earlier one."""
    fresh: list[int]
    """Indexes of the messages that are no duplicates."""
    keys: dict[str, int]
    """Dedup keys of the fresh messages, with the numbers of their publications."""
    next_sequence: int


def place(topic: Topic, batch: Batch, now_ms: int) -> Placed:
    """Give each message the number of its publication: a new one, or that of the earlier message with the same key."""
    sequences: list[int] = []
    fresh: list[int] = []
    keys: dict[str, int] = {}
    next_sequence = topic.next_sequence
    by_content = topic.settings.content_deduplication
    for index, (message, *_) in enumerate(batch.publications):
        original = batch.variants.originals.get(index)
        if original is not None:
            sequences.append(sequences[original])
            if fresh and fresh[-1] >= original:  # the original is fresh too
                fresh.append(index)
            continue
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
    return Placed(sequences, fresh, keys, next_sequence)
