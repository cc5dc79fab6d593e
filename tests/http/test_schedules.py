"""Schedules over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.broker.schedules import MAX_MESSAGE_BYTES

NIGHTLY = {"cron": "30 4 * * *", "queue": "mail", "message": "report"}


def put(client: Client, name: str = "nightly", **fields: Any) -> Any:
    return client("PUT", f"/schedules/{name}", json=fields)


def test_made_changed_listed_and_deleted(client: Client) -> None:
    made = put(client, **NIGHTLY)
    assert made.status_code == 201
    expected = {
        "name": "nightly",
        "cron": "30 4 * * *",
        "words": "At 04:30 every day",
        "timezone": "UTC",
        "queue": "mail",
        "message": "report",
        "missed": "skip",
        "paused": False,
        "created_at": "2023-11-14T22:13:20.000Z",
        "next_at": "2023-11-15T04:30:00.000Z",
        "last_at": None,
        "failure": None,
    }
    assert made.json == expected
    changed = put(
        client,
        timezone="America/New_York",
        attributes={"tenant": "acme", "n": 5},
        group="g",
        priority=2,
        delay=1.5,
        missed="all",
    )
    assert changed.status_code == 200
    expected |= {
        "timezone": "America/New_York",
        "next_at": "2023-11-15T09:30:00.000Z",
        "attributes": {"tenant": "acme", "n": 5},
        "group": "g",
        "priority": 2,
        "delay": 1.5,
        "missed": "all",
    }
    assert changed.json == client.get("/schedules/nightly") == expected
    put(client, "daily", **NIGHTLY)
    assert [each["name"] for each in client.get("/schedules")] == ["daily", "nightly"]
    assert client("DELETE", "/schedules/daily").json == {"success": True}
    assert client.get("/schedules") == [expected]


def test_a_page_of_them(client: Client) -> None:
    for number in range(5):
        put(client, f"{'even' if number % 2 == 0 else 'odd'}-{number}", **NIGHTLY)

    def names(query: str) -> list[str]:
        return [each["name"] for each in client.get(f"/schedules{query}")]

    assert names("") == ["even-0", "even-2", "even-4", "odd-1", "odd-3"]
    assert names("?limit=2") == ["even-0", "even-2"]
    assert names("?limit=2&after=even-2") == ["even-4", "odd-1"]
    assert names("?contains=odd&after=odd-1") == ["odd-3"]
    check_refused(client("GET", "/schedules?limit=1001"), 400, "invalid_value", "limit")


def test_it_produces_what_it_says(client: Client, clock: FakeClock) -> None:
    put(client, **NIGHTLY, attributes={"tenant": "acme"}, priority=2)
    clock.advance(22_600)
    client.broker.schedules.fire_due()
    [message] = client.get("/queues/mail/dev/messages")
    assert (message["message"], message["priority"]) == ("report", 2)
    assert message["attributes"] == {
        "schedule": "nightly",
        "scheduled_at": "2023-11-15T04:30:00.000Z",
        "tenant": "acme",
    }


def test_missed_counted_and_shown(client: Client, clock: FakeClock) -> None:
    put(client, **NIGHTLY)
    put(client, "often", **{**NIGHTLY, "cron": "0 * * * *"})
    clock.advance(2 * 86_400)
    client.broker.schedules.fire_due()
    text = client("GET", "/metrics").text
    assert "wonderq_schedules_missed_total 50.0" in text
    assert "wonderq_schedules_fired_total 0.0" in text
    assert client.get("/schedules/nightly")["next_at"] == "2023-11-17T04:30:00.000Z"


def test_paused_and_resumed(client: Client) -> None:
    put(client, **NIGHTLY)
    assert put(client, paused=True).json["next_at"] is None
    assert put(client, paused=False).json["next_at"] == "2023-11-15T04:30:00.000Z"


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"cron": "every day"}, "invalid_value", "cron"),
        ({"cron": "0 0 30 2 *"}, "invalid_value", "cron"),
        ({"cron": ""}, "invalid_value", "cron"),
        ({"cron": 5}, "invalid_value", "cron"),
        ({"timezone": "Atlantis"}, "invalid_value", "timezone"),
        ({"timezone": "../../etc/passwd"}, "invalid_value", "timezone"),
        ({"queue": "no queue"}, "invalid_value", "queue"),
        ({"missed": "twice"}, "invalid_value", "missed"),
        ({"delay": -1}, "invalid_value", "delay"),
        ({"priority": 10}, "invalid_value", "priority"),
        ({"queue": "mail.fifo", "priority": 1}, "invalid_value", "priority"),
        ({"attributes": {"x": {"type": "Binary", "value": "!"}}}, "invalid_value", "attributes.x"),
        ({"message": "x" * MAX_MESSAGE_BYTES}, "invalid_value", "message"),
        ({"at": "2030-01-01T00:00:00Z"}, "unknown_field", "at"),
    ],
)
def test_what_is_refused(client: Client, fields: dict[str, Any], code: str, field: str) -> None:
    refused = put(client, **{**NIGHTLY, **fields})
    check_refused(refused, 400, code, field)
    assert len(refused.json["error"]["message"]) > 20
    assert client.get("/schedules") == []


def test_a_new_one_needs_all_that_makes_one(client: Client) -> None:
    for name in NIGHTLY:
        refused = put(client, **{other: value for other, value in NIGHTLY.items() if other != name})
        assert refused.status_code == 400
        assert "needs a cron expression, a queue and a message" in refused.json["error"]["message"]


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("30 4 * * MON-FRI", "At 04:30 on Monday through Friday"),
        ("*/15 * * * *", "Every 15th minute of every hour"),
        ("0 0 L * *", "At 00:00 on the last day of every month"),
        ("*/10 * * * * *", "Every 10th second of every minute"),
        ("0 9 * * FRI#2", "At 09:00 on the second Friday of the month"),
    ],
)
def test_an_expression_has_words(client: Client, cron: str, words: str) -> None:
    assert client.get(f"/cron/times?cron={quote(cron)}")["words"] == words
    assert put(client, **{**NIGHTLY, "cron": cron}).json["words"] == words


def test_the_next_times_of_an_expression(client: Client) -> None:
    found = client.get("/cron/times?cron=30%204%20*%20*%20*&timezone=America/New_York&limit=3")
    assert found == {
        "cron": "30 4 * * *",
        "timezone": "America/New_York",
        "words": "At 04:30 every day",
        "times": ["2023-11-15T09:30:00.000Z", "2023-11-16T09:30:00.000Z", "2023-11-17T09:30:00.000Z"],
    }
    assert len(client.get("/cron/times?cron=0%200%2029%202%20*")["times"]) == 5
    assert client.get("/schedules") == []


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("cron=every%20day", "invalid_value", "cron"),
        ("cron=0%200%2031%202%20*", "invalid_value", "cron"),
        ("cron=*%20*%20*%20*%20*&timezone=Atlantis", "invalid_value", "timezone"),
        ("cron=*%20*%20*%20*%20*&limit=21", "invalid_value", "limit"),
        ("timezone=UTC", "missing_field", "cron"),
    ],
)
def test_an_expression_that_is_none_is_refused(client: Client, query: str, code: str, field: str) -> None:
    check_refused(client("GET", f"/cron/times?{query}"), 400, code, field)


def test_names(client: Client) -> None:
    check_refused(put(client, "a.b", **NIGHTLY), 400, "invalid_value", "name")
    check_refused(put(client, "x" * 81, **NIGHTLY), 400, "invalid_value", "name")
    for method in ("GET", "DELETE"):
        check_refused(client(method, "/schedules/none"), 404, "schedule_not_found")


class TestKeys:
    """A schedule is for those whose key opens the queue of its messages."""

    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Client:
        client = Client(Broker(MemoryLog()), Access(Keys(tmp_path / "keys.json")))
        self.path = tmp_path / "keys.json"
        self.headers = {}
        for name, queues in (("mine", ("my-*",)), ("theirs", ("their-*",)), ("all", ("*",))):
            key = keys.create(self.path, name=name, roles=["admin"], queues=queues)[1]
            self.headers[name] = {"Authorization": f"Bearer {key}"}
        return Client(client.broker, Access(Keys(self.path)))

    def test_of_others_are_not_seen_nor_changed(self, guarded: Client) -> None:
        def call(who: str, method: str, name: str = "", **fields: Any) -> Any:
            path = f"/schedules/{name}" if name else "/schedules"
            return guarded(method, path, json=fields or None, headers=self.headers[who])

        assert call("mine", "PUT", "a", **{**NIGHTLY, "queue": "my-mail"}).status_code == 201
        assert call("theirs", "PUT", "b", **{**NIGHTLY, "queue": "their-mail"}).status_code == 201
        assert call("theirs", "PUT", "c", **{**NIGHTLY, "queue": "my-mail"}).status_code == 403
        for name, who in (("a", "theirs"), ("b", "mine")):
            for method in ("GET", "DELETE"):
                check_refused(call(who, method, name), 404, "schedule_not_found")
            check_refused(call(who, "PUT", name, paused=True), 400, "invalid_value", "cron")
            own = {"mine": "my-mail", "theirs": "their-mail"}[who]
            check_refused(call(who, "PUT", name, **{**NIGHTLY, "queue": own}), 403, "forbidden")
        check_refused(call("mine", "PUT", "a", queue="their-mail"), 403, "forbidden")
        listed = {who: [each["name"] for each in call(who, "GET").json] for who in self.headers}
        assert listed == {"mine": ["a"], "theirs": ["b"], "all": ["a", "b"]}

    def test_back_to_wherever_is_for_those_who_may_use_all_queues(self, guarded: Client) -> None:
        guarded.broker.put_queue("my-dead")
        guarded.broker.put_queue("my-work")
        for who, fields, status in (
            ("mine", {}, 403),
            ("mine", {"destination": "their-mail"}, 403),
            ("theirs", {"destination": "their-mail"}, 403),
            ("mine", {"destination": "my-work"}, 202),
            ("all", {}, 202),
        ):
            for move in guarded.broker.redrives.list("my-dead"):
                guarded.broker.redrives.cancel(move.id)
            reply = guarded("POST", "/queues/my-dead/redrive", json=fields, headers=self.headers[who])
            assert reply.status_code == status, (who, fields)
