"""Requests for REST subscriptions, signed as Standard Webhooks describes it: https://www.standardwebhooks.com."""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from collections.abc import Callable

from wonderq.broker.pushes import Pushed, PushedMessage, PushRequest
from wonderq.model.push import DeliveryPolicy, key_of


class Webhooks:
    """Composes requests of the style ``webhook``: a `Composer`."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        """Use the time of ``now_s`` for the timestamps."""
        self._now_s = now_s

    def policy(self, pushed: Pushed) -> DeliveryPolicy:
        """Return the policy of a subscription."""
        return DeliveryPolicy.of(pushed.push.delivery)

    def compose(self, pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage) -> PushRequest:
        """Return the request that delivers a message. Its id is the same in each attempt."""
        has_envelope = message.published is not None
        body = message.text.encode()
        message_id = message.id if message.published is None else message.published.id
        timestamp = str(int(self._now_s()))
        kind = policy.content_type or ("application/json" if has_envelope else "text/plain; charset=utf-8")
        headers = {
            "Content-Type": kind,
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(pushed.push.secret, message_id, timestamp, body),
            "wonderq-topic": pushed.topic,
            "wonderq-subscription": pushed.subscription.name,
            "wonderq-attempt": str(message.attempts),
        }
        return PushRequest(headers, body)


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request: the HMAC with SHA-256 of its id, its timestamp and its body."""
    digest = hmac.digest(key_of(secret), f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{b64encode(digest).decode()}"
