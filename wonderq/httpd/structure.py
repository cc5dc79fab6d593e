"""Bounds on the structure of a body, checked before it is decoded.

A body of 33 MiB can have 11 million empty strings. Decoding them makes 11 million objects in one step that nothing can
interrupt. These checks make no object per value, and stop at the first value that is too many.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from wonderq.httpd.errors import JSON, MSGPACK, RequestError
from wonderq.runtime.fibers import took

#: A body up to this size is decoded without these checks: whatever it holds, that takes a few milliseconds.
UNCHECKED_BYTES = 64 << 10

#: Bytes of JSON that are checked in one step.
_WINDOW_BYTES = 64 << 10

#: Bytes of JSON that are checked in a step of `took`, at worst.
_BYTES_PER_STEP = 100

#: Most bytes of JSON for each possible value, besides strings: indentation, numbers and punctuation.
_BYTES_PER_VALUE = 40

#: Values of msgpack that are checked in one step, and the steps of `took` that this takes.
_VALUES_PER_STEP, _STEPS_OF_VALUES = 500, 200

#: Python converts a long integer in quadratic time.
_LONG_NUMBER = re.compile(rb"[0-9]{400}")


class Bounds(NamedTuple):
    """The most that a body may hold."""

    values: int
    """Number of values, with containers, and with what is in them."""
    string_bytes: int
    """Size of a single string as it is encoded."""


def check_structure(data: bytes | memoryview, media_type: str, bounds: Bounds) -> None:
    """Check a body in JSON or msgpack. Accepts malformed bodies: their decoder refuses them.

    Raises:
        RequestError: the body exceeds the bounds.
    """
    _CHECKS[media_type](data, bounds)


def _too_many_values(most: int) -> RequestError:
    message = f"The body has more than {most} values, more than this call can need. Split the batch."
    return RequestError(413, "body_too_large", message)


def _check_string(size: int, bounds: Bounds) -> None:
    if size > bounds.string_bytes:
        message = f"The body has a string of more than {bounds.string_bytes} bytes. Shorten the message."
        raise RequestError(413, "body_too_large", message)


def _check_json(data: bytes | memoryview, bounds: Bounds) -> None:
    values = outside_bytes = at = is_in_string = 0
    string_bytes = 0  # of the string that began in an earlier window
    while at < len(data):
        window = bytes(data[at : at + _WINDOW_BYTES])
        at += len(window)
        if b"\\" in window:
            if (len(window) - len(window.rstrip(b"\\"))) % 2:  # the escaped character would be in the next window
                window += bytes(data[at : at + 1])
                at += 1
            window = window.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        pieces = window.split(b'"')  # alternately outside and inside of strings
        if is_in_string:
            string_bytes += len(pieces[0])
            _check_string(string_bytes, bounds)
        outside = b"".join(pieces[is_in_string::2])
        if len(pieces) % 2 == 0:
            is_in_string = 1 - is_in_string
        if len(pieces) > 1:
            string_bytes = len(pieces[-1])
        # The first value of a container follows a bracket, and any other value follows a comma.
        outside_bytes += len(outside)
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if values > bounds.values:
            raise _too_many_values(bounds.values)
        if outside_bytes > _BYTES_PER_VALUE * bounds.values + UNCHECKED_BYTES:
            raise RequestError(413, "body_too_large", "The body has too much space between its values. Send less.")
        if _LONG_NUMBER.search(outside):
            raise RequestError(400, "malformed_body", "The body has a number of more than 400 digits. Send it as text.")
        took(len(window) // _BYTES_PER_STEP)


#: Bytes that follow the first byte of a msgpack value of fixed length, by that byte.
_FIXED = {
    **dict.fromkeys((*range(128), 192, 193, 194, 195, *range(224, 256)), 0),
    **{code: code & 0x1F for code in range(0xA0, 0xC0)},
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
    0xCA: 4,
    0xCB: 8,
    0xD4: 2,
    0xD5: 3,
    0xD6: 5,
    0xD7: 9,
    0xD8: 17,
}

#: For strings, binaries and extensions: bytes of the length, and bytes besides it.
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)} | {
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip

#: For arrays and maps: bytes of the length, and values per element.
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _check_msgpack(data: bytes | memoryview, bounds: Bounds) -> None:
    at, expected, seen = 0, 1, 0
    while seen < expected and at < len(data):
        code = data[at]
        at += 1
        fixed = _FIXED.get(code)
        if fixed is not None:
            at += fixed
        elif code in _SIZED:
            width, more = _SIZED[code]
            size = int.from_bytes(data[at : at + width], "big")
            _check_string(size, bounds)
            at += width + size + more
        elif code in _CONTAINERS:
            width, each = _CONTAINERS[code]
            expected += int.from_bytes(data[at : at + width], "big") * each
            at += width
        else:
            expected += code & 0x0F if code >= 0x90 else 2 * (code & 0x0F)
        if expected > 2 * bounds.values:  # in JSON, the names of a map are not values
            raise _too_many_values(bounds.values)
        seen += 1
        if not seen % _VALUES_PER_STEP:
            took(_STEPS_OF_VALUES)


_CHECKS: dict[str, Callable[[bytes | memoryview, Bounds], None]] = {JSON: _check_json, MSGPACK: _check_msgpack}
