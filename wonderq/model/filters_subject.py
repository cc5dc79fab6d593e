"""The message that filters are applied to: its attributes and its body as typed values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from wonderq.model.attributes import Attribute
from wonderq.model.filters_json import decode

Scalar = str | float | bool | None
"""A value that a filter compares. Every number is a float."""

#: Digits after the decimal point that count.
_DIGITS = 5

#: Steps between two calls of ``pause``.
_STEPS_PER_PAUSE = 200


def rounded(number: float) -> float:
    """Return a number with the accuracy that filters have: five digits after the decimal point.

    https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html
    """
    return round(number, _DIGITS)


class Subject:
    """A message as filters see it. Each part is decoded once, when a filter needs it first.

    ``pause`` is called with a number of steps of about a microsecond before others follow; it may let other
    requests run.
    """

    def __init__(
        self,
        attributes: Mapping[str, Attribute],
        body: str,
        pause: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._given = attributes
        self._body = body
        self._pause = pause
        self._steps = 0

    def spend(self, steps: int) -> None:
        """Note work that was done, and pause if it has been a lot since the last pause."""
        self._steps += steps
        if self._steps >= _STEPS_PER_PAUSE:
            steps, self._steps = self._steps, 0
            self._pause(steps)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The attributes as an object: a scalar for a String or Number, a list for a String.Array.

        As in SNS, filters ignore Binary attributes. They also ignore a String.Array that is no JSON array of scalars.
        """
        found: dict[str, Any] = {}
        for name, (kind, value) in self._given.items():
            if isinstance(value, bytes):
                continue
            if kind == "String.Array":
                elements = self._array(value)
                if elements is not None:
                    found[name] = elements
            else:
                found[name] = float(value) if kind.startswith("Number") else value
        return found

    def _array(self, value: str) -> list[Scalar] | None:
        try:
            elements = decode(value, self.spend)
        except ValueError:
            return None
        if not isinstance(elements, list):
            return None
        for each in elements:
            self.spend(1)
            if isinstance(each, (list, dict)):
                return None
        return elements

    @cached_property
    def body(self) -> dict[str, Any] | None:
        """The body as an object with scalars, lists and objects in it, or None if it is not a JSON object."""
        try:
            value = decode(self._body, self.spend)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None
