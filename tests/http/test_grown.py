"""Extensions of the API: queues, batches, receipts, updates, listings, msgpack."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from falcon.testing import create_environ

from tests.http.test_asked_for import MESSAGE_KEYS, NO_SUCH_ID, UPDATE_METHODS, at
from tests.support.clock import FakeClock
from tests.support.http_client import JSON, MSGPACK, Client, check_refused
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq_storage import FileLog


def claim_one(client: Client, query: str = "") -> dict[str, Any]:
    [message] = client.get(f"/messages/consume?max=1&{query}")
    return dict(message)


#: The settings of a queue for which none were given.
NO_SETTINGS = {
    "visibility_timeout": 30.0,
    "delay": 0.0,
    "retention": 0.0,
    "max_messages": 0,
    "max_bytes": 0,
    "max_message_bytes": 0,
    "max_receives": 0,
    "dead_letter_queue": "",
    "paused": False,
    "draining": False,
    "content_deduplication": False,
    "deduplication_window": 300.0,
    "deduplication_per_group": False,
    "max_in_flight": 0,
    "max_in_flight_per_group": 0,
    "max_claims_per_second": 0,
    "max_claims_per_second_per_group": 0,
    "tags": {},
}


class TestQueues:
    def test_producing_creates_a_queue(self, client: Client) -> None:
        client.produce("a", queue="orders")
        assert [each["queue"] for each in client.get("/queues")] == ["default", "orders"]
        [message] = client.consume(queue="orders")
        assert (message["queue"], message["message"]) == ("orders", "a")

    def test_unless_a_setting_forbids_it(self, tmp_path: Path) -> None:
        broker = Broker(FileLog(tmp_path / "log"), create_queues=False)
        client = Client(broker)
        check_refused(client("POST", "/queues/orders/messages/produce", json={"message": "a"}), 404, "queue_not_found")
        assert [each["queue"] for each in client.get("/queues")] == ["default"]
        assert client("PUT", "/queues/orders").status_code == 201
        client.produce("a", queue="orders")
        client.produce("a")
        broker.close()

    @pytest.mark.parametrize("accept", [JSON, MSGPACK])
    def test_pages_of_queues(self, client: Client, accept: str) -> None:
        names = sorted(["default", *(f"{kind}-{number:03}" for kind in ("a", "b") for number in range(150))])
        for name in names:
            client("PUT", f"/queues/{name}")

        def listed(query: str) -> list[str]:
            reply = client("GET", f"/queues?{query}", headers={"Accept": accept})
            found = msgspec.msgpack.decode(reply.content) if accept == MSGPACK else reply.json
            return [each["queue"] for each in found]

        assert listed("") == names
        pages: list[list[str]] = [[""]]
        while page := listed(f"limit=99&after={pages[-1][-1]}"):
            pages.append(page)
        assert [len(page) for page in pages[1:]] == [99, 99, 99, 4]
        assert [name for page in pages[1:] for name in page] == names
        assert listed("prefix=b-") == [name for name in names if name.startswith("b-")]
        assert listed("prefix=b-&after=b-100&limit=2") == ["b-101", "b-102"]
        assert listed("prefix=c") == []

    @pytest.mark.parametrize("query", ["limit=0", "limit=x", "prefix=" + "a" * 81, "after=" + "a" * 81])
    def test_a_page_out_of_range_is_refused(self, client: Client, query: str) -> None:
        check_refused(client("GET", f"/queues?{query}"), 400, "invalid_value", query.partition("=")[0])

    def test_the_texts_of_a_queue_are_limited_together(self, client: Client) -> None:
        largest = {f"{number:02}": "x" * 254 for number in range(50)}
        assert client("PUT", "/queues/q", json={"tags": largest}).status_code == 201
        wide = dict.fromkeys(largest, "€" * 120)
        check_refused(client("PUT", "/queues/q", json={"tags": wide}), 400, "invalid_value", "tags")
        assert client.get("/queues/q")["settings"]["tags"] == largest
        assert client("PUT", "/queues/q", json={"delay": 5}).status_code == 200

    def test_the_short_paths_are_the_default_queue(self, client: Client) -> None:
        [message_id] = client.produce("a", queue="default")
        assert client.get("/dev/messages") == client.get("/queues/default/dev/messages")
        assert client.get(f"/messages/{message_id}") == client.get(f"/queues/default/messages/{message_id}")
        assert client("DELETE", f"/messages/{message_id}").status_code == 200

    def test_queues_do_not_see_each_other(self, client: Client) -> None:
        [a], [b] = client.produce("a", queue="a"), client.produce("b", queue="b")
        assert [each["id"] for each in client.get("/queues/a/dev/messages")] == [a]
        for method in ("GET", "DELETE", "UPDATE"):
            check_refused(client(method, f"/queues/a/messages/{b}"), 404, "message_not_found")
        receipt = client.consume(queue="b")[0]["receipt"]
        check_refused(client("DELETE", f"/queues/a/messages/{b}?receipt={receipt}"), 404, "message_not_found")
        assert client.counts("a") == {"unprocessed": 1, "processing": 0, "delayed": 0, "buried": 0}
        assert client.counts("b") == {"unprocessed": 0, "processing": 1, "delayed": 0, "buried": 0}

    @pytest.mark.parametrize("name", ["a", "A-Z_09", "a" * 80, "a" * 75 + ".fifo", "default2"])
    def test_names(self, client: Client, name: str) -> None:
        assert client("PUT", f"/queues/{name}").status_code == 201
        assert client.get(f"/queues/{name}")["queue"] == name
        assert client("PUT", f"/queues/{name}").status_code == 200

    def test_describes_a_queue(self, client: Client, clock: FakeClock) -> None:
        created = client("PUT", "/queues/jobs", json={"visibility_timeout": 7.5, "delay": 2})
        expected = {
            "queue": "jobs",
            "settings": {**NO_SETTINGS, "visibility_timeout": 7.5, "delay": 2.0},
            "created_at": at(clock),
            "counts": {"unprocessed": 0, "processing": 0, "delayed": 0, "buried": 0},
            "bytes": 0,
            "newest_id": None,
            "oldest_age": None,
        }
        assert created.json == client.get("/queues/jobs") == expected
        ids = client.produce("x" * 1000, "y" * 1000, queue="jobs", delay=0)
        client.produce("z", queue="jobs")
        clock.advance(1.5)
        client.consume("max=1", queue="jobs")
        info = client.get("/queues/jobs")
        assert info["counts"] == {"unprocessed": 1, "processing": 1, "delayed": 1, "buried": 0}
        assert 2001 <= info["bytes"] < 2100
        assert info["oldest_age"] == 1.5
        assert client.get("/queues/jobs/messages/" + info["newest_id"])["message"] == "z"
        client("DELETE", f"/queues/jobs/messages/{ids[0]}")
        assert client.get("/queues/jobs")["counts"]["processing"] == 0

    def test_settings_change_one_by_one_and_hold_from_then_on(self, client: Client, clock: FakeClock) -> None:
        client("PUT", "/queues/jobs", json={"visibility_timeout": 5})
        reply = client("PUT", "/queues/jobs", json={"delay": 1})
        assert (reply.status_code, reply.json["settings"]) == (
            200,
            {**NO_SETTINGS, "visibility_timeout": 5.0, "delay": 1.0},
        )
        client.produce("a", queue="jobs")
        assert client.consume(queue="jobs") == []
        clock.advance(1)
        [message] = client.consume(queue="jobs")
        assert message["claimed_until"] == at(clock, 5)

    @pytest.mark.parametrize(
        ("field", "value"), [("visibility_timeout", 43_200.001), ("visibility_timeout", -1), ("delay", -0.5)]
    )
    def test_settings_out_of_range(self, client: Client, field: str, value: float) -> None:
        check_refused(client("PUT", "/queues/jobs", json={field: value}), 400, "invalid_value", field)
        check_refused(client("GET", "/queues/jobs"), 404, "queue_not_found")

    def test_deleting_a_queue(self, client: Client) -> None:
        [old] = client.produce("a", queue="jobs")
        reply = client("DELETE", "/queues/jobs")
        assert (reply.status_code, reply.json) == (200, {"success": True})
        for method, path in [
            ("GET", "/queues/jobs"),
            ("DELETE", "/queues/jobs"),
            ("POST", "/queues/jobs/purge"),
            ("GET", "/queues/jobs/messages/consume"),
            ("GET", "/queues/jobs/dev/messages"),
            ("GET", "/queues/jobs/dev/messages/status?status=processing"),
            ("GET", "/queues/jobs/dev/messages/count?status=processing"),
            ("DELETE", f"/queues/jobs/messages/{old}"),
            ("GET", f"/queues/jobs/messages/{old}"),
            ("UPDATE", f"/queues/jobs/messages/{old}"),
        ]:
            check_refused(client(method, path), 404, "queue_not_found")
        client.produce("b", queue="jobs")  # a new queue of the same name knows nothing of the old one
        check_refused(client("DELETE", f"/queues/jobs/messages/{old}"), 404, "message_not_found")
        assert [each["message"] for each in client.get("/queues/jobs/dev/messages")] == ["b"]

    def test_the_default_queue_stays(self, client: Client) -> None:
        client.produce("a")
        check_refused(client("DELETE", "/queues/default"), 409, "queue_not_deletable")
        assert client.counts()["unprocessed"] == 1

    def test_purge(self, client: Client, clock: FakeClock) -> None:
        ids = client.produce("a", "b", "c", queue="jobs")
        client.produce("later", queue="jobs", delay=10)
        client.produce("other")
        client.consume("max=1", queue="jobs")
        reply = client("POST", "/queues/jobs/purge")
        assert (reply.status_code, reply.json) == (200, {"success": True, "deleted": 4})
        assert client("POST", "/queues/jobs/purge").json["deleted"] == 0
        clock.advance(3600)
        assert client.consume(queue="jobs") == client.get("/queues/jobs/dev/messages") == []
        check_refused(client("DELETE", f"/queues/jobs/messages/{ids[0]}"), 404, "message_not_found")
        assert client.counts()["unprocessed"] == 1
        [after] = client.produce("after", queue="jobs")
        assert after not in ids


class TestBatchProduce:
    def test_strings_and_objects(self, client: Client, clock: FakeClock) -> None:
        reply = client(
            "POST", "/messages/produce", json={"messages": ["a", {"message": "b"}, {"message": "c", "delay": 5}]}
        )
        assert reply.status_code == 201
        assert reply.json == {"ids": reply.json["ids"], "status": "unprocessed", "statusCode": 201}
        assert [each["id"] for each in client.get("/dev/messages")] == reply.json["ids"]
        assert [each["message"] for each in client.get("/messages/consume")] == ["a", "b"]
        clock.advance(5)
        assert [each["message"] for each in client.get("/messages/consume")] == ["c"]

    def test_the_largest(self, client: Client) -> None:
        messages = [str(number) for number in range(1000)]
        ids = client.produce(*messages)
        assert len(set(ids)) == 1000
        consumed = client.get("/messages/consume?max=1000")
        assert [(each["id"], each["message"]) for each in consumed] == list(zip(ids, messages, strict=True))

    @pytest.mark.parametrize(
        "bad",
        [1, None, {"message": 1}, {"message": "x", "delay": -1}, {"message": "x", "nope": 1}, {}, "x" * (2**20 + 1)],
    )
    def test_one_bad_message_means_that_nothing_was_added(self, client: Client, bad: Any) -> None:
        for messages in ([bad, *"abc"], [*"abc", bad], [*"ab", bad, "c"]):
            reply = client("POST", "/queues/jobs/messages/produce", json={"messages": messages})
            assert reply.status_code in (400, 413)
        assert [each["queue"] for each in client.get("/queues")] == ["default"]


class TestDelay:
    def test_hides_a_message_until_then(self, client: Client, clock: FakeClock) -> None:
        reply = client("POST", "/messages/produce", json={"message": "a", "delay": 1.5})
        assert reply.status_code == 201
        [listed] = client.get("/dev/messages")
        assert listed["status"] == "delayed"
        assert listed["delayed_until"] == at(clock, 1.5)
        assert listed["claimed_until"] is None
        counts = {s: client.get(f"/dev/messages/count?status={s}")["count"] for s in ("unprocessed", "delayed")}
        assert counts == {"unprocessed": 0, "delayed": 1}
        clock.advance(1.499)
        assert client.get("/messages/consume") == []
        clock.advance(0.001)
        [message] = client.get("/messages/consume")
        assert message["receive_count"] == 1
        assert "delayed_until" not in message

    def test_of_a_batch_holds_for_those_without_one_of_their_own(self, client: Client, clock: FakeClock) -> None:
        client.produce("a", {"message": "b", "delay": 0}, {"message": "c", "delay": 9}, delay=5)
        seen = []
        for _ in range(3):
            seen.append([each["message"] for each in client.get("/messages/consume")])
            clock.advance(4.5)
        assert seen == [["b"], [], ["a", "c"]]


class TestConsume:
    @pytest.mark.parametrize("query", ["max=1", "max=1000", "wait=0", "wait=0.001", "visibility_timeout=43200"])
    def test_edges_that_are_allowed(self, client: Client, query: str) -> None:
        assert client.get(f"/messages/consume?{query}") == []

    def test_the_longest_wait_is_allowed(self, client: Client) -> None:
        client.produce("a")
        assert len(client.get("/messages/consume?wait=20")) == 1

    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("max", ["0", "1001", "-1", "1.5", "", "x", "9" * 400]),
            ("wait", ["20.001", "-0.001", "", "x", "nan", "inf", "1e400"]),
            ("visibility_timeout", ["43200.001", "-0.001", "", "x", "NaN", "Infinity", "-inf"]),
        ],
    )
    def test_edges_that_are_not(self, client: Client, field: str, values: list[str]) -> None:
        client.produce("a")
        for value in values:
            check_refused(client("GET", f"/messages/consume?{field}={value}"), 400, "invalid_value", field)
        assert client.counts()["unprocessed"] == 1

    def test_a_timeout_of_0_shows_the_message_and_leaves_it_to_others(self, client: Client) -> None:
        client.produce("a")
        counts = [claim_one(client, "visibility_timeout=0")["receive_count"] for _ in range(3)]
        assert counts == [1, 2, 3]
        assert client.counts()["unprocessed"] == 1

    def test_post_does_the_same(self, client: Client, clock: FakeClock) -> None:
        client.produce("a", "b", "c")
        reply = client("POST", "/messages/consume", json={"max": 1, "visibility_timeout": 5, "wait": 0})
        assert [each["message"] for each in reply.json] == ["a"]
        assert reply.json[0]["claimed_until"] == at(clock, 5)
        by_query = client("POST", "/messages/consume?max=1")
        assert [each["message"] for each in by_query.json] == ["b"]
        assert [each["message"] for each in client("POST", "/messages/consume").json] == ["c"]

    def test_fields_come_from_one_place(self, client: Client) -> None:
        client.produce("a")
        check_refused(client("POST", "/messages/consume?max=1", json={"max": 1}), 400, "ambiguous_request")
        assert client.counts()["unprocessed"] == 1

    def test_nothing_may_keep_a_reply(self, client: Client) -> None:
        [message_id] = client.produce("a")
        for method, path in [
            ("GET", "/messages/consume"),
            ("POST", "/messages/consume"),
            ("GET", f"/messages/{message_id}"),
            ("GET", "/dev/messages"),
            ("GET", "/dev/messages/status?status=processing"),
            ("GET", "/dev/messages/count?status=processing"),
        ]:
            assert client(method, path).headers["cache-control"] == "no-store"

    def test_gives_out_no_more_bytes_than_a_batch_may_have(self, client: Client) -> None:
        for _ in range(3):
            client.produce(*["x" * 2**20] * 7)
        consumed = client.get("/messages/consume?max=1000")
        assert 10 <= len(consumed) <= 16
        rest = client.get("/messages/consume?max=1000")
        assert len(consumed) + len(rest) == 21


class TestReceipts:
    """Every way of giving a receipt, for every call that takes one."""

    @pytest.fixture(params=["query", "body"])
    def act(self, client: Client, request: pytest.FixtureRequest) -> Any:
        def act(method: str, message_id: str, receipt: str) -> Any:
            if request.param == "query":
                return client(method, f"/messages/{message_id}?receipt={receipt}")
            return client(method, f"/messages/{message_id}", json={"receipt": receipt})

        return act

    @pytest.mark.parametrize("method", ["DELETE", *UPDATE_METHODS])
    def test_the_current_one_works(self, client: Client, act: Any, method: str) -> None:
        client.produce("a")
        message = claim_one(client)
        assert act(method, message["id"], message["receipt"]).json == {"success": True}
        assert len(client.get("/dev/messages")) == (method != "DELETE")

    @pytest.mark.parametrize("method", ["DELETE", *UPDATE_METHODS])
    def test_a_stale_one_changes_nothing(self, client: Client, clock: FakeClock, act: Any, method: str) -> None:
        client.produce("a")
        old = claim_one(client, "visibility_timeout=1")
        clock.advance(1)
        new = claim_one(client, "visibility_timeout=100")
        clock.advance(1)
        before = client.get("/dev/messages")
        check_refused(act(method, old["id"], old["receipt"]), 409, "stale_receipt")
        assert client.get("/dev/messages") == before
        assert act("DELETE", new["id"], new["receipt"]).status_code == 200

    @pytest.mark.parametrize("method", ["DELETE", "UPDATE"])
    def test_one_that_was_released_is_stale(self, client: Client, act: Any, method: str) -> None:
        client.produce("a")
        message = claim_one(client)
        assert client("UPDATE", f"/messages/{message['id']}?visibility_timeout=0").status_code == 200
        check_refused(act(method, message["id"], message["receipt"]), 409, "stale_receipt")
        assert client.counts()["unprocessed"] == 1

    def test_one_that_is_late_still_deletes_what_nobody_else_has_begun(
        self, client: Client, clock: FakeClock, act: Any
    ) -> None:
        client.produce("a")
        message = claim_one(client, "visibility_timeout=1")
        clock.advance(1)
        check_refused(act("UPDATE", message["id"], message["receipt"]), 409, "not_claimed")
        assert act("DELETE", message["id"], message["receipt"]).status_code == 200
        assert client.get("/dev/messages") == []

    @pytest.mark.parametrize("method", ["DELETE", "UPDATE"])
    def test_of_another_message_or_made_up(self, client: Client, act: Any, method: str) -> None:
        client.produce("a", "b")
        a, b = claim_one(client), claim_one(client)
        for receipt in (b["receipt"], "nonsense", "0" * 40, "", a["receipt"] + "0", a["id"]):
            check_refused(act(method, a["id"], receipt), 400, "invalid_value", "receipt")
        never_claimed = a["receipt"][:-8] + "00000000"
        check_refused(act(method, a["id"], never_claimed), 400, "invalid_value", "receipt")
        another_claim = a["receipt"][:-8] + f"{int(a['receipt'][-8:], 16) % 0xFFFF_FFFF + 1:08x}"
        check_refused(act(method, a["id"], another_claim), 409, "stale_receipt")
        assert client.counts()["processing"] == 2

    def test_without_one_a_call_acts_whoever_holds_the_message(self, client: Client) -> None:
        client.produce("a")
        message = claim_one(client)
        assert client("DELETE", f"/messages/{message['id']}").status_code == 200

    def test_renewing_keeps_the_receipt(self, client: Client, clock: FakeClock) -> None:
        client.produce("a")
        message = claim_one(client, "visibility_timeout=2")
        for _ in range(3):
            clock.advance(1.9)
            target = f"/messages/{message['id']}?receipt={message['receipt']}"
            assert client("UPDATE", target).status_code == 200


class TestUpdate:
    def test_another_timeout_holds_for_the_next_renewal_too(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("a")
        claim_one(client)
        client("UPDATE", f"/messages/{message_id}", json={"visibility_timeout": 100})
        assert client.get(f"/messages/{message_id}")["claimed_until"] == at(clock, 100)
        clock.advance(50)
        client("UPDATE", f"/messages/{message_id}")
        assert client.get(f"/messages/{message_id}")["claimed_until"] == at(clock, 100)

    def test_a_timeout_of_0_releases_at_once(self, client: Client) -> None:
        ids = client.produce("a", "b")
        claim_one(client)
        assert client("PATCH", f"/messages/{ids[0]}?visibility_timeout=0").status_code == 200
        assert client.counts() == {"unprocessed": 2, "processing": 0, "delayed": 0, "buried": 0}
        again = claim_one(client)
        assert (again["id"], again["receive_count"]) == (ids[0], 2)

    def test_delay_takes_the_message_from_its_consumer(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("a")
        message = claim_one(client)
        client("UPDATE", f"/messages/{message_id}", json={"delay": 60, "receipt": message["receipt"]})
        shown = client.get(f"/messages/{message_id}")
        assert (shown["status"], shown["delayed_until"]) == ("delayed", at(clock, 60))
        check_refused(client("DELETE", f"/messages/{message_id}?receipt={message['receipt']}"), 409, "stale_receipt")
        clock.advance(59.999)
        assert client.get("/messages/consume") == []
        clock.advance(0.001)
        assert claim_one(client)["receive_count"] == 2

    def test_delay_of_a_message_that_nobody_claimed(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("a")
        assert client("UPDATE", f"/messages/{message_id}?delay=5").status_code == 200
        assert client.get("/messages/consume") == []
        assert client("UPDATE", f"/messages/{message_id}?delay=0").status_code == 200
        assert claim_one(client)["receive_count"] == 1

    def test_replaces_the_body_and_keeps_all_else(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("a")
        before = client.get(f"/messages/{message_id}")
        clock.advance(1)
        assert client("UPDATE", f"/messages/{message_id}", json={"message": "ä" * 5000}).status_code == 200
        assert client.get(f"/messages/{message_id}") == {**before, "message": "ä" * 5000, "version": 2}
        message = claim_one(client)
        assert message["message"] == "ä" * 5000
        client("UPDATE", f"/messages/{message_id}", json={"message": "", "receipt": message["receipt"]})
        shown = client.get(f"/messages/{message_id}")
        assert (shown["message"], shown["claimed_until"]) == ("", message["claimed_until"])

    def test_body_and_timeout_at_once(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("a")
        claim_one(client)
        client("UPDATE", f"/messages/{message_id}", json={"message": "progress", "visibility_timeout": 90})
        shown = client.get(f"/messages/{message_id}")
        assert (shown["message"], shown["claimed_until"]) == ("progress", at(clock, 90))

    def test_a_refusal_changes_nothing_at_all(self, client: Client) -> None:
        [message_id] = client.produce("a")
        update = {"message": "b", "visibility_timeout": 5}
        check_refused(client("UPDATE", f"/messages/{message_id}", json=update), 409, "not_claimed")
        too_large = {"message": "x" * (2**20 + 1), "delay": 5}
        check_refused(client("UPDATE", f"/messages/{message_id}", json=too_large), 413, "message_too_large")
        both = {"visibility_timeout": 5, "delay": 5}
        check_refused(client("UPDATE", f"/messages/{message_id}", json=both), 400, "invalid_value", "delay")
        assert claim_one(client)["message"] == "a"

    @pytest.mark.parametrize(
        ("field", "value"), [("visibility_timeout", 43_200.001), ("visibility_timeout", -1), ("delay", -1)]
    )
    def test_out_of_range(self, client: Client, field: str, value: float) -> None:
        [message_id] = client.produce("a")
        claim_one(client)
        before = client.get("/dev/messages")
        check_refused(client("UPDATE", f"/messages/{message_id}", json={field: value}), 400, "invalid_value", field)
        assert client.get("/dev/messages") == before


class TestBatchDelete:
    def test_by_ids(self, client: Client) -> None:
        a, b, c = client.produce("a", "b", "c")
        reply = client("POST", "/messages/delete", json={"ids": [a, NO_SUCH_ID, b, "nonsense", a]})
        assert reply.status_code == 200
        assert reply.json["success"] is False
        results = reply.json["results"]
        assert [each["id"] for each in results] == [a, NO_SUCH_ID, b, "nonsense", a]
        assert [each["success"] for each in results] == [True, False, True, False, False]
        assert results[0] == {"id": a, "success": True}
        assert (results[1]["statusCode"], results[1]["error"]["code"]) == (404, "message_not_found")
        assert [each["id"] for each in client.get("/dev/messages")] == [c]

    def test_by_receipts(self, client: Client, clock: FakeClock) -> None:
        client.produce("a", "b")
        old, lasting = claim_one(client, "visibility_timeout=1"), claim_one(client)
        clock.advance(1)
        claim_one(client)
        receipts = [old["receipt"], lasting["receipt"], "nonsense"]
        reply = client("POST", "/messages/delete", json={"receipts": receipts})
        results = reply.json["results"]
        assert [each["receipt"] for each in results] == receipts
        codes = [each.get("error", {}).get("code") for each in results]
        assert codes == ["stale_receipt", None, "invalid_value"]
        assert [each["id"] for each in client.get("/dev/messages")] == [old["id"]]

    def test_all_done(self, client: Client) -> None:
        ids = client.produce(*map(str, range(1000)))
        reply = client("POST", "/messages/delete", json={"ids": ids})
        assert reply.json["success"] is True
        assert len(reply.json["results"]) == 1000
        assert client.get("/dev/messages") == []

    def test_takes_ids_or_receipts(self, client: Client) -> None:
        [message_id] = client.produce("a")
        both = {"ids": [message_id], "receipts": ["x"]}
        for body, code in (({}, "missing_field"), (both, "ambiguous_request")):
            check_refused(client("POST", "/messages/delete", json=body), 400, code, "ids")
        check_refused(client("POST", "/messages/delete", json={"ids": []}), 400, "invalid_value", "ids")
        check_refused(client("POST", "/messages/delete", json={"ids": [message_id] * 1001}), 413, "batch_too_large")
        check_refused(client("POST", "/messages/delete", json={"ids": [message_id, 1]}), 400, "invalid_value", "ids[1]")
        assert client.counts()["unprocessed"] == 1


class TestBatchUpdate:
    def test_a_result_for_each_entry(self, client: Client, clock: FakeClock) -> None:
        a, b, c, d = client.produce("a", "b", "c", "d")
        claimed = client.get("/messages/consume?max=3")
        entries = [
            {"id": a},
            {"receipt": claimed[1]["receipt"], "visibility_timeout": 0},
            {"id": c, "receipt": claimed[2]["receipt"], "message": "new", "delay": 7},
            {"id": d},
            {"id": NO_SUCH_ID},
            {"id": a, "visibility_timeout": 1},
            {},
        ]
        clock.advance(10)
        reply = client("POST", "/messages/update", json={"entries": entries})
        assert reply.status_code == 200
        assert reply.json["success"] is False
        results = reply.json["results"]
        codes = [each.get("error", {}).get("code") for each in results]
        assert codes == [None, None, None, "not_claimed", "message_not_found", "invalid_value", "invalid_value"]
        assert results[2] == {"id": c, "receipt": claimed[2]["receipt"], "success": True}
        assert [each["status"] for each in client.get("/dev/messages")] == [
            "processing",
            "unprocessed",
            "delayed",
            "unprocessed",
        ]
        assert client.get(f"/messages/{a}")["claimed_until"] == at(clock, 30)
        assert client.get(f"/messages/{b}")["message"] == "b"
        assert client.get(f"/messages/{c}")["message"] == "new"

    def test_limits(self, client: Client) -> None:
        [message_id] = client.produce("a")
        entries = [{"id": message_id, "delay": 5}] * 1001
        check_refused(client("POST", "/messages/update", json={"entries": entries}), 413, "batch_too_large")
        check_refused(client("POST", "/messages/update", json={"entries": []}), 400, "invalid_value", "entries")
        check_refused(client("POST", "/messages/update", json={}), 400, "missing_field", "entries")
        reply = client("POST", "/messages/update", json={"entries": [{"id": message_id, "delai": 5}]})
        check_refused(reply, 400, "unknown_field", "entries[0].delai")
        assert client.counts()["unprocessed"] == 1


class TestOneMessage:
    def test_is_shown_without_touching_it(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("a")
        shown = client.get(f"/messages/{message_id}")
        assert shown.keys() == MESSAGE_KEYS
        assert shown["receive_count"] == 0
        claim_one(client)
        shown = client.get(f"/messages/{message_id}")
        assert shown.keys() == MESSAGE_KEYS  # the receipt is the consumer's alone
        assert (shown["receive_count"], shown["claimed_until"]) == (1, at(clock, 30))

    def test_is_gone_when_deleted(self, client: Client) -> None:
        [message_id] = client.produce("a")
        client("DELETE", f"/messages/{message_id}")
        check_refused(client("GET", f"/messages/{message_id}"), 404, "message_not_found")
        check_refused(client("GET", f"/messages/{NO_SUCH_ID}"), 404, "message_not_found")

    def test_its_id_is_not_case_sensitive(self, client: Client) -> None:
        [message_id] = client.produce("a")
        assert client.get(f"/messages/{message_id.upper()}")["id"] == message_id


class TestListing:
    def test_pages(self, client: Client) -> None:
        ids = client.produce(*map(str, range(10)))
        assert [each["id"] for each in client.get("/dev/messages?limit=3")] == ids[:3]
        assert [each["id"] for each in client.get(f"/dev/messages?limit=3&after={ids[2]}")] == ids[3:6]
        assert [each["id"] for each in client.get(f"/dev/messages?after={ids[8]}")] == ids[9:]
        assert client.get(f"/dev/messages?after={ids[9]}") == []
        client("DELETE", f"/messages/{ids[2]}")
        assert [each["id"] for each in client.get(f"/dev/messages?limit=1&after={ids[2]}")] == ids[3:4]

    def test_pages_of_one_status(self, client: Client) -> None:
        ids = client.produce(*map(str, range(10)))
        client.get("/messages/consume?max=4")
        pages = "/dev/messages/status?limit=3&status="
        assert [each["id"] for each in client.get(f"{pages}processing")] == ids[:3]
        assert [each["id"] for each in client.get(f"{pages}processing&after={ids[2]}")] == ids[3:4]
        assert [each["id"] for each in client.get(f"{pages}unprocessed")] == ids[4:7]

    def test_refuses_what_it_cannot_page_by(self, client: Client) -> None:
        [elsewhere] = client.produce("a", queue="elsewhere")
        for after in ("nonsense", "", NO_SUCH_ID, elsewhere):
            check_refused(client("GET", f"/dev/messages?after={after}"), 400, "invalid_value", "after")
        for limit in ("0", "-1", "x", ""):
            check_refused(client("GET", f"/dev/messages?limit={limit}"), 400, "invalid_value", "limit")

    def test_costs_no_memory(self, broker: Broker, client: Client) -> None:
        count, size = 20_000, 1000
        for _ in range(count // 1000):
            client.produce(*["x" * size] * 1000)
        app = create_app(broker)
        environ = create_environ("/dev/messages")
        answer: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None, /) -> Any:
            answer.update(status=status, headers=dict(headers))

        tracemalloc.start()
        try:
            pieces = app(environ, start_response)
            total, largest = 0, 0
            for piece in pieces:
                total += len(piece)
                largest = max(largest, len(piece))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert answer["status"].startswith("200")
        assert "content-length" not in answer["headers"]
        assert total > count * size
        assert largest < 100_000
        assert peak < 5_000_000

    def test_is_one_array_however_long(self, client: Client) -> None:
        ids = [each for _ in range(3) for each in client.produce(*["x" * 100] * 1000)]
        assert [each["id"] for each in client.get("/dev/messages")] == ids


class TestMsgpack:
    def call(self, client: Client, method: str, path: str, value: Any) -> Any:
        reply = client(
            method, path, body=msgspec.msgpack.encode(value), media_type=MSGPACK, headers={"Accept": MSGPACK}
        )
        assert reply.headers["content-type"] == MSGPACK
        return msgspec.msgpack.decode(reply.content)

    def test_carries_the_same_structures(self, client: Client) -> None:
        made = self.call(client, "POST", "/messages/produce", {"message": "🦊\0"})
        assert made == {"id": made["id"], "message": "🦊\0", "status": "unprocessed", "statusCode": 201}
        [message] = self.call(client, "POST", "/messages/consume", {"max": 5, "visibility_timeout": 1.5})
        assert message.keys() == MESSAGE_KEYS | {"receipt"}
        assert message["message"] == "🦊\0"
        entries = {"entries": [{"receipt": message["receipt"], "visibility_timeout": 9}]}
        assert self.call(client, "POST", "/messages/update", entries)["success"] is True
        assert self.call(client, "DELETE", f"/messages/{made['id']}", {"receipt": message["receipt"]}) == {
            "success": True
        }

    def test_carries_errors(self, client: Client) -> None:
        error = self.call(client, "POST", "/messages/produce", {"message": 1})
        assert error["success"] is False
        assert (error["statusCode"], error["error"]["field"]) == (400, "message")

    def test_each_direction_is_chosen_alone(self, client: Client) -> None:
        body = msgspec.msgpack.encode({"message": "a"})
        assert client("POST", "/messages/produce", body=body, media_type=MSGPACK).headers["content-type"] == JSON
        reply = client("POST", "/messages/produce", json={"message": "a"}, headers={"Accept": MSGPACK})
        assert msgspec.msgpack.decode(reply.content)["message"] == "a"


class TestHealth:
    def test_while_all_is_well(self, client: Client) -> None:
        assert client.get("/healthz") == {"status": "ok"}
        assert client.get("/readyz") == {"status": "ready"}

    def test_while_shutting_down(self, client: Client, broker: Broker) -> None:
        client.produce("a")
        broker.stop_claiming()
        assert client.get("/healthz") == {"status": "ok"}
        reply = client("GET", "/readyz")
        check_refused(reply, 503, "not_ready")
        assert int(reply.headers["retry-after"]) > 0
        reply = client("GET", "/messages/consume")
        check_refused(reply, 503, "shutting_down")
        assert int(reply.headers["retry-after"]) > 0
        [message] = client.get("/dev/messages")  # what was begun can be finished
        assert client("DELETE", f"/messages/{message['id']}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/messages/consume"),
        ("POST", "/queues/default/purge"),
        ("DELETE", "/queues/q"),
        ("GET", "/dev/messages"),
        ("GET", "/queues"),
    ],
)
def test_a_body_is_refused_where_none_is_read(client: Client, method: str, path: str) -> None:
    client.produce("x")
    reply = client(method, path, json={"visibility_timeout": 7200})
    check_refused(reply, 400, "unexpected_body")
    assert len(client.get("/dev/messages/status?status=unprocessed")) == 1
