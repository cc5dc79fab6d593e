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
from wonderq.sqs.wire import ALLOWED_CHARACTERS, find_not_in_xml

#: A name. SQS documents ASCII letters, and takes those of other alphabets too.
_NAME = re.compile(r"(?!\.)(?!.*\.\.)[\w.-]{1,256}(?<!\.)")
_RESERVED = ("aws.", "amazon.")
_TYPE = re.compile(r"(String|Number|Binary)(\..{1,240})?", re.DOTALL)

#: Names that select all attributes of a message.
_ALL = frozenset(("All", "*", ".*"))

#: Fields of the service model that SQS does not implement.
_LISTS = ("StringListValues", "BinaryListValues", "StringListValue", "BinaryListValue")

_NUMBER = re.compile(
    r"[+-]?(?=\.?[0-9])(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?:[eE](?P<exponent>[+-]?[0-9]{1,4}))?"
)
_MAX_DIGITS, _LEAST_POWER, _MOST_POWER = 38, -128, 126

#: Steps of `took` for an attribute that is read or shown.
_STEPS_PER_ATTRIBUTE = 3

#: Prefixes with which a name is compared in a step of `took`.
_PREFIXES_PER_STEP = 20

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
    if not name:
        raise _refused("The request must contain non-empty message attribute name.")
    if not _NAME.fullmatch(name) or name.lower().startswith(_RESERVED):
        raise _refused(
            f"The message attribute name '{name[:256]}' is invalid. Attribute name can contain letters, digits, "
            "underscore (_), hyphen (-), and period (.), cannot start or end with a period or have two in a row, and "
            "cannot start with AWS. or Amazon."
        )
    kind = value.get("DataType") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind:
        raise _refused(f"The message attribute '{name}' must contain non-empty message attribute type.")
    if any(value.get(field) for field in _LISTS):
        raise SqsError(
            "UnsupportedOperation", "Message attribute list values in SendMessage operation are not supported."
        )
    if not _TYPE.fullmatch(kind):
        raise _refused(
            f"The type of message (user) attribute '{name}' is invalid. You must use only the following supported type "
            "prefixes: Binary, Number, String."
        )
    field = "BinaryValue" if kind.startswith("Binary") else "StringValue"
    text = value.get(field)
    if not isinstance(text, str) or not text:
        raise _refused(f"Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'.")
    if field == "BinaryValue":
        try:
            return kind, b64decode(text, validate=True)
        except (Base64Error, ValueError) as error:
            raise invalid(f"MessageAttributes.{name}.BinaryValue", text, "It must be base64.") from error
    character = find_not_in_xml(text)
    if character:
        raise _refused(
            f"Invalid binary character '#x{ord(character):X}' was found in the message attribute '{name}', "
            f"{ALLOWED_CHARACTERS}"
        )
    if kind.startswith("Number"):
        _check_number(name, text)
    return kind, text


def _refused(text: str) -> SqsError:
    return SqsError("InvalidParameterValue", text)


def _check_number(name: str, text: str) -> None:
    """Check a number: 38 digits, and from 10**-128 to 10**126.

    SQS Developer Guide, "Message attribute data types".
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise _refused(
            f"Can't cast the value of message (user) attribute '{name}' to a number: {text[:60]!r} is not a number."
        )
    digits, exponent = found["whole"] + (found["fraction"] or ""), int(found["exponent"] or 0)
    significant = digits.strip("0")
    magnitude = exponent + len(found["whole"]) - (len(digits) - len(digits.lstrip("0"))) - 1
    if significant and (len(significant) > _MAX_DIGITS or not _LEAST_POWER <= magnitude <= _MOST_POWER):
        raise _refused(
            f"Can't cast the value of message (user) attribute '{name}' to a number: it may have {_MAX_DIGITS} digits, "
            f"and be from 1E{_LEAST_POWER} to 1E{_MOST_POWER}."
        )


def size_of_any(given: Mapping[str, Any]) -> int:
    """Return the size of the attributes of a request that may be invalid."""
    size = 0
    for name, value in given.items():
        took(_STEPS_PER_ATTRIBUTE)
        fields = value if isinstance(value, dict) else {}
        texts = (name, fields.get("DataType"), fields.get("StringValue"))
        size += sum(len(text.encode()) for text in texts if isinstance(text, str))
        binary = fields.get("BinaryValue")
        size += len(binary.rstrip("=")) * 3 // 4 if isinstance(binary, str) else 0
    return size


def to_response(attributes: Mapping[str, Attribute]) -> dict[str, dict[str, str]]:
    """Return attributes as they appear in a response."""
    return {
        name: {"BinaryValue": b64encode(value).decode(), "DataType": kind}
        if isinstance(value, bytes)
        else {"StringValue": value, "DataType": kind}
        for name, (kind, value) in attributes.items()
    }


class Selection:
    """The attributes that a consumer requested: by name, by ``prefix.*``, or all of them.

    The prefix ends before the dot, so that ``Hel.*`` selects ``Hello`` and ``Hel.lo``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._prefixes = tuple({name.removesuffix(".*") for name in names if name.endswith(".*")})
        self._has_all = not _ALL.isdisjoint(names)

    def of(self, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """Return those of a message."""
        took(len(attributes) * (_STEPS_PER_ATTRIBUTE + len(self._prefixes) // _PREFIXES_PER_STEP))
        if self._has_all:
            return dict(attributes)
        return {
            name: value for name, value in attributes.items() if name in self._names or name.startswith(self._prefixes)
        }
