"""GET /dev/messages/search: a search in parts, so that its progress is known and it can be stopped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_client import Client, check_refused


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


def test_a_queue_that_does_not_exist(client: Client) -> None:
    check_refused(client("GET", "/queues/no/dev/messages/search"), 404, "queue_not_found")
