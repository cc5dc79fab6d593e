"""Filters of subscriptions: which messages of a topic a subscription receives. They are the filter policies of SNS.

A policy names keys and, for each, a list of conditions. A message matches if, for every key, one condition holds for
one of the key's values. A policy is checked and compiled once; the time of an evaluation is bounded by the size of the
policy and the message.

In an array of objects, all keys must match in the same object.

https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html
https://docs.aws.amazon.com/sns/latest/dg/and-or-logic.html
https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from wonderq.model.filters_conditions import (
    MAX_WILDCARD_POINTS,
    OPERATORS,
    Conditions,
    FilterPolicyError,
    key_as_text,
    shown,
    wildcard_points,
)
from wonderq.model.filters_subject import Scalar, Subject, rounded

__all__ = ["Filter", "FilterPolicyError", "Scope", "Subject", "compile_filter"]

Scope = Literal["attributes", "body"]
"""The part of a message that a filter reads: its attributes, or the JSON object in its body."""

MAX_KEYS = 5
"""Most keys of a policy. Nested keys do not count."""

MAX_COMBINATIONS = 150
"""Most combinations of values: the product of the numbers of values of all keys, each multiplied by the depth of its
key; for an ``$or``, the sum of its alternatives."""

MAX_PARTS = 2000
"""Most keys, values and operators of a policy together. SNS has no such limit; it bounds the time of an evaluation."""

MAX_POLICY_BYTES = 256 << 10
"""Largest policy, as JSON in UTF-8."""

#: Steps of a sentence about a policy, besides those of the evaluation.
_STEPS_PER_EXPLANATION = 20

_OR = "$or"
_MISSING = object()


class Filter:
    """A compiled policy."""

    def __init__(self, scope: Scope, keys: _Keys) -> None:
        self.scope = scope
        self._keys = keys
        self.size = keys.size
        """Number of values and operators, which bounds the time of an evaluation."""

    def accepts(self, subject: Subject) -> bool:
        """Return whether a message matches."""
        subject.spend(1)
        source = self._source(subject)
        return source is not None and self._keys.match(source, subject)

    def explain(self, subject: Subject) -> str:
        """Return why a message does not match, in a sentence; empty if it does. It takes as long as `accepts`."""
        subject.spend(_STEPS_PER_EXPLANATION)
        source = self._source(subject)
        if source is None:
            return "The filter reads the body, and the body of the message is not a JSON object."
        return self._keys.explain(source, subject, "attribute" if self.scope == "attributes" else "key", "")

    def _source(self, subject: Subject) -> dict[str, Any] | None:
        """Return the object that the filter reads, or None if the message has none."""
        if self.scope == "attributes":
            return subject.attributes
        return subject.body if self.size else {}


class _Keys:
    """The keys of an object of a policy. All of them must match, in one object of a message."""

    def __init__(self, given: Mapping[str, Any], scope: Scope, depth: int = 1) -> None:
        """Check and compile an object of a policy.

        Raises:
            FilterPolicyError: it is malformed.
        """
        self._conditions: list[Conditions] = []
        self._nested: list[tuple[str, _Keys]] = []
        self._alternatives: list[list[_Keys]] = []
        self.combinations = 1
        for key, value in given.items():
            if key == _OR and _is_or(value):
                branches = [_Keys(each, scope, depth) for each in value]
                self._alternatives.append(branches)
                self.combinations *= sum(each.combinations for each in branches)
            elif isinstance(value, dict):
                self._nested.append((key, _nested(key, value, scope, depth + 1)))
                self.combinations *= self._nested[-1][1].combinations
            else:
                self._conditions.append(Conditions(key, value))
                self.combinations *= len(value) * depth
            if self.combinations > MAX_COMBINATIONS:
                raise FilterPolicyError(
                    f'Filter policy is too complex. With "{key_as_text(key)}" it has {self.combinations} combinations '
                    f"of values, and {MAX_COMBINATIONS} are allowed: use fewer values, or several subscriptions."
                )
        self.size: int = sum(len(each.given) for each in self._conditions) + sum(each.size for each in self._children())
        self.wildcard_points: int = sum(wildcard_points(each.wildcards) for each in self._conditions) + sum(
            each.wildcard_points for each in self._children()
        )

    def _children(self) -> Iterator[_Keys]:
        for _, keys in self._nested:
            yield keys
        for branches in self._alternatives:
            yield from branches

    def match(self, source: dict[str, Any], subject: Subject) -> bool:
        """Return whether an object of a message matches all keys."""
        for conditions in self._conditions:
            if not conditions.match(_scalars(source.get(conditions.key, _MISSING), subject), subject.spend):
                return False
        for name, keys in self._nested:
            if not any(keys.match(each, subject) for each in _objects(source.get(name), subject)):
                return False
        return all(any(each.match(source, subject) for each in branches) for branches in self._alternatives)

    def explain(self, source: dict[str, Any], subject: Subject, place: str, path: str) -> str:
        """Return why an object does not match; empty if it does.

        ``path`` leads to the object, and ends in a dot unless empty.
        """
        for conditions in self._conditions:
            values = _scalars(source.get(conditions.key, _MISSING), subject)
            if not conditions.match(values, subject.spend):
                needs = f"and the filter needs {conditions.shown}"
                name = f'The {place} "{path}{key_as_text(conditions.key)}"'
                if not values:
                    return f"{name} is missing or has no value, {needs}."
                return f"{name} is {shown(values[0] if len(values) == 1 else values)}, {needs}."
        for name, keys in self._nested:
            objects = _objects(source.get(name), subject)
            if len(objects) == 1:
                if reason := keys.explain(objects[0], subject, place, f"{path}{key_as_text(name)}."):
                    return reason
            elif not any(keys.match(each, subject) for each in objects):
                return f'No object in the list "{path}{key_as_text(name)}" matches all keys of the filter.'
        if all(any(each.match(source, subject) for each in branches) for branches in self._alternatives):
            return ""
        where = f' of "{path[:-1]}"' if path else ""
        return f"No alternative of the filter's $or{where} matches."


def compile_filter(policy: object, scope: Scope) -> Filter:
    """Check and compile a policy, given as decoded JSON. An empty policy matches every message.

    Raises:
        FilterPolicyError: it is malformed, or exceeds a limit.
    """
    if not isinstance(policy, dict):
        raise FilterPolicyError('Filter policy must be a JSON object, such as {"color": ["red", "blue"]}.')
    if len(policy) > MAX_KEYS:
        raise FilterPolicyError(
            f"Filter policy can not have more than {MAX_KEYS} keys. This one has {len(policy)}: leave some out, or use "
            "several subscriptions."
        )
    _check_parts(policy)
    try:
        keys = _Keys(policy, scope)
        size = len(json.dumps(policy, ensure_ascii=False).encode())
    except RecursionError:
        raise FilterPolicyError("Filter policy is nested too deeply. Use fewer levels.") from None
    except UnicodeEncodeError:
        raise FilterPolicyError(
            "Filter policy must be text: it holds a lone surrogate, which is half of a character. Leave it out."
        ) from None
    if size > MAX_POLICY_BYTES:
        raise FilterPolicyError(
            f"Filter policy has {size} bytes, and at most {MAX_POLICY_BYTES} are allowed. Shorten it."
        )
    if keys.wildcard_points > MAX_WILDCARD_POINTS:
        raise FilterPolicyError(
            f"Filter policy is too complex. Its wildcards have {keys.wildcard_points} points, and at most "
            f"{MAX_WILDCARD_POINTS} are allowed: use fewer patterns with a wildcard, or prefix and suffix."
        )
    return Filter(scope, keys)


def _check_parts(policy: object) -> None:
    """Check the number of parts of a policy, before they are compiled.

    Raises:
        FilterPolicyError: there are too many.
    """
    waiting = [policy]
    parts = 0
    while waiting:
        each = waiting.pop()
        children = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        parts += len(children)
        if parts > MAX_PARTS:
            raise FilterPolicyError(
                f"Filter policy is too complex. It has more than {MAX_PARTS} keys, values and operators: use fewer, or "
                "several subscriptions."
            )
        waiting += children


def _nested(key: str, value: dict[str, Any], scope: Scope, depth: int) -> _Keys:
    """Compile the object that is the value of a key."""
    if scope == "attributes":
        raise FilterPolicyError(
            f"Filter policy scope MessageAttributes does not support nested filter policy. Write the conditions "
            f'of "{key_as_text(key)}" as a list, or filter on the body.'
        )
    if not value:
        raise FilterPolicyError(
            f'Empty objects are not allowed. Give "{key_as_text(key)}" a key, or leave it out of the policy.'
        )
    if depth > MAX_COMBINATIONS:
        raise FilterPolicyError(
            f'Filter policy is too complex. "{key_as_text(key)}" is nested too deeply: use fewer levels.'
        )
    return _Keys(value, scope, depth)


def _is_or(value: object) -> bool:
    """Return whether the value of the key ``$or`` makes it an operator; else it is a key like any other.

    https://docs.aws.amazon.com/sns/latest/dg/and-or-logic.html#or-operator
    """
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(each, dict) and each and not any(name in OPERATORS for name in each) for each in value)
    )


def _scalars(value: Any, subject: Subject) -> Sequence[Scalar]:
    """Return the scalars of a value: itself, or those in a list and in lists in it."""
    if type(value) is float:
        return [rounded(value)]
    if isinstance(value, list):
        leaves = _leaves(value, subject)
        return [rounded(each) if type(each) is float else each for each in leaves if not isinstance(each, dict)]
    return [] if value is _MISSING or isinstance(value, dict) else [value]


def _objects(value: Any, subject: Subject) -> Sequence[dict[str, Any]]:
    """Return the objects of a value: itself, or those in a list and in lists in it. If there is none, an empty one."""
    if isinstance(value, dict):
        return (value,)
    leaves = _leaves(value, subject) if isinstance(value, list) else ()
    return [each for each in leaves if isinstance(each, dict)] or ({},)


def _leaves(values: list[Any], subject: Subject) -> Iterator[Any]:
    """Yield everything in a list and in the lists in it that is no list, in order."""
    waiting = values[::-1]
    while waiting:
        subject.spend(1)
        each = waiting.pop()
        if isinstance(each, list):
            waiting += reversed(each)
        else:
            yield each
