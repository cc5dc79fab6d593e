"""Subscriptions with endpoints over HTTP: their fields, their secrets, and who may make them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.model.push import key_of
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import LastAttempt

PATH = "/topics/orders/subscriptions/mail"
URL = "https://hooks.example.com/orders?team=1"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DELIVERY = {
    "min_delay": 20,
    "max_delay": 20,
    "retries": 3,
    "no_delay_retries": 0,
    "min_delay_retries": 0,
    "max_delay_retries": 0,
    "backoff": "linear",
    "max_per_second": 0,
    "timeout": 15,
    "content_type": "",
}


@pytest.fixture
def orders(client: Client) -> Client:
    """A topic, in a broker that may deliver to one host."""
    client.broker.pushes.hosts = PushHosts(("hooks.example.com",))
    client("PUT", "/topics/orders", json={})
    return client


def made(client: Client, **fields: Any) -> dict[str, Any]:
    reply = client("PUT", PATH, json={"endpoint": URL, **fields})
    assert reply.status_code == 201, reply.text
    value: dict[str, Any] = reply.json
    return value


def test_a_subscription_with_an_endpoint_is_made_changed_and_deleted(orders: Client) -> None:
    created = made(orders, raw=False)
    secret = created.pop("secret")
    assert len(key_of(secret)) == 32
    assert created == {
        "subscription": "mail",
        "topic": "orders",
        "queue": "orders--push-mail",
        "raw": False,
        "filter": None,
        "filter_scope": "attributes",
        "dead_letter_queue": "",
        "paused": False,
        "when_full": "fail",
        "endpoint": URL,
        "style": "webhook",
        "confirmed": True,
        "delivery": DELIVERY,
        "created_at": "2023-11-14T22:13:20.000Z",
        "delivered": 0,
        "skipped": 0,
        "deliveries": {"waiting": 0, "delayed": 0, "buried": 0, "last": None},
    }
    assert orders.get(PATH) == created
    delivery = {"min_delay": 1, "max_delay": 600, "retries": 20, "backoff": "exponential", "timeout": 5}
    changed = orders("PUT", PATH, json={"endpoint": "https://hooks.example.com/2", "delivery": delivery})
    assert changed.json == {
        **created,
        "endpoint": "https://hooks.example.com/2",
        "delivery": {**DELIVERY, **delivery},
    }
    assert [each["queue"] for each in orders.get("/queues")] == ["default", "orders--push-mail"]
    assert orders("DELETE", PATH).json == {"success": True}
    assert [each["queue"] for each in orders.get("/queues")] == ["default"]


def test_a_subscription_has_what_waits_and_what_came_of_the_last_request(orders: Client) -> None:
    made(orders)
    topic = orders.broker.core.state.topics["orders"]
    orders("POST", "/topics/orders/publish", json={"messages": ["one", {"message": "two", "delay": 60}]})
    for reason in ("The endpoint responded with 503.", ""):
        orders.broker.counters.push.last[topic.number, "mail"] = LastAttempt(1_700_000_000_000, reason)
        last = {"at": "2023-11-14T22:13:20.000Z", "delivered": not reason, "reason": reason}
        for shown in (orders.get(PATH), *orders.get("/topics/orders/subscriptions")):
            assert shown["deliveries"] == {"waiting": 1, "delayed": 1, "buried": 0, "last": last}


def test_a_secret_is_shown_once_and_never_again(orders: Client) -> None:
    first = made(orders)["secret"]
    for reply in (
        orders("GET", PATH),
        orders("GET", "/topics/orders/subscriptions"),
        orders("PUT", PATH, json={"paused": True}),
        orders("PUT", PATH, json={"secret": SECRET}),
        orders("GET", PATH),
    ):
        assert reply.status_code == 200
        assert "whsec" not in reply.text
    replaced = orders("PUT", PATH, json={"secret": ""}).json["secret"]
    assert replaced not in (first, SECRET)
    stored = orders.broker.core.state.topics["orders"].subscriptions["mail"]
    assert stored.push is not None
    assert stored.push.secret == replaced
    assert replaced not in repr(stored)


def test_a_secret_of_the_client_is_not_shown_at_all(orders: Client) -> None:
    assert "secret" not in made(orders, secret=SECRET)


def test_the_dead_letter_queue_is_that_of_the_queue(orders: Client) -> None:
    orders("PUT", "/queues/dead", json={})
    made(orders, dead_letter_queue="dead")
    assert orders.get("/queues/orders--push-mail")["settings"]["dead_letter_queue"] == "dead"
    orders("PUT", PATH, json={"dead_letter_queue": ""})
    assert orders.get("/queues/orders--push-mail")["settings"]["dead_letter_queue"] == ""


def test_the_messages_of_a_queue_that_exists_may_be_pushed(orders: Client) -> None:
    orders("PUT", "/queues/jobs", json={})
    assert made(orders, queue="jobs")["queue"] == "jobs"
    orders("DELETE", PATH)
    assert orders("GET", "/queues/jobs").status_code == 200, "it was not made for the subscription"


@pytest.mark.parametrize("style", ["webhook", "sns"])
def test_a_queue_that_is_named_must_exist(orders: Client, style: str) -> None:
    refused = orders("PUT", PATH, json={"endpoint": URL, "style": style, "queue": "jobs"})
    check_refused(refused, 404, "queue_not_found")
    assert [each["queue"] for each in orders.get("/queues")] == ["default"]


def test_the_queue_of_a_long_name_has_another(orders: Client) -> None:
    long = "x" * 80
    reply = orders("PUT", f"/topics/orders/subscriptions/{long}", json={"endpoint": URL})
    queue = reply.json["queue"]
    assert len(queue) <= 80
    other = orders("PUT", f"/topics/orders/subscriptions/{'x' * 79}y", json={"endpoint": URL})
    assert other.json["queue"] not in (queue, "")
    orders("PUT", "/queues/orders--push-mail", json={})
    assert made(orders)["queue"].startswith("orders--push-mail-")


def test_a_topic_ends_with_the_queues_of_its_endpoints(orders: Client) -> None:
    orders("PUT", "/queues/jobs", json={})
    orders("PUT", "/topics/orders/subscriptions/jobs", json={"queue": "jobs"})
    for name in ("a", "b", "c"):
        orders("PUT", f"/topics/orders/subscriptions/{name}", json={"endpoint": URL})
    assert orders("DELETE", "/topics/orders").status_code == 200
    assert [each["queue"] for each in orders.get("/queues")] == ["default", "jobs"]


def test_deleting_the_queue_ends_the_subscription(orders: Client) -> None:
    made(orders)
    orders("DELETE", "/queues/orders--push-mail")
    check_refused(orders("GET", PATH), 404, "subscription_not_found")


REFUSED: dict[str, tuple[Mapping[str, Any], str]] = {
    "another host": ({"endpoint": "https://example.com/"}, "endpoint"),
    "an address": ({"endpoint": "http://169.254.169.254/"}, "endpoint"),
    "no URL": ({"endpoint": "hooks.example.com"}, "endpoint"),
    "a password": ({"endpoint": "https://me:secret@hooks.example.com/"}, "endpoint"),
    "a short secret": ({"endpoint": URL, "secret": "whsec_MfKQ9r8="}, "secret"),
    "a secret without prefix": ({"endpoint": URL, "secret": SECRET[6:]}, "secret"),
    "a secret that is no base64": ({"endpoint": URL, "secret": "whsec_" + "ä" * 40}, "secret"),
    "a secret without an endpoint": ({"queue": "default", "secret": SECRET}, "secret"),
    "delivery without an endpoint": ({"queue": "default", "delivery": {}}, "delivery"),
    "delays": ({"endpoint": URL, "delivery": {"min_delay": 30}}, "delivery"),
    "retries": ({"endpoint": URL, "delivery": {"no_delay_retries": 4}}, "delivery"),
    "a backoff": ({"endpoint": URL, "delivery": {"backoff": "random"}}, "delivery.backoff"),
    "a header": ({"endpoint": URL, "delivery": {"content_type": "a/b\r\nX: y"}}, "delivery"),
    "a style": ({"endpoint": URL, "style": "gcp"}, "style"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_wrong_is_refused_and_changes_nothing(orders: Client, case: str) -> None:
    body, field = REFUSED[case]
    end = orders.broker.core.log.end()
    check_refused(orders("PUT", PATH, json=body), 400, "invalid_value", field)
    assert orders.broker.core.log.end() == end


def test_a_subscription_of_a_queue_gets_no_endpoint(orders: Client) -> None:
    orders("PUT", PATH, json={"queue": "default"})
    check_refused(orders("PUT", PATH, json={"endpoint": URL}), 400, "invalid_value", "endpoint")


def test_the_queue_that_is_made_needs_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = keys.create(path, name="mine", roles=["admin"], queues=("orders",))[1]
    other = keys.create(path, name="other", roles=["admin"], queues=("other",))[1]
    looking = keys.create(path, name="looking", roles=["look"], queues=("orders",))[1]
    broker = Broker(MemoryLog(), clock=FakeClock())
    broker.pushes.hosts = PushHosts(("hooks.example.com",))
    broker.topics.put("orders")
    broker.put_queue("dead")
    client, headers = Client(broker, Access(Keys(path))), {"Authorization": f"Bearer {key}"}
    for text in (other, looking):
        refused = client("PUT", PATH, json={"endpoint": URL}, headers={"Authorization": f"Bearer {text}"})
        check_refused(refused, 403, "forbidden")
    dead = client("PUT", PATH, json={"endpoint": URL, "dead_letter_queue": "dead"}, headers=headers)
    check_refused(dead, 403, "forbidden")
    assert client("PUT", PATH, json={"endpoint": URL}, headers=headers).status_code == 201
    assert client("GET", PATH, headers=headers).json["queue"] == "orders--push-mail"
    assert len(client("GET", "/topics/orders/subscriptions", headers=headers).json) == 1
    match = client("POST", "/topics/orders/match", json={"message": "x"}, headers=headers).json
    assert [each["matches"] for each in match] == [True]
    check_refused(client("GET", "/queues/orders--push-mail", headers=headers), 403, "forbidden")
    assert client("DELETE", PATH, headers=headers).status_code == 200
