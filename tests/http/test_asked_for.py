"""The original requirements, row by row and to the letter."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from tests.support.clock import FakeClock
from tests.support.http_client import Client, check_refused

NO_SUCH_ID = "00000000-0000-8000-8000-000000000000"
UPDATE_METHODS = ["UPDATE", "PUT", "PATCH"]

MESSAGE_KEYS = {"id", "message", "status", "receive_count", "produced_at", "claimed_until", "queue"}


def at(clock: FakeClock, seconds: float = 0) -> str:
    """Return a time relative to now, in the format of the API."""
    time = datetime.fromtimestamp((clock.ms + seconds * 1000) / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TestProduce:
    def test_answers_with_the_message(self, client: Client) -> None:
        reply = client("POST", "/messages/produce", json={"message": "Grüße 🦊"})
        assert reply.status_code == 201
        assert reply.headers["content-type"] == "application/json"
        assert reply.json == {
            "id": reply.json["id"],
            "message": "Grüße 🦊",
            "status": "unprocessed",
            "statusCode": 201,
        }
        assert isinstance(reply.json["id"], str)

    def test_ids_differ(self, client: Client) -> None:
        ids = {client("POST", "/messages/produce", json={"message": "same"}).json["id"] for _ in range(100)}
        assert len(ids) == 100

    @pytest.mark.parametrize("message", ["", " ", "\0", "a\nb", '"', "\\", "🦊" * 1000, "\u2028", "\uffff", "null"])
    def test_any_text_comes_back_as_it_was(self, client: Client, message: str) -> None:
        message_id = client("POST", "/messages/produce", json={"message": message}).json["id"]
        [consumed] = client.get("/messages/consume")
        assert (consumed["id"], consumed["message"]) == (message_id, message)

    def test_message_is_required(self, client: Client) -> None:
        check_refused(client("POST", "/messages/produce", json={}), 400, "missing_field", "message")


class TestConsume:
    def test_nothing_there_gives_an_empty_array(self, client: Client) -> None:
        reply = client("GET", "/messages/consume")
        assert (reply.status_code, reply.json) == (200, [])

    def test_gives_message_objects(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("work")
        produced_at = at(clock)
        clock.advance(1.25)
        [message] = client.get("/messages/consume")
        assert message == {
            "id": message_id,
            "message": "work",
            "status": "processing",
            "receipt": message["receipt"],
            "receive_count": 1,
            "produced_at": produced_at,
            "claimed_until": at(clock, 30),
            "queue": "default",
        }
        assert isinstance(message["receipt"], str)

    def test_oldest_first(self, client: Client) -> None:
        client.produce(*map(str, range(25)))
        consumed = [[each["message"] for each in client.get("/messages/consume")] for _ in range(4)]
        expected = [str(number) for number in range(25)]
        assert consumed == [expected[:10], expected[10:20], expected[20:], []]

    def test_visibility_timeout(self, client: Client, clock: FakeClock) -> None:
        client.produce("work")
        [message] = client.get("/messages/consume?visibility_timeout=2.5")
        assert message["claimed_until"] == at(clock, 2.5)
        clock.advance(2.499)
        assert client.get("/messages/consume") == []
        clock.advance(0.001)
        [again] = client.get("/messages/consume")
        assert (again["id"], again["receive_count"]) == (message["id"], 2)
        assert again["receipt"] != message["receipt"]

    def test_a_message_that_came_back_is_before_younger_ones(self, client: Client, clock: FakeClock) -> None:
        client.produce("old")
        client.get("/messages/consume?visibility_timeout=5")
        client.produce("young")
        clock.advance(5)
        assert [each["message"] for each in client.get("/messages/consume")] == ["old", "young"]

    def test_claims_are_exclusive(self, client: Client) -> None:
        ids = client.produce(*map(str, range(400)))
        claimed: list[str] = []

        def work() -> None:
            while messages := client.get("/messages/consume?max=3"):
                claimed.extend(each["id"] for each in messages)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claimed) == sorted(ids)


class TestDelete:
    def test_deletes(self, client: Client) -> None:
        [message_id] = client.produce("work")
        reply = client("DELETE", f"/messages/{message_id}")
        assert (reply.status_code, reply.json) == (200, {"success": True})
        assert client.get("/dev/messages") == []
        assert client.get("/messages/consume") == []

    def test_deletes_what_is_being_processed(self, client: Client, clock: FakeClock) -> None:
        [message_id] = client.produce("work")
        client.get("/messages/consume")
        assert client("DELETE", f"/messages/{message_id}").json == {"success": True}
        clock.advance(3600)
        assert client.get("/messages/consume") == []

    def test_an_id_that_is_not_in_the_queue(self, client: Client) -> None:
        [message_id] = client.produce("work")
        [elsewhere] = client.produce("other", queue="elsewhere")
        client("DELETE", f"/messages/{message_id}")
        for gone in (message_id, elsewhere, NO_SUCH_ID, "1", "nonsense"):
            check_refused(client("DELETE", f"/messages/{gone}"), 404, "message_not_found")
        assert client.counts("elsewhere")["unprocessed"] == 1


@pytest.mark.parametrize("method", UPDATE_METHODS)
class TestUpdate:
    def test_renews_by_the_timeout_it_was_claimed_with(self, client: Client, clock: FakeClock, method: str) -> None:
        [message_id] = client.produce("work")
        client.get("/messages/consume?visibility_timeout=100")
        for _ in range(3):
            clock.advance(60)
            reply = client(method, f"/messages/{message_id}")
            assert (reply.status_code, reply.json) == (200, {"success": True})
            assert client.get(f"/messages/{message_id}")["claimed_until"] == at(clock, 100)
        clock.advance(99.999)
        assert client.get("/messages/consume") == []
        clock.advance(0.001)
        assert len(client.get("/messages/consume")) == 1

    def test_an_id_that_is_not_in_the_queue(self, client: Client, method: str) -> None:
        check_refused(client(method, f"/messages/{NO_SUCH_ID}"), 404, "message_not_found")

    def test_a_message_that_nobody_claimed(self, client: Client, method: str) -> None:
        [message_id] = client.produce("work")
        check_refused(client(method, f"/messages/{message_id}"), 409, "not_claimed")
        assert client.counts()["unprocessed"] == 1

    def test_a_claim_that_is_over_cannot_be_renewed(self, client: Client, clock: FakeClock, method: str) -> None:
        [message_id] = client.produce("work")
        client.get("/messages/consume?visibility_timeout=1")
        clock.advance(1)
        check_refused(client(method, f"/messages/{message_id}"), 409, "not_claimed")
        assert client.counts()["unprocessed"] == 1


class TestDev:
    def test_lists_all_messages(self, client: Client) -> None:
        assert client.get("/dev/messages") == []
        ids = client.produce("a", "b", "c")
        client.get("/messages/consume?max=1")
        listed = client.get("/dev/messages")
        assert [each["id"] for each in listed] == ids
        assert [each["status"] for each in listed] == ["processing", "unprocessed", "unprocessed"]
        assert [each["claimed_until"] is None for each in listed] == [False, True, True]
        assert all(each.keys() == MESSAGE_KEYS for each in listed)  # so without a receipt

    def test_lists_by_status(self, client: Client) -> None:
        ids = client.produce("a", "b", "c")
        client.get("/messages/consume?max=1")
        listed = {
            status: [each["id"] for each in client.get(f"/dev/messages/status?status={status}")]
            for status in ("processing", "unprocessed")
        }
        assert listed == {"processing": ids[:1], "unprocessed": ids[1:]}

    def test_counts_by_status(self, client: Client) -> None:
        client.produce("a", "b", "c")
        client.get("/messages/consume?max=1")
        assert client.get("/dev/messages/count?status=processing") == {"count": 1, "status": "processing"}
        assert client.get("/dev/messages/count?status=unprocessed") == {"count": 2, "status": "unprocessed"}

    @pytest.mark.parametrize("path", ["/dev/messages/status", "/dev/messages/count"])
    def test_status_is_required_and_known(self, client: Client, path: str) -> None:
        check_refused(client("GET", path), 400, "missing_field", "status")
        for status in ("", "done", "Processing", "processing,unprocessed"):
            check_refused(client("GET", f"{path}?status={status}"), 400, "invalid_value", "status")

    def test_looking_changes_nothing(self, client: Client) -> None:
        client.produce("a", "b")
        client.get("/messages/consume?max=1")
        before = client.get("/dev/messages")
        for path in ("/dev/messages/status?status=processing", "/dev/messages/count?status=unprocessed"):
            client.get(path)
        assert client.get("/dev/messages") == before


class TestExpiry:
    """A claim whose deadline has passed counts as unprocessed everywhere, at that moment, without any sweep."""

    @pytest.fixture
    def claimed(self, client: Client, clock: FakeClock) -> str:
        [message_id] = client.produce("work")
        client.get("/messages/consume?visibility_timeout=30")
        clock.advance(29.999)
        return message_id

    def look(self, client: Client, message_id: str, place: str) -> str:
        """The status that one way of looking shows. Each runs alone, so that none leans on what another did."""
        if place == "one":
            return str(client.get(f"/messages/{message_id}")["status"])
        if place == "all":
            return str(client.get("/dev/messages")[0]["status"])
        if place == "by status":
            found = [s for s in ("processing", "unprocessed") if client.get(f"/dev/messages/status?status={s}")]
        elif place == "count":
            found = [s for s in ("processing", "unprocessed") if client.get(f"/dev/messages/count?status={s}")["count"]]
        elif place == "queue":
            found = [status for status, count in client.counts().items() if count]
        else:
            found = [status for each in client.get("/queues") for status, count in each["counts"].items() if count]
        [status] = found
        return status

    @pytest.mark.parametrize("place", ["one", "all", "by status", "count", "queue", "queues"])
    def test_shows_at_that_moment(self, client: Client, clock: FakeClock, claimed: str, place: str) -> None:
        assert self.look(client, claimed, place) == "processing"
        clock.advance(0.001)
        assert self.look(client, claimed, place) == "unprocessed"

    def test_shows_no_deadline_any_more(self, client: Client, clock: FakeClock, claimed: str) -> None:
        assert client.get(f"/messages/{claimed}")["claimed_until"] == at(clock, 0.001)
        clock.advance(0.001)
        assert client.get(f"/messages/{claimed}")["claimed_until"] is None

    def test_is_given_out_at_that_moment(self, client: Client, clock: FakeClock, claimed: str) -> None:
        assert client.get("/messages/consume") == []
        clock.advance(0.001)
        assert [each["id"] for each in client.get("/messages/consume")] == [claimed]

    def test_renewing_in_the_last_moment_works(self, client: Client, clock: FakeClock, claimed: str) -> None:
        assert client("UPDATE", f"/messages/{claimed}").status_code == 200
        clock.advance(0.001)
        assert client.get("/messages/consume") == []
