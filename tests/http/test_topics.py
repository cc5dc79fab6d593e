"""Topics over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker

PUBLISH = "/topics/orders/publish"


@pytest.fixture
def orders(client: Client) -> Client:
    """A topic with a subscription of everything and one of some."""
    client("PUT", "/topics/orders", json={})
    for queue, fields in (("mail", {}), ("audit", {"filter": {"kind": ["paid"]}})):
        client("PUT", f"/queues/{queue}", json={})
        made = client("PUT", f"/topics/orders/subscriptions/{queue}", json={"queue": queue, **fields})
        assert made.status_code == 201
    return client


def texts(client: Client, queue: str) -> list[str]:
    return [each["message"] for each in client.get(f"/queues/{queue}/dev/messages")]


def test_a_topic_is_made_changed_listed_and_deleted(client: Client) -> None:
    made = client("PUT", "/topics/orders", json={"tags": {"team": "shop"}})
    assert made.status_code == 201
    expected: dict[str, Any] = {
        "topic": "orders",
        "settings": {"content_deduplication": False, "deduplication_window": 300.0, "tags": {"team": "shop"}},
        "created_at": "2023-11-14T22:13:20.000Z",
        "subscriptions": 0,
        "published": 0,
    }
    assert made.json == expected
    changed = client("PUT", "/topics/orders?content_deduplication=true&deduplication_window=1.5")
    expected["settings"] |= {"content_deduplication": True, "deduplication_window": 1.5}
    assert (changed.status_code, changed.json) == (200, expected)
    assert client.get("/topics/orders") == expected
    client("PUT", "/topics/events.fifo")
    assert [each["topic"] for each in client.get("/topics")] == ["events.fifo", "orders"]
    assert [each["topic"] for each in client.get("/topics?after=events.fifo&limit=1")] == ["orders"]
    assert client("DELETE", "/topics/orders").json == {"success": True}
    check_refused(client("GET", "/topics/orders"), 404, "topic_not_found")


def test_a_subscription_is_made_changed_listed_and_deleted(orders: Client) -> None:
    expected = {
        "subscription": "audit",
        "topic": "orders",
        "queue": "audit",
        "raw": True,
        "filter": {"kind": ["paid"]},
        "filter_scope": "attributes",
        "dead_letter_queue": "",
        "paused": False,
        "when_full": "fail",
        "created_at": "2023-11-14T22:13:20.000Z",
        "delivered": 0,
        "skipped": 0,
    }
    path = "/topics/orders/subscriptions/audit"
    assert orders.get(path) == expected
    fields = {"raw": False, "filter": None, "dead_letter_queue": "mail", "paused": True, "when_full": "skip"}
    assert orders("PUT", path, json=fields).json == expected | fields
    assert [each["subscription"] for each in orders.get("/topics/orders/subscriptions")] == ["audit", "mail"]
    assert [each["subscription"] for each in orders.get("/topics/orders/subscriptions?after=audit")] == ["mail"]
    assert orders("DELETE", path).json == {"success": True}
    check_refused(orders("GET", path), 404, "subscription_not_found")
    assert orders.get("/topics/orders")["subscriptions"] == 1


def test_one_message_and_a_batch(orders: Client) -> None:
    fields = {"attributes": {"kind": "paid", "n": 5}, "group": "g", "priority": 3, "subject": "news"}
    sent = orders("POST", PUBLISH, json={"message": "one", **fields})
    assert (sent.status_code, sent.json["queues"], sent.json["skipped"]) == (201, 2, 0)
    sent = orders(
        "POST", PUBLISH, json={"messages": ["two", {"message": "three", "attributes": {"kind": "paid"}}], "delay": 5}
    )
    assert [each["queues"] for each in sent.json["results"]] == [1, 2]
    assert (texts(orders, "mail"), texts(orders, "audit")) == (["one", "two", "three"], ["one", "three"])
    [first, *others] = orders.get("/queues/mail/dev/messages")
    assert first["attributes"] == {"kind": "paid", "n": 5}
    assert (first["group"], first["priority"]) == ("g", 3)
    assert [each["status"] for each in others] == ["delayed", "delayed"]
    assert orders.get("/topics/orders")["published"] == 3
    assert orders.get("/topics/orders/subscriptions/audit")["delivered"] == 2


def test_a_trace_and_a_key_in_headers(orders: Client) -> None:
    trace = {"traceparent": f"00-{1:032x}-{2:016x}-01"}
    for _ in range(2):
        sent = orders("POST", PUBLISH, json={"message": "x"}, headers={**trace, "Idempotency-Key": '"k"'})
    assert sent.json["duplicate"] is True
    batch = {"messages": ["a", "b"], "idempotency_key": "k"}
    assert [each.get("duplicate") for each in orders("POST", PUBLISH, json=batch).json["results"]] == [None, None]
    assert [each.get("duplicate") for each in orders("POST", PUBLISH, json=batch).json["results"]] == [True, True]
    assert texts(orders, "mail") == ["x", "a", "b"]
    assert orders.get("/queues/mail/dev/messages")[0]["traceparent"] == trace["traceparent"]


def test_an_envelope_is_what_a_consumer_gets(orders: Client) -> None:
    orders("PUT", "/topics/orders/subscriptions/mail", json={"raw": False})
    orders("POST", PUBLISH, json={"message": "x", "subject": "news", "attributes": {"a": "b"}})
    [message] = orders("POST", "/queues/mail/messages/consume", json={}).json
    envelope = msgspec.json.decode(message["message"])
    assert (envelope["Topic"], envelope["Subject"], envelope["Message"]) == ("orders", "news", "x")
    assert "attributes" not in message


def test_a_dry_run(orders: Client) -> None:
    found = orders("POST", "/topics/orders/match", json={"message": "x"}).json
    assert [(each["subscription"], each["queue"], each["matches"]) for each in found] == [
        ("mail", "mail", True),
        ("audit", "audit", False),
    ]
    assert "kind" in found[1]["reason"]
    found = orders(
        "POST", "/topics/orders/match", json={"message": "x", "attributes": {"kind": "paid"}, "limit": 2}
    ).json
    assert all(each["matches"] for each in found)
    assert texts(orders, "mail") == []


def test_a_dry_run_says_which_queue_makes_the_publish_fail(orders: Client) -> None:
    orders("PUT", "/queues/mail", json={"draining": True})
    message = {"message": "x", "attributes": {"kind": "paid"}}
    found = orders("POST", "/topics/orders/match", json=message).json
    assert [(each["matches"], each["fails_publish"]) for each in found] == [(False, True), (True, False)]
    assert "mail" in found[0]["reason"]
    check_refused(orders("POST", PUBLISH, json=message), 409, "queue_draining")
    orders("PUT", "/topics/orders/subscriptions/mail", json={"when_full": "skip"})
    found = orders("POST", "/topics/orders/match", json=message).json
    assert [(each["matches"], each["fails_publish"]) for each in found] == [(False, False), (True, False)]
    assert orders("POST", PUBLISH, json=message).json["queues"] == 1


def test_topics_and_subscriptions_are_found_by_a_part_of_the_name(orders: Client) -> None:
    for topic in ("refunds", "reorders"):
        orders("PUT", f"/topics/{topic}", json={})
    assert [each["topic"] for each in orders.get("/topics?contains=orders")] == ["orders", "reorders"]
    assert [each["topic"] for each in orders.get("/topics?contains=orders&after=orders")] == ["reorders"]
    assert orders.get("/topics?contains=Orders") == []
    orders("PUT", "/queues/archive", json={})
    orders("PUT", "/topics/orders/subscriptions/z", json={"queue": "archive"})
    listing = "/topics/orders/subscriptions"
    assert [each["subscription"] for each in orders.get(f"{listing}?contains=i")] == ["audit", "mail", "z"]
    assert [each["subscription"] for each in orders.get(f"{listing}?contains=chive")] == ["z"], "by its queue"
    assert [each["subscription"] for each in orders.get(f"{listing}?contains=i&limit=1&after=audit")] == ["mail"]


def test_a_topic_has_its_figures_if_they_are_asked_for(orders: Client, clock: FakeClock) -> None:
    orders.broker.history.topics.sample(clock.now_ms())
    orders("PUT", "/queues/audit", json={"draining": True})
    orders("PUT", "/topics/orders/subscriptions/audit", json={"when_full": "skip"})
    orders("POST", PUBLISH, json={"messages": [{"message": "x", "attributes": {"kind": "paid"}}] * 20})
    clock.advance(10)
    assert "figures" not in orders.get("/topics/orders")
    figures = orders.get("/topics/orders?figures=true")["figures"]
    assert figures == {
        "delivered": 20,
        "skipped": 20,
        "per_second": {"published": 2.0, "delivered": 2.0, "skipped": 2.0},
    }
    assert [each["figures"] for each in orders.get("/topics?figures=true")] == [figures]


def test_a_queue_has_the_topics_that_its_reader_may_see(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = keys.create(path, name="mine", roles=["look"], queues=("orders*", "mail"))[1]
    broker = Broker(MemoryLog(), clock=FakeClock())
    broker.put_queue("mail")
    broker.put_queue("audit")
    for topic in ("orders", "secret"):
        broker.topics.put(topic)
        broker.topics.subscribe(topic, "to-mail", queue="mail")
    broker.topics.subscribe("orders", "audit", queue="audit", when_full="skip", dead_letter_queue="mail", paused=True)
    client = Client(broker, Access(Keys(path)))
    shared = {"Cache-Control": "max-age=1"}
    admin = {"Authorization": f"Bearer {keys.create(path, name='all', roles=['admin'], queues=['*'])[1]}"}
    mine = {"Authorization": f"Bearer {key}"}
    published = {"topic": "orders", "subscription": "to-mail", "gets": "published", "paused": False}
    refused = {"topic": "orders", "subscription": "audit", "gets": "refused", "paused": True}
    for address in ("/queues/mail?figures=true", "/queues?figures=true&limit=1&prefix=mail"):
        found = [client("GET", address, headers={**headers, **shared}).json for headers in (admin, mine, admin)]
        topics = [(each[0] if isinstance(each, list) else each)["figures"]["topics"] for each in found]
        assert topics[1] == [published, refused], "not what another reader got"
        assert [each["topic"] for each in topics[0]] == ["orders", "orders", "secret"]
        assert topics[2] == topics[0]


def test_each_reader_gets_answers_of_its_own(tmp_path: Path) -> None:
    """Answers are shared for a second only among those who may see the same."""
    path = tmp_path / "keys.json"
    made = [keys.create(path, name=name, roles=["look"], queues=queues)[1] for name, queues in READERS.items()]
    broker = Broker(MemoryLog(), clock=FakeClock())
    for topic in ("orders", "refunds"):
        broker.topics.put(topic)
    for queue in ("mail", "audit"):
        broker.put_queue(queue)
        broker.topics.subscribe("orders", queue, queue=queue)
    client = Client(broker, Access(Keys(path)))
    for _ in range(2):
        found = [
            [
                [each[name] for each in client("GET", address, headers=reader_headers(key)).json]
                for name, address in (("topic", "/topics"), ("queue", "/topics/orders/subscriptions"))
            ]
            for key in made
        ]
        assert found == [[["orders", "refunds"], ["audit", "mail"]], [["orders"], ["mail"]]]


READERS = {"all": ["*"], "some": ["orders", "mail"]}


def reader_headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Cache-Control": "max-age=100"}


REFUSED: dict[str, tuple[str, str, Any, int, str, str | None]] = {
    "no message": ("POST", PUBLISH, {"delay": 1}, 400, "missing_field", "message"),
    "both": ("POST", PUBLISH, {"message": "x", "messages": ["y"]}, 400, "ambiguous_request", "messages"),
    "a field beside a batch": (
        "POST",
        PUBLISH,
        {"messages": ["y"], "subject": "x"},
        400,
        "ambiguous_request",
        "subject",
    ),
    "a long subject": ("POST", PUBLISH, {"message": "x", "subject": "x" * 101}, 400, "invalid_value", "subject"),
    "an empty batch": ("POST", PUBLISH, {"messages": []}, 400, "invalid_value", "messages"),
    "too many": ("POST", PUBLISH, {"messages": ["x"] * 1001}, 413, "batch_too_large", None),
    "too large": ("POST", PUBLISH, {"message": "x" * (1 << 20) + "y"}, 413, "message_too_large", None),
    "another topic": ("POST", "/topics/no/publish", {"message": "x"}, 404, "topic_not_found", None),
    "an unknown field": ("POST", PUBLISH, {"message": "x", "producer_id": "x"}, 400, "unknown_field", "producer_id"),
    "name of a topic": ("PUT", "/topics/a%20b", {}, 400, "invalid_value", "topic"),
    "name of a subscription": (
        "PUT",
        "/topics/orders/subscriptions/a.b",
        {"queue": "mail"},
        400,
        "invalid_value",
        "subscription",
    ),
    "no queue": ("PUT", "/topics/orders/subscriptions/new", {}, 400, "invalid_value", "queue"),
    "queue that is not there": (
        "PUT",
        "/topics/orders/subscriptions/new",
        {"queue": "no"},
        404,
        "queue_not_found",
        None,
    ),
    "queue with another": (
        "PUT",
        "/topics/orders/subscriptions/new",
        {"queue": "mail"},
        409,
        "already_subscribed",
        None,
    ),
    "filter": (
        "PUT",
        "/topics/orders/subscriptions/mail",
        {"filter": {"a": [{"no": 1}]}},
        400,
        "invalid_value",
        "filter",
    ),
    "filter that is a list": (
        "PUT",
        "/topics/orders/subscriptions/mail",
        {"filter": []},
        400,
        "invalid_value",
        "filter",
    ),
    "when full": ("PUT", "/topics/orders/subscriptions/mail", {"when_full": "wait"}, 400, "invalid_value", "when_full"),
    "limit": ("GET", "/topics?limit=0", None, 400, "invalid_value", "limit"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_wrong_is_refused_and_changes_nothing(orders: Client, case: str) -> None:
    method, path, body, status, code, field = REFUSED[case]
    end = orders.broker.core.log.end()
    check_refused(orders(method, path, json=body), status, code, field)
    assert orders.broker.core.log.end() == end


def test_a_full_queue_is_named(orders: Client) -> None:
    orders("PUT", "/queues/audit", json={"draining": True})
    refused = orders("POST", PUBLISH, json={"message": "x", "attributes": {"kind": "paid"}})
    check_refused(refused, 409, "queue_draining")
    assert "audit" in refused.json["error"]["message"]
    assert texts(orders, "mail") == []
    orders("PUT", "/topics/orders/subscriptions/audit", json={"when_full": "skip"})
    sent = orders("POST", PUBLISH, json={"message": "x", "attributes": {"kind": "paid"}})
    assert (sent.json["queues"], sent.json["skipped"]) == (1, 1)


def test_msgpack(orders: Client) -> None:
    body = msgspec.msgpack.encode({"messages": [{"message": "x", "attributes": {"kind": "paid"}}]})
    headers = {"Accept": "application/msgpack"}
    sent = orders("POST", PUBLISH, body=body, media_type="application/msgpack", headers=headers)
    assert msgspec.msgpack.decode(sent.content)["results"][0]["queues"] == 2


def test_each_key_sees_its_own(tmp_path: Path) -> None:
    """The names of topics and those of queues are matched with the same patterns."""
    path = tmp_path / "keys.json"
    key = keys.create(path, name="mine", roles=["admin"], queues=("orders*", "mail"))[1]
    broker = Broker(MemoryLog(), clock=FakeClock())
    for topic in ("orders", "secret"):
        broker.topics.put(topic)
    for queue in ("mail", "hidden"):
        broker.put_queue(queue)
        broker.topics.subscribe("orders", queue, queue=queue)
    client, headers = Client(broker, Access(Keys(path))), {"Authorization": f"Bearer {key}"}
    assert [each["topic"] for each in client("GET", "/topics", headers=headers).json] == ["orders"]
    found = client("GET", "/topics/orders/subscriptions", headers=headers).json
    assert [each["queue"] for each in found] == ["mail"]
    hidden = "/topics/orders/subscriptions/hidden"
    check_refused(client("GET", hidden, headers=headers), 404, "subscription_not_found")
    check_refused(client("DELETE", hidden, headers=headers), 404, "subscription_not_found")
    check_refused(client("PUT", hidden, json={"paused": True}, headers=headers), 400, "invalid_value", "queue")
    broker.put_queue("orders-mail")
    check_refused(client("PUT", hidden, json={"queue": "orders-mail"}, headers=headers), 403, "forbidden")
    found = client("POST", "/topics/orders/match", json={"message": "x"}, headers=headers).json
    assert [each["queue"] for each in found] == ["mail"]
    check_refused(client("GET", "/topics/secret", headers=headers), 403, "forbidden")
    assert client("POST", PUBLISH, json={"message": "x"}, headers=headers).json["queues"] == 2, (
        "also those it cannot see"
    )
