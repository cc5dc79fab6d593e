"""Actions that publish messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wonderq.model.errors import TopicNotFoundError
from wonderq.model.filters_json import decode
from wonderq.model.messages import NewMessage, size_of
from wonderq.model.topics import MAX_SUBJECT_CHARACTERS, Publication, PublishResult, is_fifo
from wonderq.runtime.fibers import took
from wonderq.sns.context import Context
from wonderq.sns.errors import SnsError, invalid
from wonderq.sqs import message_attributes
from wonderq.sqs.context import ENTRY_ID
from wonderq.sqs.errors import SqsError
from wonderq.sqs.messages import MAX_ID_CHARACTERS, is_id, sequence_number
from wonderq.sqs.tracing import trace_of
from wonderq.sqs.wire import ALLOWED_CHARACTERS, find_not_in_xml

#: Most attributes that a message of the broker can have.
_MAX_ATTRIBUTES = 64

_BYTES_PER_STEP = 200
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f]+")

#: Keys of a structured message: for queues, for endpoints, and for protocols that have none of their own.
_QUEUES, _ENDPOINTS, _DEFAULT = "sqs", ("http", "https"), "default"


def publish(context: Context) -> dict[str, Any]:
    """Publish a message to the subscriptions of a topic that match it."""
    if context.text("PhoneNumber"):
        raise invalid("PhoneNumber", "This broker sends no SMS. Publish to a topic.")
    target = "TopicArn" if context.text("TopicArn") else "TargetArn"
    if not context.text(target):
        raise invalid("TopicArn or TargetArn", "no value for required parameter")
    topic = context.topic(target)
    publication, _ = _read(context, topic, context.parameters, _deduplicates(context, topic))
    [result] = context.topics.publish(topic, [publication])
    return _shown(topic, result)


def _deduplicates(context: Context, topic: str) -> bool:
    """Return whether a message of a topic needs no deduplication id.

    Raises:
        TopicNotFoundError: the topic does not exist.
    """
    settings = context.topics.settings_of(topic)
    if settings is None:
        raise TopicNotFoundError(topic)
    return settings.content_deduplication


def _shown(topic: str, result: PublishResult) -> dict[str, Any]:
    found = {"MessageId": result.id}
    return {**found, "SequenceNumber": sequence_number(result.sequence)} if is_fifo(topic) else found


def publish_batch(context: Context) -> dict[str, Any]:
    """Publish the valid messages of a batch, in one write."""
    topic = context.topic()
    entries = _entries(context)
    deduplicates = _deduplicates(context, topic)
    fine: list[tuple[str, Publication]] = []
    failed: list[dict[str, Any]] = []
    total = 0
    for entry in entries:
        try:
            publication, size = _read(context, topic, entry, deduplicates)
            fine.append((entry["Id"], publication))
            total += size
        except SnsError as error:
            failed.append({"Id": entry["Id"], "Code": error.code, "Message": str(error), "SenderFault": True})
    if total > context.limits.batch_bytes:
        raise SnsError(
            "BatchRequestTooLong",
            f"The length of all the messages put together is more than the limit: {total} bytes, and "
            f"{context.limits.batch_bytes} are allowed. Send several batches.",
        )
    results = context.topics.publish(topic, [each for _, each in fine]) if fine else []
    successful = [
        {"Id": entry_id, **_shown(topic, result)} for (entry_id, _), result in zip(fine, results, strict=True)
    ]
    return {"Successful": successful, "Failed": failed}


def _entries(context: Context) -> Sequence[Mapping[str, Any]]:
    """Return the entries of a batch.

    Raises:
        SnsError: there are no entries or too many, or their ids are invalid or equal.
    """
    entries = context.structures("PublishBatchRequestEntries")
    if not entries:
        raise SnsError("EmptyBatchRequest", "The batch request doesn't contain any entries.")
    if len(entries) > context.limits.batch_entries:
        raise SnsError(
            "TooManyEntriesInBatchRequest",
            f"The batch request contains more entries than permissible: {len(entries)}, and "
            f"{context.limits.batch_entries} are allowed.",
        )
    ids = [each.get("Id") for each in entries]
    if not all(isinstance(each, str) and ENTRY_ID.fullmatch(each) for each in ids):
        raise SnsError(
            "InvalidBatchEntryId",
            "The Id of a batch entry in a batch request must have 1 to 80 of A-Z a-z 0-9 _ and -.",
        )
    if len(set(ids)) < len(ids):
        raise SnsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
    return entries


def _read(context: Context, topic: str, given: Mapping[str, Any], deduplicates: bool) -> tuple[Publication, int]:
    """Return a message of a request, and its size in bytes.

    Raises:
        SnsError: it is invalid.
    """
    body, texts = _texts(given)
    took(1 + sum(map(len, (body, *texts.values()))) // _BYTES_PER_STEP)
    found = given.get("MessageAttributes") or {}
    try:
        attributes = message_attributes.parse(found if isinstance(found, dict) else {"": found}, _MAX_ATTRIBUTES)
    except SqsError as error:
        raise SnsError("ParameterValueInvalid", str(error)) from error
    size = max(size_of(each, attributes) for each in (body, *texts.values()))
    if size > context.limits.message_bytes:
        raise invalid("Message too long", f"It has {size} bytes, and {context.limits.message_bytes} are allowed.")
    group, key = _ids(topic, given, deduplicates)
    message = NewMessage(
        body, attributes=attributes or None, system=trace_of(context.environ) or None, group=group, key=key
    )
    return Publication(message, _subject(given), texts or None), size


def _texts(given: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the text of a message for queues, and those for endpoints of a protocol where they differ from it.

    They differ only with ``MessageStructure``.

    Raises:
        SnsError: there is none.
    """
    message, structure = given.get("Message"), given.get("MessageStructure")
    if not isinstance(message, str) or not message:
        raise invalid("Empty message")
    texts = {_QUEUES: message}
    if structure == "json":
        try:
            parts = decode(message, took)
        except ValueError as error:
            raise invalid("Message Structure - JSON message body failed to parse") from error
        if not isinstance(parts, dict) or not isinstance(parts.get(_DEFAULT), str):
            raise invalid("Message Structure - No default entry in JSON message body")
        texts = {each: _part(parts, each) for each in (_QUEUES, *_ENDPOINTS)}
    elif structure:
        raise invalid("MessageStructure", "It must be json, or left out.")
    for text in set(texts.values()):
        character = find_not_in_xml(text)
        if character:
            raise invalid("Message", f"Invalid binary character '#x{ord(character):X}': {ALLOWED_CHARACTERS}")
    body = texts.pop(_QUEUES)
    return body, {protocol: text for protocol, text in texts.items() if text != body}


def _part(parts: Mapping[str, Any], protocol: str) -> str:
    """Return the text of a structured message for a protocol.

    Raises:
        SnsError: it is empty, or no text.
    """
    text = parts.get(protocol, parts[_DEFAULT])
    if not isinstance(text, str) or not text:
        raise invalid(f"Message Structure - The entry {protocol} or {_DEFAULT} must be a text that is not empty")
    return text


def _subject(given: Mapping[str, Any]) -> str:
    """Return the subject of a message; empty if it has none."""
    subject = given.get("Subject")
    if subject is None:
        return ""
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or len(subject) > MAX_SUBJECT_CHARACTERS:
        raise invalid("Subject", f"It must have 1 to {MAX_SUBJECT_CHARACTERS} characters without line breaks.")
    return subject


def _ids(topic: str, given: Mapping[str, Any], deduplicates: bool) -> tuple[str, str]:
    """Return the message group and the deduplication id of a message; both may be empty."""
    group, key = given.get("MessageGroupId") or "", given.get("MessageDeduplicationId") or ""
    for name, value in (("MessageGroupId", group), ("MessageDeduplicationId", key)):
        if value and not is_id(value):
            raise invalid(name, f"It can have 1 to {MAX_ID_CHARACTERS} letters, digits and punctuation marks.")
    if is_fifo(topic):
        if not group:
            raise invalid("The MessageGroupId parameter is required for FIFO topics")
        if not key and not deduplicates:
            raise invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
                "explicitly"
            )
    elif key:
        raise invalid(
            "MessageDeduplicationId",
            "The request includes MessageDeduplicationId parameter that is not valid for this topic type",
        )
    return group, key
