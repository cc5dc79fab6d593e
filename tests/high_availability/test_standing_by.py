"""The answers of a process that has no broker at present: over HTTP, to REST and SQS clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from falcon.testing import TestClient
from prometheus_client import CollectorRegistry

from tests.support.http_client import Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app, create_stand_by_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import TrustedHosts
from wonderq.httpd.errors import RequestError
from wonderq.httpd.head import Head
from wonderq.ownership.front import Front
from wonderq.rest.health import Standing

STANDING = Standing("standing_by", "standing_by", "a:1 owns the log: send requests there.", "a:1")


class Situation:
    """A process that has, or has not, a broker and a quorum."""

    def __init__(self, key_file: Path) -> None:
        self.standing = STANDING
        self.has_quorum = True
        self.access = Access(Keys(key_file))
        self.front = Front(lambda: self.has_quorum, lambda: self.standing.refusal())
        stand_by = create_stand_by_app(
            self.access, CollectorRegistry(), lambda: self.standing, hosts=TrustedHosts(("127.0.0.1",))
        )
        self.front.set_up(stand_by, lambda _: RequestError(418, "of_the_broker", ""))
        self.client = TestClient(self.front)

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        return self.client.simulate_request(method, path, **{"host": "127.0.0.1", **options})


@pytest.fixture
def situation(tmp_path: Path) -> Situation:
    return Situation(tmp_path / "keys.json")


def test_the_health_of_a_process_that_stands_by(situation: Situation) -> None:
    assert situation("GET", "/healthz").json == {"status": "ok"}
    reply = situation("GET", "/readyz")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json == {
        "status": "standing_by",
        "owner": "a:1",
        "success": False,
        "statusCode": 503,
        "error": {"code": "standing_by", "message": STANDING.message},
    }
    situation.standing = STANDING._replace(warnings=["The clock is wrong."])
    assert situation("GET", "/readyz").json["warnings"] == ["The clock is wrong."]
    assert [situation("HEAD", path).status_code for path in ("/healthz", "/readyz")] == [200, 503]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/queues"),
        ("POST", "/messages/produce"),
        ("GET", "/messages/consume?wait=20"),
        ("DELETE", "/queues/a"),
        ("GET", "/nowhere"),
        ("POST", "/ui/session"),
    ],
)
def test_every_call_is_refused_with_the_owner(situation: Situation, method: str, path: str) -> None:
    reply = situation(method, path, body=b"{}")
    assert (reply.status_code, reply.json["error"]["code"]) == (503, "standing_by")
    assert "a:1" in reply.json["error"]["message"]
    assert reply.headers["retry-after"] == "1"


def test_an_sqs_client_gets_its_own_error(situation: Situation) -> None:
    headers = {
        "X-Amz-Target": "AmazonSQS.SendMessage",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=unknown",
    }
    reply = situation("POST", "/", headers=headers, body=b"{}")
    assert reply.status_code == 503
    assert reply.json["__type"].endswith("#ServiceUnavailable")
    assert reply.headers["x-amzn-query-error"].endswith(";Receiver"), "so the SDK tries again"


def test_the_documentation_and_the_pages_of_the_dashboard_are_there(situation: Situation) -> None:
    for path in ("/docs", "/openapi.json", "/ui"):
        assert situation("GET", path).status_code == 200


def test_the_metrics_need_a_key_and_everything_else_needs_none(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _, inspector = keys.create(path, name="m", roles=["metrics"], queues=["*"])
    _, producer = keys.create(path, name="p", roles=["produce"], queues=["*"])
    situation = Situation(path)

    def status(path: str, key: str | None) -> int:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return int(situation("GET", path, headers=headers).status_code)

    assert [status("/metrics", key) for key in (None, "nonsense", producer, inspector)] == [401, 401, 403, 200]
    assert [status("/queues", key) for key in (None, "nonsense", producer, inspector)] == [503] * 4
    assert [status("/readyz", key) for key in (None, "nonsense")] == [503] * 2


def test_pages_of_other_sites_are_refused(situation: Situation) -> None:
    assert situation("GET", "/metrics", headers={"Origin": "http://evil.example"}).status_code == 403
    assert situation("GET", "/metrics", host="evil.example").status_code == 421


def test_a_broker_takes_the_place_of_the_stand_by(situation: Situation) -> None:
    broker = Broker(MemoryLog())
    situation.front.serve(create_app(broker))
    assert situation("GET", "/readyz").json == {"status": "ready"}
    assert situation("GET", "/queues").status_code == 200
    situation.front.stand_by()
    assert situation("GET", "/queues").status_code == 503


def test_without_a_quorum_a_broker_refuses_at_once(situation: Situation) -> None:
    situation.front.serve(create_app(Broker(MemoryLog())))
    situation.has_quorum = False
    situation.standing = Standing("waiting_for_quorum", "no_quorum", "Nothing can be stored.", "me:1")
    reply = situation("POST", "/messages/produce", body=b"{}")
    assert (reply.status_code, reply.json["error"]["code"]) == (503, "no_quorum")
    assert reply.headers["retry-after"] == "1"
    assert situation("GET", "/readyz").json["status"] == "waiting_for_quorum"
    assert situation("GET", "/healthz").json == {"status": "ok"}
    assert b"wonderq_ready" in situation("GET", "/metrics").content
    situation.has_quorum = True
    assert situation("GET", "/readyz").status_code == 200


@pytest.mark.parametrize(
    ("body_bytes", "is_refused"), [(0, False), (1 << 14, False), ((1 << 14) + 1, True), (None, True)]
)
def test_a_large_body_is_refused_by_its_head(situation: Situation, body_bytes: int | None, is_refused: bool) -> None:
    head = Head("POST", "/messages/produce", {}, "127.0.0.1", body_bytes)
    error = situation.front.check_head(head)
    assert (error is not None and error.code == "standing_by") == is_refused
    situation.front.serve(object())
    error = situation.front.check_head(head)
    assert error is not None
    assert error.code == "of_the_broker"
    situation.has_quorum = False
    error = situation.front.check_head(head)
    assert (error is not None and error.code == "standing_by") == is_refused


def test_the_limit_of_bodies_is_that_of_the_broker_while_there_is_one(situation: Situation) -> None:
    limit = situation.front.limit_of(lambda _method, _path: 7, 1000)
    assert limit("GET", "/x") == 1000
    situation.front.serve(object())
    assert limit("GET", "/x") == 7


def test_the_routes_of_one_broker_are_replaced_by_those_of_the_next(situation: Situation, tmp_path: Path) -> None:
    """The check of keys keeps one router for the life of the process."""
    access = Access(Keys(tmp_path / "k.json"))
    first, second = Broker(MemoryLog()), Broker(MemoryLog())
    create_app(first, access)
    client = TestClient(create_app(second, access))
    second.put_queue("new")
    assert client.simulate_get("/queues/new").status_code == 200
    check_refused(Client(first)("GET", "/queues/new"), 404, "queue_not_found")
