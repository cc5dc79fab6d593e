"""Topics: create, subscribe, publish, and try which subscriptions match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
from msgspec import UNSET, UnsetType

from wonderq.auth.access import Access
from wonderq.broker.broker import Broker
from wonderq.broker.overview import PERIODS_MS
from wonderq.httpd.errors import RequestError
from wonderq.model.masks import Mask
from wonderq.model.topics import Match, Publication, PublishResult, SubscriptionInfo, TopicInfo
from wonderq.rest import schemas, topic_schemas
from wonderq.rest.arrays import render_array
from wonderq.rest.bodies import read_body, read_optional_body, read_query, render
from wonderq.rest.masks import hide, mask_of
from wonderq.rest.objects import subscription_object, topic_figures_object, topic_object
from wonderq.rest.resource import Resource
from wonderq.rest.shared_answers import Answer, SharedAnswers, answer_of
from wonderq.rest.values import (
    Trace,
    check_batch_fields,
    idempotency_key_of,
    new_message,
    of_batch,
    set_value,
    subscription_fields_of,
    topic_settings_of,
    trace_of,
)
from wonderq.runtime.fibers import took

#: Steps of `took` to add the figures of a topic.
_STEPS_PER_FIGURES = 10


class _TopicResource(Resource):
    def __init__(self, broker: Broker, access: Access | None) -> None:
        super().__init__(broker, access)
        self.answers = SharedAnswers()

    def with_figures(self, info: TopicInfo) -> dict[str, Any]:
        """Return a topic with its figures."""
        history = self.broker.history.topics
        rates = history.per_second(info.name, PERIODS_MS["10s"])
        took(_STEPS_PER_FIGURES)
        return topic_object(info) | {"figures": topic_figures_object(history.since_start(info.name), rates)}


class TopicCollection(_TopicResource):
    """``/topics``: the topics that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, topic_schemas.TopicListing)
        to_object = self.with_figures if query.figures else topic_object

        def answer() -> Answer:
            found = self.broker.topics.list(self.permits(req), **_page_of(query))
            return answer_of(req, list(map(to_object, found)))

        self.answers.respond(req, resp, self.opened_by(req), answer)


class TopicResource(_TopicResource):
    """``/topics/{topic}``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        query = read_query(req, topic_schemas.TopicQuery)
        to_object = self.with_figures if query.figures else topic_object
        self.answers.respond(req, resp, None, lambda: answer_of(req, to_object(self.broker.topics.get(topic))))

    def on_put(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        body = read_optional_body(req, topic_schemas.PutTopic, self.broker.limits)
        info, created = self.broker.topics.put(topic, **topic_settings_of(body))
        render(req, resp, topic_object(info), 201 if created else 200)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        read_query(req, schemas.Body)
        self.broker.topics.delete(topic)
        render(req, resp, {"success": True})


class SubscriptionCollection(_TopicResource):
    """``/topics/{topic}/subscriptions``: the subscriptions of the queues that the key opens."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        query = read_query(req, topic_schemas.SubscriptionListing)

        def answer() -> Answer:
            found = self.broker.topics.subscriptions(topic, self.permits(req), **_page_of(query))
            return answer_of(req, [_shown(req, each) for each in found])

        self.answers.respond(req, resp, (self.opened_by(req), mask_of(req) is None), answer)


class SubscriptionResource(Resource):
    """``/topics/{topic}/subscriptions/{subscription}``. The key must open the queue, too."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: str, subscription: str) -> None:
        read_query(req, schemas.Body)
        found = self.broker.topics.subscription(topic, subscription, self.permits(req))
        render(req, resp, _shown(req, found))

    def on_put(self, req: falcon.Request, resp: falcon.Response, topic: str, subscription: str) -> None:
        given = subscription_fields_of(read_body(req, topic_schemas.PutSubscription, self.broker.limits))
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
        check_batch_fields(body, "subject")
        publications = [_of_batch(index, each, body, trace) for index, each in enumerate(body.messages)]
        results = self.broker.topics.publish(topic, publications)
        render(req, resp, {"results": [_result_object(each) for each in results]}, 201)


class MatchResource(Resource):
    """``/topics/{topic}/match``: what a publish would do. Nothing is published."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        body = read_body(req, topic_schemas.MatchedMessage, self.broker.limits)
        publication = _publication(body.message, body, {})
        client_gone: Callable[[], bool] = req.env.get("waitress.client_disconnected", lambda: False)
        found = self.broker.topics.match(
            topic, publication, self.permits(req), limit=body.limit, client_gone=client_gone
        )
        mask = mask_of(req)

        def shown(match: Match) -> dict[str, Any]:
            return match._asdict() if mask is None else {**match._asdict(), "reason": hide(mask, match.reason)}

        render_array(req, resp, map(shown, found))


def _page_of(query: schemas.Page) -> dict[str, Any]:
    """Return the arguments of a listing."""
    return {
        "contains": set_value(query.contains) or "",
        "after": set_value(query.after) or "",
        "limit": query.limit,
    }


def _publication(text: str, body: topic_schemas.PublishFields, trace: Trace) -> Publication:
    return Publication(new_message(text, body, trace), set_value(body.subject) or "")


_NO_FIELDS = topic_schemas.PublishFields()


def _of_batch(
    index: int, given: str | topic_schemas.NewPublication, body: topic_schemas.Publish, trace: Trace
) -> Publication:
    if isinstance(given, str):
        publication = _publication(given, _NO_FIELDS, trace)
    else:
        publication = _publication(given.message, given, trace)
    return publication._replace(message=of_batch(publication.message, index, body))


def _result_object(result: PublishResult) -> dict[str, Any]:
    value: dict[str, Any] = {"id": result.id, "queues": result.queues, "skipped": result.skipped}
    return value | ({"duplicate": True} if result.is_duplicate else {})


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
