"""Endpoints of subscriptions: checks of their fields, and the queues that are made for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from wonderq.model.errors import InvalidValueError
from wonderq.model.push import (
    CONFIRMATION_HEADER,
    STYLES,
    DeliveryPolicy,
    Push,
    check_secret,
    new_secret,
    parse_endpoint,
)
from wonderq.model.push_hosts import PushHosts
from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.model.topics import Subscription, is_fifo
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.state import Queue, State, queue_record

FIELDS = ("endpoint", "style", "secret", "delivery", "push")
"""Arguments of `Topics.subscribe` that are about an endpoint. ``push`` is the whole of it, as SNS sets it."""

_SECRET_BYTES = 32
_MAX_QUEUE_CHARACTERS = 80
_DIGEST_CHARACTERS = 8

#: Text of the message that asks an endpoint to confirm. The request says it in the words of its protocol.
_CONFIRMATION = "confirm the subscription"

#: Retention of the queue of a subscription that an SNS client creates: the longest of SQS.
_SNS_RETENTION_MS = 14 * 86_400_000


def changed_endpoint(before: Push | None, given: Mapping[str, Any], hosts: PushHosts) -> tuple[Push | None, str]:
    """Return the endpoint of a subscription after a change, and the secret if one was made.

    Raises:
        InvalidValueError: a field is malformed, or the broker may not deliver to the host.
    """
    push, secret = before, ""
    if "push" in given:
        push = given["push"]
    if "endpoint" in given:
        url = given["endpoint"]
        push = Push(url) if push is None else replace(push, url=url)
    if push is None:
        for name in ("style", "secret", "delivery"):
            if name in given:
                raise InvalidValueError(name, f"{name} is for subscriptions with an endpoint, and this one has none.")
        return None, ""
    if before is None or push.url != before.url:
        _check_host(push.url, hosts)
    push = replace(push, style=given.get("style", push.style))
    if push.style not in STYLES:
        raise InvalidValueError("style", f"style must be {' or '.join(STYLES)}.")
    if "delivery" in given:
        DeliveryPolicy.of(given["delivery"])
        push = replace(push, delivery=dict(given["delivery"]))
    if push.style == "webhook":
        wanted = given.get("secret", push.secret)
        if not wanted:
            wanted = secret = new_secret(os.urandom(_SECRET_BYTES))
        check_secret(wanted)
        push = replace(push, secret=wanted)
    return push, secret


def _check_host(url: str, hosts: PushHosts) -> None:
    endpoint = parse_endpoint(url)
    if hosts.is_empty:
        raise InvalidValueError(
            "endpoint", "This broker delivers to no endpoints. Start it with --push-hosts and the host, or use a queue."
        )
    if not hosts.permits_host(endpoint.host):
        raise InvalidValueError(
            "endpoint",
            f"This broker does not deliver to the host {endpoint.host}. Its operator names hosts with --push-hosts.",
        )


def own_queue_name(state: State, topic: str, subscription: str) -> str:
    """Return a name for the queue of a subscription, which no queue has yet.

    It begins with the topic and ``--``, so that both are in the same shard of a cluster.
    """
    suffix = FIFO_SUFFIX if is_fifo(topic) else ""
    name = f"{topic.removesuffix(FIFO_SUFFIX)}--push-{subscription}"
    if len(name + suffix) <= _MAX_QUEUE_CHARACTERS and name + suffix not in state.queues:
        return name + suffix
    number = 0
    while True:
        digest = sha256(f"{topic}\n{subscription}\n{number}".encode()).hexdigest()[:_DIGEST_CHARACTERS]
        room = _MAX_QUEUE_CHARACTERS - len(suffix) - len(digest) - 1
        found = f"{name[:room]}-{digest}{suffix}"
        if found not in state.queues:
            return found
        number += 1


def queue_records(queue: Queue, subscription: Subscription, now_ms: int, *, is_new: bool) -> list[Record]:
    """Return the record of a queue that belongs to a subscription, if it is new or its dead-letter queue changes."""
    settings = queue.settings
    if is_new and subscription.push is not None and subscription.push.style == "sns":
        settings = QueueSettings(retention_ms=_SNS_RETENTION_MS)
    settings = replace(settings, dead_letter_queue=subscription.dead_letter_queue)
    return [queue_record(queue, settings, now_ms)] if is_new or settings != queue.settings else []


def confirmation(queue: Queue, now_ms: int) -> Record:
    """Return the record of the message that asks the endpoint to confirm its subscription."""
    entry = record.encode_entry(_CONFIRMATION, {CONFIRMATION_HEADER: True})
    lanes = [queue.lane_for(0, "")]
    first = queue.messages.next_sequence
    return record.Send(record.SEND, now_ms, queue.number, first, [], [len(entry)], lanes, entry)
