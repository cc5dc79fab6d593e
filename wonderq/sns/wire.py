"""The wire format of SNS: the query protocol, with forms and XML.

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html: lists are ``Name.member.N``, and maps ``Name.entry.N``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wonderq.httpd.structure import Bounds
from wonderq.sns.errors import SnsError, from_sqs
from wonderq.sqs.errors import SqsError
from wonderq.sqs.wire import XML_TYPE, in_order, nested, read_form, xml_text

VERSION = "2010-03-31"
"""Version of the API, which clients send as the parameter ``Version``."""

_NAMESPACE = f"http://sns.amazonaws.com/doc/{VERSION}/"

#: Names of the keys and values of a map: those of most maps, and those of message attributes.
_PAIRS = (("key", "value"), ("Name", "Value"))

#: Fields of responses that are maps.
_MAPS = frozenset(("Attributes",))


def read_query(data: bytes, bounds: Bounds) -> dict[str, Any]:
    """Decode a form to parameters: texts, lists, maps and structures. Leaves out its action and version.

    Raises:
        SnsError: it is malformed, or exceeds the bounds.
    """
    try:
        fields = read_form(data, bounds)
        for name in ("Action", "Version"):
            fields.pop(name, None)
        return {name: _value(each) for name, each in nested(fields).items()}
    except SqsError as error:
        raise from_sqs(error) from error


def _value(tree: Any) -> Any:
    """Return a part of a form as a text, a list, a map or a structure."""
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {"member"}:
        return [_value(each) for each in in_order(tree["member"])]
    if tree.keys() == {"entry"}:
        return dict(map(_pair, in_order(tree["entry"])))
    return {name: _value(each) for name, each in tree.items()}


def _pair(entry: Any) -> tuple[str, Any]:
    for key_name, value_name in _PAIRS:
        if isinstance(entry, dict) and isinstance(entry.get(key_name), str):
            return entry[key_name], _value(entry.get(value_name, ""))
    raise SnsError("MalformedQueryString", "An entry of a map has no key. Send entry.N.key and entry.N.value.")


def write(action: str, result: Mapping[str, Any] | None, request_id: str) -> tuple[bytes, str]:
    """Return the body and the media type of a response. ``result`` is None for an action that has none."""
    shown = "" if result is None else f"<{action}Result>{''.join(_elements(result))}</{action}Result>"
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    text = f'<?xml version="1.0"?><{action}Response xmlns="{_NAMESPACE}">{shown}{metadata}</{action}Response>'
    return text.encode(), XML_TYPE


def write_error(error: SnsError, request_id: str) -> tuple[bytes, str]:
    """Return the body and the media type of an error response."""
    kind = "Sender" if error.is_senders_fault else "Receiver"
    text = (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{kind}</Type><Code>{error.code}</Code>'
        f"<Message>{xml_text(str(error))}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return text.encode(), XML_TYPE


def _elements(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, list):
            content = "".join(f"<member>{_content(each)}</member>" for each in value)
        elif name in _MAPS:
            content = "".join(
                f"<entry><key>{xml_text(key)}</key><value>{_content(each)}</value></entry>"
                for key, each in value.items()
            )
        else:
            content = _content(value)
        yield f"<{name}>{content}</{name}>"


def _content(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(_elements(value))
    return str(value).lower() if isinstance(value, bool) else xml_text(str(value))
