"""A topic, for asyncio. Its calls are those of `wonderq.client.sync_topic`, as coroutines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Unpack

from wonderq.client import topics
from wonderq.client.async_engine import AsyncEngine
from wonderq.client.bodies import Body
from wonderq.client.fields import MessageOptions, given_options
from wonderq.client.messages import AttributeValue
from wonderq.client.topics import Match, Published, SubscriptionFields, SubscriptionInfo, TopicInfo, TopicSettings


class AsyncTopic:
    """One topic of a broker, for the tasks of an event loop. It has the calls of `wonderq.Topic`, as coroutines."""

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self.name = name

    def __repr__(self) -> str:
        return f"<AsyncTopic {self.name!r} at {self._engine.options.endpoint.url}>"

    # Publishing

    async def publish(
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
        """Publish a message to all queues whose subscriptions match it; see `wonderq.Topic.publish`."""
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
        return await self._engine.do(topics.publish(self.name, body, options, subject))

    async def publish_together(
        self, messages: Sequence[Body | tuple[Body, MessageOptions]], *, key: str | None = None
    ) -> list[Published]:
        """Publish up to 1000 messages in one step; see `wonderq.Topic.publish_together`."""
        return await self._engine.do(topics.publish_together(self.name, messages, key))

    async def match(self, body: Body, **options: Unpack[MessageOptions]) -> list[Match]:
        """Return what a publish of a message would do with each subscription; see `wonderq.Topic.match`."""
        return await self._engine.do(topics.match(self.name, body, options))

    # Subscriptions

    async def subscribe(
        self, name: str, queue: str | None = None, **fields: Unpack[SubscriptionFields]
    ) -> SubscriptionInfo:
        """Subscribe a queue, or change a subscription; see `wonderq.Topic.subscribe`."""
        return await self._engine.do(topics.subscribe(self.name, name, queue, fields))

    async def subscription(self, name: str) -> SubscriptionInfo:
        """Return a subscription; see `wonderq.Topic.subscription`."""
        return await self._engine.do(topics.subscription(self.name, name))

    async def subscriptions(self) -> list[SubscriptionInfo]:
        """Return the subscriptions of the queues that the key opens, by name."""
        return await self._engine.list_all(lambda after: topics.subscriptions(self.name, after))

    async def unsubscribe(self, name: str) -> None:
        """Delete a subscription; see `wonderq.Topic.unsubscribe`."""
        await self._engine.do(topics.unsubscribe(self.name, name))

    # The topic itself

    async def configure(self, **settings: Unpack[TopicSettings]) -> TopicInfo:
        """Create the topic, or change the given settings."""
        return await self._engine.do(topics.configure(self.name, settings))

    async def info(self) -> TopicInfo:
        """Return the settings and figures of the topic; see `wonderq.Topic.info`."""
        return await self._engine.do(topics.info(self.name))

    async def drop(self) -> None:
        """Delete the topic and its subscriptions; see `wonderq.Topic.drop`."""
        await self._engine.do(topics.drop(self.name))
