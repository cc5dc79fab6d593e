"""Actions on queues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from wonderq.model.limits import UNLIMITED
from wonderq.model.settings import FIFO_SUFFIX, MAX_TAGS, SQS_RETENTION_MS, QueueSettings, check_tags
from wonderq.sqs import queue_attributes
from wonderq.sqs.context import Context, queue_info, seconds_since
from wonderq.sqs.errors import SqsError, invalid, missing, no_such_queue
from wonderq.sqs.names import arn_of, is_name, name_in_token, page_token, url_of
from wonderq.sqs.policies import allows_redrive, read_redrive, with_permission, without_permission


def create_queue(context: Context) -> dict[str, Any]:
    """Create a queue, or return the URL of one that has the same attributes."""
    name = context.required("QueueName")
    given = context.mapping("Attributes")
    _check_new_name(name, given)
    settings = queue_attributes.to_settings(name, given, context.limits)
    tags = _tags(context)
    info = None if context.broker.settings_of(name) is None else queue_info(context.broker, name)
    if info is None:
        if seconds_since(context.service.deleted_s, name) < context.limits.wait_after_deletion_s:
            text = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
            raise SqsError("QueueDeletedRecently", text)
        _check_dead_letter_queue(context, name, given, settings)
        defaults = {"retention_ms": SQS_RETENTION_MS, "max_in_flight": context.limits.in_flight}
        new = {**defaults, **queue_attributes.merged(QueueSettings(), settings), "tags": tags}
        info, created = context.broker.create_queue(name, context.opens, **new)
        if created:
            return {"QueueUrl": url_of(context.base_url, name)}
    shown = queue_attributes.of_queue(info, context.region, context.limits)
    for attribute, value in given.items():
        if not _same(attribute, shown.get(attribute, ""), value):
            text = f"A queue already exists with the same name and a different value for attribute {attribute}"
            raise SqsError("QueueNameExists", text)
    return {"QueueUrl": url_of(context.base_url, name)}


def _check_new_name(name: str, given: Mapping[str, Any]) -> None:
    """Check the name of a queue to create, together with the attribute ``FifoQueue``.

    Raises:
        SqsError: no queue can have this name, or it is that of the other type of queue.
    """
    asks_for_fifo = str(given.get("FifoQueue", "")).lower() == "true"
    if name.endswith(FIFO_SUFFIX) != asks_for_fifo:
        reason = (
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with "
            ".fifo suffix and be 1 to 80 in length. FifoQueue must be true for such a name, and for no other."
        )
        raise invalid("QueueName", name, reason)
    if not is_name(name):
        raise invalid(
            "QueueName", name, "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length."
        )


def _same(attribute: str, one: str, other: str) -> bool:
    """Return whether two valid values of an attribute are equivalent."""
    if attribute == "RedrivePolicy" and one and other:
        return read_redrive(one, UNLIMITED) == read_redrive(other, UNLIMITED)
    if attribute in ("Policy", "RedriveAllowPolicy") and one and other:
        return bool(json.loads(one) == json.loads(other))
    return one.lower() == other.lower()


def _check_dead_letter_queue(
    context: Context, name: str, given: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Check the dead-letter queue of new settings, which stand for the ``given`` attributes.

    Raises:
        SqsError: it does not exist or does not allow this queue, or the key does not open it.
    """
    target = settings.get("dead_letter_queue")
    if not target:
        return
    if not context.opens(target):
        raise SqsError("AccessDenied", f"The key does not open the queue {target}.", 403)
    found = context.broker.sqs_attributes(target)
    if found is None:
        raise invalid("RedrivePolicy", given["RedrivePolicy"], "Dead letter target does not exist.")
    if not allows_redrive(found.get("RedriveAllowPolicy", ""), name):
        reason = "The RedriveAllowPolicy of the dead-letter queue does not allow it."
        raise invalid("RedrivePolicy", given["RedrivePolicy"], reason)


def delete_queue(context: Context) -> dict[str, Any]:
    """Delete a queue."""
    name = context.queue()
    context.broker.drop_queue(name)
    _note(context.service.deleted_s, name, context.limits.wait_after_deletion_s)
    return {}


def purge_queue(context: Context) -> dict[str, Any]:
    """Delete all messages of a queue."""
    name = context.info().name
    if seconds_since(context.service.purged_s, name) < context.limits.wait_after_purge_s:
        raise SqsError("PurgeQueueInProgress", f"Only one PurgeQueue operation on {name} is allowed every 60 seconds.")
    context.broker.purge(name, void_keys=True)
    _note(context.service.purged_s, name, context.limits.wait_after_purge_s)
    return {}


def _note(moments: dict[str, float], name: str, lasts_s: float) -> None:
    """Record the time of an event of a queue, and drop events older than ``lasts_s``."""
    if not lasts_s:
        return
    for each in [each for each in moments if seconds_since(moments, each) >= lasts_s]:
        del moments[each]
    moments[name] = time.monotonic()


def get_queue_url(context: Context) -> dict[str, Any]:
    """Return the URL of a queue."""
    name = context.required("QueueName")
    if not is_name(name):
        raise no_such_queue()
    return {"QueueUrl": url_of(context.base_url, queue_info(context.broker, name).name)}


def list_queues(context: Context) -> dict[str, Any]:
    """List the queues that the key opens."""
    prefix = context.text("QueueNamePrefix") or ""
    most, after = _page_of(context)
    names = context.broker.queue_names(prefix=prefix, after=after, limit=most + 1, matches=context.opens)
    return _page(context, names, most, "QueueUrls")


def list_dead_letter_source_queues(context: Context) -> dict[str, Any]:
    """List the queues whose dead letters a queue receives."""
    target = context.info().name
    most, after = _page_of(context)
    names = context.broker.sources_of(target, after=after, limit=most + 1, matches=context.opens)
    return {"queueUrls": [], **_page(context, names, most, "queueUrls")}


def _page_of(context: Context) -> tuple[int, str]:
    """Return the size of the page that a request wants, and the name after which it starts, from its ``NextToken``."""
    most = context.integer("MaxResults", 1, context.limits.page)
    token = context.text("NextToken")
    if token is None:
        return most or context.limits.page, ""
    if most is None:
        raise SqsError("InvalidParameterValue", "MaxResults is required with NextToken.")
    try:
        return most, name_in_token(token)
    except ValueError as error:
        raise invalid("NextToken", token, "It must be the NextToken of an earlier response.") from error


def _page(context: Context, names: Sequence[str], most: int, field: str) -> dict[str, Any]:
    """Return a page of queue URLs. If there are more names than it may have, another page follows."""
    page = names[:most]
    answer: dict[str, Any] = {field: [url_of(context.base_url, name) for name in page]} if page else {}
    if len(names) > most and context.integer("MaxResults", 1, context.limits.page) is not None:
        answer["NextToken"] = page_token(page[-1])
    return answer


def get_queue_attributes(context: Context) -> dict[str, Any]:
    """Return attributes of a queue."""
    info = context.info()
    names = context.texts("AttributeNames")
    for name in names:
        if name != "All" and name not in queue_attributes.SETTABLE and name not in queue_attributes.READ_ONLY:
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {name[:200]}.")
    values = queue_attributes.of_queue(info, context.region, context.limits)
    chosen = values if "All" in names else {name: values[name] for name in names if name in values}
    return {"Attributes": chosen} if chosen else {}


def set_queue_attributes(context: Context) -> dict[str, Any]:
    """Change attributes of a queue."""
    name, _ = context.settings()
    given = context.mapping("Attributes")
    if not given:
        raise missing("Attributes")
    settings = queue_attributes.to_settings(name, given, context.limits)
    target = settings.get("dead_letter_queue") or name
    is_elsewhere = not context.broker.has_name(target)
    if is_elsewhere:  # the answer of another shard is not waited for under the lock
        _check_dead_letter_queue(context, name, given, settings)

    def change(current: QueueSettings) -> dict[str, Any]:
        if not is_elsewhere:
            _check_dead_letter_queue(context, name, given, settings)
        return queue_attributes.merged(current, settings)

    context.broker.change_queue(name, change, permits=context.opens)
    return {}


# Tags and permissions


def _tags(context: Context) -> dict[str, str]:
    tags = context.mapping("Tags", "tags")
    for name, value in islice(tags.items(), MAX_TAGS + 1):
        if not isinstance(value, str):
            raise invalid("Tags", name, "The value of a tag must be a string.")
        if name.lower().startswith("aws:"):
            raise invalid("Tags", name, "Tag keys that begin with aws: are reserved for AWS.")
    check_tags(tags)
    return tags


def tag_queue(context: Context) -> dict[str, Any]:
    """Add or replace tags of a queue."""
    tags = _tags(context)
    if not tags:
        raise missing("Tags")
    context.broker.change_queue(context.queue(), lambda current: {"tags": {**current.tags, **tags}})
    return {}


def untag_queue(context: Context) -> dict[str, Any]:
    """Remove tags of a queue."""
    names = frozenset(context.texts("TagKeys"))
    if not names:
        raise missing("TagKeys")

    def change(current: QueueSettings) -> dict[str, Any]:
        return {"tags": {name: value for name, value in current.tags.items() if name not in names}}

    context.broker.change_queue(context.queue(), change)
    return {}


def list_queue_tags(context: Context) -> dict[str, Any]:
    """Return the tags of a queue."""
    tags = context.info().settings.tags
    return {"Tags": dict(tags)} if tags else {}


def add_permission(context: Context) -> dict[str, Any]:
    """Add a statement to the queue's policy.

    The policy is stored and returned, but not evaluated: API keys control access.
    """
    name, label = context.queue(), context.required("Label")
    accounts, actions = context.texts("AWSAccountIds"), context.texts("Actions")
    for parameter, values in (("AWSAccountIds", accounts), ("Actions", actions)):
        if not values:
            raise missing(parameter)
    arn = arn_of(context.region, name)
    _change_policy(context, lambda policy: with_permission(policy, label, accounts, actions, arn))
    return {}


def remove_permission(context: Context) -> dict[str, Any]:
    """Remove a statement from the queue's policy."""
    label, arn = context.required("Label"), arn_of(context.region, context.queue())
    _change_policy(context, lambda policy: without_permission(policy, label, arn))
    return {}


def _change_policy(context: Context, change: Callable[[str], str]) -> None:
    def changed(current: QueueSettings) -> dict[str, Any]:
        return queue_attributes.merged(current, {"sqs": {"Policy": change(current.sqs.get("Policy", ""))}})

    context.broker.change_queue(context.queue(), changed)
