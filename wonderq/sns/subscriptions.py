"""Actions on subscriptions: of queues, whose protocol SNS calls ``sqs``, and of HTTP endpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from secrets import compare_digest
from typing import Any, TypeVar
from uuid import uuid4

from wonderq.broker.notices import TOKEN_MS, Notice
from wonderq.broker.topics import SubscriptionChangedError
from wonderq.model.errors import (
    AlreadySubscribedError,
    InvalidValueError,
    QueueNotFoundError,
    SubscriptionNotFoundError,
    TopicNotFoundError,
)
from wonderq.model.filters import Scope
from wonderq.model.push import Push
from wonderq.model.settings import FIFO_SUFFIX
from wonderq.model.topics import Subscription, SubscriptionInfo, is_fifo
from wonderq.sns import delivery_policies
from wonderq.sns.context import PAGE, Context, page
from wonderq.sns.errors import SnsError, invalid, shown
from wonderq.sns.names import (
    endpoint_subscription_name,
    name_in_confirmation,
    new_token,
    queue_in_arn,
    subscription_arn,
    subscription_in_arn,
    subscription_name,
    topic_arn,
)
from wonderq.sns.policies import json_object
from wonderq.sns.topics import REGION, read_boolean, remember_address
from wonderq.sqs.names import ACCOUNT, arn_of

T = TypeVar("T")

_HTTP = ("http", "https")

_UNKNOWN = "No endpoint has got this token from this topic, or it has got a later one."
_EXPIRED = "The token has expired. Subscribe the endpoint again to get another one."

_SCOPES: dict[str, Scope] = {"MessageAttributes": "attributes", "MessageBody": "body"}
_SCOPE_NAMES = {scope: name for name, scope in _SCOPES.items()}

#: Protocols of SNS that have no meaning here, and the reason.
_REFUSED = {
    **dict.fromkeys(
        ("email", "email-json", "sms", "application", "lambda", "firehose"),
        "This broker sends no e-mail, SMS or push notifications and calls no services of AWS. Subscribe a queue with "
        "the protocol sqs, and let its consumer do that.",
    ),
}


def _anew_after_changes(action: Callable[[Context], T]) -> Callable[[Context], T]:
    """Return an action that begins anew when the subscription changes between its reading it and its writing it.

    Its decisions hold for the subscription that it has read, and for no other.
    """

    @wraps(action)
    def act(context: Context) -> T:
        while True:
            with suppress(SubscriptionChangedError):
                return action(context)

    return act


@_anew_after_changes
def subscribe(context: Context) -> dict[str, Any]:
    """Subscribe a queue to a topic, or return the ARN of a subscription that has the same attributes."""
    topic = context.topic()
    protocol, endpoint = context.required("Protocol"), context.required("Endpoint")
    if protocol in _HTTP:
        return _subscribe_endpoint(context, topic, protocol, endpoint)
    if protocol != "sqs":
        if protocol in _REFUSED:
            raise invalid("Protocol", _REFUSED[protocol])
        raise invalid(f"Amazon SNS does not support this protocol string: {shown(protocol)}")
    queue = queue_in_arn(endpoint, "SQS endpoint ARN")
    if not context.opens(queue):
        raise SnsError("AuthorizationError", "The key does not open the queue of the endpoint.", 403)
    if queue.endswith(FIFO_SUFFIX) and not is_fifo(topic):
        raise invalid("Endpoint", "FIFO SQS Queues can not be subscribed to standard SNS topics")
    fields = _in_subscribe(context.mapping("Attributes"), queue)
    name = subscription_name(topic, queue)
    if _find_same(context, topic, name, fields, is_of_queue=True) is None:
        _create(context, topic, name, {"raw": False, **fields, "queue": queue})
    return {"SubscriptionArn": subscription_arn(context.region, topic, name)}


def _subscribe_endpoint(context: Context, topic: str, protocol: str, url: str) -> dict[str, Any]:
    """Subscribe an HTTP endpoint, and ask it to confirm that. Ask once more if it has not confirmed it."""
    if is_fifo(topic):
        raise invalid("Protocol", "FIFO topics deliver to queues only.")
    if not url.lower().startswith(f"{protocol}://"):
        raise invalid("Endpoint", f"It must begin with {protocol}://, as the protocol says.")
    name = endpoint_subscription_name(topic, url)
    fields = _in_subscribe(context.mapping("Attributes"), check_policy=True)
    found = _find_same(context, topic, name, fields, is_of_queue=False)
    if found is None or found.is_pending:
        remember_address(context, topic)
        token = new_token(name)
        until_ms = context.broker.core.clock.now_ms() + TOKEN_MS
        if found is None:
            push = Push(url, "sns", confirmed=False, token=token, token_until_ms=until_ms)
            _create(context, topic, name, {"raw": False, **fields, "push": push})
        else:
            assert found.push is not None
            push = replace(found.push, style="sns", token=token, token_until_ms=until_ms)  # only sns sends a token
            context.topics.subscribe(topic, name, context.opens, expected=found, push=push)
        if (context.text("ReturnSubscriptionArn") or "").lower() != "true":
            return {"SubscriptionArn": "pending confirmation"}
    return {"SubscriptionArn": subscription_arn(context.region, topic, name)}


def _find_same(
    context: Context, topic: str, name: str, fields: Mapping[str, Any], *, is_of_queue: bool
) -> Subscription | None:
    """Return a subscription, of a queue or of an HTTP endpoint, or None if it does not exist.

    Raises:
        SnsError: it exists with different attributes, or is of the other kind.
    """
    try:
        info = context.topics.subscription(topic, name)
    except SubscriptionNotFoundError:
        return None
    if is_of_queue != (info.subscription.push is None):
        raise invalid(
            "Endpoint",
            "The topic has another subscription under the name that this one would have. Use a queue of another name.",
        )
    if any(_current(info, field) != value for field, value in fields.items()):
        raise invalid(
            "Attributes",
            "Subscription already exists with different attributes. Change them with SetSubscriptionAttributes.",
        )
    return info.subscription


def _create(context: Context, topic: str, name: str, new: Mapping[str, Any]) -> None:
    """Create a subscription that does not exist.

    Raises:
        SnsError: the broker refuses a field of it, or the queue has another subscription of the topic.
    """
    try:
        context.topics.subscribe(topic, name, context.opens, expected=None, **new)
    except AlreadySubscribedError as error:
        raise invalid("Endpoint", str(error)) from error
    except InvalidValueError as error:
        raise _refusal(error, "Attributes Reason: ") from error


def _in_subscribe(given: Mapping[str, str], queue: str = "", *, check_policy: bool = False) -> dict[str, Any]:
    """Return the fields of a subscription that the attributes of ``Subscribe`` give.

    ``queue`` is empty for a queue that is made for an HTTP endpoint.
    """
    fields: dict[str, Any] = {}
    try:
        for attribute, value in given.items():
            if value:
                fields |= _fields(attribute, value, queue, fields.get("sns", {}), check_policy=check_policy)
    except SnsError as error:
        text = str(error).removeprefix("Invalid parameter: ")
        raise SnsError(error.code, f"Invalid parameter: Attributes Reason: {text}", error.status) from error
    return fields


def _fields(
    attribute: str, value: str, queue: str, sns: Mapping[str, str], *, check_policy: bool = False
) -> dict[str, Any]:
    """Return the fields of a subscription that an attribute changes. ``sns`` are those that only SNS has.

    ``check_policy`` says whether its delivery policy has an effect, as for an HTTP endpoint.

    Raises:
        SnsError: the attribute is unknown, or its value invalid.
    """
    match attribute:
        case "RawMessageDelivery":
            return {"raw": read_boolean(attribute, value or "false")}
        case "FilterPolicy":
            found = json_object(attribute, value) if value else None
            return {"filter": found or None}
        case "FilterPolicyScope":
            if value not in _SCOPES:
                raise invalid(
                    f"{attribute}: Invalid value [{shown(value)}]. Please use either MessageBody or MessageAttributes"
                )
            return {"filter_scope": _SCOPES[value]}
        case "RedrivePolicy":
            return _redrive(value, queue)
        case "DeliveryPolicy":
            if value and check_policy:
                delivery_policies.check_of_subscription(value)
            elif value:
                json_object(attribute, value)
            return {"sns": {**sns, attribute: value}}
    raise invalid("AttributeName", f"This broker has no settable attribute {shown(attribute)} of a subscription.")


def _redrive(value: str, queue: str) -> dict[str, Any]:
    """Return the fields for a ``RedrivePolicy``: messages that the queue refuses go to the dead-letter queue."""
    if not value:
        return {"dead_letter_queue": "", "when_full": "fail"}
    target = queue_in_arn(
        json_object("RedrivePolicy", value).get("deadLetterTargetArn"), "RedrivePolicy: deadLetterTargetArn"
    )
    if target.endswith(FIFO_SUFFIX) != queue.endswith(FIFO_SUFFIX):
        raise invalid("RedrivePolicy: must use same type of queue as subscriber")
    return {"dead_letter_queue": target, "when_full": "skip"}


def _current(info: SubscriptionInfo, field: str) -> object:
    """Return a field of a subscription in the form in which `_fields` returns it."""
    value = getattr(info.subscription, field)
    if field == "filter":
        return json.loads(value) if value else None
    return value


def _refusal(error: InvalidValueError, prefix: str = "") -> SnsError:
    """Return the error for a value that the broker refuses. ``prefix`` precedes the name of the attribute."""
    if error.field == "endpoint":
        return invalid("Endpoint", str(error))
    attribute = {"filter": "FilterPolicy: ", "dead_letter_queue": "RedrivePolicy: "}.get(error.field, "")
    return invalid(f"{prefix}{attribute}{error}")


@_anew_after_changes
def confirm_subscription(context: Context) -> dict[str, Any]:
    """Confirm a subscription with the token that its endpoint got. A token that was used confirms again.

    Nobody needs a key for this, so the answer does not tell whether a topic exists. The token of an endpoint that was
    unsubscribed subscribes it again.
    """
    topic, token = context.topic(), context.required("Token")
    context.text("AuthenticateOnUnsubscribe")
    name = name_in_confirmation(token) or ""
    try:
        found = context.broker.notices.find(topic, name, token)
        if found is None:
            _confirm(context, topic, name, token)
        else:
            name = _subscribe_again(context, *found)
    except TopicNotFoundError as error:  # it was deleted meanwhile
        raise invalid("Token", _UNKNOWN) from error
    settings = context.topics.settings_of(topic)  # the request need not be signed, so it has no region
    region = context.region if settings is None else settings.sns.get(REGION, context.region)
    return {"SubscriptionArn": subscription_arn(region, topic, name)}


def _confirm(context: Context, topic: str, name: str, token: str) -> None:
    """Confirm a subscription, unless it is confirmed.

    Raises:
        SnsError: the token is not that of the subscription, or has expired.
    """
    subscription = _subscription_of(context, topic, name)
    push = None if subscription is None else subscription.push
    if push is None or not compare_digest(push.token.encode(), token.encode()):
        raise invalid("Token", _UNKNOWN)
    if not push.confirmed:
        if push.token_until_ms < context.broker.core.clock.now_ms():
            raise invalid("Token", _EXPIRED)
        context.topics.subscribe(topic, name, expected=subscription, push=replace(push, confirmed=True))


def _subscription_of(context: Context, topic: str, name: str) -> Subscription | None:
    """Return a subscription; None if it does not exist."""
    try:
        return context.topics.subscription(topic, name).subscription
    except (SubscriptionNotFoundError, TopicNotFoundError):
        return None


def _subscribe_again(context: Context, notice: Notice, is_valid: bool) -> str:
    """Give an endpoint the subscription again that it had, and return the name of it.

    Raises:
        SnsError: the token has expired, or the endpoint has subscribed in another way since.
    """
    found = _subscription_of(context, notice.topic, notice.subscription)
    if found is not None:
        if found.push is None or found.push.token != notice.token:
            raise invalid("Token", _UNKNOWN)
        return notice.subscription  # a second visit
    if not is_valid:
        raise invalid("Token", _EXPIRED)
    fields = notice.fields()
    fields["push"] = replace(fields["push"], token=notice.token, confirmed=True)
    try:
        context.topics.subscribe(notice.topic, notice.subscription, expected=None, notice=notice, **fields)
    except QueueNotFoundError:  # its dead-letter queue was deleted
        fields |= {"dead_letter_queue": "", "when_full": "fail"}
        context.topics.subscribe(notice.topic, notice.subscription, expected=None, notice=notice, **fields)
    return notice.subscription


def unsubscribe(context: Context) -> None:
    """Delete a subscription. One that does not exist counts as deleted. An HTTP endpoint is told."""
    topic, name = _subscription(context)
    notice_id = str(uuid4())
    try:
        context.topics.unsubscribe(topic, name, context.opens, notice_id=notice_id, token=new_token(notice_id))
    except SubscriptionNotFoundError:
        return


def get_subscription_attributes(context: Context) -> dict[str, Any]:
    """Return the attributes of a subscription."""
    info = context.topics.subscription(*_subscription(context), context.opens)
    found = info.subscription
    shown_fields = {
        **_listed(context, info),
        "ConfirmationWasAuthenticated": str(found.push is None).lower(),
        "PendingConfirmation": str(found.is_pending).lower(),
        "RawMessageDelivery": str(found.raw).lower(),
        "SubscriptionPrincipal": f"arn:aws:iam::{ACCOUNT}:root",
        **{name: value for name, value in found.sns.items() if value},
    }
    if found.push is not None and found.push.style == "sns":
        of_topic = context.topics.get(info.topic).settings.sns.get(delivery_policies.ATTRIBUTE, "")
        policy = delivery_policies.effective(of_topic, found.sns.get(delivery_policies.ATTRIBUTE, ""))
        shown_fields["EffectiveDeliveryPolicy"] = delivery_policies.shown_for_subscription(policy)
    if found.filter:
        shown_fields |= {"FilterPolicy": found.filter, "FilterPolicyScope": _SCOPE_NAMES[found.filter_scope]}
    if found.dead_letter_queue:
        target = arn_of(context.region, found.dead_letter_queue)
        shown_fields["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": target})
    return {"Attributes": shown_fields}


def _listed(context: Context, info: SubscriptionInfo) -> dict[str, str]:
    """Return the fields of a subscription that lists have too."""
    push = info.subscription.push
    return {
        "SubscriptionArn": subscription_arn(context.region, info.topic, info.subscription.name),
        "Owner": ACCOUNT,
        "Protocol": info.subscription.protocol or "sqs",
        "Endpoint": arn_of(context.region, info.queue) if push is None else push.url,
        "TopicArn": topic_arn(context.region, info.topic),
    }


def _in_list(context: Context, info: SubscriptionInfo) -> dict[str, str]:
    """Return a subscription as lists have it: one that is not confirmed has no ARN there."""
    found = _listed(context, info)
    return {**found, "SubscriptionArn": "PendingConfirmation"} if info.subscription.is_pending else found


@_anew_after_changes
def set_subscription_attributes(context: Context) -> None:
    """Set one attribute of a subscription."""
    topic, name = _subscription(context)
    attribute, value = context.required("AttributeName"), context.text("AttributeValue") or ""
    info = context.topics.subscription(topic, name, context.opens)
    push = info.subscription.push
    check_policy = push is not None and push.style == "sns"
    fields = _fields(attribute, value, info.queue, info.subscription.sns, check_policy=check_policy)
    try:
        context.topics.subscribe(topic, name, context.opens, expected=info.subscription, **fields)
    except InvalidValueError as error:
        raise _refusal(error) from error


def _subscription(context: Context) -> tuple[str, str]:
    """Return the topic and the name of the subscription of a request. The key must open the topic."""
    topic, name = subscription_in_arn(context.required("SubscriptionArn"))
    context.check_opens(topic)
    return topic, name


def list_subscriptions_by_topic(context: Context) -> dict[str, Any]:
    """List the subscriptions of a topic, of those whose queues the key opens."""
    found = context.topics.subscriptions(context.topic(), context.opens, after=context.after(), limit=PAGE + 1)
    return page("Subscriptions", [(each.subscription.name, _in_list(context, each)) for each in found])


def list_subscriptions(context: Context) -> dict[str, Any]:
    """List the subscriptions of all topics, by topic."""
    after_topic, _, after_name = context.after().partition(":")
    found: list[tuple[str, Any]] = []
    for topic in [each.name for each in context.topics.list(context.opens) if each.name >= after_topic]:
        after = after_name if topic == after_topic else ""
        try:
            infos = context.topics.subscriptions(topic, context.opens, after=after, limit=PAGE + 1 - len(found))
        except TopicNotFoundError:  # it was deleted meanwhile
            continue
        found += [(f"{topic}:{each.subscription.name}", _in_list(context, each)) for each in infos]
        if len(found) > PAGE:
            break
    return page("Subscriptions", found)
