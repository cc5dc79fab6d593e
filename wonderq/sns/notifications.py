"""Requests to HTTP endpoints as SNS makes them: notifications, raw or in an envelope, and confirmations.

https://docs.aws.amazon.com/sns/latest/dg/http-header.html
"""

from __future__ import annotations

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
        region, _, _ = self._envelopes.place(pushed.topic)
        headers = {
            "User-Agent": _USER_AGENT,
            "Content-Type": delivery_policies.content_type(policy),
            "x-amz-sns-message-type": "SubscriptionConfirmation" if message.is_confirmation else "Notification",
            "x-amz-sns-message-id": message.id,
            "x-amz-sns-topic-arn": topic_arn(region, pushed.topic),
        }
        if message.is_confirmation:
            text = self._envelopes.confirmation(pushed.topic, message.id, pushed.push.token, message.produced_ms)
            return PushRequest(headers, text.encode())
        headers["x-amz-sns-subscription-arn"] = subscription_arn(region, pushed.topic, pushed.subscription.name)
        if message.published is None:
            headers["x-amz-sns-rawdelivery"] = "true"
        else:
            headers["x-amz-sns-message-id"] = message.published.id
        return PushRequest(headers, message.text.encode())
