"""Message attributes: typed name-value pairs that a client attaches to a message, as in SQS."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping

from wonderq.model.errors import InvalidValueError

Attribute = tuple[str, str | bytes]
"""Type and value. The type is ``String``, ``Number`` or ``Binary``, optionally followed by ``.`` and a label. The value
of a Binary attribute is bytes, and text otherwise."""

_MAX_ATTRIBUTES = 64
_NAME = re.compile(r"[\w.-]{1,256}")
_TYPE = re.compile(r"(String|Number|Binary)(\.[^\0-\x1f]{1,240})?")
_NUMBER = re.compile(r"[+-]?([0-9]{1,128}(\.[0-9]{0,128})?|\.[0-9]{1,128})([eE][+-]?[0-9]{1,3})?")


def check_attributes(attributes: Mapping[str, Attribute]) -> None:
    """Check the attributes of one message.

    Raises:
        InvalidValueError: there are too many, or a name, type or value is malformed.
    """
    if len(attributes) > _MAX_ATTRIBUTES:
        raise InvalidValueError(
            "attributes",
            f"A message can have at most {_MAX_ATTRIBUTES} attributes, and this one has {len(attributes)}. "
            "Send fewer, or put them into the body.",
        )
    for name, (kind, value) in attributes.items():
        field = f"attributes.{name[:100]}"
        if not _NAME.fullmatch(name):
            raise InvalidValueError(
                "attributes", "An attribute name is invalid. Use 1 to 256 letters, digits, _ . and -."
            )
        if not _TYPE.fullmatch(kind):
            raise InvalidValueError(
                field,
                f"The type of {field} is invalid. Use String, Number or Binary, optionally with a dot and a label.",
            )
        if isinstance(value, bytes) != kind.startswith("Binary"):
            raise InvalidValueError(
                field, f"The value of {field} does not match its type. Use bytes for Binary, and text for other types."
            )
        if kind.startswith("Number") and not _NUMBER.fullmatch(str(value)):
            raise InvalidValueError(
                field, f"The value of {field} is not a number. Send a decimal number, or use String."
            )


def has_attribute(attributes: Mapping[str, Attribute], wanted: str) -> bool:
    """Return whether a message has an attribute.

    ``wanted`` is a name, or ``name=value`` with the value as text, or in base64 if it is binary.
    """
    name, separator, value = wanted.partition("=")
    found = attributes.get(name)
    if found is None or not separator:
        return found is not None
    return value == (b64encode(found[1]).decode() if isinstance(found[1], bytes) else found[1])
