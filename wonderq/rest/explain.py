"""Explanations of invalid fields, in sentences for people: what the field must be, an example, and its meaning."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

_STEP = re.compile(r"\.?([^.\[\]]+)|\[[^\]]*\]")

#: Words for the types of JSON that msgspec names in "got `array`".
_RECEIVED = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a number",
    "null": "null",
    "object": "an object",
    "str": "a text",
}


def explain(schema: type[msgspec.Struct], path: str, *, is_key: bool = False, received: str = "") -> str:
    """Return sentences about an invalid field of a request.

    ``path`` is that of the field, such as ``messages[3].delay``; empty for the request itself. With ``is_key``, a name
    in the object at ``path`` is invalid. ``received`` is msgspec's name of the type that the client sent, if that is
    the fault.
    """
    found = _resolve(_type_of(schema), path)
    if found is None:
        return f"{path} is not valid. The page /docs of the broker describes the fields of this call."
    kind, details = _without_details(found)
    if is_key and isinstance(kind, inspect.DictType):
        name = f"A name in {path}"
        kind, details = _without_details(kind.key_type)
    else:
        name = path or "The body"
    contrast = f", not {_RECEIVED[received]}" if received in _RECEIVED else ""
    sentences = f"{name} must be {_expected(kind)}{contrast}: for example {_as_json(_example(kind, details))}."
    meaning = details.get("description", "").partition(". ")[0].removesuffix(".")
    return f"{sentences} Meaning: {meaning}." if meaning else sentences


@cache
def _type_of(schema: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(schema)


def _resolve(kind: inspect.Type, path: str) -> inspect.Type | None:
    """Return the type of the field at a path, with its details, or None if there is none."""
    at: inspect.Type | None = kind
    for step in _STEP.finditer(path):
        at = None if at is None else _step(at, step[1])
    return at


def _step(kind: inspect.Type, name: str | None) -> inspect.Type | None:
    """Return the type of a field, or without a name that of the entries of a list or an object."""
    kind, _ = _without_details(kind)
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, (_step(each, name) for each in kind.types)), None)
    if isinstance(kind, inspect.StructType) and name is not None:
        return next((field.type for field in kind.fields if field.encode_name == name), None)
    if isinstance(kind, inspect.ListType) and name is None:
        return kind.item_type
    return kind.value_type if isinstance(kind, inspect.DictType) and name is None else None


def _without_details(kind: inspect.Type) -> tuple[inspect.Type, dict[str, Any]]:
    """Return a type, and its description and examples."""
    details: dict[str, Any] = {}
    while isinstance(kind, inspect.Metadata):
        details = {**details, **(kind.extra_json_schema or {})}
        kind = kind.type
    return kind, details


def _expected(kind: inspect.Type) -> str:
    """Return what a value must be, as a noun phrase."""
    match kind:
        case inspect.StrType(min_length=least, max_length=most):
            return "a text" + _range(least, most, " of", " characters")
        case inspect.IntType(ge=least, le=most):
            return "a whole number" + _range(least, most)
        case inspect.FloatType(ge=least, le=most):
            return "a number" + _range(least, most)
        case inspect.BoolType():
            return "true or false"
        case inspect.DateTimeType():
            return "a time in ISO 8601 with a time zone"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.ListType(min_length=least, max_length=most):
            return "a list" + _range(least, most, " of", " entries")
        case inspect.DictType(max_length=most):
            return "an object" + _range(None, most, " of", " fields")
        case inspect.StructType(fields=fields):
            return (
                f"an object with the fields {', '.join(field.encode_name for field in fields)}" if fields else "empty"
            )
        case inspect.NoneType():
            return "null"
        case inspect.UnionType(types=types):
            return ", or ".join(_expected(_without_details(each)[0]) for each in types)
    raise TypeError(f"no request has a field of the type {kind}")


def _range(least: float | None, most: float | None, of: str = "", unit: str = "") -> str:
    if least and most is None:
        return f"{of} at least {least}{unit}"
    if most is None:
        return ""
    if least is None:
        return f"{of} at most {most}{unit}"
    return f"{of} {least} to {most}{unit}" if of else f" from {least} to {most}"


def _example(kind: inspect.Type, details: dict[str, Any]) -> Any:
    """Return a valid value of a type."""
    for example in details.get("examples", ()):
        return example
    match kind:
        case inspect.BoolType():
            return True
        case inspect.IntType(ge=least) | inspect.FloatType(ge=least):
            return least or 1
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.ListType(item_type=item):
            return [_example(*_without_details(item))]
        case inspect.DictType(key_type=key, value_type=value):
            return {_example(*_without_details(key)): _example(*_without_details(value))}
        case inspect.UnionType(types=types):
            return _example(*_without_details(types[0]))
        case inspect.StructType(fields=fields):
            shown = [field for field in fields if field.required] or fields[:1]
            return {field.encode_name: _example(*_without_details(field.type)) for field in shown}
    raise TypeError(f"a field of the type {kind} needs an example in its schema")


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
