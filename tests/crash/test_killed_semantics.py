"""Everything that a queue can do with a message, before and after a SIGKILL, as its users see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.errors import Refused

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HOUR_S = 3600.0


class Life:
    """Clients of one broker, which dies and comes back."""

    def __init__(self, broker: RunningBroker) -> None:
        self.broker = broker

    def on(self, queue: str) -> QueueClient:
        return QueueClient(self.broker.url, queue=queue)

    def seen(self) -> dict[str, Any]:
        """Return all visible state, without the parts that change with time."""
        with self.on("default") as client:
            queues = client.queues()
        found: dict[str, Any] = {}
        for each in queues:
            with self.on(each["queue"]) as client:
                del each["oldest_age"]
                found[each["queue"]] = each, list(client.messages())
        return found


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["message"] for message in messages]


Check = Callable[[Life], None]


def carries(life: Life) -> Check:
    with life.on("carries") as client:
        attributes = {"t": "é", "n": 5, "b": {"type": "Binary", "value": "AAE="}}
        client.produce("a", attributes=attributes, group="g", priority=4, traceparent=TRACEPARENT, tracestate="v=1")

    def check(life: Life) -> None:
        with life.on("carries") as client:
            [message] = client.consume()
            assert (message["attributes"], message["group"], message["priority"]) == (attributes, "g", 4)
            assert (message["traceparent"], message["tracestate"]) == (TRACEPARENT, "v=1")

    return check


def priorities(life: Life) -> Check:
    with life.on("priorities") as client:
        client.produce_batch([{"message": str(n), "priority": n % 3} for n in range(9)])
        assert texts(client.consume(limit=2)) == ["2", "5"]

    def check(life: Life) -> None:
        with life.on("priorities") as client:
            assert texts(client.consume(limit=9)) == ["8", "1", "4", "7", "0", "3", "6"]

    return check


def fifo(life: Life) -> Check:
    with life.on("orders.fifo") as client:
        client.produce_batch([{"message": f"{group}{n}", "group": group} for n in range(3) for group in "ab"])
        [held] = client.consume(limit=1, visibility_timeout=HOUR_S)

    def check(life: Life) -> None:
        with life.on("orders.fifo") as client:
            assert texts(client.consume(limit=10, visibility_timeout=HOUR_S)) == ["b0", "b1", "b2"]
            assert client.consume() == [], "both groups are blocked"
            client.delete(held["receipt"])
            assert texts(client.consume(limit=10)) == ["a1", "a2"]

    return check


def fairness(life: Life) -> Check:
    with life.on("fair") as client:
        client.produce_batch([{"message": f"much {n}", "group": "much"} for n in range(50)])
        client.consume(limit=3, visibility_timeout=HOUR_S)
        client.produce("little", group="little")

    def check(life: Life) -> None:
        with life.on("fair") as client:
            assert texts(client.consume(limit=1)) == ["little"]

    return check


def deduplication(life: Life) -> Check:
    with life.on("dedup") as client:
        first = client.produce("a", idempotency_key="k")
        client.delete(client.consume()[0]["receipt"])

    def check(life: Life) -> None:
        with life.on("dedup") as client:
            assert client.produce("a", idempotency_key="k") == first
            assert client.consume() == []

    return check


def attempts(life: Life) -> Check:
    with life.on("attempts.fifo") as client:
        client.produce_batch(["a", "b"])
        before = client.consume(attempt_id="1", visibility_timeout=HOUR_S)

    def check(life: Life) -> None:
        with life.on("attempts.fifo") as client:
            again = client.consume(attempt_id="1", visibility_timeout=HOUR_S)
            assert [each["receipt"] for each in again] == [each["receipt"] for each in before]

    return check


def versions(life: Life) -> Check:
    with life.on("versions") as client:
        message_id = client.produce("a", attributes={"x": 1})
        client.update(message_id, message="b", if_version=1)

    def check(life: Life) -> None:
        with life.on("versions") as client:
            with pytest.raises(Refused, match="version 2"):
                client.update(message_id, message="c", if_version=1)
            found = client.get(message_id)
            assert (found["message"], found["attributes"], found["version"]) == ("b", {"x": 1}, 2)

    return check


def dead_letters(life: Life) -> Check:
    with life.on("tries") as client:
        client.put_queue(max_receives=2, dead_letter_queue="dead")
        message_id = client.produce("poison", group="g")
        client.consume(visibility_timeout=0)
        client.consume(visibility_timeout=0)
    with life.on("dead") as dead:
        dead.put_queue()
        eventually(lambda: dead.count("unprocessed") == 1, "housekeeping to move it")

    def check(life: Life) -> None:
        with life.on("tries") as client:
            assert client.consume() == [], "it was received twice, and the broker knows"
        with life.on("dead") as client:
            [dead] = client.messages()
            assert (dead["dead_letter"]["id"], dead["dead_letter"]["receive_count"]) == (message_id, 2)
            assert dead["group"] == "g"

    return check


def moved_before(life: Life) -> Check:
    with life.on("moved") as client:
        client.put_queue(max_receives=1, dead_letter_queue="moved-dead")
        client.produce_batch(["a", "b", "c"])
        client.consume(visibility_timeout=0)
        assert client.consume() == []

    def check(life: Life) -> None:
        with life.on("moved") as client:
            assert sum(client.queue_info()["counts"].values()) == 0
        with life.on("moved-dead") as client:
            assert texts(client.consume()) == ["a", "b", "c"]

    return check


def buried(life: Life) -> Check:
    with life.on("buried") as client:
        client.produce("a")
        [message] = client.consume()
        client.update(message["id"], receipt=message["receipt"], bury=True)

    def check(life: Life) -> None:
        with life.on("buried") as client:
            assert client.consume() == []
            assert client.kick() == 1
            assert [(each["message"], each["receive_count"]) for each in client.consume()] == [("a", 1)]

    return check


def hand_over(life: Life) -> Check:
    with life.on("inputs") as client:
        client.produce_batch(["a", "b"])
        receipts = [each["receipt"] for each in client.consume()]
        client.hand_over(receipts, [{"queue": f"outputs-{n}", "message": str(n)} for n in range(3)])

    def check(life: Life) -> None:
        with life.on("inputs") as client:
            assert sum(client.queue_info()["counts"].values()) == 0
        for n in range(3):
            with life.on(f"outputs-{n}") as client:
                assert texts(client.consume()) == [str(n)]

    return check


def settings(life: Life) -> Check:
    with life.on("set") as client:
        client.put_queue(max_messages=2, paused=True, tags={"team": "é"}, max_in_flight=1, retention=HOUR_S)
        client.produce_batch(["a", "b"])

    def check(life: Life) -> None:
        with life.on("set") as client:
            with pytest.raises(Refused, match="may hold 2 messages"):
                client.produce("c")
            assert client.consume() == []
            client.put_queue(paused=False, draining=True)
            assert texts(client.consume()) == ["a"]
            with pytest.raises(Refused, match="limit of messages in flight"):
                client.consume()
            with pytest.raises(Refused, match="drained"):
                client.produce("c")

    return check


def delays(life: Life) -> Check:
    with life.on("delays") as client:
        client.produce("later", delay=HOUR_S)
        client.produce("in years", deliver_at="2031-01-01T00:00:00Z")
        client.produce("failed")
        [message] = client.consume()
        client.update(message["id"], receipt=message["receipt"], backoff=HOUR_S)

    def check(life: Life) -> None:
        with life.on("delays") as client:
            assert client.count("delayed") == 3
            assert client.consume() == []

    return check


def retention(life: Life) -> Check:
    with life.on("short") as client:
        client.put_queue(retention=0.3)
        client.produce("old")

    def check(life: Life) -> None:
        with life.on("short") as client:
            end = time.monotonic() + PATIENCE_S
            while sum(client.queue_info()["counts"].values()):
                assert time.monotonic() < end, "it leaves by itself"
                time.sleep(0.05)
            assert client.consume() == []

    return check


DEEDS = (
    carries, priorities, fifo, fairness, deduplication, attempts, versions, dead_letters, moved_before, buried, hand_over,
    settings, delays, retention,
)  # fmt: skip


@pytest.mark.parametrize("compacted", [False, True], ids=["", "compacted in between"])
def test_all_of_it_is_the_same_after_a_kill(compacted: bool, tmp_path: Path) -> None:
    options = ("--segment-bytes", str(32 << 20))
    with RunningBroker(tmp_path / "data", *options) as broker:
        life = Life(broker)
        checks = [deed(life) for deed in DEEDS]
        if compacted:
            with life.on("filler") as client:
                for _ in range(60):
                    client.produce_batch(["x" * 1000] * 1000)
                    client.purge()
            first = broker.data / "0000000001.wal"
            end = time.monotonic() + PATIENCE_S
            while first.exists():
                assert time.monotonic() < end, "the log is compacted"
                time.sleep(0.1)
        before = life.seen()
        broker.kill()
    with RunningBroker(tmp_path / "data", *options) as broker:
        life = Life(broker)
        after = life.seen()
        for seen in (before, after):
            seen.pop("short")  # what is in it goes by itself
        assert after == before
        for check in checks:
            check(life)
