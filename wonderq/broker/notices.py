"""Notices to HTTP endpoints that an SNS client has unsubscribed: each is told, and may subscribe again with a token.

A notice is a METADATA record, which is written together with the end of the subscription. So it survives a restart
until the endpoint was told. The token is valid after that, for two days.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from secrets import compare_digest
from typing import Any, NamedTuple

from wonderq.broker.core import Core
from wonderq.broker.pushes import Pushed, PushRequest
from wonderq.model.topics import Subscription, TopicSettings
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import State
from wonderq.state.topics import Topic

NAMESPACE = "notice"

TOKEN_MS = 172_800_000
"""Time for which the token of an endpoint is valid: two days, as in SNS."""

#: Most notices. The oldest one is dropped for another.
MOST_NOTICES = 1000

#: Most expired notices that another one removes.
_MOST_REMOVED = 100


class Notice(NamedTuple):
    """A notice to an endpoint, and the subscription that it may have again."""

    id: str
    topic: str
    number: int
    """Number of the topic. A later topic of the same name has another one."""
    queue: str
    """Name of the queue that the subscription had."""
    subscription: str
    """Name of the subscription."""
    value: Mapping[str, Any]
    """Value of its last SUBSCRIPTION record."""
    token: str
    ended_ms: int
    is_told: bool = False
    """Whether nothing is left to send: the endpoint was told, or it could not be."""

    @property
    def key(self) -> tuple[int, str]:
        """The number of the topic and the name of the subscription, which identify it."""
        return self.number, self.subscription

    def was(self) -> Subscription:
        """Return the subscription as it was when it ended."""
        return Subscription.from_record(self.subscription, self.value)

    def pushed(self, settings: TopicSettings) -> Pushed:
        """Return the subscription as it was, for a request to its endpoint."""
        was = self.was()
        assert was.push is not None
        return Pushed(self.topic, settings, was, was.push, self.queue)

    def fields(self) -> dict[str, Any]:
        """Return the fields with which `Topics.subscribe` makes the subscription again, with its endpoint confirmed.

        A queue that was made for the endpoint has ended, so another one is made.
        """
        was = self.was()
        kept = {
            name: getattr(was, name)
            for name in ("raw", "filter_scope", "dead_letter_queue", "paused", "when_full", "sns", "push")
        }
        queue = {} if was.owns_queue else {"queue": self.queue}
        return {**kept, "filter": json.loads(was.filter) if was.filter else None, **queue}


class Notices:
    """Keeps notices until they are sent, and their tokens until they expire."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.compose: Callable[[Notice], PushRequest] | None = None
        """Makes the request for a notice; None if this program has no endpoint for SNS."""
        self.listener: Callable[[Notice], None] = lambda _: None
        """Called under the broker's lock when there is another notice."""

    def records(self, notice: Notice, now_ms: int) -> list[Record]:
        """Return the records that add a notice, in the write that ends its subscription.

        To make room, they remove other notices that have expired. If there are none, and too many others, they remove
        the oldest one. `end_of_notices` removes those of the same subscription.
        """
        stored = self._core.state.metadata.get(NAMESPACE, {})
        of_others = {name: each.value for name, each in stored.items() if _key(each.value) != notice.key}
        removed = [name for name, value in of_others.items() if value["ended_ms"] + TOKEN_MS <= now_ms][:_MOST_REMOVED]
        if not removed and len(of_others) >= MOST_NOTICES:
            removed = [min(of_others, key=lambda name: of_others[name]["ended_ms"])]
        return [_record(notice, now_ms), *(_removal(name, now_ms) for name in removed)]

    def waiting(self) -> list[Notice]:
        """Return the notices that are to be sent."""
        with self._core.locked() as (state, _, now_ms):
            found = [_notice(name, each.value) for name, each in state.metadata.get(NAMESPACE, {}).items()]
            return [each for each in found if not each.is_told and each.ended_ms + TOKEN_MS > now_ms]

    def settings_of(self, notice: Notice) -> TopicSettings:
        """Return the settings of the topic of a notice; the defaults if it was deleted."""
        topic = self._core.state.find_topic(notice.number)
        return TopicSettings() if topic is None else topic.settings

    def end(self, notice: Notice) -> None:
        """Store that nothing is left to send. The token stays valid."""
        with self._core.transaction as now_ms:
            stored = self._core.state.metadata.get(NAMESPACE, {}).get(notice.id)
            if stored is not None and not stored.value["is_told"]:
                self._core.append_and_apply(_record(notice._replace(is_told=True), now_ms))
        self._core.confirm()

    def find(self, topic: str, notice_id: str, token: str) -> tuple[Notice, bool] | None:
        """Return the notice that a token belongs to, and whether the token is still valid; None if there is none."""
        with self._core.locked() as (state, _, now_ms):
            stored = state.metadata.get(NAMESPACE, {}).get(notice_id)
            found = state.topics.get(topic)
            if stored is None or found is None:
                return None
            notice = _notice(notice_id, stored.value)
            if not self.is_for(notice, found) or not compare_digest(notice.token.encode(), token.encode()):
                return None
            return notice, notice.ended_ms + TOKEN_MS > now_ms

    def is_for(self, notice: Notice, topic: Topic) -> bool:
        """Return whether the subscription of a notice was one of a topic, and could be again, under the lock.

        Another topic of the same name is not meant, and neither is another queue: a subscription ends with its queue.
        The notice itself ends when its subscription has begun again and ended once more.
        """
        state, was = self._core.state, notice.was()
        if notice.id not in state.metadata.get(NAMESPACE, {}):
            return False
        return notice.number == topic.number and (was.owns_queue or state.find(was.queue) is not None)


def notice_of(topic: Topic, subscription: Subscription, queue: str, notice_id: str, token: str, now_ms: int) -> Notice:
    """Return the notice for an endpoint whose subscription ends."""
    value = subscription.to_record()
    return Notice(notice_id, topic.name, topic.number, queue, subscription.name, value, token, now_ms)


def end_of_notices(state: State, ended: Iterable[tuple[Topic, str]], now_ms: int) -> list[Record]:
    """Return the records that remove the notices of subscriptions, given by topic and name, which end now.

    A subscription gets a notice when it ends. After it has begun again and ended once more, the token of the earlier
    notice must not bring it back.
    """
    keys = {(topic.number, name) for topic, name in ended}
    stored = state.metadata.get(NAMESPACE, {})
    return [_removal(name, now_ms) for name, each in stored.items() if _key(each.value) in keys]


def _key(stored: Mapping[str, Any]) -> tuple[int, str]:
    """Return what identifies the subscription of a stored notice: the number of its topic, and its name."""
    return stored["number"], stored["subscription"]


def _removal(notice_id: str, now_ms: int) -> Record:
    return record.Metadata(record.METADATA, now_ms, NAMESPACE, notice_id, None)


def _record(notice: Notice, now_ms: int) -> Record:
    value = notice._asdict()
    return record.Metadata(record.METADATA, now_ms, NAMESPACE, value.pop("id"), value)


def _notice(notice_id: str, value: Mapping[str, Any]) -> Notice:
    return Notice(notice_id, **value)
