"""Filter policies evaluated plainly: by the text of the policy, with regular expressions, fractions and no compilation.

It chooses one alternative of every ``$or`` and one object of every list in each possible way, and asks whether all
conditions hold for one of these choices.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

OPERATORS = {"anything-but", "cidr", "equals-ignore-case", "exists", "numeric", "prefix", "suffix", "wildcard"}


def matches(policy: Mapping[str, Any], scope: str, attributes: Mapping[str, tuple[str, Any]], body: str) -> bool:
    """Return whether a message matches a policy that is valid."""
    if not policy:
        return True
    message = of_attributes(attributes) if scope == "attributes" else of_body(body)
    if message is None:
        return False
    return any(holds(branch, message) for branch in branches(policy))


def of_attributes(attributes: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (kind, value) in attributes.items():
        if kind.startswith("Number"):
            found[name] = Decimal(value)
        elif kind == "String.Array":
            elements = loaded(value)
            if isinstance(elements, list) and not any(isinstance(each, (list, dict)) for each in elements):
                found[name] = elements
        elif kind.startswith("String"):
            found[name] = value
    return found


def of_body(body: str) -> dict[str, Any] | None:
    found = loaded(body)
    return found if isinstance(found, dict) else None


def loaded(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        return None


def branches(policy: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the policy without any ``$or``: once for each choice of alternatives."""
    choices: list[list[dict[str, Any]]] = []
    for key, value in policy.items():
        is_or = key == "$or" and len(value) > 1 and all(isinstance(each, dict) for each in value)
        if is_or and not any(name in OPERATORS for each in value for name in each):
            choices.append([branch for each in value for branch in branches(each)])
        elif isinstance(value, dict):
            choices.append([{key: branch} for branch in branches(value)])
        else:
            choices.append([{key: value}])
    for chosen in itertools.product(*choices):
        merged: dict[str, Any] = {}
        for index, each in enumerate(chosen):
            for key, value in each.items():
                merged[f"{key}\0{index}"] = value
        yield merged


def holds(branch: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Return whether all conditions hold for an object. Keys have a number after a zero byte, so that none is lost."""
    for key, wanted in branch.items():
        name = key.partition("\0")[0]
        leaves = flat(message[name]) if name in message else []
        if isinstance(wanted, dict):
            objects = [each for each in leaves if isinstance(each, dict)] or [{}]
            if not any(holds(wanted, each) for each in objects):
                return False
        else:
            scalars = [each for each in leaves if not isinstance(each, dict)]
            if not any(condition_holds(condition, scalars) for condition in wanted):
                return False
    return True


def flat(value: Any) -> list[Any]:
    return [leaf for each in value for leaf in flat(each)] if isinstance(value, list) else [value]


def condition_holds(condition: Any, values: list[Any]) -> bool:
    if isinstance(condition, dict) and "exists" in condition:
        return bool(values) is bool(condition["exists"])
    return any(holds_for(condition, value) for value in values)


def holds_for(condition: Any, value: Any) -> bool:
    if not isinstance(condition, dict):
        return same(condition, value)
    ((operator, wanted),) = condition.items()
    if operator == "anything-but":
        excluded = wanted if isinstance(wanted, list) else [wanted]
        return not any(holds_for(each, value) for each in excluded)
    if operator == "numeric":
        return isinstance(value, Decimal) and all(
            compared(wanted[at], number(value), number(Decimal(str(wanted[at + 1])))) for at in range(0, len(wanted), 2)
        )
    if not isinstance(value, str):
        return False
    match operator:
        case "prefix":
            return re.match(re.escape(wanted), value) is not None
        case "suffix":
            return re.search(re.escape(wanted) + r"\Z", value) is not None
        case "equals-ignore-case":
            return bool(value.lower() == wanted.lower())
        case "wildcard":
            pattern = re.sub(r"\\(.)|(\*)|(.)", one_part, wanted, flags=re.DOTALL)
            return re.fullmatch(pattern, value, re.DOTALL) is not None
    assert operator == "cidr"
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


def one_part(found: re.Match[str]) -> str:
    return ".*" if found[2] else re.escape(found[1] or found[3])


def same(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        return isinstance(value, Decimal) and number(Decimal(str(wanted))) == number(value)
    return type(wanted) is type(value) and bool(wanted == value)


def number(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.00001"), rounding=ROUND_HALF_EVEN)


def compared(operator: str, left: Decimal, right: Decimal) -> bool:
    return {"=": left == right, "<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[
        operator
    ]
