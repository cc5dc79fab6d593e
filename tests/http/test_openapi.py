"""The OpenAPI document says what the server does: all of its calls, and nothing else."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.support.http_client import SQS_ROUTES, UI_ROUTES, Client, check_refused, routes_of, serving
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys, create
from wonderq.auth.roles import RULES
from wonderq.broker.broker import Broker
from wonderq.model import errors
from wonderq.openapi import document
from wonderq.rest.error_codes import BY_ANY_CALL, ERROR_CODES
from wonderq.rest.errors import STORAGE_CODES
from wonderq.rest.field_types import EXAMPLE_ID, EXAMPLE_RECEIPT
from wonderq_storage import FileLog

ROOT = Path(__file__).resolve().parents[2]

DOCUMENT: dict[str, Any] = json.loads(document.as_json())


class Described(NamedTuple):
    """A call, as the document has it."""

    method: str
    path: str
    operation: dict[str, Any]


CALLS = [
    Described(method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def call_name(call: Described) -> str:
    return str(call.operation["operationId"])


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    found: Any = DOCUMENT
    for part in value["$ref"].removeprefix("#/").split("/") if "$ref" in value else ():
        found = found[part]
    return found if "$ref" in value else value


def strict(value: Any) -> Any:
    """The same schemas, but for objects with fields that they do not name: those are not valid."""
    if isinstance(value, list):
        return [strict(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: strict(each) for name, each in value.items()}
    if found.get("type") == "object" and "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def check_answer(value: Any, schema: dict[str, Any]) -> None:
    whole = {**strict(schema), "components": strict(DOCUMENT["components"])}
    Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def test_it_is_valid_and_served_to_anybody_as_it_is(tmp_path: Path) -> None:
    validate(DOCUMENT)
    create(tmp_path / "keys.json", name="test", roles=["admin"], queues=["*"])
    broker = Broker(MemoryLog())
    with serving(broker, create_app(broker, Access(Keys(tmp_path / "keys.json")))) as wire:
        reply = wire("GET", "/openapi.json")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert reply.content == document.as_json()
        assert wire("GET", "/queues").status == 401


def test_it_has_every_call_of_the_server_and_no_other() -> None:
    routes = routes_of(create_app(Broker(MemoryLog())))
    updates = {(method, path) for method, path in routes if method == "UPDATE"}  # there is no place for it
    assert {(call.method, call.path) for call in CALLS} == routes - updates - SQS_ROUTES - UI_ROUTES
    for _, path in updates:
        assert "`UPDATE`" in DOCUMENT["paths"][path]["put"]["description"]
        assert "`UPDATE`" in DOCUMENT["paths"][path]["patch"]["description"]


def test_each_call_has_an_id_of_its_own() -> None:
    assert len({call_name(call) for call in CALLS}) == len(CALLS)
    targets = {
        link["operationId"]
        for call in CALLS
        for answer in call.operation["responses"].values()
        for link in answer.get("links", {}).values()
    }
    assert targets
    assert targets <= {call_name(call) for call in CALLS}


@pytest.mark.parametrize("call", CALLS, ids=call_name)
def test_each_call_names_the_role_that_it_needs(call: Described) -> None:
    role = RULES[call.path][call.method]
    assert call.operation["security"] == ([] if role == "anybody" else [{"bearer": [role]}, {}])
    assert ("401" in call.operation["responses"]) == (role != "anybody")


# Examples


class Example(NamedTuple):
    """Fields of a request that is said to work."""

    call: Described
    name: str
    fields: dict[str, Any]
    in_query: bool


def examples() -> Iterator[Example]:
    for call in CALLS:
        body = call.operation.get("requestBody")
        if body is None:
            parameters = [each for each in call.operation["parameters"] if each["in"] == "query" and "example" in each]
            given = {each["name"]: each["example"] for each in parameters}
            yield Example(call, "query", given, in_query=True)
        else:
            for name, example in body["content"]["application/json"]["examples"].items():
                yield Example(call, name, example["value"], in_query=False)
                if not body["required"]:
                    yield Example(call, f"{name}, in the query", example["value"], in_query=True)


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"{call_name(example.call)} {example.name}")
def test_each_example_works_and_is_answered_as_described(example: Example) -> None:
    client = Client(Broker(MemoryLog()))
    method, path, operation = example.call
    queue = "mail" if "{queue}" in path else "default"
    client.produce("resize cat.png", "another", queue=queue)
    client.produce("later", queue=queue, delay=60)
    claimed, *_ = client.consume(queue=queue)
    if "{redrive_id}" in path:
        path = path.replace("{redrive_id}", client.broker.redrives.start(queue, "default"))
    client.broker.schedules.put("nightly", cron="0 0 * * *", queue="default", body="x")
    if path.startswith("/topics"):
        client.broker.topics.put("orders")
        if operation["operationId"] != "putSubscription":
            client.broker.topics.subscribe("orders", "mail", queue="default")
    path = path.replace("{topic}", "orders").replace("{subscription}", "mail")
    path = path.replace("{queue}", queue).replace("{message_id}", claimed["id"]).replace("{schedule}", "nightly")
    if (method, path) == ("DELETE", "/queues/default"):
        path = "/queues/mail"
    if path.endswith("/redrive/messages"):  # which moves what no consumer holds
        client("PATCH", f"/queues/{queue}/messages/{claimed['id']}", json={"visibility_timeout": 0})
    text = json.dumps(example.fields).replace(EXAMPLE_ID, claimed["id"]).replace(EXAMPLE_RECEIPT, claimed["receipt"])
    fields = json.loads(text)
    if example.in_query:
        fields.pop("wait", None)
        reply = client(method, path + "?" + "&".join(f"{name}={value}" for name, value in fields.items()))
    else:
        reply = client(method, path, json={**fields, **({"wait": 0} if "wait" in fields else {})})
    documented = operation["responses"].get(str(reply.status_code))
    assert documented is not None, reply.text
    assert reply.status_code < 400, reply.text
    content = documented.get("content", {})
    if "application/json" in content and "schema" in content["application/json"]:
        check_answer(reply.json, content["application/json"]["schema"])
        if isinstance(reply.json, dict):
            assert reply.json.get("success", True) is True, reply.text


@pytest.mark.parametrize("call", CALLS, ids=call_name)
def test_each_example_of_an_answer_is_one(call: Described) -> None:
    for status, answer in call.operation["responses"].items():
        content = answer.get("content", {}).get("application/json", {})
        if "schema" in content and status < "400":
            check_answer(content["example"], content["schema"])


def test_messages_of_every_status_and_refused_entries_are_as_described() -> None:
    client = Client(Broker(MemoryLog()))
    client.produce("claimed", "waiting")
    client.produce("delayed", delay=60)
    claimed = client.consume("max=1")
    listed = client.get("/dev/messages")
    assert [each["status"] for each in listed] == ["processing", "unprocessed", "delayed"]
    for message in (*claimed, *listed):
        check_answer(message, {"$ref": "#/components/schemas/Message"})
    receipts = [claimed[0]["receipt"], claimed[0]["receipt"], "0"]
    results = client("POST", "/messages/delete", json={"receipts": receipts}).json
    assert [each["success"] for each in results["results"]] == [True, False, False]
    check_answer(results, {"$ref": "#/components/schemas/Results"})


def test_what_is_not_described_is_noticed() -> None:
    """The checks above would be of no use if they let everything through."""
    client = Client(Broker(MemoryLog()))
    client.produce("x")
    [message] = client.consume()
    for bad in ({**message, "more": 1}, {**message, "status": "gone"}, {**message, "produced_at": "now"}):
        with pytest.raises(Exception, match=r"more|gone|now"):
            check_answer(bad, {"$ref": "#/components/schemas/Message"})


# Errors


def said_in_code() -> Iterator[tuple[int, str]]:
    """Each status and code that stand beside each other in the source. Of other errors the table itself has the status."""
    for path in (ROOT / "wonderq").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and len(node.args) >= 2:
                first, second = (each.value if isinstance(each, ast.Constant) else None for each in node.args[:2])
                if (
                    isinstance(first, int)
                    and first >= 400
                    and isinstance(second, str)
                    and re.fullmatch("[a-z]+(_[a-z]+)*", second)
                ):
                    yield first, second


def test_every_code_in_the_source_is_in_the_table_and_there_are_no_others() -> None:
    pairs = set(said_in_code())
    assert len(pairs) > 20
    assert pairs <= {(status, code) for code, row in ERROR_CODES.items() for status in row.statuses}
    ours = {"error_codes.py", "operations.py"}
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "wonderq").glob("**/*.py") if path.name not in ours
    )
    assert [code for code in ERROR_CODES if f'"{code}"' not in source] == []
    assert set(BY_ANY_CALL) <= ERROR_CODES.keys()


def test_every_error_of_the_broker_and_of_the_log_has_one_status() -> None:
    kinds = [errors.BrokerError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = [kind.code for kind in kinds[1:]] + list(STORAGE_CODES.values())
    assert len(codes) > 25
    assert [code for code in codes if code not in ERROR_CODES or len(ERROR_CODES[code].statuses) != 1] == []


def test_the_documentation_has_the_same_codes() -> None:
    section = (ROOT / "docs" / "API.md").read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    found: dict[int, set[str]] = {}
    status = 0
    for row in re.findall(r"^\| *(\d*) *\| (.*) \|$", section, re.MULTILINE):
        status = int(row[0] or status)
        found.setdefault(status, set()).update(re.findall("`([a-z]+_[a-z_]+|unauthorized|forbidden)`", row[1]))
    found[500] = {"internal_error"}
    assert "500 `internal_error`" in section
    wanted: dict[int, set[str]] = {}
    for code, row in ERROR_CODES.items():
        for each in row.statuses:
            wanted.setdefault(each, set()).add(code)
    assert found == wanted


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("POST", "/queues/a.b/messages/produce", {"message": "x"}, 400, "invalid_queue_name"),
        ("GET", "/queues/nothing", None, 404, "queue_not_found"),
        ("GET", "/messages/nothing", None, 404, "message_not_found"),
        ("PUT", "/messages/{message_id}", {"visibility_timeout": 0}, 409, "not_claimed"),
        ("DELETE", "/queues/default", None, 409, "queue_not_deletable"),
        ("POST", "/messages/delete", {"ids": ["x"] * 1001}, 413, "batch_too_large"),
        ("GET", "/dev/messages/count", None, 400, "missing_field"),
    ],
)
def test_errors_are_as_described(method: str, target: str, body: Any, status: int, code: str) -> None:
    client = Client(Broker(MemoryLog()))
    [message_id] = client.produce("x")
    reply = client(method, target.replace("{message_id}", message_id), json=body)
    check_refused(reply, status, code, reply.json["error"].get("field"))
    path = re.sub("^/queues/[a-z.]+", "/queues/{queue}", target).replace("/messages/nothing", "/messages/{message_id}")
    response = resolve(DOCUMENT["paths"][path][method.lower()]["responses"][str(status)])
    check_answer(reply.json, response["content"]["application/json"]["schema"])


def test_no_log_is_needed_for_it(tmp_path: Path) -> None:
    """Also a broker whose disk has failed says what it is."""
    log = FileLog(tmp_path / "log")
    broker = Broker(log)
    client = Client(broker)
    log.close()
    assert client("GET", "/openapi.json").status_code == 200
    assert client("POST", "/messages/produce", json={"message": "x"}).status_code == 503
