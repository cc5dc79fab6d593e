"""GET /overview, histories, and the listings of queues by their figures."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused
from tests.support.memory_log import MemoryLog
from tests.support.turns import Turns
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.broker.overview import Snapshot
from wonderq.broker.problems import QueueFigures
from wonderq.model.messages import NewMessage
from wonderq.model.topics import Publication
from wonderq.runtime.histogram import Histogram


@pytest.fixture
def client(clock: FakeClock) -> Client:
    return Client(Broker(MemoryLog(), clock=clock))


def overview(client: Client, **headers: str) -> Any:
    """Return the overview of this moment, not one of up to a second ago."""
    client.broker.history.run()
    client.broker.overview._due_s = 0
    reply = client("GET", "/overview", headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json


def problems(client: Client) -> list[tuple[str, str | None]]:
    return [(each["code"], each["queue"]) for each in overview(client)["problems"]]


def names(client: Client, query: str) -> list[str]:
    client.broker.overview._due_s = 0
    return [each["queue"] for each in client.get(f"/queues?{query}")]


def test_it_sums_up_the_queues(client: Client) -> None:
    client("PUT", "/queues/mail", json={"dead_letter_queue": "dead"})
    client.produce("a", "b", "c", queue="mail")
    client.produce("later", delay=60)
    client.produce("x", queue="dead")
    client.consume("max=1", queue="mail")
    found = overview(client)
    assert found["counts"] == {"unprocessed": 3, "processing": 1, "delayed": 1, "buried": 0}
    assert (found["queues"], found["dead_letters"]) == (3, 1)
    assert found["per_second"]["1m"]["produced"] > 0
    assert found["ready"] is True
    assert found["problems"] == []
    assert found["access"] == {"key": None, "name": None, "roles": ["admin"], "queues": ["*"], "read_only": False}


def test_it_is_gathered_once_for_all_who_ask(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = []
    gather = client.broker.overview._gather
    monkeypatch.setattr(client.broker.overview, "_gather", lambda: gathered.append(1) or gather())
    overview(client)
    client.broker.overview._due_s = time.monotonic() + 1000
    for _ in range(5):
        client.get("/overview")
    assert len(gathered) == 1


def test_a_queue_that_nobody_consumes_is_a_problem_after_a_minute(client: Client, clock: FakeClock) -> None:
    client.produce("x", queue="mail")
    clock.advance(59)
    assert problems(client) == []
    clock.advance(2)
    assert problems(client) == [("no_consumer", "mail")]
    [found] = overview(client)["problems"]
    assert found["message"] == "Nobody consumes mail. Its oldest of 1 has waited for 1 minute."
    client("PUT", "/queues/mail", json={"paused": True})
    assert problems(client) == [("paused", "mail")]


def test_a_queue_with_consumers_is_late_after_five_minutes(client: Client, clock: FakeClock) -> None:
    client.produce("x", "y", queue="mail")
    client.consume("max=1&visibility_timeout=3600", queue="mail")
    clock.advance(290)
    assert problems(client) == []
    clock.advance(11)
    assert problems(client) == [("late", "mail")]


def test_dead_letters_of_the_last_hour_are_a_problem(client: Client, clock: FakeClock) -> None:
    broker = client.broker
    client("PUT", "/queues/mail", json={"max_receives": 1, "dead_letter_queue": "dead"})
    client.produce("x", queue="mail")
    client.consume("visibility_timeout=1", queue="mail")
    clock.advance(2)
    assert client.consume(queue="mail") == []
    clock.advance(10)
    broker.history.run()
    assert problems(client) == [("dead_letters", "mail")]
    assert overview(client)["problems"][0]["message"] == "mail had 1 dead letter in the last hour, moved to dead."
    for _ in range(361):
        clock.advance(10)
        broker.history.run()
    assert problems(client) == [], "neither those of earlier, nor that nobody consumes dead letters"


def test_failed_tasks_are_problems(client: Client, clock: FakeClock) -> None:
    client("PUT", "/queues/mail", json={"draining": True})
    client("PUT", "/schedules/nightly", json={"cron": "* * * * *", "queue": "mail", "message": "x"})
    clock.advance(61)
    client.broker.schedules.fire_due()
    client.produce("x")
    client("PUT", "/queues/other", json={})
    client("POST", "/queues/default/redrive", json={"destination": "other"})
    client("DELETE", "/queues/other")
    client.broker.redrives.run()
    assert problems(client)[:2] == [("schedule_failed", "mail"), ("redrive_failed", "default")]
    assert problems(client)[-1] == ("draining", "mail")


def test_a_damaged_log_is_the_first_problem_and_the_overview_still_answers(client: Client) -> None:
    client.broker.mark_damaged("0.wal", 17, "a checksum does not match")
    found = overview(client)
    assert (found["ready"], found["damaged"]) == (False, True)
    assert found["problems"][0]["code"] == "damaged"


def test_a_key_sees_its_own_queues_only(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"
    key = keys.create(path, name="on call", roles=["look"], queues=["mail*"])[1]
    client = Client(Broker(MemoryLog(), clock=clock), Access(Keys(path)))
    client.broker.produce("mail", ["a"])
    client.broker.produce("secret", ["b", "c"])
    clock.advance(61)
    headers = {"Authorization": f"Bearer {key}"}
    found = overview(client, **headers)
    assert (found["queues"], found["counts"]["unprocessed"]) == (1, 1)
    assert [each["queue"] for each in found["problems"]] == ["mail"]
    rights = {"key": key[3:15], "name": "on call", "roles": ["look"], "queues": ["mail*"], "read_only": False}
    assert found["access"] == rights
    assert [each["queue"] for each in client("GET", "/queues?sort=unprocessed", headers=headers).json] == ["mail"]


def test_problems_of_other_queues_hide_none_of_a_key(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"
    key = keys.create(path, name="on call", roles=["look"], queues=["mail*"])[1]
    everybody = keys.create(path, name="all", roles=["look"], queues=["*"])[1]
    client = Client(Broker(MemoryLog(), clock=clock), Access(Keys(path, check_interval_s=0)))
    for number in range(150):
        client.broker.produce(f"other-{number}", ["a"])
    clock.advance(100)
    client.broker.produce("mail", ["a"])
    client.broker.put_queue("mail-paused", paused=True)
    clock.advance(301)
    found = overview(client, Authorization=f"Bearer {key}")
    assert [each["queue"] for each in found["problems"]] == ["mail", "mail-paused"]
    assert found["more_problems"] == 0
    found = overview(client, Authorization=f"Bearer {everybody}")
    assert len(found["problems"]) == 101
    assert found["more_problems"] == 51


def test_problems_of_topics_are_for_keys_that_open_queue_and_topic(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"
    client = Client(Broker(MemoryLog(), clock=clock), Access(Keys(path, check_interval_s=0)))
    broker = client.broker
    for queue in ("mail", "hidden", "refused"):
        broker.put_queue(queue)
    for topic in ("orders", "secret"):
        broker.topics.put(topic)
        for queue in ("mail", "hidden"):
            broker.topics.subscribe(topic, queue, queue=queue, when_full="skip", dead_letter_queue="refused")
    for queue in ("mail", "hidden"):
        broker.put_queue(queue, draining=True)
    for topic in ("orders", "secret"):
        broker.topics.publish(topic, [Publication(NewMessage("x"))])
    clock.advance(10)
    for queues, expected, dead in (
        (["*"], [("hidden", "orders"), ("hidden", "secret"), ("mail", "orders"), ("mail", "secret")], (4, 4)),
        (["orders", "mail"], [("mail", "orders")], (0, 1)),
        (["orders"], [], (0, 0)),
        (["mail"], [], (0, 0)),
    ):
        key = keys.create(path, name="-".join(queues), roles=["look"], queues=queues)[1]
        found = overview(client, Authorization=f"Bearer {key}")
        assert sorted((each["queue"], each["topic"]) for each in found["problems"] if each["topic"]) == expected
        assert (found["dead_letters"], found["dead_letters_last_hour"]) == dead


def test_queues_are_listed_by_their_figures(client: Client, clock: FakeClock) -> None:
    for name, count in (("b", 2), ("a", 2), ("c", 5)):
        client.produce(*["x"] * count, queue=name)
        clock.advance(1)
    assert names(client, "sort=unprocessed") == ["c", "a", "b", "default"]
    assert names(client, "sort=unprocessed&limit=2") == ["c", "a"]
    assert names(client, "sort=oldest_waiting") == ["b", "a", "c", "default"]
    assert names(client, "sort=unprocessed&contains=a") == ["a", "default"]
    assert names(client, "sort=produced") == names(client, "sort=deleted") == ["a", "b", "c", "default"], (
        "no history yet"
    )
    client.broker.history.run()
    client.broker.history._find_queues()
    client.produce(*"wxyz", queue="b")
    [message] = client.consume("max=1", queue="a")
    client("DELETE", f"/queues/a/messages/{message['id']}?receipt={message['receipt']}")
    clock.advance(10)
    assert names(client, "sort=produced")[:2] == ["b", "c"]
    assert names(client, "sort=deleted&limit=1") == ["a"]
    assert names(client, "contains=a") == ["a", "default"]
    check_refused(client("GET", "/queues?sort=bytes&after=a"), 400, "invalid_value", "after")
    check_refused(client("GET", "/queues?sort=nothing"), 400, "invalid_value", "sort")


def test_only_queues_that_hold_dead_letters_are_listed(client: Client) -> None:
    client("PUT", "/queues/mail", json={"dead_letter_queue": "dead"})
    client("PUT", "/queues/pictures", json={"dead_letter_queue": "empty"})
    for name in ("dead", "empty"):
        client("PUT", f"/queues/{name}", json={})
    client.produce("y", queue="dead", delay=60)
    [message_id] = client.produce("x", queue="jobs")
    client("PATCH", f"/queues/jobs/messages/{message_id}", json={"bury": True})
    assert names(client, "dead_letters=true") == ["dead", "jobs"]


def test_queues_with_dead_letters_are_found_in_turns_and_once_for_all_who_ask(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1200):
        client.broker.put_queue(f"queue-{number:04}")
    turns, dead_letters_of = Turns(monkeypatch), Snapshot.dead_letters_of

    def counted(snapshot: Snapshot, queue: QueueFigures) -> int:
        turns.count()
        return dead_letters_of(snapshot, queue)

    monkeypatch.setattr(Snapshot, "dead_letters_of", counted)
    client.broker.overview.current()
    client.broker.overview._due_s = math.inf
    for _ in range(2):
        assert turns.run(lambda: client.get("/queues?dead_letters=true")) == []
    assert sum(turns.counts) == 1201  # with `default`
    assert max(turns.counts) <= 500


def test_a_queue_has_its_figures_if_they_are_asked_for(client: Client, clock: FakeClock) -> None:
    client("PUT", "/queues/mail", json={"dead_letter_queue": "dead"})
    client.produce("x", queue="mail")
    clock.advance(10)
    client.broker.history.run()
    client.broker.overview._due_s = 0
    assert "figures" not in client.get("/queues/mail")
    figures = client.get("/queues/mail?figures=true")["figures"]
    assert figures["oldest_waiting_age"] == 10
    assert figures["per_second"]["produced"] == 0.1
    assert figures["recent_waiting"] == [1]
    assert (figures["consumers"], figures["sources"]) == (0, [])
    client("PUT", "/queues/dead", json={})
    assert client.get("/queues/dead?figures=true")["figures"]["sources"] == ["mail"]
    assert [each["figures"]["recent_waiting"] for each in client.get("/queues?figures=true&prefix=mail")] == [[1]]


def test_histories_of_a_queue_and_of_all(client: Client, clock: FakeClock) -> None:
    client.produce("x", "y", queue="mail")
    client.broker.history._find_queues()
    clock.advance(10)
    client.broker.history.run()
    found = client.get("/queues/mail/history?window=1h")
    assert (found["step"], found["is_kept"], found["waiting"], found["produced"]) == (10, True, [2], [2])
    assert client.get("/overview/history")["waiting"] == [2]
    assert client.get("/overview/history?window=24h")["waiting"] == []
    check_refused(client("GET", "/queues/nothing/history"), 404, "queue_not_found")
    check_refused(client("GET", "/queues/mail/history?window=2h"), 400, "invalid_value", "window")


def test_a_history_has_the_ages_of_messages(client: Client, clock: FakeClock) -> None:
    client.produce("x", "y", "z", queue="mail")
    client.produce("other", queue="jobs")
    client.broker.history._find_queues()
    clock.advance(0.2)
    [first, second] = client.consume("max=2", queue="mail")
    clock.advance(2)
    for message in (first, second):
        client("DELETE", f"/queues/mail/messages/{message['id']}?receipt={message['receipt']}")
    found = client.get("/queues/mail/history")
    claims, lives = found["time_to_claim"], found["lifetime"]
    assert len(claims["counts"]) == len(claims["bounds"]) + 1
    assert {bound: count for bound, count in zip(claims["bounds"], claims["counts"], strict=False) if count} == {
        0.25: 2
    }
    assert {bound: count for bound, count in zip(lives["bounds"], lives["counts"], strict=False) if count} == {2.5: 2}
    assert (claims["sum"], claims["p50"], claims["p90"], claims["p99"]) == (0.4, 0.25, 0.25, 0.25)
    assert client.get("/overview/history")["lifetime"] == lives, "of all queues together"
    nothing = client.get("/queues/jobs/history")["lifetime"]
    assert (sum(nothing["counts"]), nothing["p50"]) == (0, None)


def test_a_queue_without_a_history_has_no_ages(client: Client) -> None:
    for number in range(101):
        client("PUT", f"/queues/q{number:03}", json={})
    client.broker.history._find_queues()
    found = client.get("/queues/q100/history")
    assert (found["is_kept"], found["time_to_claim"], found["lifetime"]) == (False, None, None)


def test_a_listing_may_cut_texts(client: Client) -> None:
    client.produce("short", "x" * 1000)
    first, second = client.get("/dev/messages?preview=10")
    assert (first["message"], "full_length" in first) == ("short", False)
    assert (second["message"], second["full_length"]) == ("x" * 10, 1000)
    assert client.get("/dev/messages/status?status=unprocessed&preview=0")[1]["message"] == ""


def test_the_housekeeper_takes_samples(client: Client, clock: FakeClock) -> None:
    housekeeper = Housekeeper(client.broker)
    clock.advance(10)
    housekeeper.turn()
    assert client.get("/overview/history")["waiting"] == [0]


def test_quantiles_of_a_histogram() -> None:
    histogram = Histogram((1, 2, 5))
    assert histogram.quantile(0.99) is None
    for value in [1] * 98 + [2, 9]:
        histogram.observe(value)
    assert [histogram.quantile(share) for share in (0.5, 0.98, 0.99, 1)] == [1, 1, 2, None]
