"""Conditions of a filter policy: the list of values and operators that one key of a message is compared with.

https://docs.aws.amazon.com/sns/latest/dg/string-value-matching.html
https://docs.aws.amazon.com/sns/latest/dg/numeric-value-matching.html
https://docs.aws.amazon.com/sns/latest/dg/attribute-key-matching.html
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from wonderq.model.filters_subject import Scalar, rounded
from wonderq.model.unicode import without_surrogates

OPERATORS = ("anything-but", "cidr", "equals-ignore-case", "exists", "numeric", "prefix", "suffix", "wildcard")
"""Names that have a meaning in a condition."""

MAX_NUMBER = 1_000_000_000
"""Largest absolute value of a number in a policy."""

MAX_WILDCARD_POINTS = 100
"""Most points of all wildcards of a policy: see `wildcard_points`."""

_MAX_WILDCARDS = 3

#: Most characters of an IP address as text.
_ADDRESS_CHARACTERS = 45

#: Most by which a change of case makes a text longer.
_CASE_GROWTH = 3

_CHARACTERS_PER_STEP = 1000

#: Values of a list, and characters of a text, that a sentence repeats.
_SHOWN_VALUES = 20
_SHOWN_CHARACTERS = 100

#: Parts of a wildcard pattern: an escaped character, a star, any other.
_PATTERN = re.compile(r"\\(?P<escaped>[*\\])|(?P<star>\*)|(?P<plain>[^*\\])", re.DOTALL)

TextTest = Callable[[str], bool]


class FilterPolicyError(ValueError):
    """A filter policy is malformed or exceeds a limit. The text names the key, and how to fix it."""


class Range(NamedTuple):
    """A range of numbers."""

    low: float = float("-inf")
    high: float = float("inf")
    excludes_low: bool = False
    excludes_high: bool = False

    def has(self, number: float) -> bool:
        """Return whether a number is in the range."""
        above = number > self.low if self.excludes_low else number >= self.low
        return above and (number < self.high if self.excludes_high else number <= self.high)


class Exclusion(NamedTuple):
    """An ``anything-but``: the values that it does not match."""

    values: frozenset[str | float]
    test: TextTest | None = None

    def has(self, value: Scalar) -> bool:
        """Return whether a value is excluded. Values of another type never are."""
        if isinstance(value, str):
            return value in self.values if self.test is None else self.test(value)
        return type(value) is float and value in self.values


class Conditions:
    """The conditions of one key, of which one must hold for one of the key's values."""

    def __init__(self, key: str, given: object) -> None:
        """Check and compile the list of conditions of a key.

        Raises:
            FilterPolicyError: a condition is malformed.
        """
        self.key = key
        self._name = key_as_text(key)
        if not isinstance(given, list):
            raise FilterPolicyError(f'"{self._name}" must be an object or an array. Write its values as a list: [...].')
        if not given:
            raise FilterPolicyError(
                f'Empty arrays are not allowed. Give "{self._name}" a value, or leave it out of the policy.'
            )
        self.given = given
        self.wildcards: list[int] = []
        """Number of wildcards of each pattern that has one."""
        self._exact: set[str | float] = set()
        self._literals: list[bool | None] = []
        self._tests: list[TextTest] = []
        self._ranges: list[Range] = []
        self._exclusions: list[Exclusion] = []
        self._present = self._absent = False
        for each in given:
            self._add(each)

    def match(self, values: Sequence[Scalar], spend: Callable[[int], None]) -> bool:
        """Return whether a condition holds. ``values`` is empty if the message does not have the key."""
        if not values:
            return self._absent
        if self._present:
            return True
        for value in values:
            spend(1)
            if self._holds_for(value, spend):
                return True
        return False

    def _holds_for(self, value: Scalar, spend: Callable[[int], None]) -> bool:
        if isinstance(value, str):
            if value in self._exact:
                return True
            for test in self._tests:
                spend(1 + len(value) // _CHARACTERS_PER_STEP)
                if test(value):
                    return True
        elif type(value) is float:
            if value in self._exact or any(each.has(value) for each in self._ranges):
                return True
        elif any(value is each for each in self._literals):
            return True
        for exclusion in self._exclusions:
            spend(1 + (len(value) // _CHARACTERS_PER_STEP if isinstance(value, str) else 0))
            if not exclusion.has(value):
                return True
        return False

    @property
    def shown(self) -> str:
        """The conditions as part of a sentence."""
        return shown(self.given[0]) if len(self.given) == 1 else f"one of {shown(self.given)}"

    def _add(self, given: object) -> None:
        if isinstance(given, str):
            self._exact.add(given)
        elif given is None or isinstance(given, bool):
            self._literals.append(given)
        elif isinstance(given, (int, float)):
            self._exact.add(self._number(given))
        elif not isinstance(given, dict):
            raise FilterPolicyError(
                f'Match value must be String, number, true, false, or null. "{self._name}" has {shown(given)}.'
            )
        elif len(given) != 1:
            raise FilterPolicyError(
                f'Only one key allowed in match expression. Give each operator of "{self._name}" an object of its own.'
            )
        else:
            self._add_operator(*next(iter(given.items())))

    def _add_operator(self, operator: str, value: Any) -> None:
        if operator == "anything-but":
            self._exclusions.append(self._exclusion(value))
        elif operator == "exists":
            if not isinstance(value, bool):
                raise FilterPolicyError(
                    f'exists match pattern must be either true or false. "{self._name}" has {shown(value)}.'
                )
            self._present |= value
            self._absent |= not value
        elif operator == "numeric":
            self._ranges.append(self._range(value))
        else:
            self._tests.append(self._text_test(operator, value))

    def _text_test(self, operator: str, value: object) -> TextTest:
        """Return the test of an operator on texts.

        Raises:
            FilterPolicyError: there is no such operator, or its value is malformed.
        """
        if operator not in OPERATORS:
            known = ", ".join(OPERATORS)
            raise FilterPolicyError(
                f'Unrecognized match type {operator[:100]}. "{self._name}" may have one of {known}; keys of a nested '
                "object are not written in a list."
            )
        if not isinstance(value, str):
            raise FilterPolicyError(
                f'{operator} match pattern must be a string. "{self._name}" has {shown(value)}: put it in quotes.'
            )
        match operator:
            case "prefix":
                return lambda text: text.startswith(value)
            case "suffix":
                return lambda text: text.endswith(value)
            case "equals-ignore-case":
                return _same_but_case(value)
            case "cidr":
                return self._network(value)
        return self._wildcard(value)

    def _network(self, value: str) -> TextTest:
        try:
            if "/" not in value or "%" in value:
                raise ValueError(value)
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise FilterPolicyError(
                f'Malformed CIDR. "{self._name}" has {shown(value)}: write it as 10.0.0.0/24 or 2001:db8::/32.'
            ) from None

        def test(text: str) -> bool:
            if len(text) > _ADDRESS_CHARACTERS or "%" in text:
                return False
            try:
                return ipaddress.ip_address(text) in network
            except ValueError:
                return False

        return test

    def _wildcard(self, pattern: str) -> TextTest:
        """Return the test of a wildcard pattern, which takes linear time: it searches for one piece after another."""
        pieces = [""]
        at = 0
        after_star = False
        while at < len(pattern):
            found = _PATTERN.match(pattern, at)
            if found is None:
                raise FilterPolicyError(
                    f'Invalid escape character. In {shown(pattern)} of "{self._name}", write \\\\ for a backslash and '
                    "\\* for a star."
                )
            if found["star"] is None:
                pieces[-1] += found["escaped"] or found["plain"]
            elif after_star:
                raise FilterPolicyError(
                    f'Consecutive wildcard characters. Write one star in {shown(pattern)} of "{self._name}".'
                )
            else:
                pieces.append("")
            after_star = found["star"] is not None
            at = found.end()
        if len(pieces) > _MAX_WILDCARDS + 1:
            raise FilterPolicyError(
                f'A pattern may have {_MAX_WILDCARDS} wildcards. {shown(pattern)} of "{self._name}" has '
                f"{len(pieces) - 1}: split it into several conditions."
            )
        if len(pieces) == 1:
            return lambda text: text == pieces[0]
        self.wildcards.append(len(pieces) - 1)
        first, *inner, last = pieces
        shortest = sum(map(len, pieces))

        def test(text: str) -> bool:
            if len(text) < shortest or not text.startswith(first) or not text.endswith(last):
                return False
            start, end = len(first), len(text) - len(last)
            for piece in inner:
                start = text.find(piece, start, end)
                if start < 0:
                    return False
                start += len(piece)
            return True

        return test

    def _exclusion(self, value: object) -> Exclusion:
        if isinstance(value, dict):
            operator = next(iter(value), "")
            if len(value) != 1 or operator not in ("prefix", "suffix", "wildcard"):
                raise FilterPolicyError(
                    f'Unsupported anything-but pattern: {operator[:100]}. In "{self._name}", use prefix, suffix or '
                    "wildcard, or a list of values."
                )
            return Exclusion(frozenset(), self._text_test(operator, value[operator]))
        values: list[Any] = value if isinstance(value, list) else [value]
        are_texts = all(isinstance(each, str) for each in values)
        if not values or not (are_texts or all(map(_is_number, values))):
            raise FilterPolicyError(
                f'Value of anything-but must be strings or numbers. "{self._name}" has {shown(value)}: write one or '
                "more values of one type."
            )
        return Exclusion(frozenset(values if are_texts else map(self._number, values)))

    def _range(self, given: object) -> Range:
        """Return the range of a ``numeric``: one comparison, or a lower and an upper bound in this order."""
        text = f'"{self._name}" has numeric {shown(given)}'
        form = 'Write an operator and a number, as in ["=", 5], or a range, as in [">", 0, "<=", 100].'
        if not isinstance(given, list) or len(given) not in (2, 4):
            raise FilterPolicyError(f"Invalid member in numeric match. {text}. {form}")
        pairs = [(given[at], given[at + 1]) for at in range(0, len(given), 2)]
        for operator, number in pairs:
            if operator not in ("=", "<", "<=", ">", ">="):
                raise FilterPolicyError(f"Unrecognized numeric range operator: {shown(operator)}. {text}. {form}")
            if not _is_number(number):
                raise FilterPolicyError(f"Value of {operator} must be numeric. {text}. {form}")
        found = Range()
        for operator, number in pairs:
            bound = self._number(number)
            if operator in ("=", ">", ">="):
                found = found._replace(low=bound, excludes_low=operator == ">")
            if operator in ("=", "<", "<="):
                found = found._replace(high=bound, excludes_high=operator == "<")
        if len(pairs) > 1:
            if pairs[0][0] not in (">", ">=") or pairs[1][0] not in ("<", "<="):
                raise FilterPolicyError(f"Bad numeric range operator. {text}. {form}")
            if found.low >= found.high:
                raise FilterPolicyError(f"Bottom must be less than top. {text}. {form}")
        return found

    def _number(self, number: float) -> float:
        if not -MAX_NUMBER <= number <= MAX_NUMBER:
            raise FilterPolicyError(
                f'Value is out of range. "{self._name}" has {shown(number)}: numbers of a policy are from '
                f"-{MAX_NUMBER} to {MAX_NUMBER}."
            )
        return rounded(float(number))


def wildcard_points(wildcards: Iterable[int]) -> int:
    """Return the complexity of the wildcard patterns of one key, which have these numbers of wildcards.

    SNS adds up 1 point for a pattern with one wildcard, and 3 for each wildcard of another, and multiplies the sum by
    the number of patterns.
    """
    points = [1 if count == 1 else 3 * count for count in wildcards]
    return sum(points) * len(points)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same_but_case(value: str) -> TextTest:
    lower = value.lower()
    longest = _CASE_GROWTH * len(value)
    return lambda text: len(text) <= longest and text.lower() == lower


def key_as_text(key: str) -> str:
    """Return the beginning of a key."""
    return without_surrogates(key if len(key) <= _SHOWN_CHARACTERS else f"{key[:_SHOWN_CHARACTERS]}...")


def shown(value: object) -> str:
    """Return the beginning of a value as JSON, with a whole number as an integer. The rest of it takes no time."""
    if isinstance(value, list):
        text = f"[{', '.join(map(shown, value[:_SHOWN_VALUES]))}]"
    elif isinstance(value, dict):
        pairs = islice(value.items(), _SHOWN_VALUES)
        text = f"{{{', '.join(f'{shown(name)}: {shown(each)}' for name, each in pairs)}}}"
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif isinstance(value, str):
        text = json.dumps(without_surrogates(value[: _SHOWN_CHARACTERS + 1]), ensure_ascii=False)
    else:
        text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
