"""Message attributes, and the checksums with which clients verify that a message arrived unchanged."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any

from wonderq.model.attributes import Attribute
from wonderq.runtime.fibers import took
from wonderq.sqs.errors import SqsError, invalid
from wonderq.sqs.wire import NOT_IN_XML

_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_RESERVED = ("aws.", "amazon.")
_TYPE = re.compile(r"(String|Number|Binary)(\..{1,240})?", re.DOTALL)

_TRANSPORT_STRING, _TRANSPORT_BINARY = b"\1", b"\2"


def md5(text: str) -> str:
    """Return the checksum of a message's text."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, Attribute]) -> str:
    """Return the checksum of attributes.

    SQS Developer Guide, "Calculating the MD5 message digest for message attributes".
    """
    pieces: list[bytes] = []
    for name, (kind, value) in sorted(attributes.items()):
        transport = _TRANSPORT_BINARY if isinstance(value, bytes) else _TRANSPORT_STRING
        data = value if isinstance(value, bytes) else value.encode()
        for each in (name.encode(), kind.encode()):
            pieces += (len(each).to_bytes(4, "big"), each)
        pieces += (transport, len(data).to_bytes(4, "big"), data)
    return hashlib.md5(b"".join(pieces), usedforsecurity=False).hexdigest()


def parse(given: Mapping[str, Any], most: int) -> dict[str, Attribute]:
    """Parse the attributes of a request.

    Raises:
        SqsError: there are more than ``most``, or one is invalid.
    """
    if len(given) > most:
        raise SqsError(
            "InvalidParameterValue",
            f"Number of message attributes [{len(given)}] exceeds the allowed maximum [{most}].",
        )
    if given:
        took(12 * len(given))
    return {name: _parse(name, value) for name, value in given.items()}


def _parse(name: str, value: Any) -> Attribute:
    if not _NAME.fullmatch(name) or name.lower().startswith(_RESERVED):
        raise SqsError("InvalidParameterValue", f"Message attribute name {name[:256]!r} is invalid.")
    if not isinstance(value, dict) or not isinstance(value.get("DataType"), str) or not value["DataType"]:
        raise SqsError(
            "InvalidParameterValue", f"The message attribute '{name}' must contain a non-empty message attribute type."
        )
    kind = value["DataType"]
    if not _TYPE.fullmatch(kind):
        raise SqsError(
            "InvalidParameterValue", f"The message attribute '{name}' has an invalid message attribute type."
        )
    field = "BinaryValue" if kind.startswith("Binary") else "StringValue"
    text = value.get(field)
    if not isinstance(text, str) or not text:
        raise SqsError(
            "InvalidParameterValue", f"The message attribute '{name}' must contain a non-empty message attribute value."
        )
    if field == "BinaryValue":
        try:
            return kind, b64decode(text, validate=True)
        except (Base64Error, ValueError) as error:
            raise invalid(f"MessageAttributes.{name}.BinaryValue", text, "It must be base64.") from error
    if NOT_IN_XML.search(text):
        raise SqsError(
            "InvalidMessageContents", f"The message attribute '{name}' has characters outside the allowed set."
        )
    return kind, text


def to_response(attributes: Mapping[str, Attribute]) -> dict[str, dict[str, str]]:
    """Return attributes as they appear in a response."""
    return {
        name: {"BinaryValue": b64encode(value).decode(), "DataType": kind}
        if isinstance(value, bytes)
        else {"StringValue": value, "DataType": kind}
        for name, (kind, value) in attributes.items()
    }


def select(attributes: Mapping[str, Attribute], names: Sequence[str]) -> dict[str, Attribute]:
    """Return the attributes that a consumer requested: by name, by ``prefix.*``, or ``All``."""
    if "All" in names or ".*" in names:
        return dict(attributes)
    prefixes = tuple(name[:-1] for name in names if name.endswith(".*"))
    return {
        name: value for name, value in attributes.items() if name in names or (prefixes and name.startswith(prefixes))
    }
