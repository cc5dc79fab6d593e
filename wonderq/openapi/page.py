"""The page at ``/docs``: the OpenAPI document as one HTML page without other files. It works without its script too."""

from __future__ import annotations

import re
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import urlencode

import msgspec

from wonderq.httpd.errors import JSON
from wonderq.openapi.document import document as make_document
from wonderq.openapi.document import role_of
from wonderq.rest.error_codes import BY_ANY_CALL, ERROR_CODES

_Object = Mapping[str, Any]

_IN_QUEUE = "/queues/{queue}"

#: The types of responses that the page describes field by field, with their titles.
_OBJECTS = {"Message": "A message", "Queue": "A queue", "Result": "A result of a batch"}

#: Bound of the integers that JSON can express everywhere; the page does not name it.
_ANY_INTEGER = 1 << 53


def _load(name: str, package: str = "wonderq.openapi") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


#: The page has the colours of the dashboard, also where that is off.
_STYLE = _load("app/colours.css", "wonderq.ui") + _load("page.css")
_SCRIPT = _load("page.js")


def _source(text: str) -> str:
    """Return the source of a policy that allows one inline text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


#: The policy allows only the page's own style and script, and no text can become markup. ``data:`` is for the empty
#: icon, so browsers request none.
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )
}


@cache
def as_html(*, has_dashboard: bool, in_cluster: bool = False) -> bytes:
    """Return the page of a broker, or of a node of a cluster, that serves the dashboard, or does not."""
    document = make_document(in_cluster=in_cluster)
    info = document["info"]
    page = Template(_load("page.html")).substitute(
        version=escape(info["version"]),
        style=_STYLE,
        script=_SCRIPT,
        description=_paragraphs(info["description"]),
        dashboard='<a href="/ui">Dashboard</a>' if has_dashboard else "",
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
    for tag in (each["name"] for each in document["tags"]):
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
    meanings = {each["name"]: each["description"] for each in document["tags"]}
    for tag, calls in _calls_by_tag(document):
        count = f"{len(calls)} call{'' if len(calls) == 1 else 's'}"
        yield f'<details class="group" open>\n<summary><h2>{escape(tag)}</h2> '
        yield f"<small data-no-entry>{count}</small></summary>\n"
        yield f'<div id="{_anchor(tag)}">\n<div data-no-entry>{_paragraphs(meanings[tag])}</div>\n'
        for method, path, operation in calls:
            yield from _call(document, method, path, operation)
        yield "</div></details>\n"


def _call(document: _Object, method: str, path: str, operation: _Object) -> Iterator[str]:
    role = role_of(method, path)
    anchor = operation["operationId"]
    yield '<details class="call" data-entry>\n<summary>'
    yield f"<h3>{_method(method)} <code>{escape(path)}</code></h3> "
    yield f'<span class="what">{_with_code(operation["summary"])}</span> '
    needs = "no key" if role == "anybody" else role
    yield f'<span class="role" title="Role that the key needs">{escape(needs)}</span></summary>\n'
    yield f'<div id="{anchor}">\n<a class="anchor" href="#{anchor}">Link to this call</a>\n'
    if _IN_QUEUE + path in document["paths"]:
        yield f'<p class="also">also <code>{escape(_IN_QUEUE + path)}</code></p>\n'
    yield _paragraphs(operation["description"].rpartition("\n\n")[0])  # the last paragraph is the role, shown above
    yield from _fields(document, operation)
    yield from _examples(method, path, operation, role)
    yield from _responses(operation)
    yield from _error_table(document, operation)
    yield "</div></details>\n"


def _fields(document: _Object, operation: _Object) -> Iterator[str]:
    body = operation.get("requestBody")
    if body is not None:
        schema = _resolve(document, body["content"][JSON]["schema"])
        where = "Fields of the body" if body["required"] else "Fields of the body or the query string"
        fields = schema["properties"]
        remarks = _alternatives(schema) | dict.fromkeys(schema["required"], "required")
    else:
        where = "Fields of the query string"
        given = [each for each in operation["parameters"] if each["in"] == "query"]
        fields = {each["name"]: {**each["schema"], "description": each["description"]} for each in given}
        remarks = {each["name"]: "required" for each in given if each["required"]}
    if fields:
        yield f"<h4>{where}</h4>\n"
        ordered = {name: fields[name] for name in (*remarks, *fields)}
        yield from _field_list(document, ordered, {name: _must(remark) for name, remark in remarks.items()})


def _alternatives(schema: _Object) -> dict[str, str]:
    """Return the fields of which one is required, each with a remark that names the others."""
    names = [name for each in schema.get("oneOf", ()) for name in each["required"]]
    return {name: f"required, or {' or '.join(other for other in names if other != name)}" for name in names}


def _must(remark: str) -> str:
    return f'<small class="must">{escape(remark)}</small>'


def _objects(document: _Object) -> Iterator[str]:
    """Yield the fields of the objects in responses, those that are always there first."""
    schemas = document["components"]["schemas"]
    for name, title in _OBJECTS.items():
        yield f'<article class="object" data-entry id="{name}">\n<h3>{title}</h3>\n'
        yield _paragraphs(schemas[name]["description"])
        properties, always = schemas[name]["properties"], schemas[name]["required"]
        optional = {field: "<small>optional</small>" for field in properties if field not in always}
        yield from _field_list(document, {field: properties[field] for field in (*always, *properties)}, optional)
        yield "</article>\n"


def _field_list(document: _Object, fields: Mapping[str, _Object], remarks: Mapping[str, str]) -> Iterator[str]:
    yield "<dl>\n"
    for name, field in fields.items():
        remark = f" {remarks[name]}" if name in remarks else ""
        kind = f'<span class="type">{_type_text(document, field)}</span>'
        yield f"<div><dt><code>{escape(name)}</code>{remark}{kind}</dt>"
        yield f"<dd>{_with_code(field.get('description', ''))}</dd></div>\n"
    yield "</dl>\n"


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
        values = schema.get("additionalProperties")
        return "object" if values is None else f"object of name to {_type_text(document, values)}"
    if text == "object":
        return f"object of {', '.join(f'<code>{escape(name)}</code>' for name in schema['required'])}"
    if "maximum" in schema and schema["maximum"] < _ANY_INTEGER:
        text += f", {schema['minimum']:,} to {schema['maximum']:,}"
    elif "minimum" in schema and schema["minimum"] > -_ANY_INTEGER:
        text += f", {schema['minimum']:,} or more"
    if "default" in schema:
        text += f"; default {_json(schema['default'])}"
    return text


def _examples(method: str, path: str, operation: _Object, role: str) -> Iterator[str]:
    """Yield the examples as commands. They use the variables of the quick start."""
    body = operation.get("requestBody")
    given = {each["name"]: each["example"] for each in operation["parameters"] if "example" in each}
    for name, value in re.findall("({(.*?)})", path):
        path = path.replace(name, given.pop(value))
    if body is None:
        yield "<h4>Example</h4>\n"
        yield _command(method, f"{path}?{urlencode(given)}" if given else path, None, role)
        return
    for title, example in body["content"][JSON]["examples"].items():
        yield f"<h4>Example: {escape(title)}</h4>\n"
        yield _command(method, path, _json_text(example["value"], indent=0), role)


def _command(method: str, path: str, body: str | None, role: str) -> str:
    words = ["curl"]
    if method == "HEAD":
        words.append("--head")
    elif method != ("GET" if body is None else "POST"):
        words.append(f"-X {method}")
    if role != "anybody":
        words.append('-H "Authorization: Bearer $KEY"')
    if body is not None:
        words.append(f"--json {shlex.quote(body)}")
    words.append(f'"$BROKER{path}"' if "?" in path else f"$BROKER{path}")
    return f'<div class="example"><pre class="shell">{escape(" ".join(words), quote=False)}</pre></div>\n'


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
        yield '<details class="errors"><summary>Errors of this call</summary>\n<table class="codes"><tbody>\n'
        for status, code in rows:
            meaning = _with_code(ERROR_CODES[code].meaning)
            yield f'<tr><td>{status}</td><th scope="row"><code>{code}</code></th><td>{meaning}</td></tr>\n'
        yield "</tbody></table></details>\n"


def _all_error_rows() -> Iterator[str]:
    pairs = ((status, code) for code, row in ERROR_CODES.items() for status in row.statuses)
    for status, code in sorted(pairs, key=lambda pair: pair[0]):
        mark = " *" if code in BY_ANY_CALL else ""
        meaning = _with_code(ERROR_CODES[code].meaning)
        yield f'<tr data-entry><td>{status}</td><th scope="row"><code>{code}</code>{mark}</th><td>{meaning}</td></tr>\n'


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


def _json(value: Any) -> str:
    return escape(_json_text(value, indent=2), quote=False)


def _json_text(value: Any, indent: int) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()


def _with_code(text: str) -> str:
    """Return HTML for a text that may contain `code`."""
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))


def _paragraphs(text: str) -> str:
    """Return HTML for a text of paragraphs."""
    return "\n".join(f"<p>{_with_code(each)}</p>" for each in filter(None, map(str.strip, text.split("\n\n"))))
