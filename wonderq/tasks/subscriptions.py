"""Subscriptions of an app: its queues are subscribed to topics, and unsubscribed, as the code has them.

A handler of a topic has a queue of its own, because the messages of a topic name no task. The tags of the queue state
which app has subscribed it to which topic, so a worker finds what the code no longer has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from wonderq.client.errors import Invalid, NotFound
from wonderq.client.messages import Contents
from wonderq.client.sync import Client
from wonderq.client.sync_topic import Topic
from wonderq.tasks.arguments import Arguments, Call

FilterScope: TypeAlias = Literal["attributes", "body"]
WhenFull: TypeAlias = Literal["fail", "skip"]

#: Tags of a queue: the app that has subscribed it, and the topic.
APP, TOPIC = "app", "topic"

_FIFO = ".fifo"

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription in the code of an app."""

    name: str
    topic: str
    queue: str
    filter: Mapping[str, Any] | None
    filter_scope: FilterScope
    when_full: WhenFull


def queue_name(app: str, task: str, topic: str) -> str:
    """Return the queue of a handler that names none: a FIFO queue, if the topic is one."""
    return f"{app}-{task}" + (_FIFO if topic.endswith(_FIFO) else "")


class BodyArguments(Arguments):
    """The one argument of a handler: the body of a published message.

    A parameter with the annotation ``str`` gets the text. Any other one gets the decoded JSON.
    """

    def to_text(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        super().to_text(task, args, kwargs)
        [value] = [*args, *kwargs.values()]
        return value if self._takes_text and isinstance(value, str) else _encoder.encode(value).decode()

    def read(self, task: str, message: Contents) -> Call:
        """Return the call that a published message stands for.

        Raises:
            ValueError: its text is not JSON, and the function does not take a text.
        """
        return Call(task, [message.text if self._takes_text else message.json()])

    def check(self) -> None:
        """Check that the function can be called with one argument.

        Raises:
            ValueError: it takes none, or needs more.
        """
        if len(self._types) < 1 or self._needed > 1:
            raise ValueError(f"{self._name} must take one argument, the body of a published message")

    @property
    def _takes_text(self) -> bool:
        return next(iter(self._types.values()), None) is str


def keep_subscriptions(client: Client, app: str, subscriptions: Sequence[Subscription]) -> None:
    """Create or change the subscriptions of an app, and remove those that its code no longer has.

    Topics and queues that do not exist are created. A queue that is unsubscribed keeps its messages. A pause stays.

    Raises:
        WonderQError: the broker refuses a subscription, for example for its filter, or gives no answer.
    """
    wanted = {each.queue: each for each in subscriptions}
    for queue in client.queues():
        tags = queue.settings.get("tags") or {}
        topic = tags.get(TOPIC)
        if topic is None or tags.get(APP) != app:
            continue
        if queue.name not in wanted or wanted[queue.name].topic != topic:
            _unsubscribe(client.topic(topic), queue.name)
            left = {name: value for name, value in tags.items() if name not in (APP, TOPIC)}
            client.queue(queue.name).configure(tags=left)
    for each in subscriptions:
        try:
            _subscribe(client, app, each)
        except Invalid as error:
            error.add_note(f"This is the subscription {each.name!r} of topic {each.topic!r}")
            raise


def _subscribe(client: Client, app: str, subscription: Subscription) -> None:
    queue = client.queue(subscription.queue)
    try:
        tags = queue.info().settings.get("tags") or {}
    except NotFound:
        tags = {}
    marked = {**tags, APP: app, TOPIC: subscription.topic}
    if marked != tags:
        queue.configure(tags=marked)
    topic = client.topic(subscription.topic)
    try:
        topic.info()
    except NotFound:
        topic.configure()
    topic.subscribe(
        subscription.name,
        subscription.queue,
        filter=None if subscription.filter is None else dict(subscription.filter),
        filter_scope=subscription.filter_scope,
        when_full=subscription.when_full,
    )


def _unsubscribe(topic: Topic, queue: str) -> None:
    """Remove the subscription that a queue has of a topic, if there is one."""
    try:
        for each in topic.subscriptions():
            if each.queue == queue:
                topic.unsubscribe(each.name)
    except NotFound:
        pass
