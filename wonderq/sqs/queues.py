"""The actions on queues."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

from wonderq.errors import BrokerError
from wonderq.settings import FIFO_SUFFIX
from wonderq.sqs import queue_attributes
from wonderq.sqs.actions import Context, looked_up, seconds_since
from wonderq.sqs.errors import SqsError, from_broker, invalid, missing, no_such_queue
from wonderq.sqs.names import ACCOUNT, arn_of, is_name, url_of
from wonderq.sqs.queue_attributes import DEFAULT_RETENTION_S

_PAGE = 1000
_MAX_TAGS = 50


def create_queue(context: Context) -> dict[str, Any]:
    name = context.required("QueueName")
    given = context.mapping("Attributes")
    if not is_name(name):
        raise invalid(
            "QueueName", name, "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length."
        )
    is_fifo = name.endswith(FIFO_SUFFIX)
    if is_fifo and str(given.get("FifoQueue", "")).lower() != "true":
        raise invalid(
            "QueueName",
            name,
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix, and FifoQueue has to be true.",
        )
    if not is_fifo and "FifoQueue" in given:
        raise SqsError("InvalidAttributeName", "Unknown Attribute FifoQueue: the name of a FIFO queue ends in .fifo.")
    settings = queue_attributes.to_settings(name, given, context.limits, is_new=True)
    tags = _tags(context)
    if seconds_since(context.service.deleted_s, name) < context.limits.wait_after_deletion_s:
        text = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
        raise SqsError("QueueDeletedRecently", text)
    try:
        there = looked_up(context.broker, name)
    except SqsError:
        _check_dead_letter_queue(context, settings)
        now_s = str(int(time.time()))
        settings = {"retention_ms": DEFAULT_RETENTION_S * 1000, **settings, "tags": tags}
        settings["sqs"] = {**settings.get("sqs", {}), "LastModifiedTimestamp": now_s}
        _put(context, name, settings)
    else:
        shown = queue_attributes.of_queue(there, context.region, context.limits)
        for attribute, value in given.items():
            if not _same(attribute, shown.get(attribute, ""), value):
                text = f"A queue already exists with the same name and a different value for attribute {attribute}"
                raise SqsError("QueueNameExists", text)
    return {"QueueUrl": url_of(context.base_url, name)}


def _same(attribute: str, one: str, other: str) -> bool:
    if attribute in ("RedrivePolicy", "Policy", "RedriveAllowPolicy") and one and other:
        return _normal(one) == _normal(other)
    return one.lower() == other.lower()


def _normal(policy: str) -> object:
    found = json.loads(policy)
    if isinstance(found, dict) and "maxReceiveCount" in found:
        arn = str(found.get("deadLetterTargetArn", ""))
        return int(found["maxReceiveCount"]), arn.rpartition(":")[2]
    return found


def _check_dead_letter_queue(context: Context, settings: dict[str, Any]) -> None:
    target = settings.get("dead_letter_queue")
    if target:
        try:
            looked_up(context.broker, target)
        except SqsError as error:
            text = "Value for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist."
            raise SqsError("InvalidParameterValue", text) from error
        if not context.opens(target):
            raise SqsError("AccessDenied", f"The key does not open the queue {target}.", 403)


def _put(context: Context, name: str, settings: dict[str, Any]) -> None:
    try:
        context.broker.put_queue(name, **settings)
    except BrokerError as error:
        raise from_broker(error) from error


def delete_queue(context: Context) -> dict[str, Any]:
    name = context.info().name
    try:
        context.broker.drop_queue(name)
    except BrokerError as error:
        raise from_broker(error) from error
    _note(context.service.deleted_s, name, context.limits.wait_after_deletion_s)
    return {}


def purge_queue(context: Context) -> dict[str, Any]:
    name = context.info().name
    if seconds_since(context.service.purged_s, name) < context.limits.wait_after_purge_s:
        raise SqsError("PurgeQueueInProgress", f"Only one PurgeQueue operation on {name} is allowed every 60 seconds.")
    try:
        context.broker.purge(name)
    except BrokerError as error:
        raise from_broker(error) from error
    _note(context.service.purged_s, name, context.limits.wait_after_purge_s)
    return {}


def _note(moments: dict[str, float], name: str, lasts_s: float) -> None:
    """Note when something was done to a queue, and let go of what is too long ago to matter."""
    if not lasts_s:
        return
    for each in [each for each in moments if seconds_since(moments, each) >= lasts_s]:
        del moments[each]
    moments[name] = time.monotonic()


def get_queue_url(context: Context) -> dict[str, Any]:
    name = context.required("QueueName")
    if not is_name(name):
        raise no_such_queue()
    return {"QueueUrl": url_of(context.base_url, looked_up(context.broker, name).name)}


def list_queues(context: Context) -> dict[str, Any]:
    prefix = context.text("QueueNamePrefix") or ""
    names = [info.name for info in context.broker.queues() if info.name.startswith(prefix) and context.opens(info.name)]
    return _page(context, names, "QueueUrls")


def list_dead_letter_source_queues(context: Context) -> dict[str, Any]:
    target = context.info().name
    names = [info.name for info in context.broker.queues() if info.settings.dead_letter_queue == target]
    return {"queueUrls": [], **_page(context, [name for name in names if context.opens(name)], "queueUrls")}


def _page(context: Context, names: Sequence[str], field: str) -> dict[str, Any]:
    """Return a page of queues' URLs: those behind the one that the token names."""
    most = context.integer("MaxResults", 1, _PAGE)
    token = context.text("NextToken")
    if token is not None:
        if most is None:
            raise SqsError("InvalidParameterValue", "MaxResults is required with NextToken.")
        try:
            after = urlsafe_b64decode(token.encode()).decode()
        except ValueError as error:
            raise invalid("NextToken", token, "It is not one that was given out.") from error
        names = [name for name in names if name > after]
    page = names[: most or _PAGE]
    answer: dict[str, Any] = {field: [url_of(context.base_url, name) for name in page]} if page else {}
    if most is not None and len(names) > len(page):
        answer["NextToken"] = urlsafe_b64encode(page[-1].encode()).decode()
    return answer


def get_queue_attributes(context: Context) -> dict[str, Any]:
    info = context.info()
    names = context.texts("AttributeNames")
    for name in names:
        if name != "All" and name not in queue_attributes.SETTABLE and name not in queue_attributes.READ_ONLY:
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {name[:200]}.")
    values = queue_attributes.of_queue(info, context.region, context.limits)
    chosen = values if "All" in names else {name: values[name] for name in names if name in values}
    return {"Attributes": chosen} if chosen else {}


def set_queue_attributes(context: Context) -> dict[str, Any]:
    info = context.info()
    given = context.mapping("Attributes")
    if not given:
        raise missing("Attributes")
    settings = queue_attributes.to_settings(info.name, given, context.limits, is_new=False)
    _check_dead_letter_queue(context, settings)
    kept = {**info.settings.sqs, **settings.get("sqs", {}), "LastModifiedTimestamp": str(int(time.time()))}
    _put(context, info.name, {**settings, "sqs": {name: value for name, value in kept.items() if value}})
    return {}


# Tags and permissions


def _tags(context: Context) -> dict[str, str]:
    tags = context.mapping("Tags", "tags")
    for name, value in tags.items():
        if not isinstance(value, str) or not 1 <= len(name) <= 128 or len(value) > 256:
            raise invalid("Tags", name, "A tag has a key of 1 to 128 characters, and a value of up to 256.")
    if len(tags) > _MAX_TAGS:
        raise SqsError("InvalidParameterValue", f"Too many tags: a queue may have {_MAX_TAGS}.")
    return tags


def tag_queue(context: Context) -> dict[str, Any]:
    info, tags = context.info(), _tags(context)
    if not tags:
        raise missing("Tags")
    _put(context, info.name, {"tags": {**info.settings.tags, **tags}})
    return {}


def untag_queue(context: Context) -> dict[str, Any]:
    info, names = context.info(), context.texts("TagKeys")
    if not names:
        raise missing("TagKeys")
    _put(context, info.name, {"tags": {name: value for name, value in info.settings.tags.items() if name not in names}})
    return {}


def list_queue_tags(context: Context) -> dict[str, Any]:
    return {"Tags": dict(context.info().settings.tags)}


def add_permission(context: Context) -> dict[str, Any]:
    """Add a statement to the queue's policy. It is kept, and shown; nobody asks it: keys say who may do what."""
    info, label = context.info(), context.required("Label")
    accounts, actions = context.texts("AWSAccountIds"), context.texts("Actions")
    for name, values in (("AWSAccountIds", accounts), ("Actions", actions)):
        if not values:
            raise missing(name)
    policy = _policy(info.settings.sqs.get("Policy"))
    if any(each.get("Sid") == label for each in policy["Statement"]):
        raise invalid("Label", label, "Already exists.")
    statement = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{account}:root" for account in accounts]},
        "Action": [f"SQS:{action}" for action in actions],
        "Resource": arn_of(context.region, info.name),
    }
    policy["Statement"].append(statement)
    _put(context, info.name, {"sqs": {**info.settings.sqs, "Policy": json.dumps(policy, separators=(",", ":"))}})
    return {}


def remove_permission(context: Context) -> dict[str, Any]:
    info, label = context.info(), context.required("Label")
    policy = _policy(info.settings.sqs.get("Policy"))
    left = [each for each in policy["Statement"] if each.get("Sid") != label]
    if len(left) == len(policy["Statement"]):
        raise invalid("Label", label, "Can't find label on existing policy.")
    kept = {name: value for name, value in info.settings.sqs.items() if name != "Policy"}
    if left:
        kept["Policy"] = json.dumps({**policy, "Statement": left}, separators=(",", ":"))
    _put(context, info.name, {"sqs": kept})
    return {}


def _policy(text: str | None) -> dict[str, Any]:
    policy: dict[str, Any] = (
        json.loads(text) if text else {"Version": "2012-10-17", "Id": f"{ACCOUNT}/SQSDefaultPolicy"}
    )
    statements = policy.get("Statement", [])
    policy["Statement"] = statements if isinstance(statements, list) else [statements]
    return policy
