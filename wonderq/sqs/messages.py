"""Actions on messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import repeat
from typing import Any, NamedTuple, TypeGuard

from wonderq.httpd.forwarded import WAITED_S
from wonderq.model.attributes import Attribute
from wonderq.model.errors import (
    BrokerError,
    InvalidValueError,
    MessageNotFoundError,
    NotClaimedError,
    OtherQueueError,
    StaleReceiptError,
    TooManyInFlightError,
)
from wonderq.model.messages import Change, Message, NewMessage, SendResults, Target, size_of
from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.runtime.fibers import took
from wonderq.sqs import message_attributes
from wonderq.sqs.context import Context, batch_results, failed_entry, integer_in
from wonderq.sqs.errors import SqsError, from_broker, invalid, missing
from wonderq.sqs.limits import SqsLimits
from wonderq.sqs.names import arn_of
from wonderq.sqs.tracing import trace_header_of, trace_of
from wonderq.sqs.wire import ALLOWED_CHARACTERS, find_not_in_xml

_SENDER = "AIDAWONDERQ0000000000"

_SYSTEM_ATTRIBUTES = frozenset(
    (
        "All",
        "ApproximateFirstReceiveTimestamp",
        "ApproximateReceiveCount",
        "AWSTraceHeader",
        "DeadLetterQueueSourceArn",
        "MessageDeduplicationId",
        "MessageGroupId",
        "SenderId",
        "SentTimestamp",
        "SequenceNumber",
    )
)

#: Parameters of a message that need not be given.
_OPTIONAL = frozenset(
    (
        "DelaySeconds",
        "MessageAttributes",
        "MessageSystemAttributes",
        "MessageGroupId",
        "MessageDeduplicationId",
    )
)

#: Bytes of a message that are checked, or prepared for the response, in a step of `took`.
_BYTES_PER_STEP = 200

MAX_ID_CHARACTERS = 128
"""Longest id of a message group or of a deduplication."""

_WRONG_QUEUE_TYPE = "The request include parameter that is not valid for this queue type."


class _New(NamedTuple):
    """A message of a request."""

    message: str | NewMessage
    sums: dict[str, str]
    """Checksums for the response."""
    size: int


def send_message(context: Context) -> dict[str, Any]:
    """Produce a message."""
    name, settings = context.settings()
    new = _read_new(context, name, settings, context.parameters, trace_of(context.environ))
    [shown] = _shown(name, _send(context, name, [new]))
    return {**new.sums, **shown}


def send_message_batch(context: Context) -> dict[str, Any]:
    """Produce the valid messages of a batch. A FIFO queue refuses the batch if an entry lacks an id that it needs."""
    name, settings = context.settings()
    entries = context.entries()
    if name.endswith(FIFO_SUFFIX):
        for entry in entries:
            _check_ids_given(entry, settings)
    trace = trace_of(context.environ)
    fine: list[tuple[str, _New]] = []
    failures = []
    total = 0
    for entry in entries:
        try:
            new = _read_new(context, name, settings, entry, trace)
            fine.append((entry["Id"], new))
            total += new.size
        except SqsError as error:
            failures.append(failed_entry(entry["Id"], error))
            total += _size_of_invalid(entry)
    if total > context.limits.batch_bytes:
        most = context.limits.batch_bytes
        text = f"Batch requests cannot be longer than {most} bytes. You have sent {total} bytes."
        raise SqsError("BatchRequestTooLong", text)
    shown = _shown(name, _send(context, name, [new for _, new in fine])) if fine else []
    successful = [{"Id": entry_id, **new.sums, **each} for (entry_id, new), each in zip(fine, shown, strict=True)]
    return batch_results(successful, failures)


def _size_of_invalid(entry: Mapping[str, Any]) -> int:
    """Return the size of an invalid entry, as far as it has one: the limit of a batch counts all entries."""
    body, attributes = entry.get("MessageBody"), entry.get("MessageAttributes")
    size = len(body.encode()) if isinstance(body, str) else 0
    return size + message_attributes.size_of_any(attributes if isinstance(attributes, dict) else {})


def _send(context: Context, queue: str, new: Sequence[_New]) -> SendResults:
    try:
        return context.broker.send(queue, [each.message for each in new])
    except BrokerError as error:
        raise from_broker(error) from error


def _shown(queue: str, sent: SendResults) -> list[dict[str, str]]:
    if not queue.endswith(FIFO_SUFFIX):
        return [{"MessageId": each} for each in sent.ids]
    return [
        {"MessageId": each, "SequenceNumber": sequence_number(sequence)}
        for each, sequence in zip(sent.ids, sent.sequences, strict=True)
    ]


def sequence_number(sequence: int) -> str:
    """Return the number of a message as AWS writes it."""
    return f"{sequence + 1:020d}"


def _read_new(
    context: Context, queue: str, settings: QueueSettings, given: Mapping[str, Any], trace: Mapping[str, str]
) -> _New:
    """Parse a message to be sent. ``trace`` is the trace context of the request.

    Raises:
        SqsError: a parameter is invalid.
    """
    limits = context.limits
    is_fifo = queue.endswith(FIFO_SUFFIX)
    body = _read_body(given, limits)
    if not (is_fifo or trace) and _OPTIONAL.isdisjoint(given):
        size = _check_size(size_of(body, None), settings, limits)
        return _New(body, {"MD5OfMessageBody": message_attributes.md5(body)}, size)
    delay_s = _read_delay(given, limits, is_fifo=is_fifo)
    attributes = message_attributes.parse(_map(given, "MessageAttributes"), limits.attributes)
    system = _read_system_attributes(given)
    size = _check_size(size_of(body, attributes), settings, limits)
    group, key = _read_ids(given, settings, is_fifo=is_fifo)
    sums = {"MD5OfMessageBody": message_attributes.md5(body)}
    if attributes:
        sums["MD5OfMessageAttributes"] = message_attributes.md5_of_attributes(attributes)
    if system:
        sums["MD5OfMessageSystemAttributes"] = message_attributes.md5_of_attributes(system)
    message = NewMessage(
        body,
        None if delay_s is None else delay_s * 1000,
        attributes=attributes or None,
        system={**trace, **{name: str(value) for name, (_, value) in system.items()}} or None,
        group=group or "",
        key=key or "",
    )
    try:
        message.check(is_fifo=is_fifo)
    except BrokerError as error:
        raise from_broker(error) from error
    return _New(message, sums, size)


def _check_size(size: int, settings: QueueSettings, limits: SqsLimits) -> int:
    """Return the size of a message, which is small enough for its queue.

    Raises:
        SqsError: it is not.
    """
    if size >= _BYTES_PER_STEP:
        took(size // _BYTES_PER_STEP)
    most = min(settings.max_message_bytes or limits.message_bytes, limits.message_bytes)
    if size > most:
        text = f"One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        raise SqsError("InvalidParameterValue", text)
    return size


def _read_body(given: Mapping[str, Any], limits: SqsLimits) -> str:
    body = given.get("MessageBody")
    if body is None or (not body and limits.least_message_bytes):
        raise missing("MessageBody")
    if not isinstance(body, str):
        raise SqsError("SerializationException", "MessageBody must be a string.")
    character = find_not_in_xml(body)
    if character:
        text = f"Invalid binary character '#x{ord(character):X}' was found in the message body, {ALLOWED_CHARACTERS}"
        raise SqsError("InvalidMessageContents", text)
    return body


def _read_delay(given: Mapping[str, Any], limits: SqsLimits, *, is_fifo: bool) -> int | None:
    """Return the delay in seconds. A message of a FIFO queue has none of its own: SQS accepts 0 and ignores it."""
    delay_s = integer_in(given, "DelaySeconds", 0, limits.delay_s)
    if is_fifo and delay_s:
        raise invalid("DelaySeconds", delay_s, _WRONG_QUEUE_TYPE)
    return None if is_fifo else delay_s


def _read_system_attributes(given: Mapping[str, Any]) -> dict[str, Attribute]:
    if "MessageSystemAttributes" not in given:
        return {}
    system = message_attributes.parse(_map(given, "MessageSystemAttributes"), 1)
    if any(name != "AWSTraceHeader" or kind != "String" for name, (kind, _) in system.items()):
        raise SqsError(
            "InvalidParameterValue", "Message system attribute: only AWSTraceHeader, a String, is supported."
        )
    return system


def _read_ids(given: Mapping[str, Any], settings: QueueSettings, *, is_fifo: bool) -> tuple[str | None, str | None]:
    """Return the group and the deduplication key of a message."""
    group, key = _id(given, "MessageGroupId"), _id(given, "MessageDeduplicationId")
    if is_fifo:
        _check_ids_given(given, settings)
    if not is_fifo and key is not None:
        raise invalid("MessageDeduplicationId", key, _WRONG_QUEUE_TYPE)
    return group, key


def _check_ids_given(given: Mapping[str, Any], settings: QueueSettings) -> None:
    """Check that a message for a FIFO queue has the ids that it needs.

    Raises:
        SqsError: it has no group, or no deduplication id although the queue derives none from the body.
    """
    if given.get("MessageGroupId") is None:
        raise missing("MessageGroupId")
    if given.get("MessageDeduplicationId") is None and not settings.content_deduplication:
        text = (
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
            "explicitly"
        )
        raise SqsError("InvalidParameterValue", text)


def _map(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = given.get(name) or {}
    if not isinstance(value, dict):
        raise SqsError("SerializationException", f"{name} must be a map.")
    return value


def _id(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not is_id(value):
        raise invalid(
            name, value, f"{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        )
    return value


def is_id(value: object) -> TypeGuard[str]:
    """Return whether a value can be the id of a message group or of a deduplication."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_ID_CHARACTERS
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


# Receiving


def receive_message(context: Context) -> dict[str, Any]:
    """Claim messages."""
    (name, settings), limits = context.settings(), context.limits
    is_fifo = name.endswith(FIFO_SUFFIX)
    most = context.integer("MaxNumberOfMessages", 1, limits.received_messages)
    wait_s = context.integer("WaitTimeSeconds", 0, limits.wait_s)
    timeout_s = context.integer("VisibilityTimeout", 0, limits.visibility_timeout_s)
    attempt = _id(context.parameters, "ReceiveRequestAttemptId")
    if attempt is not None and not is_fifo:
        raise invalid("ReceiveRequestAttemptId", attempt, _WRONG_QUEUE_TYPE)
    wanted = message_attributes.Selection(context.texts("MessageAttributeNames"))
    system = {*context.texts("AttributeNames"), *context.texts("MessageSystemAttributeNames")}
    unknown = system - _SYSTEM_ATTRIBUTES
    if unknown:
        raise SqsError("InvalidAttributeName", f"Unknown Attribute {min(unknown)[:200]}.")
    if wait_s is None:
        wait_s = int(settings.sqs.get("ReceiveMessageWaitTimeSeconds", "0"))
    try:
        messages = context.broker.claim(
            name,
            limit=most or 1,
            visibility_timeout_ms=None if timeout_s is None else timeout_s * 1000,
            wait_s=max(wait_s - context.environ.get(WAITED_S, 0), 0),
            client_gone=context.client_gone,
            attempt_id=attempt,
            room=context.room,
        )
    except TooManyInFlightError as error:
        if wait_s or is_fifo:
            return {}
        raise from_broker(error) from error
    except BrokerError as error:
        raise from_broker(error) from error
    found = [_message_object(context, message, system, wanted) for message in messages]
    return {"Messages": found} if found else {}


def _message_object(
    context: Context, message: Message, system: set[str], wanted: message_attributes.Selection
) -> dict[str, Any]:
    took(len(message.body) // _BYTES_PER_STEP)
    shown: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": message_attributes.md5(message.body),
        "Body": message.body,
    }
    if system:
        values = _system_attributes(context, message)
        chosen = values if "All" in system else {name: value for name, value in values.items() if name in system}
        if chosen:
            shown["Attributes"] = chosen
    if message.envelope is not None:
        attributes = wanted.of(message.envelope.attributes)
        if attributes:
            shown["MessageAttributes"] = message_attributes.to_response(attributes)
            shown["MD5OfMessageAttributes"] = message_attributes.md5_of_attributes(attributes)
    return shown


def _system_attributes(context: Context, message: Message) -> dict[str, str]:
    values = {
        "SenderId": _SENDER,
        "SentTimestamp": str(message.produced_ms),
        "ApproximateReceiveCount": str(message.receives),
        "ApproximateFirstReceiveTimestamp": str(message.first_claimed_ms),
    }
    envelope = message.envelope
    if envelope is not None:
        if envelope.group:
            values["MessageGroupId"] = envelope.group
        if envelope.key:
            values["MessageDeduplicationId"] = envelope.key
        trace = trace_header_of(envelope.system)
        if trace:
            values["AWSTraceHeader"] = trace
        if envelope.dead_letter_source is not None:
            values["DeadLetterQueueSourceArn"] = arn_of(context.region, envelope.dead_letter_source.queue)
            values["SentTimestamp"] = str(envelope.dead_letter_source.produced_ms)
    if message.queue.endswith(FIFO_SUFFIX):
        values["SequenceNumber"] = sequence_number(message.sequence)
        values["MessageDeduplicationId"] = _deduplication_id(message)
    return values


def _deduplication_id(message: Message) -> str:
    """Return the deduplication id of a message of a FIFO queue.

    A dead letter has the id that the message had in its source queue. SQS Developer Guide, "Configure a dead-letter
    queue redrive".
    """
    envelope = message.envelope
    if envelope is not None and envelope.dead_letter_source is not None:
        return envelope.dead_letter_source.id
    return (envelope.key if envelope is not None else "") or sha256(message.body.encode()).hexdigest()


# Deleting messages, and renewing claims


def delete_message(context: Context) -> dict[str, Any]:
    """Delete a message."""
    name, _ = context.settings()
    error = _delete(context, name, [context.required("ReceiptHandle")])[0]
    if error is not None:
        raise error
    return {}


def delete_message_batch(context: Context) -> dict[str, Any]:
    """Delete several messages."""
    name, _ = context.settings()
    entries = context.entries()
    errors = _delete(context, name, [_receipt(entry) for entry in entries])
    return _batch_results(entries, errors)


def _receipt(entry: Mapping[str, Any]) -> str:
    receipt = entry.get("ReceiptHandle")
    return receipt if isinstance(receipt, str) else ""


def _delete(context: Context, queue: str, receipts: Sequence[str]) -> list[SqsError | None]:
    targets = Target.each(zip(repeat(None), receipts, strict=False))
    try:
        outcomes = context.broker.delete_batch(queue, targets, only_claimed=queue.endswith(FIFO_SUFFIX))
    except BrokerError as error:
        raise from_broker(error) from error
    return [
        None if outcome is None else _deletion_error(queue, receipt, outcome)
        for receipt, outcome in zip(receipts, outcomes, strict=True)
    ]


def _deletion_error(queue: str, receipt: str, error: BrokerError) -> SqsError | None:
    """Return the error of a deletion, or None where SQS reports success.

    It does so for a deleted message, and for an old receipt of a standard queue.
    """
    match error:
        case OtherQueueError() | InvalidValueError(field="receipt"):
            return _no_receipt(receipt)
        case MessageNotFoundError():
            return None
        case StaleReceiptError() | NotClaimedError():
            if not queue.endswith(FIFO_SUFFIX):
                return None
            return invalid("ReceiptHandle", receipt, "The receipt handle has expired.")
    return from_broker(error)


def _no_receipt(receipt: str) -> SqsError:
    text = f'The input receipt handle "{receipt[:100]}" is not a valid receipt handle.'
    return SqsError("ReceiptHandleIsInvalid", text)


def change_message_visibility(context: Context) -> dict[str, Any]:
    """Renew or release a claim."""
    name, _ = context.settings()
    receipt = context.required("ReceiptHandle")
    timeout_s = context.integer("VisibilityTimeout", 0, context.limits.visibility_timeout_s)
    if timeout_s is None:
        raise missing("VisibilityTimeout")
    error = _change(context, name, [(receipt, timeout_s)])[0]
    if error is not None:
        raise error
    return {}


def change_message_visibility_batch(context: Context) -> dict[str, Any]:
    """Renew or release several claims."""
    name, _ = context.settings()
    entries = context.entries()
    fine: list[tuple[int, tuple[str, int]]] = []
    errors: list[SqsError | None] = [None] * len(entries)
    for index, entry in enumerate(entries):
        try:
            timeout_s = integer_in(entry, "VisibilityTimeout", 0, context.limits.visibility_timeout_s)
            if timeout_s is None:
                raise missing("VisibilityTimeout")
            fine.append((index, (_receipt(entry), timeout_s)))
        except SqsError as error:
            errors[index] = error
    if fine:
        outcomes = _change(context, name, [change for _, change in fine])
        for (index, _), outcome in zip(fine, outcomes, strict=True):
            errors[index] = outcome
    return _batch_results(entries, errors)


def _change(context: Context, queue: str, changes: Sequence[tuple[str, int]]) -> list[SqsError | None]:
    updates = [
        (Target(receipt=receipt), Change(timeout_s * 1000) if timeout_s else Change(expire=True))
        for receipt, timeout_s in changes
    ]
    try:
        outcomes = context.broker.update_batch(queue, updates)
    except BrokerError as error:
        raise from_broker(error) from error
    return [
        None if outcome is None else _change_error(receipt, outcome)
        for (receipt, _), outcome in zip(changes, outcomes, strict=True)
    ]


def _change_error(receipt: str, error: BrokerError) -> SqsError | None:
    """Return the error of a change of visibility, or None where SQS reports success.

    It does so for the handle of a claim that has ended. Nothing changes then: the message may be another consumer's.
    """
    match error:
        case OtherQueueError() | InvalidValueError(field="receipt"):
            return _no_receipt(receipt)
        case MessageNotFoundError():
            reason = "Message does not exist or is not available for visibility timeout change."
            return invalid("ReceiptHandle", receipt, reason)
        case StaleReceiptError() | NotClaimedError():
            return None
    return from_broker(error)


def _batch_results(entries: Sequence[Mapping[str, Any]], errors: Sequence[SqsError | None]) -> dict[str, Any]:
    pairs = list(zip(entries, errors, strict=True))
    successful = [{"Id": entry["Id"]} for entry, error in pairs if error is None]
    return batch_results(successful, [failed_entry(entry["Id"], error) for entry, error in pairs if error is not None])
