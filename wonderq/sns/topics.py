"""Actions on topics."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from wonderq.model.errors import TopicNotFoundError
from wonderq.model.settings import (
    FIFO_SUFFIX,
    MAX_TAG_NAME_CHARACTERS,
    MAX_TAG_VALUE_CHARACTERS,
    MAX_TAGS,
)
from wonderq.model.topics import TOPIC_NAME_PATTERN, TopicInfo, TopicSettings, is_fifo
from wonderq.sns import delivery_policies
from wonderq.sns.context import PAGE, Context, page
from wonderq.sns.errors import SnsError, invalid, shown
from wonderq.sns.names import topic_arn, topic_in_arn
from wonderq.sns.policies import default_policy, json_object, with_permission, without_permission
from wonderq.sqs.names import ACCOUNT, DEFAULT_REGION

REGION, ADDRESS = "Region", "Address"
"""Entries of `TopicSettings.sns` that are no attributes of SNS: the region and the address that envelopes name."""

_NAME = re.compile(TOPIC_NAME_PATTERN)

#: Attributes that are stored and returned, and have no effect.
_STORED = re.compile(
    r"DisplayName|Policy|DeliveryPolicy|KmsMasterKeyId|TracingConfig|FifoThroughputScope"
    r"|(?:Application|Firehose|HTTP|Lambda|SQS)(?:Success|Failure)Feedback(?:RoleArn|SampleRate)"
)
_JSON = ("Policy", "DeliveryPolicy")
_MAX_DISPLAY_NAME_CHARACTERS = 100


def create_topic(context: Context) -> dict[str, Any]:
    """Create a topic, or return the ARN of one that has the same attributes and tags."""
    name = context.required("Name")
    given = context.mapping("Attributes")
    _check_new_name(name, given)
    context.check_opens(name)
    if context.text("DataProtectionPolicy"):
        raise invalid("DataProtectionPolicy", "This broker has no data protection. Leave the parameter out.")
    tags = _tags(context)
    arn = topic_arn(context.region, name)
    settings = _settings(name, given, TopicSettings())
    settings["sns"] |= _places(context)
    info, created = context.topics.create(name, **settings, tags=tags)
    if created:
        return {"TopicArn": arn}
    current = _attributes(info, arn)
    for attribute, value in given.items():
        if not _same(attribute, current.get(attribute, ""), value):
            raise invalid(
                "Attributes", f"Topic already exists with different attributes. Its {attribute} is not {shown(value)}."
            )
    if tags and tags != info.settings.tags:
        raise invalid("Tags", "Topic already exists with different tags")
    remember_address(context, name)
    return {"TopicArn": arn}


def _places(context: Context) -> dict[str, str]:
    return {REGION: context.region, ADDRESS: context.base_url}


def remember_address(context: Context, topic: str) -> None:
    """Keep region and address of a request for the envelopes of a topic, if the REST API has created it.

    A topic that does not exist has no envelopes.
    """
    settings = context.topics.settings_of(topic)
    if settings is not None and REGION not in settings.sns:
        with suppress(TopicNotFoundError):
            context.topics.change(topic, lambda info: {"sns": {**_places(context), **info.settings.sns}})


def _same(attribute: str, one: str, other: str) -> bool:
    """Return whether two values of an attribute are equivalent."""
    if attribute in _JSON and one and other:
        return json_object(attribute, one) == json_object(attribute, other)
    return one.lower() == other.lower()


def _check_new_name(name: str, given: Mapping[str, str]) -> None:
    """Check the name of a topic to create, together with the attribute ``FifoTopic``.

    Raises:
        SnsError: no topic can have this name, or it is that of the other type of topic.
    """
    asks_for_fifo = given.get("FifoTopic", "").lower() == "true"
    if name.endswith(FIFO_SUFFIX) != asks_for_fifo:
        raise invalid(
            "Topic Name",
            "The name of a FIFO topic, and of no other, ends with .fifo, and its attribute FifoTopic is true.",
        )
    if not _NAME.fullmatch(name):
        raise invalid(
            "Topic Name",
            "Topic names must be made up of only uppercase and lowercase ASCII letters, numbers, underscores, and "
            "hyphens, and must be between 1 and 256 characters long.",
        )


def delete_topic(context: Context) -> None:
    """Delete a topic with its subscriptions. A topic that does not exist counts as deleted."""
    try:
        context.topics.delete(context.topic())
    except TopicNotFoundError:
        return


def list_topics(context: Context) -> dict[str, Any]:
    """List the topics that the key opens."""
    found = context.topics.list(context.opens, after=context.after(), limit=PAGE + 1)
    return page("Topics", [(each.name, {"TopicArn": topic_arn(context.region, each.name)}) for each in found])


def get_topic_attributes(context: Context) -> dict[str, Any]:
    """Return the attributes of a topic."""
    info, pending = context.topics.get_with_pending(context.topic())
    found = _attributes(info, topic_arn(context.region, info.name))
    found |= {"SubscriptionsPending": str(pending), "SubscriptionsConfirmed": str(info.subscriptions - pending)}
    found["EffectiveDeliveryPolicy"] = delivery_policies.shown_for_topic(found.get(delivery_policies.ATTRIBUTE, ""))
    return {"Attributes": found}


def _attributes(info: TopicInfo, arn: str) -> dict[str, str]:
    stored = {name: value for name, value in info.settings.sns.items() if name not in (REGION, ADDRESS)}
    found = {
        "TopicArn": arn,
        "Owner": ACCOUNT,
        "Policy": default_policy(arn),
        "DisplayName": "",
        "SubscriptionsConfirmed": str(info.subscriptions),
        "SubscriptionsPending": "0",
        "SubscriptionsDeleted": "0",
        **stored,
    }
    if is_fifo(info.name):
        found["FifoTopic"] = "true"
        found["ContentBasedDeduplication"] = str(info.settings.content_deduplication).lower()
    return found


def set_topic_attributes(context: Context) -> None:
    """Set one attribute of a topic."""
    name = context.topic()
    attribute, value = context.required("AttributeName"), context.text("AttributeValue") or ""
    if attribute == "FifoTopic":
        raise invalid("AttributeName", "FifoTopic follows from the name of the topic, and cannot be changed.")
    context.topics.change(name, lambda info: _settings(name, {attribute: value}, info.settings))


def _settings(topic: str, given: Mapping[str, str], settings: TopicSettings) -> dict[str, Any]:
    """Return the settings of a topic that these attributes change.

    Raises:
        SnsError: an attribute is unknown, or its value invalid.
    """
    sns = dict(settings.sns)
    changed: dict[str, Any] = {}
    for name, value in given.items():
        if name == "FifoTopic":
            continue
        if name == "ContentBasedDeduplication":
            if not is_fifo(topic) and value.lower() == "true":
                raise invalid(f"{name}: Content-based deduplication can only be set for FIFO topics")
            changed["content_deduplication"] = read_boolean(name, value)
        elif name == "SignatureVersion":
            if value not in ("1", "2"):
                raise invalid(f"{name}: Invalid value [{shown(value)}]. Use 1 for SHA1, or 2 for SHA256.")
            sns[name] = value
        elif _STORED.fullmatch(name):
            if name == delivery_policies.ATTRIBUTE and value:
                delivery_policies.check_of_topic(value)
            elif name in _JSON and value:
                json_object(name, value)
            if name == "DisplayName" and len(value) > _MAX_DISPLAY_NAME_CHARACTERS:
                raise invalid(f"{name}: It may have {_MAX_DISPLAY_NAME_CHARACTERS} characters.")
            sns[name] = value
        else:
            raise invalid("AttributeName", f"This broker has no settable attribute {shown(name)} of a topic.")
    return {**changed, "sns": {name: value for name, value in sns.items() if value}}


def read_boolean(name: str, value: str) -> bool:
    """Return the value of an attribute that is ``true`` or ``false``.

    Raises:
        SnsError: it is neither.
    """
    if value.lower() not in ("true", "false"):
        raise invalid(f"{name}: Invalid value [{shown(value)}]. Must be true or false.")
    return value.lower() == "true"


# Permissions


def add_permission(context: Context) -> None:
    """Add a statement to the policy of a topic."""
    topic, label = context.topic(), context.required("Label")
    accounts, actions = context.texts("AWSAccountId"), context.texts("ActionName")
    _change_policy(context, topic, lambda policy, arn: with_permission(policy, label, accounts, actions, arn))


def remove_permission(context: Context) -> None:
    """Remove a statement from the policy of a topic."""
    topic, label = context.topic(), context.required("Label")
    _change_policy(context, topic, lambda policy, arn: without_permission(policy, label, arn))


def _change_policy(context: Context, topic: str, change: Callable[[str, str], str]) -> None:
    """Set the policy of a topic to what ``change`` returns for it and the topic's ARN."""

    def changed(info: TopicInfo) -> dict[str, Any]:
        arn = topic_arn(info.settings.sns.get(REGION, DEFAULT_REGION), topic)
        return {"sns": {**info.settings.sns, "Policy": change(info.settings.sns.get("Policy", ""), arn)}}

    context.topics.change(topic, changed)


# Tags


def tag_resource(context: Context) -> dict[str, Any]:
    """Add tags to a topic."""
    topic, tags = _resource(context), _tags(context)
    if not tags:
        raise invalid("Tags", "The request must have this parameter.")
    return _change_tags(context, topic, lambda before: {**before, **tags})


def untag_resource(context: Context) -> dict[str, Any]:
    """Remove tags of a topic."""
    topic, keys = _resource(context), frozenset(context.texts("TagKeys"))
    return _change_tags(context, topic, lambda before: {key: value for key, value in before.items() if key not in keys})


def _change_tags(context: Context, topic: str, change: Callable[[Mapping[str, str]], dict[str, str]]) -> dict[str, Any]:
    """Set the tags of a topic to those that ``change`` returns for them."""

    def changed(info: TopicInfo) -> dict[str, Any]:
        tags = change(info.settings.tags)
        if len(tags) > MAX_TAGS:
            raise SnsError(
                "TagLimitExceeded", f"A topic may have {MAX_TAGS} tags, and this one would have {len(tags)}."
            )
        return {"tags": tags}

    try:
        context.topics.change(topic, changed)
    except TopicNotFoundError as error:
        raise _no_such_resource() from error
    return {}


def list_tags_for_resource(context: Context) -> dict[str, Any]:
    """Return the tags of a topic."""
    try:
        info = context.topics.get(_resource(context))
    except TopicNotFoundError as error:
        raise _no_such_resource() from error
    return {"Tags": [{"Key": key, "Value": value} for key, value in info.settings.tags.items()]}


def _resource(context: Context) -> str:
    name = topic_in_arn(context.required("ResourceArn"), "ResourceArn")
    context.check_opens(name)
    return name


def _no_such_resource() -> SnsError:
    return SnsError("ResourceNotFound", "Resource does not exist", 404)


def _tags(context: Context) -> dict[str, str]:
    """Return the tags of a request.

    Raises:
        SnsError: one of them is malformed, or there are too many.
    """
    tags: dict[str, str] = {}
    for each in context.structures("Tags"):
        key, value = each.get("Key"), each.get("Value", "")
        if not isinstance(key, str) or not isinstance(value, str):
            raise invalid("Tags", "Each tag must have a Key and a Value.")
        if not 1 <= len(key) <= MAX_TAG_NAME_CHARACTERS or len(value) > MAX_TAG_VALUE_CHARACTERS:
            raise invalid(
                "Tags",
                f"A key may have 1 to {MAX_TAG_NAME_CHARACTERS} characters, a value up to {MAX_TAG_VALUE_CHARACTERS}.",
            )
        if key in tags:
            raise invalid("Tags", "Duplicated keys are not allowed.")
        tags[key] = value
    if len(tags) > MAX_TAGS:
        raise SnsError("TagLimitExceeded", f"A topic may have {MAX_TAGS} tags, and the request has {len(tags)}.")
    return tags
