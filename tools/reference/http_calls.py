"""The page of the HTTP calls, from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.reference.markdown import NOTICE, table
from wonderq.openapi.document import document
from wonderq.rest.error_codes import BY_ANY_CALL

_HEAD = """# HTTP calls

This page lists each call with its fields, from the OpenAPI document that a node of a cluster serves at
`/openapi.json`. That of a broker is the same without the calls of the cluster.
[API.md](../API.md) explains how the calls work together, and the limits.

Each call on messages exists for the queue `default`, as shown here, and below `/queues/{queue}` for any queue. Every
call can also return the errors that are not about its fields: """

#: Their calls are those of the tag Messages, with a queue in the path.
_REPEATED = "Messages of a queue"

_Object = dict[str, Any]


def http_calls() -> str:
    """Return the page."""
    api = document(in_cluster=True)
    parts = [NOTICE, _HEAD + _codes(BY_ANY_CALL) + "\n"]
    for tag in api["tags"]:
        if tag["name"] == _REPEATED:
            continue
        parts.append(f"## {tag['name']}\n")
        for path, methods in api["paths"].items():
            for method, call in methods.items():
                if call["tags"] == [tag["name"]]:
                    parts += _call(api, method.upper(), path, call)
    return "\n".join(filter(None, parts))


def _call(api: _Object, method: str, path: str, call: _Object) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield f"{call['summary']} {call['description']}\n"
    yield table(("field", "in", "type and range", "meaning"), _fields(api, call))
    for status, response in call["responses"].items():
        if not response.get("$ref"):
            yield f"{status}: {response['description']}\n"
    codes = [code for code in _error_codes(call) if code not in BY_ANY_CALL]
    if codes:
        yield f"Errors: {_codes(codes)}\n"


def _codes(codes: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"[`{code}`](errors.md#{code})" for code in codes) + "."


def _error_codes(call: _Object) -> list[str]:
    names = [each["$ref"].rpartition("/")[2] for each in call["responses"].values() if "$ref" in each]
    return [code for name in names for code in name.partition("-")[2].split("-")]


def _fields(api: _Object, call: _Object) -> Iterator[tuple[str, str, str, str]]:
    for each in call["parameters"]:
        required = " Required." if each.get("required") and each["in"] != "path" else ""
        yield f"`{each['name']}`", each["in"], _type(each["schema"]), each.get("description", "") + required
    if "requestBody" in call:
        schema = call["requestBody"]["content"]["application/json"]["schema"]
        body = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        for name, value in body.get("properties", {}).items():
            required = " Required." if name in body.get("required", ()) else ""
            yield f"`{name}`", "body", _type(value), _described(api, value) + required


def _described(api: _Object, schema: _Object) -> str:
    if "$ref" in schema:
        schema = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    description: str = schema.get("description", "")
    return description


def _type(schema: _Object) -> str:
    """Return type, range and default of a field, in words."""
    if "$ref" in schema:
        return "object"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    parts = [str(schema.get("type", "any"))]
    if schema.get("type") == "array":
        parts = ["array of " + _type(schema["items"])]
    low, high = schema.get("minimum", schema.get("minItems")), schema.get("maximum", schema.get("maxItems"))
    if high is not None:
        parts.append(f"{low or 0:,} to {high:,}")
    elif low is not None:
        parts.append(f"at least {low:,}")
    if "maxLength" in schema:
        parts.append(f"up to {schema['maxLength']} characters")
    if "default" in schema:
        parts.append(f"default `{str(schema['default']).lower()}`")
    return ", ".join(parts)
