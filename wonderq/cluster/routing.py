"""The queue that a request is about, by which its shard is found, and whether it may be made twice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from wonderq.httpd.errors import JSON, MSGPACK
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.rest.bodies import media_type_of

#: Topics and schedules have their place by their own name, as queues have.
_NAMED = re.compile(r"/(?:queues|topics|schedules)/([^/]+)")

_OF_DEFAULT = re.compile(r"/(?:dev/)?messages(?:/|$)")

#: Paths whose body may name the queues.
_IN_BODY = ("/messages/consume", "/messages/next")

#: Calls that read only. `consume` is among them: a message that was claimed for a lost response comes again, as after
#: any lost response.
_READS = re.compile(r"GET|HEAD|POST .*(?:/messages/consume|/match)")
_SENDS = re.compile(r"POST .*(?:/messages/produce|/publish)")


class _Sources(msgspec.Struct):
    queues: Any = None


class _SqsNames(msgspec.Struct):
    QueueUrl: Any = None
    QueueName: Any = None
    SourceArn: Any = None


_sources = {JSON: msgspec.json.Decoder(_Sources), MSGPACK: msgspec.msgpack.Decoder(_Sources)}
_fields = {JSON: msgspec.json.Decoder(dict[str, Any]), MSGPACK: msgspec.msgpack.Decoder(dict[str, Any])}
_sqs_names = msgspec.json.Decoder(_SqsNames)


def name_in_path(method: str, path: str) -> str | None:
    """Return the name of the queue, topic or schedule that a path is about; None if the path alone does not tell."""
    found = _NAMED.match(path)
    if found is not None:
        return found[1]
    if _OF_DEFAULT.match(path) and not (method == "POST" and path in _IN_BODY):
        return DEFAULT_QUEUE
    return None


def names_queues_in_body(method: str, path: str) -> bool:
    """Return whether the body of a request may name its queues."""
    return method == "POST" and path in _IN_BODY


def first_source(content_type: str, body: bytes) -> str:
    """Return the first queue that the body of a poll names. A body without any, or that is malformed, is for `default`.

    The queues must all be on one shard, whose broker refuses the others.
    """
    found = _decode(_sources.get(media_type_of(content_type)), body)
    given = None if found is None else found.queues
    first = given[0] if isinstance(given, list) and given else DEFAULT_QUEUE
    name = first.get("queue") if isinstance(first, dict) else first
    return name if isinstance(name, str) else DEFAULT_QUEUE


def sqs_names(body: bytes) -> Mapping[str, Any]:
    """Return the parameters of a body in the JSON protocol of SQS that may name its queue; none if it is malformed."""
    found = _decode(_sqs_names, body)
    return {} if found is None else msgspec.structs.asdict(found)


def is_repeatable(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether a request of the REST API does the same when it is carried out twice."""
    call = f"{method} {path}"
    if _READS.fullmatch(method) or _READS.fullmatch(call):
        return True
    if not _SENDS.fullmatch(call):
        return False
    if "HTTP_IDEMPOTENCY_KEY" in headers:
        return True
    fields = _decode(_fields.get(media_type_of(headers.get("CONTENT_TYPE", ""))), body)
    if fields is None:
        return False  # an owner with another version may be able to read it
    if "idempotency_key" in fields or ("producer_id" in fields and "request_number" in fields):
        return True
    return _all_have(fields.get("messages"), "idempotency_key")


def is_repeatable_sqs(action: str, parameters: Mapping[str, Any]) -> bool:
    """Return whether an action of SQS or SNS does the same when it is carried out twice."""
    if action.startswith(("Get", "List")) or action == "ReceiveMessage":
        return True
    if action in ("SendMessage", "Publish"):
        return bool(parameters.get("MessageDeduplicationId"))
    if action in ("SendMessageBatch", "PublishBatch"):
        entries = parameters.get("Entries", parameters.get("PublishBatchRequestEntries"))
        return _all_have(entries, "MessageDeduplicationId")
    return False


def _decode(decoder: Any, body: bytes) -> Any:
    """Return what a decoder makes of a body; None if it cannot read it, or if there is no decoder."""
    try:
        return None if decoder is None else decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return None


def _all_have(entries: Any, field: str) -> bool:
    """Return whether there are entries, and each has a field."""
    found: Iterable[Any] = entries if isinstance(entries, list) else ()
    checked = [isinstance(each, dict) and bool(each.get(field)) for each in found]
    return bool(checked) and all(checked)
