"""The HTTP API as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1.html).

It is built from the tables that the server itself uses: `wonderq.rest.schemas` (requests), `wonderq.rest.error_codes`
(errors) and `wonderq.auth.roles` (roles). `wonderq.openapi.operations` and `wonderq.openapi.response_schemas` add the
calls and their responses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import chain, combinations
from typing import Any

import msgspec

from wonderq import __version__
from wonderq.auth.roles import CLUSTER_RULES
from wonderq.httpd.errors import JSON, MSGPACK
from wonderq.model.queue_names import QUEUE_NAME_PATTERN
from wonderq.model.topics import SUBSCRIPTION_NAME_PATTERN, TOPIC_NAME_PATTERN
from wonderq.openapi import cluster_operations, response_schemas
from wonderq.openapi.operation import Operation, Response
from wonderq.openapi.operations import OPERATIONS, TAGS
from wonderq.rest import schemas
from wonderq.rest.error_codes import BY_ANY_CALL, ERROR_CODES
from wonderq.rest.field_types import EXAMPLE_ID, EXAMPLE_REDRIVE_ID

_Object = dict[str, Any]

_SCHEMAS = "#/components/schemas/"

_DESCRIPTION = """\
A durable message broker: every acknowledged operation is in a log on the disk.

Request bodies are JSON or msgpack, depending on `Content-Type`. Responses are JSON, or msgpack if `Accept` contains it.
Durations are in seconds and may have decimals. The broker rejects unknown fields and parameters. All errors have the
same shape and a stable code.

A broker without API keys serves every client that can reach it. With keys, each call needs the header
`Authorization: Bearer KEY`, and the key needs the role that the call's `security` lists. The role `admin` includes all
others.

Delivery is at least once: if you do not delete a message before its claim ends, the broker delivers it again.
"""

#: Fields of an update that exclude each other.
_ALTERNATIVES = ("visibility_timeout", "delay", "backoff", "bury")
_EXCLUDING: _Object = {"not": {"anyOf": [{"required": list(pair)} for pair in combinations(_ALTERNATIVES, 2)]}}


def _one_or_batch(*more: str) -> list[_Object]:
    """Return the forms of a request: a message, or a batch, beside which ``more`` fields of a message cannot stand."""
    beside = ("message", *schemas.OF_ONE_MESSAGE, *more)
    return [
        {
            "required": ["message"],
            "not": {"anyOf": [{"required": ["messages"]}, {"required": ["delay", "deliver_at"]}]},
        },
        {"required": ["messages"], "not": {"anyOf": [{"required": [name]} for name in beside]}},
    ]


_NUMBER = r"^[+-]?([0-9]{1,128}(\.[0-9]{0,128})?|\.[0-9]{1,128})([eE][+-]?[0-9]{1,3})?$"
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

#: Rules that the types cannot express: which fields exclude each other, and of which one is required.
_MORE: dict[str, _Object] = {
    "Produce": {
        "dependentRequired": {"producer_id": ["request_number"], "request_number": ["producer_id"]},
        "oneOf": _one_or_batch(),
    },
    "DeleteBatch": {"oneOf": [{"required": ["ids"]}, {"required": ["receipts"]}]},
    "TypedAttribute": {
        "oneOf": [
            {"properties": {"type": {"pattern": "^String"}}},
            {"properties": {"type": {"pattern": "^Number"}, "value": {"pattern": _NUMBER}}},
            {"properties": {"type": {"pattern": "^Binary"}, "value": {"pattern": _BASE64}}},
        ]
    },
    "Publish": {"oneOf": _one_or_batch("subject")},
    "NewPublication": {"not": {"required": ["delay", "deliver_at"]}},
    "MatchedMessage": {"not": {"required": ["delay", "deliver_at"]}},
    "NewMessage": {"not": {"required": ["delay", "deliver_at"]}},
    "NextMessage": {"not": {"required": ["delay", "deliver_at"]}},
    "Update": _EXCLUDING,
    "UpdateEntry": {"anyOf": [{"required": ["id"]}, {"required": ["receipt"]}], **_EXCLUDING},
}

_PATH_PARAMETERS: dict[str, _Object] = {
    "queue": {
        "description": "Name of the queue: 1 to 80 of `A-Z a-z 0-9 _ -`. It may end in `.fifo`.",
        "schema": {"type": "string", "pattern": f"^({QUEUE_NAME_PATTERN})$"},
        "example": "mail",
    },
    "message_id": {
        "description": "Id of the message.",
        "schema": {"type": "string", "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]+$"},
        "example": EXAMPLE_ID,
    },
    "redrive_id": {
        "description": "Id of the redrive.",
        "schema": {"type": "string", "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]+$"},
        "example": EXAMPLE_REDRIVE_ID,
    },
    "schedule": {
        "description": "Name of the schedule: 1 to 80 of `A-Z a-z 0-9 _ -`.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "minLength": 1, "maxLength": 80},
        "example": "nightly",
    },
    "topic": {
        "description": "Name of the topic: 1 to 256 of `A-Z a-z 0-9 _ -`. It may end in `.fifo`.",
        "schema": {"type": "string", "pattern": f"^({TOPIC_NAME_PATTERN})$"},
        "example": "orders",
    },
    "subscription": {
        "description": "Name of the subscription: 1 to 80 of `A-Z a-z 0-9 _ -`.",
        "schema": {"type": "string", "pattern": f"^({SUBSCRIPTION_NAME_PATTERN})$"},
        "example": "mail",
    },
}

_RETRY_AFTER = {
    "description": "Time to wait before the next attempt, in seconds.",
    "schema": {"type": "integer", "minimum": 1},
}
_HEADERS: dict[int, _Object] = {
    302: {"Location": {"schema": {"type": "string"}}},
    401: {"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}},
    405: {"Allow": {"schema": {"type": "string"}}},
    **{status: {"Retry-After": _RETRY_AFTER} for status in (429, 503, 507)},
}

_RECEIPT = {"receipt": "$response.body#/0/receipt"}
#: Links from a response to the calls that may follow it. By operation and status: link name to operation, message id
#: and body.
_LINKS: dict[tuple[str, int], dict[str, tuple[str, str | None, _Object | None]]] = {
    ("produce", 201): {"look": ("getMessage", "$response.body#/id", None)},
    **{
        (operation, 200): {
            "done": ("deleteMessage", "$response.body#/0/id", _RECEIPT),
            "renew": ("updateMessage", "$response.body#/0/id", _RECEIPT),
            "all done": ("deleteMessages", None, {"receipts": ["$response.body#/0/receipt"]}),
        }
        for operation in ("consume", "claim")
    },
    ("listMessages", 200): {"look": ("getMessage", "$response.body#/0/id", None)},
}


def _operations(*, in_cluster: bool) -> list[Operation]:
    if not in_cluster:
        return OPERATIONS
    of_node = {(each.method, each.path): each for each in cluster_operations.CLUSTER}
    return list({**{(each.method, each.path): each for each in OPERATIONS}, **of_node}.values())


def tags(*, in_cluster: bool) -> dict[str, str]:
    """Return the groups of calls, with their descriptions."""
    return {**TAGS, **(cluster_operations.TAG if in_cluster else {})}


@cache
def document(*, in_cluster: bool = False) -> _Object:
    """Return the document of a broker, or that of a node of a cluster. It is cached: callers must not change it."""
    operations = [_with_general_codes(each) for each in _operations(in_cluster=in_cluster)]
    paths: dict[str, _Object] = {}
    errors = {pair for each in operations for pair in _errors(each).items()}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "WonderQ",
            "summary": "A durable message broker over HTTP.",
            "description": _DESCRIPTION,
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The broker that serves this document."}],
        "tags": [{"name": name, "description": text} for name, text in tags(in_cluster=in_cluster).items()],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": _component_schemas(operations),
            "responses": {_error_name(*each): _error(*each) for each in sorted(errors)},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": (
                        "API key, from `wonderq key create NAME --role ROLE`. A broker without keys needs none."
                    ),
                }
            },
        },
    }


@cache
def as_json(*, in_cluster: bool = False) -> bytes:
    """Return the document as JSON."""
    return msgspec.json.format(msgspec.json.encode(document(in_cluster=in_cluster)), indent=1) + b"\n"


def role_of(method: str, path: str) -> str:
    """Return the role that a call requires, or ``anybody``."""
    return CLUSTER_RULES[path][method]


#: Bodies without required fields of their own, whose fields have objects with required ones.
_WITH_PARTS = (schemas.ConsumeFrom, schemas.Next, schemas.Update)


def _with_general_codes(operation: Operation) -> Operation:
    """Add the error codes that follow from a call's fields, path and role."""
    codes = [*operation.codes]
    if operation.tag not in ("Health", "Documentation"):
        codes.append("unknown_field")
        if operation.body is None:
            codes.append("unexpected_body")
        else:
            codes += ("malformed_body", "empty_body", "ambiguous_request", "unsupported_media_type", "invalid_value")
        schema = _component(operation.body or operation.query)
        if schema["required"] or "oneOf" in schema or (operation.body or operation.query) in _WITH_PARTS:
            codes.append("missing_field")
    if "{" in operation.path:
        codes.append("path_not_found")  # for a name that is empty or contains a slash
    if "{queue}" not in operation.path and operation.tag != "Topics":
        codes = [code for code in codes if code != "queue_not_found"]  # `default` always exists
    if role_of(operation.method, operation.path) != "anybody":
        codes += ("unauthorized", "forbidden")
    return operation._replace(codes=tuple(dict.fromkeys((*codes, *BY_ANY_CALL))))


def _operation(operation: Operation) -> _Object:
    role = role_of(operation.method, operation.path)
    needs = "No key is required." if role == "anybody" else f"Required role: `{role}`."
    found: _Object = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": "\n\n".join(filter(None, (operation.description, needs))),
        # For schemes other than OAuth2 the list holds roles (OpenAPI 3.1, "Security Requirement Object"). {}: a broker
        # without keys.
        "security": [] if role == "anybody" else [{"bearer": [role]}, {}],
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation)],
        "responses": {
            **{str(status): _response(operation, status, response) for status, response in operation.responses.items()},
            **{
                str(status): {"$ref": f"#/components/responses/{_error_name(status, codes)}"}
                for status, codes in _errors(operation).items()
            },
        },
    }
    if operation.body is not None:
        schema = {"$ref": _SCHEMAS + operation.body.__name__}
        examples = {name: {"value": value} for name, value in operation.examples.items()}
        found["requestBody"] = {
            "required": operation.body_required,
            "content": {JSON: {"schema": schema, "examples": examples}, MSGPACK: {"schema": schema}},
        }
    return found


def _path_parameters(path: str) -> list[_Object]:
    return [
        {"name": name, "in": "path", "required": True, **_PATH_PARAMETERS[name]} for name in re.findall("{(.*?)}", path)
    ]


def _query_parameters(operation: Operation) -> list[_Object]:
    schema = _component(operation.query)
    examples: _Object = next(iter(operation.examples.values()), {}) if operation.body is None else {}
    parameters = []
    for name, value in schema["properties"].items():
        if value.get("type") == "object" or "$ref" in value:
            continue  # a query string cannot express it
        parameter = {"name": name, "in": "query", "required": name in schema["required"], "schema": {**value}}
        parameter["description"] = parameter["schema"].pop("description")
        if name in examples:
            parameter["example"] = examples[name]
        parameters.append(parameter)
    return parameters


def _response(operation: Operation, status: int, response: Response) -> _Object:
    found: _Object = {"description": response.meaning}
    if status in _HEADERS:
        found["headers"] = _HEADERS[status]
    if isinstance(response.schema, str):
        found["content"] = {response.schema: {}}
    elif types := _types(response):
        content = {"schema": _inline(types), "example": response.example}
        found["content"] = (
            {JSON: content} if response.json_only else {JSON: content, MSGPACK: {"schema": content["schema"]}}
        )
    links = _LINKS.get((operation.id.removesuffix("InQueue"), status))
    if links:
        found["links"] = {name: _link(operation, *link) for name, link in links.items()}
    return found


def _link(operation: Operation, target: str, message_id: str | None, body: _Object | None) -> _Object:
    parameters = {} if message_id is None else {"message_id": message_id}
    if "{queue}" in operation.path:
        target += "InQueue"
        parameters["queue"] = "$request.path.queue"
    link: _Object = {"operationId": target, "parameters": parameters}
    return link if body is None else {**link, "requestBody": body}


# Errors


def _errors(operation: Operation) -> dict[int, tuple[str, ...]]:
    """Return the error codes of a call, by status."""
    found: dict[int, tuple[str, ...]] = {}
    for code, row in ERROR_CODES.items():
        if code in operation.codes:
            for status in row.statuses:
                found[status] = (*found.get(status, ()), code)
    return dict(sorted(found.items()))


def _error_name(status: int, codes: Iterable[str]) -> str:
    return "-".join((str(status), *codes))


def _error(status: int, codes: tuple[str, ...]) -> _Object:
    schema = {
        "$ref": _SCHEMAS + "Error",
        "properties": {"statusCode": {"const": status}, "error": {"properties": {"code": {"enum": list(codes)}}}},
    }
    found: _Object = {
        "description": "\n".join(f"- `{code}`: {ERROR_CODES[code].meaning}" for code in codes),
        "content": {JSON: {"schema": schema}, MSGPACK: {"schema": schema}},
    }
    if status in _HEADERS:
        found["headers"] = _HEADERS[status]
    return found


# Schemas


def _component_schemas(operations: Iterable[Operation]) -> dict[str, _Object]:
    types: list[Any] = [response_schemas.Error]
    for operation in operations:
        types += [] if operation.body is None else [operation.body]
        types += chain.from_iterable(_types(response) for response in operation.responses.values())
    _, found = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    for name, more in _MORE.items():
        found[name].update(more)
    return found


def _types(response: Response) -> tuple[Any, ...]:
    if response.schema is None or isinstance(response.schema, str):
        return ()
    return response.schema if isinstance(response.schema, tuple) else (response.schema,)


@cache
def _component(struct: type[msgspec.Struct]) -> _Object:
    """Return the schema of a request."""
    _, found = msgspec.json.schema_components([struct], ref_template=_SCHEMAS + "{name}")
    return {**found[struct.__name__], **_MORE.get(struct.__name__, {})}


def _inline(types: tuple[Any, ...]) -> _Object:
    """Return the schema of a response: a reference to a type, a list of such, or a choice of several."""
    found, _ = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    return found[0] if len(found) == 1 else {"oneOf": list(found)}
