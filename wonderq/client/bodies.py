"""Bodies of messages: text, bytes, or anything that JSON can express.

The broker stores text. The attribute ``content_type`` says how to read it back, and only `dumps` and `loads` know that:

======================== ==================== ===================
value                    text                 ``content_type``
======================== ==================== ===================
``str``                  the text itself      none
``bytes``                base64               application/octet-stream
anything else            JSON                 application/json
======================== ==================== ===================
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

CONTENT_TYPE = "content_type"
JSON = "application/json"
BYTES = "application/octet-stream"

Body = Any
"""``str``, ``bytes``, or what msgspec can write as JSON: dicts, lists, numbers, dataclasses, Structs, datetimes etc."""


def dumps(body: Body) -> tuple[str, str | None]:
    """Return the text of a body and its content type, which is None for a ``str``.

    Raises:
        TypeError: JSON cannot express the body.
    """
    if isinstance(body, str):
        return body, None
    if isinstance(body, bytes | bytearray | memoryview):
        return base64.b64encode(body).decode(), BYTES
    return msgspec.json.encode(body).decode(), JSON


def loads(text: str, content_type: str | None) -> Any:
    """Return the body of a text: what `dumps` was given, as plain dicts, lists, strings and numbers.

    Raises:
        ValueError: the text is not what its content type says.
    """
    if content_type == JSON:
        return msgspec.json.decode(text)
    if content_type == BYTES:
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the message is not base64: {error}") from error
    return text
