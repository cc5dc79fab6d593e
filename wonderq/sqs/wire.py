"""The two wire formats of SQS: the AWS JSON protocol, and the older query protocol with forms and XML.

Both are decoded to the parameters of the JSON protocol.

AWS JSON 1.0: https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
AWS query: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html, with every list and map flattened.
"""

from __future__ import annotations

import itertools
import re
import uuid
from binascii import a2b_qp
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

import msgspec

from wonderq.httpd.errors import JSON
from wonderq.httpd.structure import UNCHECKED_BYTES, Bounds, check_structure
from wonderq.model.bounds import ESCAPED_BYTES
from wonderq.model.unicode import without_surrogates
from wonderq.runtime.fibers import took
from wonderq.sqs.errors import SqsError, invalid

JSON_TYPE = "application/x-amz-json-1.0"
FORM_TYPE = "application/x-www-form-urlencoded"
XML_TYPE = "text/xml"

_TARGET = "AmazonSQS."
_NAMESPACE = "http://queue.amazonaws.com/doc/2012-11-05/"

#: Limits of a form, at or above those that any action needs.
_MAX_FIELDS = 20_000
_MAX_DEPTH = 8

#: Characters that XML cannot contain (https://www.w3.org/TR/xml/#charsets), and their replacement in responses.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ALLOWED_CHARACTERS = (
    "the set of allowed characters is #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]."
)
"""End of sentences about other characters."""
_REPLACEMENT = "\ufffd"

#: Most values of an entry of a batch, or of any other action: its fields and attributes.
_VALUES_PER_ENTRY = 512

_ACTION = b"Action="
_MAX_ACTION_BYTES = 200

#: Bytes of a form that are decoded in one step, and characters of a text that are escaped in one.
_WINDOW_BYTES = 256 << 10

#: A percent sign that stands for itself.
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

#: Steps of `took` that decoding takes.
_BYTES_PER_STEP = 200
_STEPS_PER_FIELD = 5
_STEPS_PER_VALUE = 30

_decode_any = msgspec.json.Decoder().decode
_decode_parameters = msgspec.json.Decoder(dict[str, Any]).decode
_decode_raw_parameters = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


_REQUEST_PREFIX = str(uuid.uuid4())[:24]
_request_numbers = itertools.count(1)


def new_request_id() -> str:
    """Return the id of a response, in the form of a UUID: random for this process, then a number."""
    return f"{_REQUEST_PREFIX}{next(_request_numbers):012x}"


def bounds_of(batch_entries: int, message_bytes: int) -> Bounds:
    """Return the bounds of bodies with these limits of a batch and of a message."""
    return Bounds(_VALUES_PER_ENTRY * (batch_entries + 1), ESCAPED_BYTES * message_bytes + UNCHECKED_BYTES)


def find_not_in_xml(text: str) -> str:
    """Return the first character of a text that XML cannot contain; empty if there is none."""
    if text.isascii() and text.isprintable():  # as most texts are, which Python finds out sooner
        return ""
    found = _NOT_IN_XML.search(text)
    return "" if found is None else found[0]


def media_type_of(environ: Mapping[str, Any]) -> str:
    """Return the media type of a request's body, without its parameters."""
    kind: str = environ.get("CONTENT_TYPE", "")
    if kind == JSON_TYPE:  # as SDKs write it
        return kind
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


def action_in_target(target: str | None) -> str:
    """Return the action that a header ``X-Amz-Target`` names.

    Raises:
        SqsError: it is malformed.
    """
    if target is None:
        raise no_action()
    if not target.startswith(_TARGET):
        raise SqsError("UnknownOperationException", "The header X-Amz-Target must name an action of AmazonSQS.")
    return target.removeprefix(_TARGET)


def form_of(environ: Mapping[str, Any], body: bytes) -> bytes:
    """Return the form of a request: its body, or the query string of a GET; empty if it has none."""
    if environ["REQUEST_METHOD"] == "GET":
        query: str = environ.get("QUERY_STRING", "")
        return query.encode()
    return body if media_type_of(environ) == FORM_TYPE else b""


def names_action(form: bytes) -> bool:
    """Return whether a form names an action."""
    return form.startswith(_ACTION) or b"&" + _ACTION in form


def action_in_form(form: bytes) -> str:
    """Return the action that a form names, without decoding the rest.

    Raises:
        SqsError: it names none.
    """
    value = value_in_form(form, _ACTION, _MAX_ACTION_BYTES)
    if not value:
        raise no_action()
    return unquote(value.decode("latin-1"))


def value_in_form(form: bytes, name: bytes, most_bytes: int) -> bytes:
    """Return the beginning of a field's value, still escaped, without decoding the rest; empty if there is none.

    ``name`` ends in an equals sign.
    """
    start = 0 if form.startswith(name) else form.find(b"&" + name) + 1
    if not form.startswith(name, start):
        return b""
    start += len(name)
    return form[start : start + most_bytes].partition(b"&")[0]


def read_json(data: bytes, bounds: Bounds) -> dict[str, Any]:
    """Decode a body of the JSON protocol to parameters.

    Raises:
        SqsError: it is malformed.
        RequestError: it exceeds the bounds.
    """
    try:
        if len(data) <= UNCHECKED_BYTES:
            parameters = _decode_parameters(data or b"{}")
        else:
            check_structure(data, JSON, bounds)
            parameters = {name: _decode_in_turns(value) for name, value in _decode_raw_parameters(data).items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SqsError("SerializationException", f"The body is not a JSON object: {error}.") from error
    return (
        {key: each for key, each in parameters.items() if each is not None}
        if None in parameters.values()
        else parameters
    )


def _decode_in_turns(value: msgspec.Raw) -> Any:
    """Decode a parameter; if it is a list, let other requests run between its elements."""
    took(_STEPS_PER_VALUE + len(memoryview(value)) // _BYTES_PER_STEP)
    if bytes(memoryview(value)[:1]) != b"[":
        return _decode_any(value)
    found = []
    for each in _decode_raw_list(value):
        took(_STEPS_PER_VALUE + len(memoryview(each)) // _BYTES_PER_STEP)
        found.append(_decode_any(each))
    return found


def read_query(data: bytes, bounds: Bounds) -> dict[str, Any]:
    """Decode a body of the query protocol, which is a form, to parameters. Leaves out its action.

    Raises:
        SqsError: it is malformed, or exceeds the bounds.
    """
    fields = read_form(data, bounds)
    fields.pop("Action", None)
    return _parameters(nested(fields))


def read_form(data: bytes, bounds: Bounds) -> dict[str, str]:
    """Decode a form to its fields.

    Raises:
        SqsError: it is malformed, or exceeds the bounds.
    """
    fields: dict[str, str] = {}
    try:
        for name, value in _fields(data, bounds):
            fields[_unquote(name)] = _unquote(value)
    except UnicodeDecodeError as error:
        raise SqsError("MalformedQueryString", f"The form is malformed: {error}.") from error
    return fields


def _fields(data: bytes, bounds: Bounds) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and values of a form, still escaped."""
    most = min(bounds.values, _MAX_FIELDS)
    end = -1
    while end < len(data):
        start, end = end + 1, data.find(b"&", end + 1)
        if end < 0:
            end = len(data)
        took(_STEPS_PER_FIELD)
        if most == 0:
            raise SqsError("MalformedQueryString", "The form is malformed: it has too many fields.")
        most -= 1
        if end - start > bounds.string_bytes:
            raise SqsError("MalformedQueryString", "The form is malformed: a field is too long.")
        name, _, value = data[start:end].partition(b"=")
        if name or value:
            yield name, value


def _unquote(data: bytes) -> str:
    """Decode a name or a value of a form, as `urllib.parse.unquote_plus` does in 50 times the time and memory.

    An escape of a form differs from one of quoted-printable only in its first character.
    """
    if b"%" not in data:
        took(len(data) // _BYTES_PER_STEP)
        return data.replace(b"+", b" ").decode()
    pieces = []
    at = 0
    while at < len(data):
        window = data[at : at + _WINDOW_BYTES]
        if at + len(window) < len(data) and b"%" in window[-2:]:  # the rest of the escape is in the next window
            window = window[: window.rindex(b"%")]
        at += len(window)
        window = _NO_ESCAPE.sub(b"%25", window.replace(b"=", b"%3D").replace(b"+", b" "))
        pieces.append(a2b_qp(window.replace(b"%", b"=")))
        took(len(window) // _BYTES_PER_STEP)
    return b"".join(pieces).decode()


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


def nested(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a form, whose names are paths with dots, as a tree.

    Raises:
        SqsError: a name is that of a field and of a path.
    """
    tree: dict[str, Any] = {}
    for name, value in fields.items():
        took(_STEPS_PER_FIELD)
        place = tree
        *parents, last = name.split(".", _MAX_DEPTH)
        for parent in parents:
            found = place.setdefault(parent, {})
            if not isinstance(found, dict):
                raise SqsError("MalformedQueryString", f"The parameter {name[:100]} contradicts another one.")
            place = found
        place[last] = value
    return tree


def _parameters(tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        took(_STEPS_PER_FIELD)
        if name in _LISTS:
            found[_LISTS[name]] = [_parameters(each) if isinstance(each, dict) else each for each in in_order(value)]
        elif name in _PLURALS and not value:  # an empty list: botocore writes its name in JSON, without a value
            found[name] = []
        elif name in _MAPS and isinstance(value, dict):
            plural, key_name, value_name = _MAPS[name]
            pairs = [each for each in in_order(value) if isinstance(each, dict) and isinstance(each.get(key_name), str)]
            found[plural] = {each[key_name]: each.get(value_name, "") for each in pairs}
        elif name in _INTEGERS:
            if not isinstance(value, str) or not _WHOLE.fullmatch(value):
                raise invalid(name, value, "Must be an integer.")
            found[name] = int(value)
        else:
            found[name] = value
    return found


def in_order(given: Any) -> list[Any]:
    """Return the values of ``{"1": ..., "2": ...}`` in the order of the numbers.

    SQS accepts a single value without a number too. An empty value is that of an empty list.
    """
    if isinstance(given, dict) and all(map(_NUMBER.fullmatch, given)):
        return [given[key] for key in sorted(sorted(given), key=len)]
    return [given] if given else []


# Responses


def write(action: str, result: Mapping[str, Any], request_id: str, *, is_json: bool) -> tuple[bytes, str]:
    """Return the body and the media type of a response."""
    if is_json:
        return _encode(result), JSON_TYPE
    body = "".join(_elements(action, result))
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    shown = f"<{action}Result>{body}</{action}Result>" if body or action in _WITH_RESULT else ""
    text = f'<?xml version="1.0"?><{action}Response xmlns="{_NAMESPACE}">{shown}{metadata}</{action}Response>'
    return text.encode(), XML_TYPE


def write_error(error: SqsError, request_id: str, *, is_json: bool) -> tuple[bytes, str]:
    """Return the body and the media type of an error response."""
    if is_json:
        return _encode({"__type": error.json_type, "message": without_surrogates(str(error))}), JSON_TYPE
    kind = "Sender" if error.is_senders_fault else "Receiver"
    text = (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{kind}</Type><Code>{error.code}</Code>'
        f"<Message>{xml_text(str(error))}</Message><Detail/></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
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
                named = f"<{key_name}>{xml_text(key)}</{key_name}>"
                yield f"<{entry}>{named}<{value_name}>{content}</{value_name}></{entry}>"
        else:
            yield f"<{name}>{_content(action, value)}</{name}>"


def _content(action: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(_elements(action, value))
    if isinstance(value, bool):
        return str(value).lower()
    return xml_text(str(value))


def xml_text(text: str) -> str:
    """Return a text as the content of an element. Others have their turn meanwhile, if it is long."""
    if len(text) < _BYTES_PER_STEP:
        return _escaped(text)
    windows = []
    for at in range(0, len(text), _WINDOW_BYTES):
        windows.append(_escaped(text[at : at + _WINDOW_BYTES]))
        took(len(windows[-1]) // _BYTES_PER_STEP)
    return "".join(windows)


def _escaped(text: str) -> str:
    if find_not_in_xml(text):
        text = _NOT_IN_XML.sub(_REPLACEMENT, text)
    return escape(text, {'"': "&quot;", "\r": "&#xD;"})
