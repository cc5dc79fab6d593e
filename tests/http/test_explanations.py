"""An invalid value is answered with a sentence of our own: what the field must be, an example that works, its meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from tests.support.http_client import Client
from wonderq.rest import schemas
from wonderq.rest.explain import _resolve, _without_details, explain

#: Words of the validator, and of Python.
FOREIGN = re.compile(r"`str`|`int`|Expected|regex|matching|RFC ?3339|enum|of length|None|UNSET|datetime|\^\(")

SCHEMAS = [
    each
    for each in vars(schemas).values()
    if isinstance(each, type) and issubclass(each, schemas.Body) and each is not schemas.Body
]


def fields_of(kind: inspect.Type, path: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the path of each field, however deep, and of the names in each free object (True)."""
    kind, _ = _without_details(kind)
    match kind:
        case inspect.StructType(fields=fields):
            for field in fields:
                inner = f"{path}.{field.encode_name}".lstrip(".")
                yield inner, False
                yield from fields_of(field.type, inner)
        case inspect.ListType(item_type=item):
            yield f"{path}[0]", False
            yield from fields_of(item, f"{path}[0]")
        case inspect.DictType(value_type=value):
            yield path, True
            yield f"{path}[...]", False
            yield from fields_of(value, f"{path}[...]")
        case inspect.UnionType(types=types):
            for each in types:
                yield from fields_of(each, path)


ALL = [(schema, *where) for schema in SCHEMAS for where in dict.fromkeys(fields_of(inspect.type_info(schema)))]


def test_the_walk_finds_the_fields() -> None:
    assert len(SCHEMAS) > 15
    assert (schemas.Produce, "messages[0].attributes[...].type", False) in ALL
    assert (schemas.PutQueue, "tags", True) in ALL


@pytest.mark.parametrize(("schema", "path", "is_key"), ALL, ids=lambda value: getattr(value, "__name__", str(value)))
def test_each_field_has_a_sentence_with_its_meaning_and_a_valid_example(
    schema: type[msgspec.Struct], path: str, is_key: bool
) -> None:
    said = explain(schema, path, is_key=is_key)
    assert path in said
    assert not FOREIGN.search(said), said
    found = re.fullmatch(r"(.*) must be (.*): for example (.*?)\.( Meaning: .*\.)?", said, re.DOTALL)
    assert found, said
    example = json.loads(found[3])
    kind = _resolve(inspect.type_info(schema), path)
    assert kind is not None
    if is_key:
        kind = _without_details(kind)[0]
        assert isinstance(kind, inspect.DictType)
        kind = kind.key_type
    annotation: Any = annotated(schema, path)
    if annotation is not None and not is_key:
        msgspec.convert(example, annotation)
    is_entry = path.endswith("]") and not isinstance(_without_details(kind)[0], inspect.StrType | inspect.FloatType)
    assert found[4] or is_entry, f"{path} has no description"


def annotated(schema: type[msgspec.Struct], path: str) -> Any:
    """Return the annotation of a field of the request itself."""
    return next((field.type for field in msgspec.structs.fields(schema) if field.encode_name == path), None)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_body_of_the_wrong_type_has_one_too(schema: type[msgspec.Struct]) -> None:
    said = explain(schema, "", received="array")
    assert said.startswith("The body must be an object with the fields ")
    assert ", not a list: for example {" in said
    msgspec.convert(json.loads(said.partition("for example ")[2].removesuffix(".")), schema)


@pytest.mark.parametrize(
    ("call", "body", "said"),
    [
        (
            ("PUT", "/schedules/x"),
            {"cron": "daily", "queue": "q", "message": "m"},
            (
                'cron must be a text of 9 to 200 characters: for example "30 4 * * MON-FRI". Meaning: Cron expression: '
                "minute, hour, day of month, month and day of week, with the syntax of Debian's cron."
            ),
        ),
        (
            ("POST", "/messages/produce"),
            {"messages": ["a", {"message": "b", "delay": "soon"}]},
            (
                "messages[1].delay must be a number from 0 to 316224000, not a text: for example 60. Meaning: Time until the "
                "message can be consumed, in seconds."
            ),
        ),
        (
            ("POST", "/messages/produce"),
            {"message": "a", "attributes": {"": 1}},
            (
                'A name in attributes must be a text: for example "tenant". Meaning: Name of an attribute: up to 256 letters, '
                "digits, `_`, `.` or `-`."
            ),
        ),
        (
            ("POST", "/messages/produce"),
            {"message": "a", "deliver_at": "tomorrow"},
            (
                'deliver_at must be a time in ISO 8601 with a time zone: for example "2026-03-29T14:05:06Z". Meaning: Time from '
                "which the message can be consumed, at most ten years ahead."
            ),
        ),
    ],
)
def test_sentences_as_clients_get_them(client: Client, call: tuple[str, str], body: Any, said: str) -> None:
    reply = client(*call, json=body)
    assert reply.status_code == 400
    assert reply.json["error"]["code"] == "invalid_value"
    assert reply.json["error"]["message"] == said


def test_a_query_string_has_them_too(client: Client) -> None:
    reply = client("GET", "/messages/consume?max=0")
    assert reply.json["error"]["message"] == (
        "max must be a whole number from 1 to 10000: for example 10. Meaning: Maximum number of messages."
    )


def test_a_path_without_a_field_is_not_explained() -> None:
    assert explain(schemas.Kick, "nothing.there") == (
        "nothing.there is not valid. The page /docs of the broker describes the fields of this call."
    )
