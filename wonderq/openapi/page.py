"""The page at ``/docs``: the OpenAPI document for people, as one file of HTML that needs nothing else, and no script."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template
from typing import Any

import msgspec

from wonderq.httpd.errors import JSON
from wonderq.openapi.document import document as make_document
from wonderq.openapi.document import role_of
from wonderq.openapi.error_codes import BY_ANY_CALL, ERROR_CODES
from wonderq.openapi.operations import TAGS

_Object = Mapping[str, Any]

_IN_QUEUE = "/queues/{queue}"

#: What stands in answers and has more than a few fields.
_OBJECTS = {"Message": "A message", "Queue": "A queue", "Result": "A result of a batch"}


def _read(name: str) -> str:
    return resources.files("wonderq.openapi").joinpath(name).read_text(encoding="utf-8")


_STYLE = _read("page.css")

#: The page may have its own style, and nothing else. ``data:`` is the empty icon, which spares the broker being asked for one.
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}


@cache
def as_html() -> bytes:
    document = make_document()
    info = document["info"]
    page = Template(_read("page.html")).substitute(
        version=escape(info["version"]),
        style=_STYLE,
        description=_prose(info["description"]),
        contents="".join(_contents(document)),
        operations="".join(_sections(document)),
        objects="".join(_objects(document)),
        errors="".join(_error_rows()),
    )
    return page.encode()


def _calls(document: _Object, tag: str) -> Iterator[tuple[str, str, _Object]]:
    """Yield method, path and operation of what is under a tag."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _shown(document: _Object) -> Iterator[tuple[str, list[tuple[str, str, _Object]]]]:
    """Yield the tags with their calls, but for those on a queue in the path, which are told of with the others."""
    for tag in TAGS:
        calls = [call for call in _calls(document, tag) if not call[1].startswith(f"{_IN_QUEUE}/messages")]
        calls = [call for call in calls if not call[1].startswith(f"{_IN_QUEUE}/dev")]
        if calls:
            yield tag, calls


def _contents(document: _Object) -> Iterator[str]:
    for tag, calls in _shown(document):
        yield f'<li><a href="#{_anchor(tag)}">{escape(tag)}</a>\n<ul>\n'
        for method, path, operation in calls:
            yield f'<li><a href="#{operation["operationId"]}">{_method(method)} {escape(_short(path))}</a></li>\n'
        yield "</ul></li>\n"


def _sections(document: _Object) -> Iterator[str]:
    for tag, calls in _shown(document):
        yield f'<section id="{_anchor(tag)}">\n<h2>{escape(tag)}</h2>\n{_prose(TAGS[tag])}\n'
        for method, path, operation in calls:
            yield from _article(document, method, path, operation)
        yield "</section>\n"


def _article(document: _Object, method: str, path: str, operation: _Object) -> Iterator[str]:
    role = role_of(method, path)
    yield f'<article id="{operation["operationId"]}">\n<span class="role">{escape(role)}</span>'
    yield f'<h3 class="call">{_method(method)} <code>{escape(path)}</code></h3>\n'
    if _IN_QUEUE + path in document["paths"]:
        yield f'<p class="also">and <code>{escape(_IN_QUEUE + path)}</code></p>\n'
    yield f"<p><b>{_code(operation['summary'])}</b></p>\n"
    yield _prose(operation["description"].rpartition("\n\n")[0])  # the end of it is what role it needs
    yield from _fields(document, operation)
    yield from _examples(method, path, operation)
    yield from _answers(operation)
    yield from _refusals(document, operation)
    yield "</article>\n"


def _fields(document: _Object, operation: _Object) -> Iterator[str]:
    body = operation.get("requestBody")
    if body is not None:
        schema = _resolve(document, body["content"][JSON]["schema"])
        where = "Fields of the body" if body["required"] else "Fields, of the body or the query string"
        rows = list(schema["properties"].items())
        required = schema["required"]
    else:
        where = "Fields of the query string"
        given = [each for each in operation["parameters"] if each["in"] == "query"]
        rows = [(each["name"], {**each["schema"], "description": each["description"]}) for each in given]
        required = [each["name"] for each in given if each["required"]]
    if rows:
        yield f"<h4>{where}</h4>\n"
        yield from _table(document, rows, dict.fromkeys(required, "required"))


def _objects(document: _Object) -> Iterator[str]:
    """Describe what answers hold."""
    schemas = document["components"]["schemas"]
    for name, what in _OBJECTS.items():
        yield f'<article id="{name}">\n<h3>{what}</h3>\n{_prose(schemas[name].get("description", ""))}'
        properties = schemas[name]["properties"]
        optional = {field: "not always" for field in properties if field not in schemas[name]["required"]}
        yield from _table(document, properties.items(), optional)
        yield "</article>\n"


def _table(document: _Object, fields: Iterable[tuple[str, _Object]], remarks: Mapping[str, str]) -> Iterator[str]:
    yield '<table class="fields"><tbody>\n'
    for name, field in fields:
        remark = f" <small>{remarks[name]}</small>" if name in remarks else ""
        yield f"<tr><td><code>{escape(name)}</code>{remark}</td><td>{_kind(document, field)}</td>"
        yield f"<td>{_code(field.get('description', ''))}</td></tr>\n"
    yield "</tbody></table>\n"


def _kind(document: _Object, schema: _Object) -> str:
    """Say in a few words what a value may be."""
    if "$ref" in schema:
        fields = _resolve(document, schema)["properties"]
        return f"object of {', '.join(f'<code>{escape(name)}</code>' for name in fields)}"
    if "anyOf" in schema:
        return " or ".join(_kind(document, each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if schema["type"] == "array":
        return f"array of: {_kind(document, schema['items'])}"
    kind: str = escape(schema["type"])
    if kind == "object" and "required" not in schema:
        return f"object of names, and of each: {_kind(document, schema['additionalProperties'])}"
    if kind == "object":
        return f"object of {', '.join(f'<code>{escape(name)}</code>' for name in schema['required'])}"
    if "maximum" in schema:
        kind += f", {schema['minimum']:,} to {schema['maximum']:,}"
    elif "minimum" in schema:
        kind += f", {schema['minimum']:,} or more"
    if "default" in schema:
        kind += f"; {schema['default']} if not given"
    return kind


def _examples(method: str, path: str, operation: _Object) -> Iterator[str]:
    body = operation.get("requestBody")
    given = {each["name"]: each["example"] for each in operation["parameters"] if "example" in each}
    for name, value in re.findall("({(.*?)})", path):
        path = path.replace(name, given.pop(value))
    if body is not None:
        for what, example in body["content"][JSON]["examples"].items():
            yield f"<h4>Example: {escape(what)}</h4>\n"
            yield f"<pre>{method} {escape(path)}\n{_json(example['value'], indent=0)}</pre>\n"
    elif given:
        query = "&".join(f"{name}={value}" for name, value in given.items())
        yield f"<h4>Example</h4>\n<pre>{method} {escape(f'{path}?{query}')}</pre>\n"


def _answers(operation: _Object) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            continue
        yield f"<h4>Answer: {status}</h4>\n{_prose(answer['description'])}\n"
        content = answer.get("content", {}).get(JSON, {})
        if "example" in content:
            yield f"<pre>{_json(content['example'])}</pre>\n"


def _refusals(document: _Object, operation: _Object) -> Iterator[str]:
    """Name the errors that are not those of every call."""
    rows = []
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            schema = _resolve(document, answer)["content"][JSON]["schema"]
            codes = schema["properties"]["error"]["properties"]["code"]["enum"]
            rows += [(status, code) for code in codes if code not in BY_ANY_CALL]
    if rows:
        yield "<details><summary>Errors of this call</summary>\n<table><tbody>\n"
        for status, code in rows:
            yield f"<tr><td>{status}</td><td><code>{code}</code></td><td>{_code(ERROR_CODES[code].meaning)}</td></tr>\n"
        yield "</tbody></table></details>\n"


def _error_rows() -> Iterator[str]:
    pairs = ((status, code) for code, found in ERROR_CODES.items() for status in found.statuses)
    for status, code in sorted(pairs, key=lambda pair: pair[0]):
        mark = " *" if code in BY_ANY_CALL else ""
        yield f"<tr><td>{status}</td><td><code>{code}</code>{mark}</td><td>{_code(ERROR_CODES[code].meaning)}</td></tr>\n"


# Pieces


def _resolve(document: _Object, value: _Object) -> Any:
    found: Any = document
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _anchor(tag: str) -> str:
    return tag.lower().replace(" ", "-")


def _method(method: str) -> str:
    return f'<span class="method {method}">{method}</span>'


def _short(path: str) -> str:
    return path.replace("{message_id}", "{id}")


def _json(value: Any, indent: int = 2) -> str:
    return escape(msgspec.json.format(msgspec.json.encode(value), indent=indent).decode(), quote=False)


def _code(text: str) -> str:
    """Write a text with `code` in it."""
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))


def _prose(text: str) -> str:
    return "\n".join(f"<p>{_code(each)}</p>" for each in _paragraphs(text))


def _paragraphs(text: str) -> Iterable[str]:
    return filter(None, map(str.strip, text.split("\n\n")))
