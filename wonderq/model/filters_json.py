"""JSON of messages, decoded in short steps, so that a large body does not hold up other requests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

#: Texts up to this length are decoded in one step, which takes less than a millisecond.
_SHORT_CHARACTERS = 64 << 10

#: Deepest nesting of a longer text. Python's own decoder allows about as much.
_MAX_DEPTH = 500

_STEPS_PER_VALUE = 2
_CHARACTERS_PER_STEP = 1000

_SPACE = re.compile(r"[ \t\n\r]*")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_int=float, parse_constant=_refuse)


def decode(text: str, spend: Callable[[int], None]) -> Any:
    """Return the value of a JSON text, with every number as a float.

    ``spend`` is called with a number of steps of about a microsecond, before others follow.

    Raises:
        ValueError: the text is not JSON, or is nested more deeply than any policy can reach.
    """
    try:
        if len(text) <= _SHORT_CHARACTERS:
            spend(1 + len(text) // 100)
            return _decoder.decode(text)
        value, at = _value(text, _skip(text, 0), spend, 0)
    except RecursionError as error:
        raise ValueError("the text is nested too deeply") from error
    if _skip(text, at) < len(text):
        raise ValueError("the text goes on after its value")
    return value


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it also matches no space
    return found.end()


def _value(text: str, at: int, spend: Callable[[int], None], depth: int) -> tuple[Any, int]:
    """Return the value at a place, and the place after it."""
    if depth > _MAX_DEPTH:
        raise ValueError("the text is nested too deeply")
    first = text[at : at + 1]
    if first == "[":
        return _array(text, at + 1, spend, depth + 1)
    if first == "{":
        return _object(text, at + 1, spend, depth + 1)
    value, end = _decoder.raw_decode(text, at)
    spend(_STEPS_PER_VALUE + (end - at) // _CHARACTERS_PER_STEP)
    return value, end


def _array(text: str, at: int, spend: Callable[[int], None], depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    at = _skip(text, at)
    if text.startswith("]", at):
        return found, at + 1
    while True:
        value, at = _value(text, _skip(text, at), spend, depth)
        found.append(value)
        at = _skip(text, at)
        if text.startswith("]", at):
            return found, at + 1
        at = _expect(",", text, at)


def _object(text: str, at: int, spend: Callable[[int], None], depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = _skip(text, at)
    if text.startswith("}", at):
        return found, at + 1
    while True:
        at = _skip(text, at)
        if not text.startswith('"', at):
            raise ValueError("a name is missing")
        name, at = _decoder.raw_decode(text, at)
        at = _expect(":", text, _skip(text, at))
        found[name], at = _value(text, _skip(text, at), spend, depth)
        at = _skip(text, at)
        if text.startswith("}", at):
            return found, at + 1
        at = _expect(",", text, at)


def _expect(sign: str, text: str, at: int) -> int:
    if not text.startswith(sign, at):
        raise ValueError(f"a {sign} is missing")
    return at + 1
