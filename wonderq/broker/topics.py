"""Topics and their subscriptions: create, change, list and delete them. `wonderq.broker.publish` publishes."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import EllipsisType
from typing import Any

from wonderq.broker.core import DELETE_LEAVES, PRODUCE_LEAVES, Core
from wonderq.broker.endpoints import FIELDS, changed_endpoint, confirmation, own_queue_name, queue_records
from wonderq.broker.notices import Notice, Notices, end_of_notices, notice_of
from wonderq.broker.publish import Publisher
from wonderq.broker.pushes import Pushes, PushKey
from wonderq.broker.queries import find_names
from wonderq.broker.redrive import Redrives
from wonderq.model.errors import (
    AlreadySubscribedError,
    InvalidValueError,
    NotPermittedError,
    SubscriptionNotFoundError,
    TooManySubscriptionsError,
    TooManyTopicsError,
)
from wonderq.model.filters import FilterPolicyError
from wonderq.model.permits import Permits, everything
from wonderq.model.push import Push
from wonderq.model.settings import check_setting, check_tags, check_texts
from wonderq.model.status import BURIED, DELAYED, WAITING
from wonderq.model.topics import (
    MAX_SUBSCRIPTIONS,
    MAX_TOPICS,
    MAX_TOTAL_SUBSCRIPTIONS,
    SCOPES,
    WHEN_FULL,
    Deliveries,
    Subscription,
    SubscriptionInfo,
    TopicInfo,
    TopicSettings,
    check_subscription_name,
    check_topic_name,
)
from wonderq.runtime.fibers import took, yield_to_others
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import Queue, State, queue_record
from wonderq.state.topics import Topic, subscription_record, topic_record

#: Steps of `took` for each topic or subscription of a listing.
_STEPS_PER_ITEM = 5

#: Subscriptions of a queue that end while the lock is held.
ENDED_AT_ONCE = 100


class SubscriptionChangedError(Exception):
    """A subscription is not what the caller of `Topics.subscribe` expects. It reads the subscription and decides again.

    No client gets this error.
    """


class Topics:
    """Creates, changes, lists and deletes topics and subscriptions, and publishes messages."""

    def __init__(self, core: Core, redrives: Redrives, pushes: Pushes, notices: Notices) -> None:
        self._core = core
        self._redrives = redrives
        self._pushes = pushes
        self._notices = notices
        publisher = Publisher(core)
        self.publish = publisher.publish
        self.match = publisher.match

    # Topics

    @property
    def count(self) -> int:
        """Number of topics."""
        return len(self._core.state.topics)

    def put(self, name: str, /, **settings: Any) -> tuple[TopicInfo, bool]:
        """Create a topic, or change the given `TopicSettings` of one; return it and whether it is new.

        Raises:
            InvalidValueError: the name or a setting is not allowed.
            TooManyTopicsError: the broker has as many topics as it may have.
        """
        check_topic_name(name)
        with self._core.transaction as now_ms:
            topic = self._core.state.topics.get(name)
            if topic is None:
                self._create(name, settings, now_ms)
            else:
                self._configure(topic, settings, now_ms, is_new=False)
            info = _info(self._core.state.topics[name])
        self._core.confirm()
        return info, topic is None

    def create(self, name: str, /, **settings: Any) -> tuple[TopicInfo, bool]:
        """Create a topic unless it exists; return it and whether it is new. Raises what `put` does."""
        check_topic_name(name)
        with self._core.transaction as now_ms:
            created = name not in self._core.state.topics
            if created:
                self._create(name, settings, now_ms)
            info = _info(self._core.state.topics[name])
        self._core.confirm()
        return info, created

    def _create(self, name: str, settings: Mapping[str, Any], now_ms: int) -> None:
        if len(self._core.state.topics) >= MAX_TOPICS:
            raise TooManyTopicsError(MAX_TOPICS)
        self._configure(Topic(self._core.state.next_queue, name, now_ms), settings, now_ms, is_new=True)

    def change(self, name: str, change: Callable[[TopicInfo], Mapping[str, Any]]) -> None:
        """Change the settings of a topic to those that ``change`` returns for it, in one step.

        An exception of ``change`` leaves the settings as they are.

        Raises:
            TopicNotFoundError: the topic does not exist.
            InvalidValueError: a setting is not allowed.
        """
        try:
            with self._core.transaction as now_ms:
                topic = self._core.find_topic(name)
                self._configure(topic, change(_info(topic)), now_ms, is_new=False)
        finally:
            self._core.confirm()

    def _configure(self, topic: Topic, settings: Mapping[str, Any], now_ms: int, *, is_new: bool) -> None:
        """Append the record of a topic that is new, or whose settings change."""
        if "deduplication_window_ms" in settings:
            check_setting("deduplication_window_ms", settings["deduplication_window_ms"])
        changed = replace(topic.settings, **settings)
        check_tags(changed.tags)
        if "tags" in settings or "sns" in settings:
            check_texts(changed.tags, changed.sns)
        if is_new or changed != topic.settings:
            self._core.append_and_apply(topic_record(topic, changed, now_ms), leave=PRODUCE_LEAVES)

    def get(self, name: str) -> TopicInfo:
        """Return a topic.

        Raises:
            TopicNotFoundError: the topic does not exist.
        """
        with self._core.transaction:
            info = _info(self._core.find_topic(name))
        self._core.confirm()
        return info

    def get_with_pending(self, name: str) -> tuple[TopicInfo, int]:
        """Return a topic, and how many of its subscriptions have not been confirmed by their endpoints at this moment.

        Raises:
            TopicNotFoundError: the topic does not exist.
        """
        with self._core.transaction:
            topic = self._core.find_topic(name)
            info, pending = _info(topic), sum(each.is_pending for each in topic.subscriptions.values())
        self._core.confirm()
        return info, pending

    def settings_of(self, name: str) -> TopicSettings | None:
        """Return a topic's settings, which may not be durable yet; None if the topic does not exist.

        Use this before an operation on the topic that waits for durability itself.
        """
        found = self._core.state.topics.get(name)
        return None if found is None else found.settings

    def name_of_subscription(self, topic: str, queue: str) -> str | None:
        """Return the name of the subscription that a queue has of a topic; None if it has none.

        The subscription may not be durable yet.
        """
        found, subscriber = self._core.state.topics.get(topic), self._core.state.queues.get(queue)
        return None if found is None or subscriber is None else found.by_queue.get(subscriber.number)

    def list(
        self, permits: Permits = everything, *, contains: str = "", after: str = "", limit: int | None = None
    ) -> list[TopicInfo]:
        """Return the topics that are permitted, by name: at most ``limit``, and only those after the name ``after``.

        ``contains`` chooses those whose name has this text in it. Other requests have their turn meanwhile.
        """
        topics = self._core.state.topics
        with self._core.transaction:
            names = list(topics)
        names = sorted([name for name in names if name > after and contains in name])
        found: list[TopicInfo] = []
        for name in find_names(names, limit, permits):
            with self._core.transaction:
                topic = topics.get(name)
                if topic is not None:
                    found.append(_info(topic))
            took(_STEPS_PER_ITEM)
        self._core.confirm()
        return found

    def delete(self, name: str) -> None:
        """Delete a topic with its subscriptions and keys. Messages that were published stay in the queues.

        Queues that were made for endpoints end with their subscriptions, each in a write of its own, before the topic.

        Raises:
            TopicNotFoundError: the topic does not exist.
        """
        while self._delete_an_endpoint_or_all(name):
            yield_to_others()
        self._core.confirm()

    def _delete_an_endpoint_or_all(self, name: str) -> bool:
        """Delete a subscription of a topic together with the queue that was made for it; return whether there was one.

        If there is none, delete the topic in the same hold of the lock, so that none can begin in between.

        Raises:
            TopicNotFoundError: the topic does not exist.
        """
        core = self._core
        with core.transaction as now_ms:
            topic = core.find_topic(name)
            for each in topic.subscriptions.values():
                queue = core.state.find(each.queue)
                if each.owns_queue and queue is not None:
                    drop_queue(core, self._redrives, queue, now_ms)
                    return True
            pushed = [each for each in topic.subscriptions.values() if each.push is not None]
            core.append_and_apply(record.Drop(record.DROP, now_ms, topic.number), leave=DELETE_LEAVES)
            core.counters.by_topic.pop(name, None)
            _end_deliveries(core, pushed)
        return False

    # Subscriptions

    def subscribe(
        self,
        topic: str,
        name: str,
        permits: Permits = everything,
        /,
        *,
        expected: Subscription | EllipsisType | None = ...,
        notice: Notice | None = None,
        **given: Any,
    ) -> tuple[SubscriptionInfo, bool]:
        """Create a subscription, or change the given fields of one; return it and whether it is new.

        The fields are those of `Subscription` from ``raw`` on, and ``queue``: the name of the queue, which a new
        subscription needs, and keeps. ``filter`` is decoded JSON here, or None. A subscription with an ``endpoint``, a
        URL, needs no queue: one is made for it. ``secret`` and ``delivery`` are those of its `Push`; an empty secret
        stands for one that the broker makes.

        ``expected`` is for a caller that has decided by what it has read: the subscription, or None for one that does
        not exist. ``notice`` is for one that was given the token of a notice.

        Raises:
            TopicNotFoundError, QueueNotFoundError: the topic, the queue or the dead-letter queue does not exist.
            ShardUnavailableError: the queue or the dead-letter queue is in another shard, which does not answer.
            NotPermittedError: the client may not use the queue or the dead-letter queue, or another queue has the name.
            InvalidValueError: a field is malformed or missing.
            AlreadySubscribedError: the queue has another subscription of the topic.
            TooManySubscriptionsError: the topic or the broker has as many as it may have.
            SubscriptionChangedError: the subscription is not, or no longer, the ``expected`` one, or the notice is not
                for the topic any more.
        """
        check_subscription_name(name)
        fields = _checked(given)
        self._check_elsewhere(topic, given, permits)
        with self._core.transaction as now_ms:
            found = self._core.find_topic(topic)
            before = found.subscriptions.get(name)
            if before is not None and self._core.state.find(before.queue) is None:
                before = None  # its queue was deleted
            if expected is not ... and before != expected:
                raise SubscriptionChangedError
            if notice is not None and not self._notices.is_for(notice, found):
                raise SubscriptionChangedError
            self._check_given(given, before, permits)
            is_taken = before is not None and not self._opens(before, permits)
            if is_taken:
                before = None  # the same errors as for a new one tell nothing of it
            push, secret = changed_endpoint(None if before is None else before.push, given, self._pushes.hosts)
            if before is None:
                queue, makes_queue = self._new_queue(found, name, given, push, now_ms)
                base = Subscription(name, queue.number, now_ms)
                if is_taken:
                    scope = "for the queue of the subscription that has this name; or choose another name"
                    raise NotPermittedError(scope)
            else:
                base, queue, makes_queue = before, self._queue_of(before), False
                self._check_same_kind(before, given)
            if push is not None:
                fields["push"] = push = replace(push, owns_queue=makes_queue) if before is None else push
            changed = replace(base, **fields)
            self._check_targets(changed, base, queue, permits)
            if changed != before:
                records: list[Record] = [subscription_record(found, changed, now_ms)]
                if changed.owns_queue:
                    records = [*queue_records(queue, changed, now_ms, is_new=makes_queue), *records]
                elif makes_queue:
                    records = [queue_record(queue, queue.settings, now_ms), *records]
                records = [*self._outbox_for(changed.dead_letter_queue, now_ms, makes_queue), *records]
                if changed.is_pending and push != base.push:
                    records.append(confirmation(queue, now_ms))
                self._core.append_and_apply(*records, leave=PRODUCE_LEAVES)
                self._core.target_changes += changed.dead_letter_queue != base.dead_letter_queue
                if push is not None:
                    self._pushes.listener(PushKey(found.number, name))
            info = self._subscription_info(found, changed)._replace(secret=secret)
        self._core.confirm()
        return info, before is None

    def _check_given(self, given: Mapping[str, Any], before: Subscription | None, permits: Permits) -> None:
        """Check that a client may use the queues that it names, before it can learn whether they exist.

        It may name the queue that was made for the endpoint of the subscription.

        Raises:
            NotPermittedError: it may not.
        """
        for target in filter(None, (given.get("queue"), given.get("dead_letter_queue"))):
            is_own = before is not None and before.owns_queue and target == self._queue_of(before).name
            if not permits(target) and not is_own:
                raise NotPermittedError(f"for the queue {target}")

    def _check_elsewhere(self, topic: str, given: Mapping[str, Any], permits: Permits) -> None:
        """Check that the queues of other shards exist that a subscription is to lead to, outside the lock.

        Raises: as `subscribe`.
        """
        core = self._core
        targets = [given.get("dead_letter_queue")]
        if not given.get("push") and not given.get("endpoint"):  # the queue of an endpoint is in the topic's shard
            targets.append(given.get("queue"))
        elsewhere = [each for each in targets if each and not core.has_name(each)]
        for each in elsewhere:
            if not permits(each):
                raise NotPermittedError(f"for the queue {each}")
        if elsewhere:
            with core.transaction:
                core.find_topic(topic)
            core.check_exists(*elsewhere)

    def _outbox_for(self, name: str, now_ms: int, before: int) -> Sequence[Record]:
        """Return the record that makes an outbox for a dead-letter queue, if that is in another shard and has none.

        ``before`` counts queues that are made in the same write.
        """
        core = self._core
        if not name or core.has_name(name) or name in core.state.queues:
            return []
        outbox = core.new_target(name, now_ms, before)
        return [queue_record(outbox, outbox.settings, now_ms)]

    def _check_targets(self, changed: Subscription, base: Subscription, queue: Queue, permits: Permits) -> None:
        """Check the filter of a subscription, and its dead-letter queue.

        Raises: as `subscribe`.
        """
        target = changed.dead_letter_queue
        if target and not permits(target):  # somebody else has chosen it
            raise NotPermittedError("for the dead-letter queue as well")
        if (changed.filter, changed.filter_scope) != (base.filter, base.filter_scope):
            _check_filter(changed)
        if target and target != base.dead_letter_queue and self._core.has_name(target):
            self._core.find_queue(target)
        if target == queue.name:
            raise InvalidValueError("dead_letter_queue", "The queue of a subscription cannot be its dead-letter queue.")

    def _new_queue(
        self, topic: Topic, name: str, given: Mapping[str, Any], push: Push | None, now_ms: int
    ) -> tuple[Queue, bool]:
        """Return the queue of a subscription that does not exist yet, and whether it is new.

        A new one is made for its endpoint, or is the outbox for a queue of another shard.
        """
        if len(topic.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise TooManySubscriptionsError(f"The topic {topic.name}", MAX_SUBSCRIPTIONS)
        if self._core.state.subscriptions >= MAX_TOTAL_SUBSCRIPTIONS:
            raise TooManySubscriptionsError("The broker", MAX_TOTAL_SUBSCRIPTIONS)
        queue_name = given.get("queue")
        if push is not None and queue_name is None:
            return self._core.new_queue(own_queue_name(self._core.state, topic.name, name), now_ms), True
        if queue_name is None:
            raise InvalidValueError("queue", "A new subscription needs a queue or an endpoint. Give one of them.")
        if push is not None or self._core.has_name(queue_name):
            queue = self._core.find_queue(queue_name)
        else:
            outbox = self._core.state.queues.get(queue_name)
            if outbox is None:
                return self._core.new_target(queue_name, now_ms), True
            queue = outbox
        if queue.number in topic.by_queue:
            raise AlreadySubscribedError(topic.name, queue_name, topic.by_queue[queue.number])
        return queue, False

    def _check_same_kind(self, subscription: Subscription, given: Mapping[str, Any]) -> None:
        if subscription.push is None and "endpoint" in given:
            raise InvalidValueError(
                "endpoint", "This subscription delivers to a queue alone. Create another one for the endpoint."
            )
        if "queue" in given and given["queue"] != self._queue_of(subscription).name:
            raise InvalidValueError(
                "queue", "A subscription keeps its queue. Delete it and create another one to use another queue."
            )

    def _queue_of(self, subscription: Subscription) -> Queue:
        queue = self._core.state.find(subscription.queue)
        assert queue is not None
        return queue

    def subscription(self, topic: str, name: str, permits: Permits = everything) -> SubscriptionInfo:
        """Return a subscription. One whose queue is not permitted is treated like one that does not exist.

        Raises:
            TopicNotFoundError, SubscriptionNotFoundError: it does not exist.
        """
        with self._core.transaction:
            found = self._core.find_topic(topic)
            info = self._subscription_info(found, self._find_subscription(found, name))
            if not self._opens(info.subscription, permits):
                raise SubscriptionNotFoundError(topic, name)
        self._core.confirm()
        return info

    def _opens(self, subscription: Subscription, permits: Permits) -> bool:
        return subscription.is_open_to(permits, self._queue_of(subscription).name)

    def subscriptions(
        self,
        topic: str,
        permits: Permits = everything,
        *,
        contains: str = "",
        after: str = "",
        limit: int | None = None,
    ) -> Sequence[SubscriptionInfo]:
        """Return the subscriptions of a topic, by name, whose queues are permitted, as `list` does.

        ``contains`` chooses those that have this text in their name or in that of their queue.

        Raises:
            TopicNotFoundError: the topic does not exist.
        """
        with self._core.transaction:
            found = self._core.find_topic(topic)
        infos: list[SubscriptionInfo] = []
        while limit is None or len(infos) < limit:
            with self._core.transaction:
                at = bisect_right(found.names, after)
                if at == len(found.names):
                    break
                after = found.names[at]
                each = found.subscriptions[after]
                queue = self._core.state.find(each.queue)
                if (
                    queue is not None
                    and each.is_open_to(permits, queue.name)
                    and (contains in after or contains in queue.name)
                ):
                    infos.append(self._subscription_info(found, each))
            took(_STEPS_PER_ITEM)
        self._core.confirm()
        return infos

    def unsubscribe(
        self, topic: str, name: str, permits: Permits = everything, *, notice_id: str = "", token: str = ""
    ) -> None:
        """Delete a subscription. Messages that were published before stay in its queue.

        A queue that was made for an endpoint is deleted in the same write, with what was not delivered yet. With a
        ``notice_id``, an endpoint that gets the requests of SNS is told, and may subscribe again with the token.

        Raises:
            TopicNotFoundError, SubscriptionNotFoundError: it does not exist, or the client may not use its queue.
        """
        with self._core.transaction as now_ms:
            found = self._core.find_topic(topic)
            subscription = self._find_subscription(found, name)
            if not self._opens(subscription, permits):
                raise SubscriptionNotFoundError(topic, name)
            queue, push, notice = self._queue_of(subscription), subscription.push, None
            if notice_id and push is not None and push.style == "sns" and push.confirmed:
                notice = notice_of(found, subscription, queue.name, notice_id, token, now_ms)
            also = [] if notice is None else self._notices.records(notice, now_ms)
            if subscription.owns_queue:
                drop_queue(self._core, self._redrives, queue, now_ms, also)
            else:
                ends = _end_records(self._core.state, [(found, name)], now_ms)
                self._core.append_and_apply(*ends, *also, leave=DELETE_LEAVES)
                _end_deliveries(self._core, [subscription])
            if notice is not None:
                self._notices.listener(notice)
            self._core.counters.of_topic(topic).forget(name)
        self._core.confirm()

    def _find_subscription(self, topic: Topic, name: str) -> Subscription:
        found = topic.subscriptions.get(name)
        if found is None or self._core.state.find(found.queue) is None:
            raise SubscriptionNotFoundError(topic.name, name)
        return found

    def _subscription_info(self, topic: Topic, subscription: Subscription) -> SubscriptionInfo:
        counters, queue = self._core.counters.of_topic(topic.name), self._queue_of(subscription)
        deliveries = None
        if subscription.push is not None:
            counts = queue.messages.counts
            last = self._core.counters.push.last.get((topic.number, subscription.name))
            deliveries = Deliveries(counts[WAITING], counts[DELAYED], counts[BURIED], last)
        return SubscriptionInfo(
            subscription,
            topic.name,
            queue.name,
            counters.delivered[subscription.name],
            counters.skipped[subscription.name],
            deliveries,
        )


def end_some_subscriptions(core: Core, queue: Queue, now_ms: int) -> bool:
    """End a portion of the subscriptions of a queue, under the lock, if it has more; return whether it has."""
    ended = list(islice(subscriptions_of(core.state, queue.number), ENDED_AT_ONCE + 1))
    if len(ended) <= ENDED_AT_ONCE:
        return False
    end_subscriptions(core, ended[:ENDED_AT_ONCE], now_ms)
    return True


def end_subscriptions(core: Core, ended: Sequence[tuple[Topic, str]], now_ms: int) -> None:
    """End subscriptions, given by topic and name, in one write, under the lock.

    Like the deletion of their queue, which they belong to, this needs no room that must stay free.
    """
    subscriptions = [topic.subscriptions[name] for topic, name in ended]
    core.append_and_apply(*_end_records(core.state, ended, now_ms))
    for topic, name in ended:
        core.counters.of_topic(topic.name).forget(name)
    _end_deliveries(core, subscriptions)


def _end_deliveries(core: Core, ended: Iterable[Subscription]) -> None:
    """Let endpoints whose subscriptions have ended wait in queues no more, under the lock. All others wait again.

    A message wakes one that waits, so an endpoint that does not claim any more would keep it from the others.
    """
    for queue in (core.state.find(each.queue) for each in ended if each.push is not None):
        if queue is not None:
            core.consumers.dissolve(queue)


def subscriptions_of(state: State, number: int) -> Iterator[tuple[Topic, str]]:
    """Yield the topics that a queue has subscribed to, with the names of the subscriptions."""
    for topic in filter(None, map(state.find_topic, state.subscribers.topics_of(number))):
        if number in topic.by_queue:
            yield topic, topic.by_queue[number]


def drop_queue(core: Core, redrives: Redrives, queue: Queue, now_ms: int, also: Sequence[Record] = ()) -> None:
    """Delete a queue, its redrives and its subscriptions, under the lock. Consumers that wait for it are refused.

    ``also`` are further records of the same write.
    """
    ended = list(subscriptions_of(core.state, queue.number))
    ends = _end_records(core.state, ended, now_ms)
    redrives.append_drop(record.Drop(record.DROP, now_ms, queue.number), [*ends, *also])
    for topic, name in ended:
        core.counters.of_topic(topic.name).forget(name)
    core.counters.forget(queue.name)
    core.consumers.dissolve(queue)


def _end_records(state: State, ended: Sequence[tuple[Topic, str]], now_ms: int) -> list[Record]:
    """Return the records that end subscriptions, given by topic and name, and remove the notices of earlier ends."""
    ends = [record.Subscribe(record.SUBSCRIPTION, now_ms, topic.number, name, None) for topic, name in ended]
    return [*ends, *end_of_notices(state, ended, now_ms)]


def _info(topic: Topic) -> TopicInfo:
    return TopicInfo(topic.name, topic.settings, topic.created_ms, len(topic.subscriptions), topic.next_sequence)


def _check_filter(subscription: Subscription) -> None:
    """Check the filter of a subscription, and compile it.

    Raises:
        InvalidValueError: it is malformed, or exceeds a limit.
    """
    try:
        subscription.compiled_filter  # noqa: B018
    except FilterPolicyError as error:
        raise InvalidValueError("filter", str(error)) from error


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a subscription as it keeps them.

    Raises:
        InvalidValueError: a field is malformed.
    """
    fields = {name: value for name, value in given.items() if name != "queue" and name not in FIELDS}
    if "filter" in fields:
        try:
            fields["filter"] = "" if fields["filter"] is None else json.dumps(fields["filter"], allow_nan=False)
        except ValueError as error:
            raise InvalidValueError("filter", "A number of the filter is not finite. Use finite numbers.") from error
    for name, allowed in (("filter_scope", SCOPES), ("when_full", WHEN_FULL)):
        if name in fields and fields[name] not in allowed:
            raise InvalidValueError(name, f"{name} must be {' or '.join(allowed)}.")
    if "sns" in fields:
        check_texts({}, fields["sns"])
    return fields
