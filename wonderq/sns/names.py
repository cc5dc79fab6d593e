"""The names of topics and subscriptions in SNS: their ARNs."""

from __future__ import annotations

import re
from secrets import token_hex
from uuid import UUID, uuid5

from wonderq.model.topics import TOPIC_NAME_PATTERN
from wonderq.sns.errors import invalid
from wonderq.sqs.errors import SqsError
from wonderq.sqs.names import ACCOUNT, name_in_arn

_TOPIC = rf"arn:[a-z-]+:sns:[^:\s]{{0,64}}:\d*:(?P<topic>{TOPIC_NAME_PATTERN})"
_TOPIC_ARN = re.compile(_TOPIC)
_SUBSCRIPTION_ARN = re.compile(rf"{_TOPIC}:(?P<name>[A-Za-z0-9_-]{{1,80}})")
_TOKEN_BYTES = 32

#: Parts of the text from which `endpoint_subscription_name` makes a name.
_TOPIC_CHARACTERS, _DIGEST_CHARACTERS = 61, 12

_TOKEN = re.compile(rf"[0-9a-f]{{{2 * (16 + _TOKEN_BYTES)}}}")
_NAMESPACE = UUID("6f0b8f0c-6d5c-4a39-9c2f-3f3a5b0c7a11")


def topic_arn(region: str, topic: str) -> str:
    """Return the ARN of a topic."""
    return f"arn:aws:sns:{region}:{ACCOUNT}:{topic}"


def subscription_arn(region: str, topic: str, name: str) -> str:
    """Return the ARN of a subscription."""
    return f"{topic_arn(region, topic)}:{name}"


def subscription_name(topic: str, queue: str) -> str:
    """Return the name that SNS clients give the subscription of a queue: a UUID, the same each time.

    A queue has one subscription of a topic at most, so the name can be found without a search.
    """
    return str(uuid5(_NAMESPACE, f"{topic}\n{queue}"))


def endpoint_subscription_name(topic: str, url: str) -> str:
    """Return the name that SNS clients give the subscription of an HTTP endpoint: a UUID, the same each time."""
    digest = uuid5(_NAMESPACE, f"{topic}\n{url}").hex
    # The queue of the endpoint once had this name. By another one, no subscription of that time would be found.
    return subscription_name(topic, f"{topic[:_TOPIC_CHARACTERS]}--push-{digest[:_DIGEST_CHARACTERS]}")


def new_token(name: str) -> str:
    """Return a token that confirms the subscription, or is in the notice, with a name, which is a UUID."""
    return UUID(name).hex + token_hex(_TOKEN_BYTES)


def name_in_confirmation(token: str) -> str | None:
    """Return the name of the subscription or the notice to which a token belongs; None if it belongs to none."""
    return str(UUID(token[:32])) if _TOKEN.fullmatch(token) else None


def topic_in_arn(arn: str, parameter: str = "TopicArn") -> str:
    """Return the topic of an ARN. Region and account are ignored.

    Raises:
        SnsError: it is not the ARN of a topic.
    """
    found = _TOPIC_ARN.fullmatch(arn)
    if found is None:
        raise invalid(parameter, "It must be the ARN of a topic: arn:aws:sns:REGION:ACCOUNT:NAME.")
    return found["topic"]


def subscription_in_arn(arn: str) -> tuple[str, str]:
    """Return the topic and the name of a subscription's ARN.

    Raises:
        SnsError: it is not the ARN of a subscription.
    """
    found = _SUBSCRIPTION_ARN.fullmatch(arn)
    if found is None:
        raise invalid(
            "SubscriptionArn", "It must be the ARN of a subscription: arn:aws:sns:REGION:ACCOUNT:TOPIC:SUBSCRIPTION."
        )
    return found["topic"], found["name"]


def queue_in_arn(arn: object, parameter: str) -> str:
    """Return the queue of an ARN.

    Raises:
        SnsError: it is not the ARN of a queue.
    """
    try:
        return name_in_arn(arn, parameter)
    except SqsError as error:
        raise invalid(parameter, "It must be the ARN of an SQS queue: arn:aws:sqs:REGION:ACCOUNT:NAME.") from error
