"""Topics: create, subscribe, publish, and try which subscriptions match."""

from __future__ import annotations

import json
from typing import Any

import falcon
from msgspec import UNSET, UnsetType

from wonderq.httpd.errors import RequestError
from wonderq.model.masks import Mask
from wonderq.model.messages import NewMessage
from wonderq.model.times import iso_time, to_ms
from wonderq.model.topics import Publication, PublishResult, SubscriptionInfo, TopicInfo
from wonderq.rest import schemas, topic_schemas
from wonderq.rest.bodies import read_body, read_optional_body, read_query, render
from wonderq.rest.masks import hide, mask_of
from wonderq.rest.resource import Resource
from wonderq.rest.values import Trace, idempotency_key_of, new_message, set_ms, set_value, trace_of


class TopicCollection(Resource):
    """``/topics``: the topics that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, topic_schemas.TopicListing)
        after = set_value(query.after) or ""
        found = self.broker.topics.list(self.permits(req), after=after, limit=query.limit)
        render(req, resp, [topic_object(each) for each in found])


class TopicResource(Resource):
    """``/topics/{topic}``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        read_query(req, schemas.Body)
        render(req, resp, topic_object(self.broker.topics.get(topic)))

    def on_put(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        given = schemas.given(read_optional_body(req, topic_schemas.PutTopic, self.broker.limits))
        if "deduplication_window" in given:
            given["deduplication_window_ms"] = to_ms(given.pop("deduplication_window"))
        info, created = self.broker.topics.put(topic, **given)
        render(req, resp, topic_object(info), 201 if created else 200)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        read_query(req, schemas.Body)
        self.broker.topics.delete(topic)
        render(req, resp, {"success": True})


class SubscriptionCollection(Resource):
    """``/topics/{topic}/subscriptions``: the subscriptions of the queues that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        query = read_query(req, topic_schemas.TopicListing)
        after = set_value(query.after) or ""
        found = self.broker.topics.subscriptions(topic, self.permits(req), after=after, limit=query.limit)
        render(req, resp, [_shown(req, each) for each in found])


class SubscriptionResource(Resource):
    """``/topics/{topic}/subscriptions/{subscription}``. The key must open the queue, too."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: str, subscription: str) -> None:
        read_query(req, schemas.Body)
        found = self.broker.topics.subscription(topic, subscription, self.permits(req))
        render(req, resp, _shown(req, found))

    def on_put(self, req: falcon.Request, resp: falcon.Response, topic: str, subscription: str) -> None:
        given = schemas.given(read_body(req, topic_schemas.PutSubscription, self.broker.limits))
        info, created = self.broker.topics.subscribe(topic, subscription, self.permits(req), **given)
        render(req, resp, _shown(req, info), 201 if created else 200)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: str, subscription: str) -> None:
        read_query(req, schemas.Body)
        self.broker.topics.unsubscribe(topic, subscription, self.permits(req))
        render(req, resp, {"success": True})


class Publish(Resource):
    """``/topics/{topic}/publish``."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        body = read_body(req, topic_schemas.Publish, self.broker.limits)
        if body.idempotency_key is UNSET:
            body.idempotency_key = idempotency_key_of(req)
        trace = trace_of(req)
        if isinstance(body.messages, UnsetType):
            if isinstance(body.message, UnsetType):
                raise RequestError(400, "missing_field", "The field message is required.", "message")
            [result] = self.broker.topics.publish(topic, [_publication(body.message, body, trace)])
            render(req, resp, _result_object(result), 201)
            return
        self.broker.limits.check_entries(len(body.messages))
        _check_batch_fields(body)
        publications = [_of_batch(index, each, body, trace) for index, each in enumerate(body.messages)]
        results = self.broker.topics.publish(topic, publications)
        render(req, resp, {"results": [_result_object(each) for each in results]}, 201)


class MatchResource(Resource):
    """``/topics/{topic}/match``: what a publish would do. Nothing is published."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        body = read_body(req, topic_schemas.MatchedMessage, self.broker.limits)
        publication = _publication(body.message, body, {})
        found = self.broker.topics.match(topic, publication, self.permits(req), limit=body.limit)
        mask = mask_of(req)
        if mask is not None:
            found = [each._replace(reason=hide(mask, each.reason)) for each in found]
        render(req, resp, [each._asdict() for each in found])


def _publication(text: str, body: topic_schemas.PublishFields, trace: Trace) -> Publication:
    return Publication(new_message(text, body, trace), set_value(body.subject) or "")


_NO_FIELDS = topic_schemas.PublishFields()


def _of_batch(
    index: int, given: str | topic_schemas.NewPublication, body: topic_schemas.Publish, trace: Trace
) -> Publication:
    """Return a message of a batch. The delay and the key beside the batch are those of messages without their own."""
    if isinstance(given, str):
        publication = _publication(given, _NO_FIELDS, trace)
    else:
        publication = _publication(given.message, given, trace)
    message: NewMessage = publication.message
    if message.delay_ms is None and message.deliver_at_ms is None:
        message = message._replace(delay_ms=set_ms(body.delay))
    if not isinstance(body.idempotency_key, UnsetType) and not message.key:
        message = message._replace(key=f"{body.idempotency_key}/{index}", key_of_batch=True)
    return publication._replace(message=message)


def _check_batch_fields(body: topic_schemas.Publish) -> None:
    """Reject fields of a single message beside ``messages``: they would apply to none.

    Raises:
        RequestError: such a field was given.
    """
    if body.message is not UNSET:
        raise RequestError(400, "ambiguous_request", "Give either message or messages, not both.", "messages")
    for name in ("deliver_at", "attributes", "group", "priority", "traceparent", "tracestate", "subject"):
        if getattr(body, name) is not UNSET:
            raise RequestError(400, "ambiguous_request", f"Give {name} with each of the messages.", name)


def _result_object(result: PublishResult) -> dict[str, Any]:
    value: dict[str, Any] = {"id": result.id, "queues": result.queues, "skipped": result.skipped}
    return value | ({"duplicate": True} if result.is_duplicate else {})


def topic_object(info: TopicInfo) -> dict[str, Any]:
    """Return a topic as clients see it."""
    settings = info.settings
    return {
        "topic": info.name,
        "settings": {
            "content_deduplication": settings.content_deduplication,
            "deduplication_window": settings.deduplication_window_ms / 1000,
            "tags": settings.tags,
        },
        "created_at": iso_time(info.created_ms),
        "subscriptions": info.subscriptions,
        "published": info.published,
    }


def _shown(req: falcon.Request, info: SubscriptionInfo) -> dict[str, Any]:
    """Return a subscription as the client of a request sees it."""
    value, mask = subscription_object(info), mask_of(req)
    if mask is None:
        return value
    shown = value | {"filter": _hide_in(mask, value["filter"])}
    return shown if shown == value else shown | {"masked": True}


def _hide_in(mask: Mask, value: Any) -> Any:
    """Return decoded JSON without what the mask hides. A number that it hides becomes a text."""
    if isinstance(value, dict):
        return {hide(mask, name): _hide_in(mask, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_hide_in(mask, each) for each in value]
    if isinstance(value, str):
        return hide(mask, value)
    if isinstance(value, bool) or value is None:
        return value
    text = repr(value)
    hidden = hide(mask, text)
    return value if hidden == text else hidden


def subscription_object(info: SubscriptionInfo) -> dict[str, Any]:
    """Return a subscription as clients see it."""
    found = info.subscription
    return {
        "subscription": found.name,
        "topic": info.topic,
        "queue": info.queue,
        "raw": found.raw,
        "filter": json.loads(found.filter) if found.filter else None,
        "filter_scope": found.filter_scope,
        "dead_letter_queue": found.dead_letter_queue,
        "paused": found.paused,
        "when_full": found.when_full,
        "created_at": iso_time(found.created_ms),
        "delivered": info.delivered,
        "skipped": info.skipped,
    }
