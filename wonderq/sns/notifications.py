"""Requests to HTTP endpoints as SNS makes them: notifications, raw or in an envelope, and confirmations.

https://docs.aws.amazon.com/sns/latest/dg/http-header.html
"""

from __future__ import annotations

from wonderq.broker.notices import Notice
from wonderq.broker.pushes import Pushed, PushedMessage, PushRequest
from wonderq.model.push import DeliveryPolicy
from wonderq.sns import delivery_policies
from wonderq.sns.envelope import Envelopes
from wonderq.sns.names import subscription_arn, topic_arn

_USER_AGENT = "Amazon Simple Notification Service Agent"


class Notifications:
    """Composes requests of the style ``sns``: a `Composer`."""

    def __init__(self, envelopes: Envelopes) -> None:
        self._envelopes = envelopes

    def policy(self, pushed: Pushed) -> DeliveryPolicy:
        """Return the policy of a subscription: its own, for what that leaves out the topic's, and the defaults."""
        name = delivery_policies.ATTRIBUTE
        return delivery_policies.effective(pushed.settings.sns.get(name, ""), pushed.subscription.sns.get(name, ""))

    def compose(self, pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage) -> PushRequest:
        """Return the request that delivers a message, or that asks to confirm the subscription."""
        kind = delivery_policies.content_type(policy)
        if message.is_confirmation:
            headers = self._headers(kind, "SubscriptionConfirmation", message.id, pushed.topic)
            text = self._envelopes.confirmation(pushed.topic, message.id, pushed.push.token, message.produced_ms)
            return PushRequest(headers, text.encode())
        headers = self._headers(kind, "Notification", message.id, pushed.topic, pushed.subscription.name)
        if message.published is None:
            headers["x-amz-sns-rawdelivery"] = "true"
        else:
            headers["x-amz-sns-message-id"] = message.published.id
        return PushRequest(headers, message.text.encode())

    def compose_notice(self, notice: Notice) -> PushRequest:
        """Return the request that tells an endpoint that its subscription has ended."""
        kind = delivery_policies.content_type(DeliveryPolicy())
        headers = self._headers(kind, "UnsubscribeConfirmation", notice.id, notice.topic, notice.subscription)
        text = self._envelopes.end(notice.topic, notice.subscription, notice.id, notice.token, notice.ended_ms)
        return PushRequest(headers, text.encode())

    def _headers(self, kind: str, message_type: str, message_id: str, topic: str, name: str = "") -> dict[str, str]:
        """Return the headers of a request; ``name`` is that of a subscription, if it is confirmed."""
        region, _, _ = self._envelopes.place(topic)
        headers = {
            "User-Agent": _USER_AGENT,
            "Content-Type": kind,
            "x-amz-sns-message-type": message_type,
            "x-amz-sns-message-id": message_id,
            "x-amz-sns-topic-arn": topic_arn(region, topic),
        }
        return {**headers, "x-amz-sns-subscription-arn": subscription_arn(region, topic, name)} if name else headers
