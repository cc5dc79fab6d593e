"""The attribute ``DeliveryPolicy``: how requests to HTTP endpoints are repeated and limited.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from wonderq.model.errors import InvalidValueError
from wonderq.model.push import DeliveryPolicy
from wonderq.sns.errors import SnsError, invalid, shown
from wonderq.sns.policies import json_object

ATTRIBUTE = "DeliveryPolicy"

_RETRIES = {
    "minDelayTarget": "min_delay",
    "maxDelayTarget": "max_delay",
    "numRetries": "retries",
    "numNoDelayRetries": "no_delay_retries",
    "numMinDelayRetries": "min_delay_retries",
    "numMaxDelayRetries": "max_delay_retries",
    "backoffFunction": "backoff",
}
_PARTS = {
    "healthyRetryPolicy": _RETRIES,
    "throttlePolicy": {"maxReceivesPerSecond": "max_per_second"},
    "requestPolicy": {"headerContentType": "content_type"},
}
_NAMES = {ours: theirs for part in _PARTS.values() for theirs, ours in part.items()}

#: Fields of a policy that SNS writes, and that have no effect there either.
_WITHOUT_EFFECT = ("sicklyRetryPolicy", "guaranteed")

#: Longest sum of the delays, and longest delay, in seconds.
_MOST_S = 3600

_CONTENT_TYPE = "text/plain; charset=UTF-8"
_TOPIC, _NO_OVERRIDES = "http", "disableSubscriptionOverrides"


def check_of_subscription(value: str) -> None:
    """Check the policy of a subscription.

    Raises:
        SnsError: it is malformed, or a field is out of range.
    """
    _policy(_fields(json_object(ATTRIBUTE, value), ""))


def check_of_topic(value: str) -> None:
    """Check the policy of a topic. Raises what `check_of_subscription` does."""
    _policy(_of_topic(value))


def effective(topic: str, subscription: str) -> DeliveryPolicy:
    """Return the policy that applies, given those of the topic and of the subscription, which may be empty.

    A policy that an earlier program has stored, and that is not valid, counts as none.
    """
    return _effective(topic, subscription)


@lru_cache(1024)
def _effective(topic: str, subscription: str) -> DeliveryPolicy:
    for texts in ((topic, subscription), (topic, ""), ("", subscription)):
        try:
            of_topic = _of_topic(texts[0]) if texts[0] else {}
            of_subscription = _fields(json_object(ATTRIBUTE, texts[1]), "") if texts[1] else {}
            if _forbids_overrides(texts[0]):
                of_subscription = {}
            return _policy({**of_topic, **of_subscription})
        except Exception:  # noqa: BLE001, S112 - stored before it was checked
            continue
    return DeliveryPolicy()


def _of_topic(value: str) -> dict[str, Any]:
    found = json_object(ATTRIBUTE, value)
    of_http = found.get(_TOPIC) or {}
    if not isinstance(of_http, dict) or found.keys() - {_TOPIC}:
        raise invalid(f"{ATTRIBUTE}: It must be an object with the key {_TOPIC}.")
    parts = {name: value for name, value in of_http.items() if name != _NO_OVERRIDES}
    return _fields(parts, "default")


def _forbids_overrides(topic: str) -> bool:
    """Return whether a topic's policy overrides those of its subscriptions. One that is not valid does not."""
    try:
        return bool(topic) and json_object(ATTRIBUTE, topic)[_TOPIC][_NO_OVERRIDES] is True
    except (SnsError, KeyError, TypeError):
        return False


def _fields(parts: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the fields of our policy. ``prefix`` is that of the names of the parts in a topic's policy."""
    fields: dict[str, Any] = {}
    names = {prefix + (name[0].upper() + name[1:] if prefix else name): each for name, each in _PARTS.items()}
    for part, value in parts.items():
        if part in _WITHOUT_EFFECT or value is None:
            continue
        if part not in names or not isinstance(value, dict):
            raise invalid(f"{ATTRIBUTE}: {shown(part)} is no part of a policy.")
        for name, each in value.items():
            if name not in names[part]:
                raise invalid(f"{ATTRIBUTE}: {part} has no field {shown(name)}.")
            if each is not None:
                fields[names[part][name]] = each
    return fields


def _policy(fields: Mapping[str, Any]) -> DeliveryPolicy:
    try:
        policy = DeliveryPolicy.of(fields)
    except (InvalidValueError, TypeError) as error:
        text = str(error)
        for ours, theirs in _NAMES.items():
            text = text.replace(f"{ours} ", f"{theirs} ")
        raise invalid(f"{ATTRIBUTE}: {text.replace(' of delivery', '')}") from error
    if policy.max_delay > _MOST_S or policy.total_s > _MOST_S:
        raise invalid(f"{ATTRIBUTE}: Total policy retry time cannot be greater than {_MOST_S} seconds.")
    if "max_per_second" in fields and policy.max_per_second < 1:
        raise invalid(f"{ATTRIBUTE}: maxReceivesPerSecond must be at least 1.")
    return policy


def shown_for_subscription(policy: DeliveryPolicy) -> str:
    """Return the attribute ``EffectiveDeliveryPolicy`` of a subscription."""
    throttle = {"maxReceivesPerSecond": policy.max_per_second} if policy.max_per_second else None
    return json.dumps(
        {
            "healthyRetryPolicy": _retries(policy),
            "sicklyRetryPolicy": None,
            "throttlePolicy": throttle,
            "requestPolicy": {"headerContentType": policy.content_type or _CONTENT_TYPE},
            "guaranteed": False,
        }
    )


def shown_for_topic(value: str) -> str:
    """Return the attribute ``EffectiveDeliveryPolicy`` of a topic, given its policy, which may be empty."""
    policy = effective(value, "")
    found: dict[str, Any] = {"defaultHealthyRetryPolicy": _retries(policy)}
    found[_NO_OVERRIDES] = _forbids_overrides(value)
    if policy.max_per_second:
        found["defaultThrottlePolicy"] = {"maxReceivesPerSecond": policy.max_per_second}
    found["defaultRequestPolicy"] = {"headerContentType": policy.content_type or _CONTENT_TYPE}
    return json.dumps({_TOPIC: found})


def _retries(policy: DeliveryPolicy) -> dict[str, Any]:
    return {theirs: getattr(policy, ours) for theirs, ours in _RETRIES.items()}


def content_type(policy: DeliveryPolicy) -> str:
    """Return the media type of a request."""
    return policy.content_type or _CONTENT_TYPE
