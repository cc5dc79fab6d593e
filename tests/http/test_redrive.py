"""Redrive over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused
from wonderq.broker.redrive import Redrive
from wonderq.model.times import iso_time


@pytest.fixture
def dead(client: Client) -> Client:
    """Three dead letters of the queue `work` are in `dead`."""
    client("PUT", "/queues/work", json={"max_receives": 1, "dead_letter_queue": "dead"})
    for text, tenant in (("cat 1", "acme"), ("cat 2", "other"), ("dog 3", "acme")):
        client("POST", "/queues/work/messages/produce", json={"message": text, "attributes": {"tenant": tenant}})
    assert len(client("POST", "/queues/work/messages/consume", json={"visibility_timeout": 0}).json) == 3
    assert client("POST", "/queues/work/messages/consume", json={}).json == []
    return client


def begin(client: Client, **fields: Any) -> dict[str, Any]:
    reply = client("POST", "/queues/dead/redrive", json=fields)
    assert reply.status_code == 202, reply.text
    begun: dict[str, Any] = reply.json
    return begun


def end(client: Client, redrive_id: str) -> dict[str, Any]:
    """Return the final state of a redrive."""
    for _ in range(20):
        found: dict[str, Any] = client.get(f"/queues/dead/redrive/{redrive_id}")
        if found["status"] != "running":
            return found
        client.broker.redrives.run()
        client.broker.core.clock.advance(0.001)  # type: ignore[attr-defined]
    raise AssertionError("it did not end")


def texts(client: Client, queue: str) -> list[str]:
    return [message["message"] for message in client.get(f"/queues/{queue}/dev/messages")]


def test_back_to_where_they_came_from(dead: Client) -> None:
    begun = begin(dead)
    assert begun == {
        "id": begun["id"],
        "queue": "dead",
        "destination": None,
        "status": "running",
        "moved": 0,
        "skipped": 0,
        "total": 3,
        "dry_run": False,
        "per_second": None,
        "limit": None,
        "contains": None,
        "attribute": None,
        "since": None,
        "until": None,
        "started_at": "2023-11-14T22:13:20.000Z",
        "ended_at": None,
        "failure": None,
    }
    ended = end(dead, begun["id"])
    assert (ended["status"], ended["moved"], ended["ended_at"]) == ("completed", 3, "2023-11-14T22:13:20.001Z")
    assert texts(dead, "dead") == []
    assert texts(dead, "work") == ["cat 1", "cat 2", "dog 3"]
    [message, *_] = dead.get("/queues/work/dev/messages")
    assert (message["receive_count"], "dead_letter" in message) == (0, False)
    assert message["attributes"] == {"tenant": "acme"}


def test_some_of_them_elsewhere(dead: Client) -> None:
    begun = begin(dead, destination="default", contains="cat", attribute="tenant=acme", limit=5, per_second=1_000_000)
    asked = ("destination", "contains", "attribute", "limit", "per_second")
    assert [begun[name] for name in asked] == ["default", "cat", "tenant=acme", 5, 1_000_000]
    ended = end(dead, begun["id"])
    assert (ended["moved"], ended["skipped"]) == (1, 2)
    assert texts(dead, "default") == ["cat 1"]


def test_without_a_body_and_in_the_query(dead: Client) -> None:
    assert dead("POST", "/queues/dead/redrive?dry_run=true&limit=2").status_code == 202
    [found] = dead.get("/queues/dead/redrive")
    assert (found["dry_run"], found["limit"]) == (True, 2)
    assert end(dead, found["id"])["moved"] == 2
    assert len(texts(dead, "dead")) == 3
    assert dead("POST", "/queues/dead/redrive").status_code == 202


def test_listed_and_cancelled(dead: Client, clock: FakeClock) -> None:
    first = begin(dead, dry_run=True)["id"]
    end(dead, first)
    clock.advance(1)
    second = begin(dead)["id"]
    assert [each["id"] for each in dead.get("/queues/dead/redrive")] == [second, first]
    check_refused(dead("POST", "/queues/dead/redrive", json={}), 409, "redrive_running")
    for _ in range(2):
        cancelled = dead("DELETE", f"/queues/dead/redrive/{second}").json
        assert (cancelled["status"], cancelled["moved"]) == ("cancelled", 0)
    assert len(texts(dead, "dead")) == 3
    assert dead.get("/queues/work/redrive") == []


def test_of_another_queue_it_is_not_found(dead: Client) -> None:
    redrive_id = begin(dead)["id"]
    for method in ("GET", "DELETE"):
        check_refused(dead(method, f"/queues/work/redrive/{redrive_id}"), 404, "redrive_not_found")
        check_refused(dead(method, "/queues/dead/redrive/none"), 404, "redrive_not_found")
        check_refused(dead(method, f"/queues/nowhere/redrive/{redrive_id}"), 404, "queue_not_found")
    assert dead.get(f"/queues/dead/redrive/{redrive_id}")["status"] == "running"


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"destination": "dead"}, 400, "invalid_value", "destination"),
        ({"destination": "no queue"}, 400, "invalid_value", "destination"),
        ({"destination": "nowhere"}, 404, "queue_not_found", None),
        ({"per_second": 0}, 400, "invalid_value", "per_second"),
        ({"per_second": 1.5}, 400, "invalid_value", "per_second"),
        ({"limit": 0}, 400, "invalid_value", "limit"),
        ({"contains": ""}, 400, "invalid_value", "contains"),
        ({"attribute": "x" * 1025}, 400, "invalid_value", "attribute"),
        ({"dry_run": "yes"}, 400, "invalid_value", "dry_run"),
        ({"to": "default"}, 400, "unknown_field", "to"),
    ],
)
def test_what_is_refused(dead: Client, fields: dict[str, Any], status: int, code: str, field: str | None) -> None:
    check_refused(dead("POST", "/queues/dead/redrive", json=fields), status, code, field)
    check_refused(dead("POST", "/queues/nowhere/redrive", json={}), 404, "queue_not_found")
    assert dead.get("/queues/dead/redrive") == []


def test_counted(dead: Client) -> None:
    end(dead, begin(dead)["id"])
    begin(dead)
    text = dead("GET", "/metrics").text
    assert 'wonderq_messages_total{operation="transfer",queue="work"} 3.0' in text
    assert 'wonderq_messages_total{operation="transfer",queue="dead"} 3.0' in text
    assert 'wonderq_messages_total{operation="bury",queue="work"} 0.0' in text
    assert "wonderq_redrives_running 1.0" in text
    assert "wonderq_housekeeper_up 0.0" in text


def test_only_the_dead_letters_of_a_period_come_back(dead: Client, clock: FakeClock) -> None:
    clock.advance(86_400)
    today = iso_time(clock.now_ms())
    dead.produce("bird 4", queue="work")
    dead.consume("visibility_timeout=0", queue="work")
    assert dead.consume(queue="work") == []
    assert end(dead, begin(dead, since=today, dry_run=True)["id"])["moved"] == 1
    ended = end(dead, begin(dead, until=today, contains="cat")["id"])
    assert (ended["moved"], ended["skipped"], ended["until"]) == (2, 2, today)
    assert texts(dead, "work") == ["cat 1", "cat 2"]
    assert texts(dead, "dead") == ["dog 3", "bird 4"]
    refused = dead("POST", "/queues/dead/redrive", json={"since": today, "until": today})
    check_refused(refused, 400, "invalid_value", "until")


def test_a_redrive_without_a_period_is_written_as_earlier_programs_read_it(dead: Client, clock: FakeClock) -> None:
    without = begin(dead)["id"]
    end(dead, without)
    within = begin(dead, since=iso_time(clock.now_ms()))["id"]
    stored = dead.broker.core.state.metadata["move"]
    assert "since_ms" not in stored[without].value
    assert "until_ms" not in stored[within].value
    assert Redrive.from_record(within, stored[within].value).since_ms == clock.now_ms()
