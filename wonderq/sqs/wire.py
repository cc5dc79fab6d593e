"""The two wire formats of SQS: the AWS JSON protocol, and the older query protocol with forms and XML.

Both are decoded to the parameters of the JSON protocol.

AWS JSON 1.0: https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
AWS query: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html, with every list and map flattened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import msgspec

from wonderq.sqs.errors import SqsError, invalid

JSON_TYPE = "application/x-amz-json-1.0"
FORM_TYPE = "application/x-www-form-urlencoded"
XML_TYPE = "text/xml"

_TARGET = "AmazonSQS."
_NAMESPACE = "http://queue.amazonaws.com/doc/2012-11-05/"

#: Limits of a form, above those that any action needs.
_MAX_FIELDS = 20_000
_MAX_DEPTH = 8

#: Characters that XML cannot contain (https://www.w3.org/TR/xml/#charsets), and their replacement in responses.
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT = "\ufffd"

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Call(NamedTuple):
    """A decoded request. ``is_json`` is its wire format, and that of the response."""

    action: str
    parameters: dict[str, Any]
    is_json: bool


def media_type_of(environ: Mapping[str, Any]) -> str:
    """Return the media type of a request's body, without its parameters."""
    kind: str = environ.get("CONTENT_TYPE", "")
    return kind.partition(";")[0].strip().lower()


def is_json(environ: Mapping[str, Any]) -> bool:
    """Return whether a request, given as a WSGI environment, is one of the JSON protocol.

    A form is not, even with ``X-Amz-Target``: some clients of the query protocol send both.
    """
    media_type = media_type_of(environ)
    return media_type == JSON_TYPE or ("HTTP_X_AMZ_TARGET" in environ and media_type != FORM_TYPE)


def no_action() -> SqsError:
    """Return the error for a request that names no action."""
    text = (
        f"The request names no action of SQS. Send the parameter Action in a form of the Content-Type {FORM_TYPE}, or "
        f"the header X-Amz-Target and the Content-Type {JSON_TYPE}, as SDKs do."
    )
    return SqsError("UnknownOperationException", text, 404)


def read_json(target: str | None, data: bytes) -> Call:
    """Decode a request of the JSON protocol. ``target`` is the header ``X-Amz-Target``.

    Raises:
        SqsError: it is malformed.
    """
    if target is None:
        raise no_action()
    if not target.startswith(_TARGET):
        raise SqsError("UnknownOperationException", "The header X-Amz-Target must name an action of AmazonSQS.")
    try:
        parameters = _decode(data or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SqsError("SerializationException", f"The body is not a JSON object: {error}.") from error
    return Call(target.removeprefix(_TARGET), {key: each for key, each in parameters.items() if each is not None}, True)


def read_query(data: bytes) -> Call:
    """Decode a request of the query protocol, which is a form.

    Raises:
        SqsError: it is malformed.
    """
    try:
        fields = dict(parse_qsl(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS))
    except (ValueError, UnicodeDecodeError) as error:
        raise SqsError("MalformedQueryString", f"The form is malformed: {error}.") from error
    action = fields.pop("Action", "")
    if not action:
        raise no_action()
    return Call(action, _nested(fields), False)


#: Lists: the name in the query protocol to the name in JSON.
_LISTS = {
    "AttributeName": "AttributeNames",
    "MessageSystemAttributeName": "MessageSystemAttributeNames",
    "MessageAttributeName": "MessageAttributeNames",
    "TagKey": "TagKeys",
    "AWSAccountId": "AWSAccountIds",
    "ActionName": "Actions",
    "SendMessageBatchRequestEntry": "Entries",
    "DeleteMessageBatchRequestEntry": "Entries",
    "ChangeMessageVisibilityBatchRequestEntry": "Entries",
}
#: Maps: the name in the query protocol to the name in JSON, and the names of keys and values.
_MAPS = {
    "Attribute": ("Attributes", "Name", "Value"),
    "Tag": ("Tags", "Key", "Value"),
    "MessageAttribute": ("MessageAttributes", "Name", "Value"),
    "MessageSystemAttribute": ("MessageSystemAttributes", "Name", "Value"),
}
_INTEGERS = (
    "DelaySeconds",
    "VisibilityTimeout",
    "MaxNumberOfMessages",
    "WaitTimeSeconds",
    "MaxResults",
    "MaxNumberOfMessagesPerSecond",
)
_WHOLE = re.compile(r"[+-]?\d{1,10}")
_NUMBER = re.compile(r"[0-9]{1,10}")
#: Names of lists in JSON.
_PLURALS = frozenset(_LISTS.values())


def _nested(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a form, whose field names are paths with dots."""
    tree: dict[str, Any] = {}
    for name, value in fields.items():
        place = tree
        *parents, last = name.split(".", _MAX_DEPTH)
        for parent in parents:
            found = place.setdefault(parent, {})
            if not isinstance(found, dict):
                raise SqsError("MalformedQueryString", f"The parameter {name[:100]} contradicts another one.")
            place = found
        place[last] = value
    return _parameters(tree)


def _parameters(tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if name in _LISTS:
            found[_LISTS[name]] = [_parameters(each) if isinstance(each, dict) else each for each in _in_order(value)]
        elif name in _PLURALS and not value:  # an empty list: botocore writes its name in JSON, without a value
            found[name] = []
        elif name in _MAPS and isinstance(value, dict):
            plural, key_name, value_name = _MAPS[name]
            pairs = [
                each for each in _in_order(value) if isinstance(each, dict) and isinstance(each.get(key_name), str)
            ]
            found[plural] = {each[key_name]: each.get(value_name, "") for each in pairs}
        elif name in _INTEGERS:
            if not isinstance(value, str) or not _WHOLE.fullmatch(value):
                raise invalid(name, value, "Must be an integer.")
            found[name] = int(value)
        else:
            found[name] = value
    return found


def _in_order(given: Any) -> list[Any]:
    """Return the values of ``{"1": ..., "2": ...}`` in the order of the numbers.

    SQS accepts a single value without a number too. An empty value is that of an empty list.
    """
    if isinstance(given, dict) and all(map(_NUMBER.fullmatch, given)):
        return [given[key] for key in sorted(given, key=lambda key: (len(key), key))]
    return [given] if given else []


# Responses


def write(call: Call, result: Mapping[str, Any], request_id: str) -> tuple[bytes, str]:
    """Return the body and the media type of a response."""
    if call.is_json:
        return _encode(result), JSON_TYPE
    body = "".join(_elements(call.action, result))
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    shown = f"<{call.action}Result>{body}</{call.action}Result>" if body or call.action in _WITH_RESULT else ""
    text = f'<?xml version="1.0"?><{call.action}Response xmlns="{_NAMESPACE}">{shown}{metadata}</{call.action}Response>'
    return text.encode(), XML_TYPE


def write_error(error: SqsError, request_id: str, *, is_json: bool) -> tuple[bytes, str]:
    """Return the body and the media type of an error response."""
    if is_json:
        return _encode({"__type": error.json_type, "message": str(error)}), JSON_TYPE
    kind = "Sender" if error.is_senders_fault else "Receiver"
    text = (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{kind}</Type><Code>{error.code}</Code>'
        f"<Message>{_text(str(error))}</Message><Detail/></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return text.encode(), XML_TYPE


_WITH_RESULT = (
    "ReceiveMessage",
    "ListQueues",
    "GetQueueAttributes",
    "ListQueueTags",
    "ListDeadLetterSourceQueues",
    "ListMessageMoveTasks",
)

#: Names of the elements of lists in XML.
_ITEMS = {
    "QueueUrls": "QueueUrl",
    "queueUrls": "QueueUrl",
    "Messages": "Message",
    "Results": "ListMessageMoveTasksResultEntry",
    "Failed": "BatchResultErrorEntry",
}
#: Maps in XML: the names of an entry, its key and its value.
_ENTRIES = {
    "Attributes": ("Attribute", "Name", "Value"),
    "MessageAttributes": ("MessageAttribute", "Name", "Value"),
    "Tags": ("Tag", "Key", "Value"),
}


def _elements(action: str, values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, list):
            item = _ITEMS.get(name, f"{action}ResultEntry")
            for each in value:
                yield f"<{item}>{_content(action, each)}</{item}>"
        elif name in _ENTRIES:
            entry, key_name, value_name = _ENTRIES[name]
            for key, each in value.items():
                content = _content(action, each)
                yield f"<{entry}><{key_name}>{_text(key)}</{key_name}><{value_name}>{content}</{value_name}></{entry}>"
        else:
            yield f"<{name}>{_content(action, value)}</{name}>"


def _content(action: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(_elements(action, value))
    if isinstance(value, bool):
        return str(value).lower()
    return _text(str(value))


def _text(text: str) -> str:
    return escape(NOT_IN_XML.sub(_REPLACEMENT, text), {'"': "&quot;", "\r": "&#xD;"})
