"""A topic, for threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Unpack

from wonderq.client import topics
from wonderq.client.bodies import Body
from wonderq.client.fields import MessageOptions, given_options
from wonderq.client.messages import AttributeValue
from wonderq.client.sync_engine import Engine
from wonderq.client.topics import Match, Published, SubscriptionFields, SubscriptionInfo, TopicInfo, TopicSettings


class Topic:
    """One topic of a broker. Any number of threads may share it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def __repr__(self) -> str:
        return f"<Topic {self.name!r} at {self._engine.options.endpoint.url}>"

    # Publishing

    def publish(
        self,
        body: Body,
        *,
        subject: str | None = None,
        delay: float | None = None,
        deliver_at: datetime | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        group: str | None = None,
        priority: int | None = None,
        key: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Published:
        """Publish a message to all queues whose subscriptions match it, and return once it is durable in all of them.

        The arguments are those of `Queue.send`. ``subject`` is a line that only envelopes show. With ``key``, the
        client repeats a publish that was not answered, because a second one with the same key adds nothing. Without,
        it does not repeat it.

        Raises:
            NotFound: the topic does not exist.
            QueueFull: a queue has no room, and its subscription is not to be passed over. No queue has the message.
            Invalid: an option is out of range, or the message is too large.
            Unreachable: no answer came; ``outcome_unknown`` says whether the message may have been published.
        """
        options = given_options(
            delay=delay,
            deliver_at=deliver_at,
            attributes=attributes,
            group=group,
            priority=priority,
            key=key,
            traceparent=traceparent,
            tracestate=tracestate,
        )
        return self._engine.do(topics.publish(self.name, body, options, subject))

    def publish_together(
        self, messages: Sequence[Body | tuple[Body, MessageOptions]], *, key: str | None = None
    ) -> list[Published]:
        """Publish up to 1000 messages in one step: all of them, or none. Returns a result for each, in order.

        Each is a body, or a pair of a body and its options. ``key`` is the idempotency key of the batch.
        """
        return self._engine.do(topics.publish_together(self.name, messages, key))

    def match(self, body: Body, **options: Unpack[MessageOptions]) -> list[Match]:
        """Return what a publish of a message would do with each subscription, and why not. Nothing is published."""
        return self._engine.do(topics.match(self.name, body, options))

    # Subscriptions

    def subscribe(self, name: str, queue: str | None = None, **fields: Unpack[SubscriptionFields]) -> SubscriptionInfo:
        """Subscribe a queue, or change the given fields of a subscription. A new one needs ``queue``, which must exist.

        With ``endpoint``, a URL, the broker delivers the messages by HTTP, and makes a queue of its own for them. Keep
        the ``secret`` that it returns: the endpoint verifies requests with it. Unless you give a ``secret``, the client
        does not repeat the call if its answer is lost: the broker would not tell the secret again. Call it then with
        ``secret=""``, for a new one.

        Raises:
            Unreachable: no answer came; ``outcome_unknown`` says whether the subscription may exist.
            NotFound: the topic or the queue does not exist.
            Refused: the queue has another subscription of the topic (code ``already_subscribed``).
            Invalid: the filter or another field is malformed.
        """
        return self._engine.do(topics.subscribe(self.name, name, queue, fields))

    def subscription(self, name: str) -> SubscriptionInfo:
        """Return a subscription.

        Raises:
            NotFound: there is none with this name.
        """
        return self._engine.do(topics.subscription(self.name, name))

    def subscriptions(self) -> list[SubscriptionInfo]:
        """Return the subscriptions of the queues that the key opens, by name."""
        return self._engine.list_all(lambda after: topics.subscriptions(self.name, after))

    def unsubscribe(self, name: str) -> None:
        """Delete a subscription. Messages that its queue has got stay there.

        Raises:
            NotFound: there is none with this name.
        """
        self._engine.do(topics.unsubscribe(self.name, name))

    # The topic itself

    def configure(self, **settings: Unpack[TopicSettings]) -> TopicInfo:
        """Create the topic, or change the given settings."""
        return self._engine.do(topics.configure(self.name, settings))

    def info(self) -> TopicInfo:
        """Return the settings and figures of the topic.

        Raises:
            NotFound: the topic does not exist.
        """
        return self._engine.do(topics.info(self.name))

    def drop(self) -> None:
        """Delete the topic and its subscriptions. Messages that were published stay in the queues.

        Raises:
            NotFound: the topic does not exist.
        """
        self._engine.do(topics.drop(self.name))
