"""The page at ``/docs``: the OpenAPI document as a self-contained HTML page without scripts."""

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
from wonderq.openapi.operations import TAGS
from wonderq.rest.error_codes import BY_ANY_CALL, ERROR_CODES

_Object = Mapping[str, Any]

_IN_QUEUE = "/queues/{queue}"

#: The types of responses that the page describes field by field, with their titles.
_OBJECTS = {"Message": "A message", "Queue": "A queue", "Result": "A result of a batch"}


def _load(name: str) -> str:
    return resources.files("wonderq.openapi").joinpath(name).read_text(encoding="utf-8")


_STYLE = _load("page.css")

_STYLE_DIGEST = b64encode(sha256(_STYLE.encode()).digest()).decode()

#: The policy allows only the page's own style. ``data:`` is for the empty icon, so browsers request none.
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}


@cache
def as_html() -> bytes:
    """Return the page."""
    document = make_document()
    info = document["info"]
    page = Template(_load("page.html")).substitute(
        version=escape(info["version"]),
        style=_STYLE,
        description=_paragraphs(info["description"]),
        contents="".join(_contents(document)),
        operations="".join(_sections(document)),
        objects="".join(_objects(document)),
        errors="".join(_all_error_rows()),
    )
    return page.encode()


def _calls(document: _Object, tag: str) -> Iterator[tuple[str, str, _Object]]:
    """Yield method, path and operation of the calls with a tag."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _calls_by_tag(document: _Object) -> Iterator[tuple[str, list[tuple[str, str, _Object]]]]:
    """Yield the tags with their calls. Message calls on a queue in the path are left out: their twins mention them."""
    for tag in TAGS:
        calls = [call for call in _calls(document, tag) if not call[1].startswith(f"{_IN_QUEUE}/messages")]
        calls = [call for call in calls if not call[1].startswith(f"{_IN_QUEUE}/dev")]
        if calls:
            yield tag, calls


def _contents(document: _Object) -> Iterator[str]:
    for tag, calls in _calls_by_tag(document):
        yield f'<li><a href="#{_anchor(tag)}">{escape(tag)}</a>\n<ul>\n'
        for method, path, operation in calls:
            yield f'<li><a href="#{operation["operationId"]}">{_method(method)} {escape(_short(path))}</a></li>\n'
        yield "</ul></li>\n"


def _sections(document: _Object) -> Iterator[str]:
    for tag, calls in _calls_by_tag(document):
        yield f'<section id="{_anchor(tag)}">\n<h2>{escape(tag)}</h2>\n{_paragraphs(TAGS[tag])}\n'
        for method, path, operation in calls:
            yield from _article(document, method, path, operation)
        yield "</section>\n"


def _article(document: _Object, method: str, path: str, operation: _Object) -> Iterator[str]:
    role = role_of(method, path)
    yield f'<article id="{operation["operationId"]}">\n<span class="role">{escape(role)}</span>'
    yield f'<h3 class="call">{_method(method)} <code>{escape(path)}</code></h3>\n'
    if _IN_QUEUE + path in document["paths"]:
        yield f'<p class="also">also <code>{escape(_IN_QUEUE + path)}</code></p>\n'
    yield f"<p><b>{_with_code(operation['summary'])}</b></p>\n"
    yield _paragraphs(operation["description"].rpartition("\n\n")[0])  # the last paragraph is the role, shown above
    yield from _fields(document, operation)
    yield from _examples(method, path, operation)
    yield from _responses(operation)
    yield from _error_table(document, operation)
    yield "</article>\n"


def _fields(document: _Object, operation: _Object) -> Iterator[str]:
    body = operation.get("requestBody")
    if body is not None:
        schema = _resolve(document, body["content"][JSON]["schema"])
        where = "Fields of the body" if body["required"] else "Fields of the body or the query string"
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
    """Yield the tables of the objects in responses."""
    schemas = document["components"]["schemas"]
    for name, title in _OBJECTS.items():
        yield f'<article id="{name}">\n<h3>{title}</h3>\n{_paragraphs(schemas[name]["description"])}'
        properties = schemas[name]["properties"]
        optional = {field: "optional" for field in properties if field not in schemas[name]["required"]}
        yield from _table(document, properties.items(), optional)
        yield "</article>\n"


def _table(document: _Object, fields: Iterable[tuple[str, _Object]], remarks: Mapping[str, str]) -> Iterator[str]:
    yield '<table class="fields"><tbody>\n'
    for name, field in fields:
        remark = f" <small>{remarks[name]}</small>" if name in remarks else ""
        yield f"<tr><td><code>{escape(name)}</code>{remark}</td><td>{_type_text(document, field)}</td>"
        yield f"<td>{_with_code(field.get('description', ''))}</td></tr>\n"
    yield "</tbody></table>\n"


def _type_text(document: _Object, schema: _Object) -> str:
    """Return a short description of a schema, such as "integer, 1 to 10"."""
    if "$ref" in schema:
        fields = _resolve(document, schema)["properties"]
        return f"object of {', '.join(f'<code>{escape(name)}</code>' for name in fields)}"
    if "anyOf" in schema:
        return " or ".join(_type_text(document, each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    if schema["type"] == "array":
        return f"array of: {_type_text(document, schema['items'])}"
    text: str = escape(schema["type"])
    if text == "object" and "required" not in schema:
        return f"object of name to {_type_text(document, schema['additionalProperties'])}"
    if text == "object":
        return f"object of {', '.join(f'<code>{escape(name)}</code>' for name in schema['required'])}"
    if "maximum" in schema:
        text += f", {schema['minimum']:,} to {schema['maximum']:,}"
    elif "minimum" in schema:
        text += f", {schema['minimum']:,} or more"
    if "default" in schema:
        text += f"; default {_json(schema['default'])}"
    return text


def _examples(method: str, path: str, operation: _Object) -> Iterator[str]:
    body = operation.get("requestBody")
    given = {each["name"]: each["example"] for each in operation["parameters"] if "example" in each}
    for name, value in re.findall("({(.*?)})", path):
        path = path.replace(name, given.pop(value))
    if body is not None:
        for title, example in body["content"][JSON]["examples"].items():
            yield f"<h4>Example: {escape(title)}</h4>\n"
            yield f"<pre>{method} {escape(path)}\n{_json(example['value'], indent=0)}</pre>\n"
    elif given:
        query = "&".join(f"{name}={value}" for name, value in given.items())
        yield f"<h4>Example</h4>\n<pre>{method} {escape(f'{path}?{query}')}</pre>\n"


def _responses(operation: _Object) -> Iterator[str]:
    for status, response in operation["responses"].items():
        if "$ref" in response:
            continue
        yield f"<h4>Response: {status}</h4>\n{_paragraphs(response['description'])}\n"
        content = response.get("content", {}).get(JSON, {})
        if "example" in content:
            yield f"<pre>{_json(content['example'])}</pre>\n"


def _error_table(document: _Object, operation: _Object) -> Iterator[str]:
    """Yield the errors of a call, without those that every call has."""
    rows = []
    for status, response in operation["responses"].items():
        if "$ref" in response:
            schema = _resolve(document, response)["content"][JSON]["schema"]
            codes = schema["properties"]["error"]["properties"]["code"]["enum"]
            rows += [(status, code) for code in codes if code not in BY_ANY_CALL]
    if rows:
        yield "<details><summary>Errors of this call</summary>\n<table><tbody>\n"
        for status, code in rows:
            meaning = _with_code(ERROR_CODES[code].meaning)
            yield f"<tr><td>{status}</td><td><code>{code}</code></td><td>{meaning}</td></tr>\n"
        yield "</tbody></table></details>\n"


def _all_error_rows() -> Iterator[str]:
    pairs = ((status, code) for code, row in ERROR_CODES.items() for status in row.statuses)
    for status, code in sorted(pairs, key=lambda pair: pair[0]):
        mark = " *" if code in BY_ANY_CALL else ""
        meaning = _with_code(ERROR_CODES[code].meaning)
        yield f"<tr><td>{status}</td><td><code>{code}</code>{mark}</td><td>{meaning}</td></tr>\n"


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


def _with_code(text: str) -> str:
    """Return HTML for a text that may contain `code`."""
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))


def _paragraphs(text: str) -> str:
    """Return HTML for a text of paragraphs."""
    return "\n".join(f"<p>{_with_code(each)}</p>" for each in filter(None, map(str.strip, text.split("\n\n"))))
