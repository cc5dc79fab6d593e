"""The endpoints of SQS and SNS on the edge: calls go to the shard of their queue or topic, and lists to all shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, cast

import falcon
import msgspec

from wonderq.auth.keys import Key
from wonderq.broker.broker import Broker
from wonderq.cluster import routing
from wonderq.cluster.edge import Forwarding, ShardRefusal, queue_of_sqs, respond
from wonderq.cluster.listings import Listings
from wonderq.cluster.wire import ForwardedRequest
from wonderq.model.limits import Limits
from wonderq.model.permits import Permits, everything
from wonderq.model.push import Push
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.model.topics import Subscription, SubscriptionInfo, TopicInfo, TopicSettings
from wonderq.sns.names import subscription_in_arn, topic_in_arn


class _Queue(msgspec.Struct):
    queue: str


class _Topic(msgspec.Struct):
    topic: str


class _Listed(msgspec.Struct):
    subscription: str
    queue: str
    endpoint: str = ""
    confirmed: bool = True

    @property
    def push(self) -> Push | None:
        """What a list shows of the endpoint; None without one."""
        return Push(self.endpoint, confirmed=self.confirmed) if self.endpoint else None


_subscriptions = msgspec.json.Decoder(list[_Listed]).decode


class EdgeBroker:
    """What resources of the edge need of a broker: its limits, and the names in all shards."""

    def __init__(self, forwarding: Forwarding, limits: Limits) -> None:
        self.limits = limits
        self.topics = _EdgeTopics(forwarding)
        self._listings = Listings(forwarding)

    def as_broker(self) -> Broker:
        """Return this object for a resource that needs no more of a broker than this object has."""
        return cast("Broker", self)

    def queue_names(
        self, *, prefix: str = "", after: str = "", limit: int | None = None, matches: Permits = everything
    ) -> list[str]:
        """Return names of queues in order; see `wonderq.broker.queries.Queries.queue_names`."""
        query = {"prefix": prefix, "after": after}
        names = (each.name for each in self._listings.merged(_of_node("/queues"), query, _Queue, None))
        return list(islice(filter(matches, names), limit))


class _EdgeTopics:
    """The topics of all shards, as lists of SNS show them."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding
        self._listings = Listings(forwarding)

    def list(self, permits: Permits = everything, *, after: str = "", limit: int | None = None) -> list[TopicInfo]:
        """Return topics in the order of their names, without their settings."""
        found = self._listings.merged(_of_node("/topics"), {"after": after}, _Topic, None)
        names = filter(permits, (each.name for each in found))
        return [TopicInfo(name, TopicSettings(), 0, 0, 0) for name in islice(names, limit)]

    def subscriptions(
        self, topic: str, permits: Permits = everything, *, after: str = "", limit: int
    ) -> Iterator[SubscriptionInfo]:
        """Return subscriptions of a topic in the order of their names, without their settings."""
        shard = self._forwarding.shard_of(topic)
        request = _of_node(f"/topics/{topic}/subscriptions")
        found: list[SubscriptionInfo] = []
        while len(found) < limit:
            request.query = "" if not after else f"after={after}"
            try:
                page = _subscriptions(self._forwarding.ask_for(shard, request))
            except ShardRefusal as refusal:
                if refusal.status != 404:
                    raise
                break  # the topic was deleted meanwhile
            if not page:
                break
            after = page[-1].subscription
            found += [
                SubscriptionInfo(Subscription(each.subscription, 0, 0, push=each.push), topic, each.queue, 0, 0)
                for each in page
                if permits(each.queue)
            ]
        return iter(found[:limit])


def _of_node(path: str) -> ForwardedRequest:
    """Return a request that the edge makes for itself, and whose answer it filters by the key of its client."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path}
    return ForwardedRequest.of(environ, b"", key_id=None, base_url="", region="", is_of_ui=False)


class AwsForwarding:
    """Passes the calls of SQS and SNS clients on."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding

    def sqs(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        key: Key,
        action: str,
        parameters: Mapping[str, Any],
        body: bytes,
    ) -> bool:
        """Answer a call of SQS; see `wonderq.sqs.endpoint.Forward`."""
        if action == "ListQueues":
            return False
        if action == "CancelMessageMoveTask":
            self._cancel(req, resp, key, body)
            return True
        name = queue_of_sqs(parameters) or DEFAULT_QUEUE  # whose shard refuses a call without a queue
        self._pass_on(req, resp, key, name, action, parameters, body)
        return True

    def sns(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        key: Key,
        action: str,
        parameters: Mapping[str, Any],
        body: bytes,
    ) -> bool:
        """Answer a call of SNS; see `wonderq.sqs.endpoint.Forward`."""
        if action in ("ListTopics", "ListSubscriptions"):
            return False
        self._pass_on(req, resp, key, _topic_of(parameters), action, parameters, body)
        return True

    def _pass_on(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        key: Key,
        name: str,
        action: str,
        parameters: Mapping[str, Any],
        body: bytes,
    ) -> None:
        request = self._forwarding.request_of(req, key, body)
        shard = self._forwarding.shard_of(name)
        respond(
            req,
            resp,
            self._forwarding.ask(req, shard, request, lambda: routing.is_repeatable_sqs(action, parameters)),
        )

    def _cancel(self, req: falcon.Request, resp: falcon.Response, key: Key, body: bytes) -> None:
        """Cancel a redrive. Its handle names no queue, and only one shard knows it."""
        request = self._forwarding.request_of(req, key, body)
        for shard in range(self._forwarding.shards):
            response = self._forwarding.ask(req, shard, request)
            if response.code != 404 or shard == self._forwarding.shards - 1:
                respond(req, resp, response)
                return
            response.close()


def _topic_of(parameters: Mapping[str, Any]) -> str:
    """Return the topic that the parameters of an action of SNS name, or `default`, whose shard refuses the call.

    Raises:
        SnsError: its ARN is malformed.
    """
    for name in ("TopicArn", "TargetArn", "ResourceArn"):
        if isinstance(arn := parameters.get(name), str) and arn:
            return topic_in_arn(arn, name)
    if isinstance(arn := parameters.get("SubscriptionArn"), str) and arn:
        return subscription_in_arn(arn)[0]
    topic = parameters.get("Name")
    return topic if isinstance(topic, str) and topic else DEFAULT_QUEUE
