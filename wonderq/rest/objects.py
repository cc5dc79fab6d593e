"""Messages and queues as clients see them: the objects of responses."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import asdict, fields
from typing import Any

import msgspec

from wonderq.broker.cron import words_of
from wonderq.broker.overview import Figures
from wonderq.broker.schedules import Schedule
from wonderq.broker.topic_history import TopicFlows
from wonderq.model.envelope import Envelope
from wonderq.model.messages import Message, QueueInfo
from wonderq.model.permits import Permits
from wonderq.model.push import DeliveryPolicy, Push
from wonderq.model.settings import QueueSettings
from wonderq.model.times import iso_time
from wonderq.model.topics import Deliveries, Subscription, SubscriptionInfo, TopicInfo, TopicSettings

#: Integers that every JSON parser represents exactly.
_WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d{0,14}")

#: The settings that clients see. Those in ms appear in seconds, and without the unit in their name.
SETTINGS = [each.name for each in fields(QueueSettings) if each.name != "sqs"]


def settings_object(settings: QueueSettings) -> dict[str, Any]:
    """Return a queue's settings, with durations in seconds."""
    return {
        name.removesuffix("_ms"): getattr(settings, name) / 1000 if name.endswith("_ms") else getattr(settings, name)
        for name in SETTINGS
    }


def topic_settings_object(settings: TopicSettings) -> dict[str, Any]:
    """Return a topic's settings, with durations in seconds."""
    return {
        "content_deduplication": settings.content_deduplication,
        "deduplication_window": settings.deduplication_window_ms / 1000,
        "tags": settings.tags,
    }


def topic_object(info: TopicInfo) -> dict[str, Any]:
    """Return a topic as clients see it, without its figures."""
    return {
        "topic": info.name,
        "settings": topic_settings_object(info.settings),
        "created_at": iso_time(info.created_ms),
        "subscriptions": info.subscriptions,
        "published": info.published,
    }


def topic_figures_object(since_start: TopicFlows, per_second: TopicFlows | None) -> dict[str, Any]:
    """Return how many messages queues got and refused since the start, and the rates."""
    return {
        "delivered": since_start.delivered,
        "skipped": since_start.skipped,
        "per_second": None if per_second is None else per_second._asdict(),
    }


def subscription_fields(subscription: Subscription, topic: str, queue: str) -> dict[str, Any]:
    """Return a subscription of a topic to a queue as clients see it, without its counters."""
    return {
        "subscription": subscription.name,
        "topic": topic,
        "queue": queue,
        "raw": subscription.raw,
        "filter": json.loads(subscription.filter) if subscription.filter else None,
        "filter_scope": subscription.filter_scope,
        "dead_letter_queue": subscription.dead_letter_queue,
        "paused": subscription.paused,
        "when_full": subscription.when_full,
        **({} if subscription.push is None else endpoint_fields(subscription.push)),
        "created_at": iso_time(subscription.created_ms),
    }


def endpoint_fields(push: Push) -> dict[str, Any]:
    """Return the fields of a subscription that only one with an endpoint has, without its secret."""
    return {
        "endpoint": push.url,
        "style": push.style,
        "confirmed": push.confirmed,
        "delivery": asdict(DeliveryPolicy.of(push.delivery)),
    }


def subscription_object(info: SubscriptionInfo) -> dict[str, Any]:
    """Return a subscription as clients see it."""
    found = subscription_fields(info.subscription, info.topic, info.queue)
    found |= {"delivered": info.delivered, "skipped": info.skipped}
    if info.deliveries is not None:
        found["deliveries"] = _deliveries_object(info.deliveries)
    return {**found, "secret": info.secret} if info.secret else found


def _deliveries_object(deliveries: Deliveries) -> dict[str, Any]:
    last = deliveries.last
    shown = None if last is None else {"at": iso_time(last.at_ms), "delivered": not last.reason, "reason": last.reason}
    return {**deliveries._asdict(), "last": shown}


def queue_object(info: QueueInfo) -> dict[str, Any]:
    """Return a queue as clients see it."""
    return {
        "queue": info.name,
        "settings": settings_object(info.settings),
        "created_at": iso_time(info.created_ms),
        "counts": info.counts,
        "bytes": info.bytes,
        "newest_id": info.newest_id,
        "oldest_age": None if info.oldest_ms is None else max(info.now_ms - info.oldest_ms, 0) / 1000,
    }


def figures_object(info: QueueInfo, figures: Figures, permits: Permits) -> dict[str, Any]:
    """Return what is known of a queue besides its contents, to a client that may see what is permitted."""
    waiting_ms = None if info.waiting_since_ms is None else max(info.now_ms - info.waiting_since_ms, 0)
    return {
        "oldest_waiting_age": None if waiting_ms is None else waiting_ms / 1000,
        "consumers": figures.consumers,
        "per_second": None if figures.per_second is None else figures.per_second._asdict(),
        "recent_waiting": list(figures.recent_waiting),
        "sources": list(filter(permits, figures.sources)),
        "topics": [
            {"topic": each.topic, "subscription": each.subscription, "gets": each.gets, "paused": each.paused}
            for each in figures.feeds
            if permits(each.topic)
        ],
    }


class MessageObject(msgspec.Struct, gc=False):
    """A message as clients see it. Optional fields are left out of the response while unset."""

    id: str
    message: str
    status: str
    receive_count: int
    produced_at: str
    claimed_until: str | None
    queue: str
    receipt: str | msgspec.UnsetType = msgspec.UNSET
    consumer: str | msgspec.UnsetType = msgspec.UNSET
    delayed_until: str | msgspec.UnsetType = msgspec.UNSET
    version: int | msgspec.UnsetType = msgspec.UNSET
    attributes: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    group: str | msgspec.UnsetType = msgspec.UNSET
    priority: int | msgspec.UnsetType = msgspec.UNSET
    idempotency_key: str | msgspec.UnsetType = msgspec.UNSET
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    tracestate: str | msgspec.UnsetType = msgspec.UNSET
    dead_letter: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    last_error: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    full_length: int | msgspec.UnsetType = msgspec.UNSET
    masked: bool | msgspec.UnsetType = msgspec.UNSET


def message_object(message: Message) -> MessageObject:
    """Return a message as clients see it."""
    message_id, body, status, receipt, receives, produced_ms, due_ms, queue, _, _, envelope, consumer = message
    due = None if due_ms is None else iso_time(due_ms)
    value = MessageObject(
        message_id,
        body,
        status,
        receives,
        iso_time(produced_ms),
        due if status == "processing" else None,
        queue,
        msgspec.UNSET if receipt is None else receipt,
        consumer or msgspec.UNSET,
        due if due is not None and status == "delayed" else msgspec.UNSET,
    )
    if envelope is not None:
        add_envelope(value, envelope)
    return value


def add_envelope(value: MessageObject, envelope: Envelope) -> None:
    """Add the optional fields that are set."""
    unset = msgspec.UNSET
    if envelope.version > 1:
        value.version = envelope.version
    if envelope.attributes:
        value.attributes = {name: attribute_value(*each) for name, each in envelope.attributes.items()}
    value.group = envelope.group or unset
    value.priority = envelope.priority or unset
    value.idempotency_key = envelope.key or unset
    value.traceparent = envelope.system.get("traceparent", unset)
    value.tracestate = envelope.system.get("tracestate", unset)
    origin = envelope.dead_letter_source
    if origin is not None:
        value.dead_letter = {
            "queue": origin.queue,
            "id": origin.id,
            "reason": origin.reason,
            "moved_at": iso_time(origin.moved_ms),
            "produced_at": iso_time(origin.produced_ms),
            "receive_count": origin.receives,
        }
    failure = envelope.last_failure
    if failure is not None:
        value.last_error = {
            "type": failure.error.type,
            "message": failure.error.message,
            "traceback": failure.error.traceback,
            "at": iso_time(failure.at_ms),
            "attempt": failure.attempt,
            "consumer": failure.consumer or None,
        }


def attribute_value(kind: str, value: str | bytes) -> Any:
    """Return an attribute's JSON: a string, an integer, or an object of type and value for every other type."""
    if kind == "String":
        return value
    if kind == "Number" and isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        return int(value)
    return {"type": kind, "value": b64encode(value).decode() if isinstance(value, bytes) else value}


def schedule_object(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as clients see it."""
    value: dict[str, Any] = {
        "name": schedule.name,
        "cron": schedule.cron,
        "words": words_of(schedule.cron),
        "timezone": schedule.timezone,
        "queue": schedule.queue,
        "message": schedule.body,
        "missed": schedule.missed,
        "paused": schedule.paused,
        "created_at": iso_time(schedule.created_ms),
        "next_at": None if schedule.next_ms is None else iso_time(schedule.next_ms),
        "last_at": None if schedule.last_ms is None else iso_time(schedule.last_ms),
        "failure": schedule.failure,
    }
    if schedule.attributes:
        value["attributes"] = {name: attribute_value(*each) for name, each in schedule.attributes.items()}
    if schedule.group:
        value["group"] = schedule.group
    if schedule.priority:
        value["priority"] = schedule.priority
    if schedule.delay_ms is not None:
        value["delay"] = schedule.delay_ms / 1000
    return value
