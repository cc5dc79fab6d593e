"""The OpenAPI document of a node has the calls of a node, as it answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import falcon
import pytest
from falcon.testing import TestClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.support.http_client import routes_of
from tests.support.played_node import COUNT, PlayedNode
from tests.support.waiting import eventually
from wonderq.app import App, prepare
from wonderq.auth.roles import CLUSTER_RULES
from wonderq.cluster import steward
from wonderq.cluster.resources import add_node_routes
from wonderq.model.limits import Limits
from wonderq.openapi import document
from wonderq.openapi.cluster_operations import CLUSTER
from wonderq.openapi.operation import Operation

DOCUMENT: dict[str, Any] = json.loads(document.as_json(in_cluster=True))


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedNode]:
    monkeypatch.setattr(steward, "SUSPECT_S", 0.01)  # it hears nobody, so it need not listen for long
    play = PlayedNode()
    play.node.start()
    eventually(lambda: play.phases == ["owned"] * COUNT, "all shards to be owned")
    yield play
    play.node.stop()


@pytest.fixture
def app(play: PlayedNode) -> App:
    app: App = falcon.App()
    prepare(app)
    add_node_routes(app, play.node, Limits())
    return app


def calls_of(api: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in api["paths"].items() for method in methods}


def test_it_is_valid() -> None:
    validate(DOCUMENT)


def test_it_has_every_call_of_a_node_and_the_calls_of_a_broker(app: App) -> None:
    of_broker = calls_of(document.document())
    of_node = routes_of(app)
    assert calls_of(DOCUMENT) == of_broker | of_node
    assert of_node - of_broker == {(each.method, each.path) for each in CLUSTER if each.tag == "Cluster"}


def test_a_broker_has_no_call_of_a_cluster() -> None:
    assert "/cluster" not in document.as_json().decode()


@pytest.mark.parametrize("operation", CLUSTER, ids=lambda each: each.id)
def test_each_call_names_the_role_that_it_needs(operation: Operation) -> None:
    role = CLUSTER_RULES[operation.path][operation.method]
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]
    assert described["security"] == ([] if role == "anybody" else [{"bearer": [role]}, {}])
    assert (role == "anybody") is (operation.tag == "Health")


def strict(value: Any) -> Any:
    """Return schemas by which an object must not have fields that they do not name."""
    if isinstance(value, list):
        return [strict(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: strict(each) for name, each in value.items()}
    if found.get("type") == "object" and "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


@pytest.mark.parametrize("operation", CLUSTER, ids=lambda each: each.id)
def test_each_call_is_answered_as_described(app: App, operation: Operation) -> None:
    bodies = list(operation.examples.values()) or [None]
    for body in bodies:
        reply = TestClient(app).simulate_request(operation.method, operation.path, json=body)
        assert reply.status_code == 200, reply.text
        described = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]["200"]
        schema = described["content"]["application/json"]["schema"]
        whole = {**strict(schema), "components": strict(DOCUMENT["components"])}
        Draft202012Validator(whole).validate(reply.json)
        Draft202012Validator(whole).validate(described["content"]["application/json"]["example"])


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/cluster?more=1", None, "unknown_field"),
        ("POST", "/cluster/balance", {}, "unexpected_body"),
        ("POST", "/cluster/transfer", {"shard": 0}, "missing_field"),
        ("POST", "/cluster/transfer", {"shard": 0, "node": "a", "more": 1}, "unknown_field"),
        ("POST", "/cluster/transfer", {"shard": "x", "node": "a"}, "invalid_value"),
        ("POST", "/cluster/transfer", {"shard": 1 << 70, "node": "a"}, "invalid_value"),
        ("POST", "/cluster/transfer", {"shard": -1, "node": "a"}, "invalid_value"),
        ("POST", "/cluster/transfer?shard=1", {"shard": 0, "node": "a"}, "ambiguous_request"),
        ("POST", "/cluster/transfer", None, "empty_body"),
        ("POST", "/cluster/drain", {"node": "a"}, "invalid_value"),
        ("GET", "/readyz?strict=perhaps", None, "invalid_value"),
    ],
)
def test_a_refusal_has_a_code_of_the_call(app: App, method: str, path: str, body: Any, code: str) -> None:
    reply = TestClient(app).simulate_request(method, path, json=body)
    assert reply.json["error"]["code"] == code
    described = DOCUMENT["paths"][path.partition("?")[0]][method.lower()]["responses"][str(reply.status_code)]
    assert code in described["$ref"].rpartition("/")[2].split("-")
