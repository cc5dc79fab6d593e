"""Features of a queue beyond delivery in order, called as users call them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import MSGPACK, Client, check_refused
from tests.support.memory_log import MemoryLog
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys, create
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def produce(client: Client, queue: str = "default", headers: dict[str, str] | None = None, **fields: Any) -> Any:
    reply = client("POST", f"/queues/{queue}/messages/produce", json=fields, headers=headers)
    assert reply.status_code == 201, reply.text
    return reply.json


def put(client: Client, queue: str, **settings: Any) -> Any:
    reply = client("PUT", f"/queues/{queue}", json=settings)
    assert reply.status_code in (200, 201), reply.text
    return reply.json


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["message"] for message in messages]


class TestAttributes:
    GIVEN: ClassVar[dict[str, Any]] = {
        "tenant": "acme",
        "retries": 3,
        "rate": 0.25,
        "id": {"type": "Number.int64", "value": "9007199254740993"},
        "digest": {"type": "Binary.sha", "value": base64.b64encode(bytes(range(256))).decode()},
    }

    def test_come_back_with_the_message(self, client: Client) -> None:
        produce(client, message="a", attributes=self.GIVEN)
        expected = {**self.GIVEN, "rate": {"type": "Number", "value": "0.25"}}
        [listed] = client.get("/dev/messages")
        [message] = client.consume()
        assert listed["attributes"] == message["attributes"] == expected
        assert client.get(f"/messages/{message['id']}")["attributes"] == expected

    def test_in_msgpack_too(self, client: Client) -> None:
        produce(client, message="a", attributes={"n": 1})
        reply = client("GET", "/messages/consume", headers={"Accept": MSGPACK})
        assert b"attributes\x81\xa1n\x01" in reply.content

    def test_are_replaced_by_an_update_and_by_nothing_else(self, client: Client) -> None:
        message_id = produce(client, message="a", attributes={"n": 1}, group="g", priority=3)["id"]
        client("PATCH", f"/messages/{message_id}", json={"message": "b"})
        found = client.get(f"/messages/{message_id}")
        assert (found["message"], found["attributes"], found["version"]) == ("b", {"n": 1}, 2)
        client("PATCH", f"/messages/{message_id}", json={"attributes": {"m": "x"}})
        found = client.get(f"/messages/{message_id}")
        assert (found["message"], found["attributes"], found["version"]) == ("b", {"m": "x"}, 3)
        assert (found["group"], found["priority"]) == ("g", 3)

    @pytest.mark.parametrize(
        ("attributes", "field"),
        [
            ({"a b": "x"}, None),
            ({"": "x"}, None),
            ({f"n{number}": "x" for number in range(65)}, "attributes"),
            ({"n": {"type": "Number", "value": "x"}}, "attributes.n"),
            ({"n": {"type": "Binary", "value": "not base64!"}}, "attributes.n"),
            ({"n": {"type": "Else", "value": "x"}}, None),
            ({"n": None}, None),
            ({"n": ["x"]}, None),
            ({"n": {"type": "String"}}, None),
        ],
    )
    def test_what_is_none_is_refused(self, client: Client, attributes: dict[str, Any], field: str | None) -> None:
        reply = client("POST", "/messages/produce", json={"message": "a", "attributes": attributes})
        assert reply.status_code == 400, reply.text
        if field is not None:
            check_refused(reply, 400, "invalid_value", field)
        assert client.counts()["unprocessed"] == 0

    def test_count_as_part_of_the_message(self, client: Client) -> None:
        reply = client("POST", "/messages/produce", json={"message": "a", "attributes": {"n": "x" * (1 << 20)}})
        check_refused(reply, 413, "message_too_large")


class TestTraces:
    def test_come_with_the_fields(self, client: Client) -> None:
        produce(client, message="a", traceparent=TRACEPARENT, tracestate="vendor=1")
        [message] = client.consume()
        assert (message["traceparent"], message["tracestate"]) == (TRACEPARENT, "vendor=1")

    def test_come_with_the_headers_of_the_request(self, client: Client) -> None:
        produce(client, messages=["a", {"message": "b"}], headers={"traceparent": TRACEPARENT, "tracestate": "v=1"})
        assert [(each["traceparent"], each["tracestate"]) for each in client.consume()] == [(TRACEPARENT, "v=1")] * 2

    def test_a_messages_own_goes_before_that_of_the_request(self, client: Client) -> None:
        own = TRACEPARENT.replace("4bf9", "0000")
        produce(client, message="a", traceparent=own, headers={"traceparent": TRACEPARENT, "tracestate": "v=1"})
        [message] = client.consume()
        assert message["traceparent"] == own
        assert "tracestate" not in message

    def test_a_malformed_header_is_passed_over_as_the_standard_says(self, client: Client) -> None:
        produce(client, message="a", headers={"traceparent": "00-1-2-3"})
        [message] = client.consume()
        assert "traceparent" not in message

    def test_a_malformed_field_is_refused(self, client: Client) -> None:
        reply = client("POST", "/messages/produce", json={"message": "a", "traceparent": "00-1-2-3"})
        check_refused(reply, 400, "invalid_value", "traceparent")


class TestTimes:
    def test_deliver_at(self, client: Client, clock: FakeClock) -> None:
        due = datetime.fromtimestamp(clock.ms / 1000, UTC) + timedelta(days=400)
        produce(client, message="a", deliver_at=due.isoformat())
        [message] = client.get("/dev/messages")
        assert message["delayed_until"] == due.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        clock.advance(400 * 86_400 - 1)
        assert client.consume() == []
        clock.advance(1)
        assert texts(client.consume()) == ["a"]

    def test_deliver_at_in_the_past_is_now(self, client: Client) -> None:
        produce(client, message="a", deliver_at="2001-01-01T00:00:00+02:00")
        assert texts(client.consume()) == ["a"]

    @pytest.mark.parametrize("when", ["2001-01-01T00:00:00", "tomorrow", 12, "9999-12-31T23:59:59Z"])
    def test_what_is_no_such_time_is_refused(self, client: Client, when: Any) -> None:
        reply = client("POST", "/messages/produce", json={"message": "a", "deliver_at": when})
        assert (reply.status_code, reply.json["error"]["code"]) == (400, "invalid_value")

    def test_not_both(self, client: Client) -> None:
        body = {"message": "a", "deliver_at": "2031-01-01T00:00:00Z", "delay": 1}
        check_refused(client("POST", "/messages/produce", json=body), 400, "ambiguous_request", "deliver_at")

    def test_retention(self, client: Client, clock: FakeClock) -> None:
        put(client, "q", retention=60)
        produce(client, "q", message="old")
        clock.advance(59)
        produce(client, "q", message="new")
        clock.advance(1)
        assert texts(client.consume(queue="q")) == ["new"]
        assert client.counts("q") == {"unprocessed": 0, "processing": 1, "delayed": 0, "buried": 0}

    def test_backoff(self, client: Client, clock: FakeClock) -> None:
        produce(client, message="a")
        for delay in (5, 10, 20, 40):
            [message] = client.consume()
            reply = client("UPDATE", f"/messages/{message['id']}", json={"receipt": message["receipt"], "backoff": 5})
            assert reply.status_code == 200
            clock.advance(delay - 0.001)
            assert client.consume() == []
            clock.advance(0.001)


class TestOrder:
    def test_priorities(self, client: Client) -> None:
        messages = [{"message": f"{number}", "priority": number % 4} for number in range(8)]
        produce(client, messages=messages)
        assert texts(client.consume()) == ["3", "7", "2", "6", "1", "5", "0", "4"]

    def test_a_fifo_queue_gives_out_one_claim_of_a_group_at_a_time(self, client: Client) -> None:
        produce(client, "q.fifo", messages=[{"message": f"{n}", "group": f"{n % 2}"} for n in range(6)])
        [first] = client.consume("max=1", queue="q.fifo")
        assert first["message"] == "0"
        others = client.consume(queue="q.fifo")
        assert texts(others) == ["1", "3", "5"]
        assert client.consume(queue="q.fifo") == []
        client("DELETE", f"/queues/q.fifo/messages/{first['id']}")
        assert texts(client.consume(queue="q.fifo")) == ["2", "4"]

    def test_no_group_keeps_others_waiting(self, client: Client) -> None:
        produce(client, messages=[{"message": f"a{n}", "group": "a"} for n in range(100)])
        produce(client, message="b", group="b")
        assert "b" in texts(client.consume("max=2"))

    def test_a_fifo_queue_takes_no_priority(self, client: Client) -> None:
        reply = client("POST", "/queues/q.fifo/messages/produce", json={"message": "a", "priority": 1})
        check_refused(reply, 400, "invalid_value", "priority")

    def test_an_attempt_again(self, client: Client, clock: FakeClock) -> None:
        produce(client, "q.fifo", messages=["a", "b", "c"])
        first = client.consume("attempt_id=1&max=2", queue="q.fifo")
        clock.advance(10)
        again = client.consume("attempt_id=1&max=2", queue="q.fifo")
        assert [each["receipt"] for each in again] == [each["receipt"] for each in first]
        assert again[0]["claimed_until"] > first[0]["claimed_until"]
        assert again[0]["receive_count"] == 1
        client("DELETE", f"/queues/q.fifo/messages/{first[0]['id']}")
        assert client.consume("attempt_id=1&max=2", queue="q.fifo") == [], "it is void, and the group is blocked"


class TestKeys:
    def test_the_same_key_adds_nothing(self, client: Client, clock: FakeClock) -> None:
        first = produce(client, message="a", idempotency_key="k")
        again = produce(client, message="a", idempotency_key="k")
        assert again == {**first, "duplicate": True}
        client("DELETE", f"/messages/{first['id']}")
        assert produce(client, message="a", idempotency_key="k")["duplicate"], "also when it is gone"
        clock.advance(300)
        assert "duplicate" not in produce(client, message="a", idempotency_key="k")

    def test_of_a_batch(self, client: Client) -> None:
        first = produce(client, messages=["a", "b"], idempotency_key="k")
        again = produce(client, messages=["a", "b"], idempotency_key="k")
        assert again == {**first, "duplicates": [0, 1]}
        assert client.counts()["unprocessed"] == 2

    def test_of_a_batch_is_not_that_of_a_message(self, client: Client) -> None:
        produce(client, messages=["a"], idempotency_key="k")
        assert "duplicate" not in produce(client, message="b", idempotency_key="k/0")
        assert "duplicates" not in produce(client, messages=["c"], idempotency_key="k/0")
        assert "duplicates" not in produce(client, messages=["d", "e"], idempotency_key="l")
        assert "duplicates" not in produce(client, messages=[{"message": "f", "idempotency_key": "l/1"}])
        assert client.counts()["unprocessed"] == 6

    def test_of_messages_in_a_batch(self, client: Client) -> None:
        one = {"message": "a", "idempotency_key": "k"}
        sent = produce(client, messages=[one, "b", one])
        assert sent["duplicates"] == [2]
        assert sent["ids"][0] == sent["ids"][2]
        assert texts(client.consume()) == ["a", "b"]

    def test_of_contents(self, client: Client) -> None:
        put(client, "q", content_deduplication=True, deduplication_window=5)
        assert produce(client, "q", messages=["a", "a", "b"])["duplicates"] == [1]

    def test_of_groups(self, client: Client) -> None:
        put(client, "q.fifo", deduplication_per_group=True)
        for group in ("g", "h"):
            assert "duplicate" not in produce(client, "q.fifo", message="a", group=group, idempotency_key="k")
        assert "duplicate" in produce(client, "q.fifo", message="a", group="g", idempotency_key="k")

    def test_so_many_are_remembered(self, clock: FakeClock) -> None:
        client = Client(Broker(MemoryLog(), clock=clock, limits=Limits(total_keys=2)))
        produce(client, messages=["a", "b"], idempotency_key="k")
        reply = client("POST", "/messages/produce", json={"message": "c", "idempotency_key": "c"})
        check_refused(reply, 507, "too_many_keys")
        clock.advance(301)
        produce(client, message="c")


class TestDeadLetters:
    def consume_until_dead(self, client: Client, clock: FakeClock) -> None:
        for _ in range(2):
            assert texts(client.consume("visibility_timeout=1", queue="q")) == ["poison"]
            clock.advance(1)
        assert client.consume(queue="q") == []

    def test_go_to_their_queue_with_where_from_and_why(self, client: Client, clock: FakeClock) -> None:
        put(client, "q", max_receives=2, dead_letter_queue="dead")
        sent = produce(client, "q", message="poison", attributes={"n": 1}, group="g")
        produced_at = client.get(f"/queues/q/messages/{sent['id']}")["produced_at"]
        self.consume_until_dead(client, clock)
        assert sum(client.counts("q").values()) == 0
        [dead] = client.consume(queue="dead")
        assert (dead["message"], dead["attributes"], dead["group"]) == ("poison", {"n": 1}, "g")
        assert dead["receive_count"] == 1
        told = dead["dead_letter"]
        assert (told["queue"], told["id"], told["receive_count"]) == ("q", sent["id"], 2)
        assert (told["produced_at"], told["moved_at"]) == (produced_at, dead["produced_at"])
        assert "2 times" in told["reason"]

    def test_without_one_they_are_buried_and_can_be_kicked(self, client: Client, clock: FakeClock) -> None:
        put(client, "q", max_receives=2)
        produce(client, "q", message="poison")
        self.consume_until_dead(client, clock)
        assert texts(client.get("/queues/q/dev/messages/status?status=buried")) == ["poison"]
        reply = client("POST", "/queues/q/messages/kick", json={"max": 5})
        assert (reply.status_code, reply.json) == (200, {"success": True, "kicked": 1})
        self.consume_until_dead(client, clock)

    def test_a_queue_cannot_be_its_own(self, client: Client) -> None:
        reply = client("PUT", "/queues/q", json={"dead_letter_queue": "q"})
        check_refused(reply, 400, "invalid_value", "dead_letter_queue")

    def test_a_key_has_to_open_the_other_queue_too(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        _, key = create(path, name="k", roles=["admin"], queues=["mine*"])
        client = Client(Broker(MemoryLog()), Access(Keys(path)))
        headers = {"Authorization": f"Bearer {key}"}
        for target, status in (("mine-dead", 201), ("theirs", 403)):
            reply = client("PUT", f"/queues/mine-{target}", json={"dead_letter_queue": target}, headers=headers)
            assert reply.status_code == status, reply.text


class TestUpdates:
    def test_bury(self, client: Client) -> None:
        produce(client, message="a")
        [message] = client.consume()
        body = {"receipt": message["receipt"], "bury": True}
        assert client("UPDATE", f"/messages/{message['id']}", json=body).status_code == 200
        assert client.get(f"/messages/{message['id']}")["status"] == "buried"
        check_refused(client("UPDATE", f"/messages/{message['id']}", json=body), 409, "stale_receipt")
        assert client("POST", "/messages/kick").json["kicked"] == 1
        assert texts(client.consume()) == ["a"]

    def test_versions(self, client: Client) -> None:
        message_id = produce(client, message="a")["id"]
        path = f"/messages/{message_id}"
        assert client("PUT", path, json={"message": "b", "if_version": 1}).status_code == 200
        check_refused(client("PUT", path, json={"message": "c", "if_version": 1}), 409, "version_conflict")
        check_refused(client("PUT", path, json={"delay": 5, "if_version": 1}), 409, "version_conflict")
        assert client("PUT", path, json={"message": "c", "if_version": 2}).status_code == 200
        assert client.get(path)["version"] == 3

    @pytest.mark.parametrize("both", [("delay", "backoff"), ("visibility_timeout", "delay"), ("backoff", "bury")])
    def test_only_one_of_those_that_exclude_each_other(self, client: Client, both: tuple[str, str]) -> None:
        message_id = produce(client, message="a")["id"]
        body = {name: True if name == "bury" else 1 for name in both}
        assert client("PUT", f"/messages/{message_id}", json=body).json["error"]["code"] == "invalid_value"


class TestHandOver:
    def test_deletes_and_produces_at_once(self, client: Client) -> None:
        produce(client, messages=["a", "b"])
        receipts = [each["receipt"] for each in client.consume()]
        outputs: list[dict[str, Any]] = [
            {"queue": "next", "message": "1", "priority": 1},
            {"queue": "log", "message": "2"},
            {"queue": "next", "message": "3"},
        ]
        reply = client("POST", "/messages/hand-over", json={"receipts": receipts, "produce": outputs})
        assert reply.status_code == 201
        assert sum(client.counts().values()) == 0
        assert [client.get(f"/queues/{each['queue']}/messages/{message_id}")["message"] for each, message_id in
                zip(outputs, reply.json["ids"], strict=True)] == ["1", "2", "3"]  # fmt: skip

    def test_does_nothing_if_one_receipt_is_stale(self, client: Client) -> None:
        produce(client, messages=["a", "b"])
        messages = client.consume()
        client("DELETE", f"/messages/{messages[1]['id']}")
        body = {"receipts": [each["receipt"] for each in messages], "produce": [{"queue": "next", "message": "x"}]}
        check_refused(client("POST", "/messages/hand-over", json=body), 404, "message_not_found")
        assert client.counts()["processing"] == 1
        check_refused(client("GET", "/queues/next"), 404, "queue_not_found")

    def test_needs_the_right_to_produce_there(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        _, key = create(path, name="k", roles=["consume", "produce"], queues=["mine*"])
        broker = Broker(MemoryLog())
        client = Client(broker, Access(Keys(path)))
        for target, status in (("mine-2", 201), ("theirs", 403)):
            broker.produce("mine", ["a"])
            [message] = broker.claim("mine")
            body = {"receipts": [message.receipt], "produce": [{"queue": target, "message": "x"}]}
            headers = {"Authorization": f"Bearer {key}"}
            reply = client("POST", "/queues/mine/messages/hand-over", json=body, headers=headers)
            assert reply.status_code == status, reply.text


class TestSettings:
    def test_a_paused_queue_gives_out_nothing(self, client: Client) -> None:
        produce(client, "q", message="a")
        put(client, "q", paused=True)
        assert client.consume(queue="q") == []
        put(client, "q", paused=False)
        assert texts(client.consume(queue="q")) == ["a"]

    def test_a_draining_queue_takes_nothing(self, client: Client) -> None:
        produce(client, "q", message="a")
        put(client, "q", draining=True)
        check_refused(client("POST", "/queues/q/messages/produce", json={"message": "b"}), 409, "queue_draining")
        assert texts(client.consume(queue="q")) == ["a"]

    def test_what_it_may_hold(self, client: Client) -> None:
        put(client, "q", max_messages=2, max_message_bytes=3)
        check_refused(client("POST", "/queues/q/messages/produce", json={"message": "abcd"}), 413, "message_too_large")
        produce(client, "q", messages=["a", "b"])
        check_refused(client("POST", "/queues/q/messages/produce", json={"message": "c"}), 507, "queue_full")
        put(client, "r", max_bytes=20)
        check_refused(client("POST", "/queues/r/messages/produce", json={"message": "x" * 20}), 507, "queue_full")

    def test_what_may_be_in_flight(self, client: Client) -> None:
        put(client, "q", max_in_flight=2)
        produce(client, "q", messages=["a", "b", "c"])
        assert len(client.consume(queue="q")) == 2
        check_refused(client("GET", "/queues/q/messages/consume"), 429, "too_many_in_flight")

    def test_what_may_be_in_flight_of_a_group(self, client: Client) -> None:
        put(client, "q", max_in_flight_per_group=1)
        produce(client, "q", messages=[{"message": f"{n}", "group": f"{n % 2}"} for n in range(6)])
        assert texts(client.consume(queue="q")) == ["0", "1"]
        assert client.consume(queue="q") == []

    def test_how_many_are_given_out_in_a_second(self, client: Client) -> None:
        put(client, "q", max_claims_per_second=3)
        produce(client, "q", messages=[f"{n}" for n in range(9)])
        assert len(client.consume(queue="q")) == 3
        assert len(client.consume(queue="q")) <= 1, "at most what a third of a second brings"

    def test_tags(self, client: Client) -> None:
        assert put(client, "q", tags={"team": "mail"})["settings"]["tags"] == {"team": "mail"}
        reply = client("PUT", "/queues/q", json={"tags": {f"{n}": "" for n in range(51)}})
        check_refused(reply, 400, "invalid_value", "tags")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("retention", -1),
            ("max_messages", -1),
            ("max_receives", 1_000_001),
            ("dead_letter_queue", "a b"),
            ("paused", 1),
            ("deduplication_window", 0.5),
            ("tags", {"": "x"}),
        ],
    )
    def test_out_of_range(self, client: Client, field: str, value: Any) -> None:
        reply = client("PUT", "/queues/q", json={field: value})
        assert (reply.status_code, reply.json["error"]["code"]) == (400, "invalid_value")
        check_refused(client("GET", "/queues/q"), 404, "queue_not_found")


class TestSearch:
    def test_by_text_attribute_group_and_status(self, client: Client) -> None:
        produce(
            client,
            messages=[
                {"message": f"cat {n}" if n % 3 else f"dog {n}", "attributes": {"n": n}, "group": f"{n % 2}"}
                for n in range(600)
            ],
        )
        client.consume("max=10")
        found = client.get("/dev/messages?contains=dog&group=1&limit=3")
        assert texts(found) == ["dog 3", "dog 9", "dog 15"]
        after = client.get(f"/dev/messages?contains=dog&group=1&limit=1&after={found[2]['id']}")
        assert texts(after) == ["dog 21"]
        assert texts(client.get("/dev/messages?attribute=n%3D599")) == ["cat 599"]
        assert len(client.get("/dev/messages?attribute=n")) == 600
        assert client.get("/dev/messages?attribute=m") == []
        assert len(client.get("/dev/messages/status?status=processing&contains=a")) == 6
        assert client.counts()["processing"] == 10, "looking changes nothing"
