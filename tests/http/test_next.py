"""``POST /messages/next``, failures, names of consumers, and several queues in one poll, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import MSGPACK, Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.auth.roles import Role
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq.model.times import iso_time

ERROR = {"type": "OSError", "message": "no route to host", "traceback": "Traceback: ..."}


def next_of(client: Client, queue: str = "", **fields: Any) -> Any:
    reply = client("POST", f"{queue and '/queues/'}{queue}/messages/next", json=fields)
    assert reply.status_code == 200, reply.text
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.json


def receipts(client: Client, limit: int, queue: str = "default") -> list[str]:
    return [message["receipt"] for message in client.consume(f"max={limit}", queue=queue)]


def test_all_ends_in_one_request(client: Client) -> None:
    client("PUT", "/queues/jobs", json={"max_receives": 9, "dead_letter_queue": "dead"})
    client.produce(*"123456", queue="jobs")
    one, two, three, four = receipts(client, 4, "jobs")
    done = next_of(
        client,
        "jobs",
        delete=[one],
        release=[{"receipt": two, "error": ERROR}, {"receipt": three, "delay": 60, "uncounted": True}],
        dead=[{"receipt": four, "error": ERROR}],
        max=2,
        consumer="worker-1:42",
        visibility_timeout=60,
    )
    assert done.keys() == {"messages", "success"}
    assert done["success"] is True
    assert [(each["message"], each["receive_count"], each["consumer"]) for each in done["messages"]] == [
        ("2", 2, "worker-1:42"),
        ("5", 1, "worker-1:42"),
    ]
    assert client.counts("jobs") == {"unprocessed": 1, "processing": 2, "delayed": 1, "buried": 0}
    (dead,) = client.get("/queues/dead/dev/messages")
    assert dead["dead_letter"]["reason"] == ERROR["message"]
    assert dead["last_error"] == {**ERROR, "at": dead["dead_letter"]["moved_at"], "attempt": 1, "consumer": None}


def test_a_last_error_as_clients_see_it(client: Client, clock: FakeClock) -> None:
    (one,) = client.produce("1")
    (held,) = next_of(client, consumer="wörker")["messages"]
    assert held["consumer"] == "wörker"
    assert client.get(f"/messages/{one}")["consumer"] == "wörker"
    reply = client(
        "UPDATE", f"/messages/{one}", json={"receipt": held["receipt"], "delay": 5, "error": {"message": "x"}}
    )
    assert reply.status_code == 200
    shown = client.get(f"/messages/{one}")
    at = iso_time(clock.ms)
    assert shown["last_error"] == {
        "type": "", "message": "x", "traceback": "", "at": at, "attempt": 1, "consumer": "wörker",
    }  # fmt: skip
    assert "consumer" not in shown
    assert "version" not in shown
    assert client.get("/dev/messages") == [shown]


def test_results_of_the_lists_that_were_given(client: Client) -> None:
    client.produce("1", "2", "3")
    one, two = receipts(client, 2)
    done = next_of(client, delete=[one, one], dead=[{"receipt": "rubbish"}, {"receipt": two}])
    assert [message["message"] for message in done["messages"]] == ["3"]
    assert done["success"] is False
    assert done["results"].keys() == {"delete", "dead"}
    first, again = done["results"]["delete"]
    assert first == {"receipt": one, "success": True}
    assert (again["receipt"], again["statusCode"], again["error"]["code"]) == (one, 404, "message_not_found")
    malformed, buried = done["results"]["dead"]
    assert (malformed["statusCode"], malformed["error"]["code"]) == (400, "invalid_value")
    assert buried == {"receipt": two, "success": True}
    assert client.counts()["buried"] == 1


def test_an_empty_request_is_a_consume(client: Client) -> None:
    assert next_of(client) == {"messages": [], "success": True}
    client.produce("1")
    assert len(next_of(client, delete=[], release=[], dead=[])["messages"]) == 1


def test_a_refused_claim_is_named_beside_the_results(client: Client) -> None:
    client("PUT", "/queues/jobs", json={"max_in_flight": 2})
    client.produce(*"1234", queue="jobs")
    one, _ = receipts(client, 2, "jobs")
    client("PUT", "/queues/jobs", json={"max_in_flight": 1})
    done = next_of(client, "jobs", delete=[one])
    assert (done["messages"], done["success"], done["claim_error"]["code"]) == ([], True, "too_many_in_flight")
    check_refused(client("POST", "/queues/jobs/messages/next", json={}), 429, "too_many_in_flight")


def test_a_repetition_gets_the_same_response(client: Client) -> None:
    client.produce(*"123")
    (one,) = receipts(client, 1)
    request: dict[str, Any] = {"delete": [one, "rubbish"], "attempt_id": "a", "max": 1}
    first = next_of(client, **request)
    assert next_of(client, **request) == first
    assert [each["success"] for each in first["results"]["delete"]] == [True, False]


def test_msgpack(client: Client) -> None:
    client.produce("1", "2")
    (one,) = receipts(client, 1)
    fields = {"release": [{"receipt": one, "backoff": 5, "error": ERROR}], "consumer": "w"}
    headers = {"Accept": MSGPACK}
    reply = client("POST", "/messages/next", body=msgpack.packb(fields), media_type=MSGPACK, headers=headers)
    done = msgpack.unpackb(reply.content)
    assert done["success"] is True
    assert [(message["message"], message["consumer"]) for message in done["messages"]] == [("2", "w")]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"release": [{"delay": 1}]}, "missing_field", "release[0].receipt"),
        ({"release": [{"receipt": "R", "delay": 1, "backoff": 1}]}, "ambiguous_request", "release[0].backoff"),
        ({"release": [{"receipt": "R", "bury": True}]}, "unknown_field", "release[0].bury"),
        ({"dead": [{"receipt": "R", "error": {"type": "x"}}]}, "missing_field", "dead[0].error.message"),
        ({"dead": [{"receipt": "R", "error": {"message": "é" * 5_000}}]}, "invalid_value", "error"),
        ({"dead": [{"receipt": "R", "error": {"message": "x" * 8_193}}]}, "invalid_value", "dead[0].error.message"),
        ({"dead": [{"receipt": "R", "error": "x"}]}, "invalid_value", "dead[0].error"),
        ({"delete": "R"}, "invalid_value", "delete"),
        ({"consumer": ""}, "invalid_value", "consumer"),
        ({"consumer": "x" * 65}, "invalid_value", "consumer"),
        ({"consumer": "a\nb"}, "invalid_value", "consumer"),
        ({"queues": []}, "invalid_value", "queues"),
        ({"queues": ["default", "default"]}, "invalid_value", "queues"),
        ({"queues": ["default", {"queue": "other", "weight": 1}]}, "invalid_value", "queues"),
        ({"queues": [{"queue": "default", "weight": 0}]}, "invalid_value", "queues[0].weight"),
        ({"queues": [{"queue": "default"}]}, "missing_field", "queues[0].weight"),
        ({"queues": ["no/name"]}, "invalid_value", "queues[0]"),
        ({"queues": [f"q{number}" for number in range(33)]}, "invalid_value", "queues"),
    ],
)
def test_what_is_refused_finishes_nothing(client: Client, fields: dict[str, Any], code: str, field: str) -> None:
    client.produce("1")
    (one,) = receipts(client, 1)
    body = {"delete": [one], **fields}
    check_refused(client("POST", "/messages/next", json=body), 400, code, field)
    assert client.counts()["processing"] == 1


def test_calls_that_need_a_body_or_another_path(client: Client) -> None:
    check_refused(client("POST", "/messages/next"), 400, "empty_body")
    for call in ("next", "consume"):
        reply = client("POST", f"/queues/default/messages/{call}", json={"queues": ["default"]})
        check_refused(reply, 400, "ambiguous_request", "queues")
    check_refused(client("POST", "/messages/next", json={"queues": ["default", "none"]}), 404, "queue_not_found")


@pytest.mark.parametrize("size", [9, 1_001])
def test_more_entries_than_a_batch_may_have(size: int) -> None:
    client = Client(Broker(MemoryLog(), limits=Limits(batch_messages=size - 1)))
    client.produce("1")
    (one,) = receipts(client, 1)
    body = {"delete": [one], "release": [{"receipt": "x" * 80}] * (size - 1)}
    check_refused(client("POST", "/messages/next", json=body), 413, "batch_too_large")
    assert client.counts()["processing"] == 1


def test_a_large_request_is_decoded_in_turns_with_the_same_result(client: Client) -> None:
    client.produce(*(str(n) for n in range(40)))
    held = receipts(client, 40)
    long_error = {"message": "x" * 8_000}
    release = [{"receipt": each, "delay": 60, "error": long_error} for each in held[:15]]
    dead = [{"receipt": each, "error": long_error} for each in held[15:30]]
    done = next_of(client, delete=held[30:], release=release, dead=dead, consumer="w", queues=["default"])
    assert done == {"messages": [], "success": True}
    assert client.counts() == {"unprocessed": 0, "processing": 0, "delayed": 15, "buried": 15}
    body = {"release": [*release, {"receipt": "R", "error": {"message": 1}}], "dead": dead}
    check_refused(client("POST", "/messages/next", json=body), 400, "invalid_value", "release[15].error.message")


def test_uncounted_and_dead_by_update(client: Client) -> None:
    ids = client.produce("1", "2")
    one, two = receipts(client, 2)
    entries = [
        {"receipt": one, "visibility_timeout": 0, "uncounted": True},
        {"receipt": two, "dead": True, "error": ERROR},
    ]
    assert client("POST", "/messages/update", json={"entries": entries}).json["success"] is True
    assert client.get(f"/messages/{ids[0]}")["receive_count"] == 0
    assert client.get(f"/messages/{ids[1]}")["status"] == "buried"
    for fields, field in (
        ({"uncounted": True, "delay": 1}, "uncounted"),
        ({"uncounted": True, "bury": True}, "uncounted"),
        ({"dead": True, "bury": True}, "dead"),
    ):
        check_refused(client("PATCH", f"/messages/{ids[0]}", json=fields), 400, "invalid_value", field)


@pytest.mark.parametrize("call", ["consume", "next"])
def test_several_queues(client: Client, call: str) -> None:
    for queue in ("urgent", "jobs"):
        client.produce("1", "2", queue=queue)

    def claim(**fields: Any) -> list[tuple[str, str]]:
        reply = client("POST", f"/messages/{call}", json=fields)
        assert reply.status_code == 200, reply.text
        found = reply.json["messages"] if call == "next" else reply.json
        return [(message["queue"], message["message"]) for message in found]

    assert claim(queues=["urgent", "jobs"], max=3) == [("urgent", "1"), ("urgent", "2"), ("jobs", "1")]
    weighted = [{"queue": "urgent", "weight": 3}, {"queue": "jobs", "weight": 1}]
    assert claim(queues=weighted) == [("jobs", "2")]
    check_refused(client("GET", "/messages/consume?queues=urgent"), 400, "unknown_field", "queues")


_KEYS: list[tuple[str, list[Role], list[str]]] = [
    ("all", ["admin"], ["*"]),
    ("mine", ["consume"], ["mine-*"]),
    ("both", ["consume"], ["mine-*", "theirs"]),
    ("produces", ["consume", "produce"], ["mine-*"]),
]


class Keyed:
    """A broker with keys for some queues."""

    def __init__(self, folder: Path) -> None:
        path = folder / "keys.json"
        self.secrets = {
            name: keys.create(path, name=name, roles=roles, queues=queues)[1] for name, roles, queues in _KEYS
        }
        self.client = Client(Broker(MemoryLog()), Access(Keys(path)))

    def __call__(self, key: str, method: str, target: str, **fields: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.secrets[key]}"}
        return self.client(method, target, json=fields or None, headers=headers)


@pytest.fixture
def keyed(tmp_path: Path) -> Keyed:
    keyed = Keyed(tmp_path)
    for queue in ("mine-1", "mine-2", "theirs", "default"):
        keyed("all", "POST", f"/queues/{queue}/messages/produce", messages=["1", "2"])
    return keyed


@pytest.mark.parametrize("call", ["consume", "next"])
def test_a_key_must_open_every_queue_of_a_poll(keyed: Keyed, call: str) -> None:
    path = f"/messages/{call}"
    assert keyed("mine", "POST", path, queues=["mine-1", "mine-2"], max=4).status_code == 200
    assert keyed("both", "POST", path, queues=["theirs", "mine-2"]).status_code == 200
    for queues in (["mine-1", "theirs"], ["theirs", "mine-1"], ["mine-1", "nowhere"], ["default"]):
        check_refused(keyed("mine", "POST", path, queues=queues), 403, "forbidden")
    check_refused(keyed("mine", "POST", path, max=1), 403, "forbidden")
    weighted = [{"queue": "mine-1", "weight": 3}, {"queue": "theirs", "weight": 1}]
    check_refused(keyed("mine", "POST", path, queues=weighted), 403, "forbidden")
    check_refused(keyed("mine", "POST", f"/queues/theirs/messages/{call}", max=1), 403, "forbidden")


def test_the_consume_of_the_query_string_is_of_the_default_queue(keyed: Keyed) -> None:
    check_refused(keyed("mine", "GET", "/messages/consume"), 403, "forbidden")
    assert keyed("all", "GET", "/messages/consume").status_code == 200


def test_a_key_finishes_messages_of_its_own_queues_only(keyed: Keyed) -> None:
    held = {
        queue: keyed("all", "POST", f"/queues/{queue}/messages/consume", max=1).json[0]["receipt"]
        for queue in ("mine-1", "mine-2", "theirs")
    }
    path = "/queues/mine-1/messages/next"
    for kind in ("delete", "release", "dead"):
        theirs = held["theirs"] if kind == "delete" else {"receipt": held["theirs"]}
        fields = {"delete": [held["mine-1"]], **({kind: [theirs]} if kind != "delete" else {})}
        if kind == "delete":
            fields["delete"].append(theirs)
        check_refused(keyed("mine", "POST", path, **fields), 403, "forbidden")
    for queue in ("mine-1", "theirs"):
        assert keyed("all", "GET", f"/queues/{queue}").json["counts"]["processing"] == 1
    done = keyed("mine", "POST", path, delete=[held["mine-1"], held["mine-2"]])
    assert done.json["success"] is True
    assert keyed("both", "POST", path, delete=[held["theirs"]]).json["success"] is True


def test_dead_and_uncounted_need_the_receipt_or_admin(keyed: Keyed) -> None:
    one, two = keyed("all", "POST", "/queues/mine-1/messages/consume", max=2).json
    path = "/queues/mine-1/messages/{}"
    for fields in ({"dead": True}, {"error": {"message": "x"}}):
        check_refused(keyed("mine", "PATCH", path.format(one["id"]), **fields), 403, "forbidden")
    assert keyed("mine", "PATCH", path.format(one["id"]), dead=True, receipt=one["receipt"]).status_code == 200
    assert keyed("all", "PATCH", path.format(two["id"]), dead=True).status_code == 200
