"""GET /dev/messages/search: a search in parts, so that its progress is known and it can be stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker import queries
from wonderq.broker.broker import Broker
from wonderq.model.times import iso_time


def search(client: Client, query: str = "", queue: str = "default") -> Any:
    return client.get(f"/queues/{queue}/dev/messages/search?{query}")


def test_the_parts_together_find_what_a_listing_finds(client: Client) -> None:
    client.produce(*(f"{'cat' if number % 7 == 0 else 'dog'} {number}" for number in range(100)))
    found: list[str] = []
    examined, after, calls = 0, "", 0
    while after is not None:
        part = search(client, f"contains=cat&examine=30{after and f'&after={after}'}")
        found += [each["message"] for each in part["messages"]]
        examined += part["examined"]
        after, calls = part["next_after"], calls + 1
        assert part["examined"] <= 30
    assert found == [each["message"] for each in client.get("/dev/messages?contains=cat")]
    assert (len(found), examined, calls) == (15, 100, 4)


def test_it_ends_when_enough_is_found_and_goes_on_after_the_last(client: Client) -> None:
    client.produce(*("ab" * 10))
    first = search(client, "contains=a&limit=3")
    assert ([each["message"] for each in first["messages"]], first["examined"]) == (["a"] * 3, 5)
    rest = search(client, f"contains=a&after={first['next_after']}")
    assert (len(rest["messages"]), rest["examined"], rest["next_after"]) == (7, 15, None)


def test_it_takes_the_filters_of_a_listing(client: Client) -> None:
    client.produce({"message": "x" * 300, "group": "g", "attributes": {"n": 1}}, "y", queue="mail")
    client.produce({"message": "later", "group": "g", "delay": 60}, queue="mail")
    [found] = search(client, "group=g&attribute=n=1", "mail")["messages"]
    assert (found["message"], found["full_length"]) == ("x" * 200, 300)
    delayed = search(client, "status=delayed&preview=2", "mail")
    assert ([each["message"] for each in delayed["messages"]], delayed["examined"]) == (["la"], 1)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("examine=0", "examine"),
        ("examine=100001", "examine"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("preview=65537", "preview"),
        ("status=no", "status"),
        ("after=x", "after"),
    ],
)
def test_fields_out_of_range_are_refused(client: Client, query: str, field: str) -> None:
    check_refused(client("GET", f"/dev/messages/search?{query}"), 400, "invalid_value", field)


def texts(client: Client, query: str, queue: str = "default") -> list[str]:
    reply = client("GET", f"/queues/{queue}/dev/messages?{query}")
    assert reply.status_code == 200, reply.text
    return [each["message"] for each in reply.json]


def test_the_newest_come_first_and_pages_lead_both_ways(client: Client) -> None:
    client.produce(*map(str, range(7)))
    first = client.get("/dev/messages?order=newest&limit=3")
    assert [each["message"] for each in first] == ["6", "5", "4"]
    second = client.get(f"/dev/messages?order=newest&limit=3&after={first[-1]['id']}")
    assert [each["message"] for each in second] == ["3", "2", "1"]
    back = client.get(f"/dev/messages?order=oldest&limit=3&after={second[0]['id']}")
    assert [each["message"] for each in reversed(back)] == ["6", "5", "4"]
    assert texts(client, "order=newest&contains=2") == ["2"]
    assert [each["message"] for each in search(client, "order=newest&limit=2")["messages"]] == ["6", "5"]


def test_the_newest_of_a_status_come_first(client: Client) -> None:
    client.produce(*map(str, range(6)))
    client.consume("max=4")
    reply = client.get("/dev/messages/status?status=processing&order=newest&limit=2")
    assert [each["message"] for each in reply] == ["3", "2"]
    reply = client.get("/dev/messages/status?status=unprocessed&order=newest")
    assert [each["message"] for each in reply] == ["5", "4"]


def test_a_period_has_its_beginning_and_not_its_end(client: Client, clock: FakeClock) -> None:
    moments = []
    for number in range(4):
        moments.append(iso_time(clock.now_ms()))
        client.produce(f"day {number}")
        clock.advance(86_400)
    assert texts(client, f"since={moments[1]}&until={moments[3]}") == ["day 1", "day 2"]
    assert texts(client, f"since={moments[2]}&order=newest") == ["day 3", "day 2"]
    assert texts(client, f"until={moments[1]}&limit=5") == ["day 0"]
    found = search(client, f"since={moments[3]}&contains=day")
    assert ([each["message"] for each in found["messages"]], found["next_after"]) == (["day 3"], None)


def test_a_period_is_found_behind_many_others(
    client: Client, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_PASSED_CHUNK", 3)
    client.produce(*map(str, range(10)))
    clock.advance(1)
    since = iso_time(clock.now_ms())
    client.produce(*map(str, range(10, 14)))
    clock.advance(1)
    until = iso_time(clock.now_ms())
    client.produce(*map(str, range(14, 24)))
    assert texts(client, f"since={since}&until={until}") == ["10", "11", "12", "13"]
    assert texts(client, f"since={since}&until={until}&order=newest&limit=3") == ["13", "12", "11"]
    assert everywhere(client, f"since={since}&until={until}&examine=3") == [("default", str(n)) for n in range(10, 14)]


def test_a_dead_letter_came_when_it_moved(client: Client, clock: FakeClock) -> None:
    client("PUT", "/queues/mail", json={"max_receives": 1, "dead_letter_queue": "dead"})
    client.produce("letter", queue="mail")
    clock.advance(86_400)
    yesterday = iso_time(clock.now_ms())
    client.consume("visibility_timeout=1", queue="mail")
    clock.advance(2)
    assert client.consume(queue="mail") == []
    assert texts(client, f"since={yesterday}", "dead") == ["letter"]
    assert texts(client, f"until={yesterday}", "dead") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=yesterday", "since"),
        ("until=2026-01-01", "until"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z", "until"),
        ("order=random", "order"),
    ],
)
@pytest.mark.parametrize("call", ["", "/search"])
def test_a_period_or_an_order_that_means_nothing_is_refused(client: Client, call: str, query: str, field: str) -> None:
    check_refused(client("GET", f"/dev/messages{call}?{query}"), 400, "invalid_value", field)


def everywhere(client: Client, query: str, **headers: str) -> list[tuple[str, str]]:
    """Return queue and text of all that a search in all queues finds, part by part."""
    found: list[tuple[str, str]] = []
    after: str | None = ""
    while after is not None:
        reply = client("GET", f"/search?{query}{after and f'&after={after}'}", headers=headers)
        assert reply.status_code == 200, reply.text
        found += [(each["queue"], each["message"]) for each in reply.json["messages"]]
        after = reply.json["next_after"]
    return found


@pytest.mark.parametrize("examine", [1, 2, 5, 100])
def test_a_message_is_found_without_its_queue(client: Client, examine: int) -> None:
    for queue in ("b", "a", "c"):
        client.produce(*(f"{queue} order {number}" for number in range(4)), queue=queue)
    client("PUT", "/queues/empty", json={})
    query = f"contains=order 2&examine={examine}".replace(" ", "%20")
    assert everywhere(client, query) == [("b", "b order 2"), ("a", "a order 2"), ("c", "c order 2")]
    assert everywhere(client, "contains=nothing") == []
    assert len(everywhere(client, f"limit=2&examine={examine}")) == 12


def test_a_search_in_all_queues_goes_on_after_a_queue_that_was_deleted(client: Client) -> None:
    for queue in ("a", "b"):
        client.produce("x", "y", queue=queue)
    first = client.get("/search?limit=1")
    client("DELETE", "/queues/a")
    rest = client.get(f"/search?after={first['next_after']}")
    assert [each["queue"] for each in rest["messages"]] == ["b", "b"]
    check_refused(client("GET", "/search?after=x"), 400, "invalid_value", "after")


def test_a_search_in_all_queues_has_only_those_of_the_key(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "keys.json"
    inspects, looks = (
        keys.create(path, name="some", roles=[role], queues=["mail*"])[1] for role in ("inspect", "look")
    )
    client = Client(Broker(MemoryLog(), clock=clock), Access(Keys(path)))
    client.broker.produce("secret", ["order 1"])
    client.broker.produce("mail", ["order 1"])
    assert everywhere(client, "contains=order", Authorization=f"Bearer {inspects}") == [("mail", "order 1")]
    refused = client("GET", "/search?contains=order", headers={"Authorization": f"Bearer {looks}"})
    check_refused(refused, 403, "forbidden")


def test_a_queue_that_does_not_exist(client: Client) -> None:
    check_refused(client("GET", "/queues/no/dev/messages/search"), 404, "queue_not_found")
