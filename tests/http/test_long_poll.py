"""Consumers that wait for a message, on the real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.http_client import ServedBroker, Wire, WireReply, check_error, read_reply, request, serving
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq.model.messages import Message
from wonderq.runtime.fibers import Event
from wonderq_storage import FileLog

Later = Future[WireReply]

#: Longer than a test waits for an answer: one that comes only when this is over is a failure.
LONG_S = 4 * PATIENCE_S


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedBroker]:
    broker = Broker(FileLog(tmp_path / "log"), limits=Limits(waiting_consumers=6, wait_s=LONG_S))
    claim = broker.claim

    def claim_and_wait_long(*arguments: Any, wait_s: float = 0, **options: Any) -> list[Message]:
        """Claim; the longest wait that a request may ask for, which a busy machine may outlast, is `LONG_S`."""
        return claim(*arguments, wait_s=LONG_S if wait_s == 20 else wait_s, **options)

    with patch.object(broker, "claim", claim_and_wait_long), serving(broker) as served:
        yield served
    broker.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def start(pool: ThreadPoolExecutor, served: ServedBroker) -> Iterator[Callable[..., list[Later]]]:
    """Start consumers one after the other, each once the one before it waits."""

    def start(count: int, query: str = "", queue: str = "default") -> list[Later]:
        consumers = []
        for _ in range(count):
            before = served.waiting()
            target = f"/queues/{queue}/messages/consume?wait=20&{query}"
            consumers.append(pool.submit(served, "GET", target))
            served.wait_for_waiting(before + 1)
        return consumers

    yield start
    served.broker.stop_claiming()  # so that a failed test does not wait for those who still wait


def produce(served: ServedBroker, *messages: str, **fields: Any) -> list[str]:
    reply = served("POST", "/messages/produce", json={"messages": messages, **fields})
    assert reply.status == 201, reply
    return list(reply.json["ids"])


def received(consumer: Later) -> list[dict[str, Any]]:
    reply = consumer.result(PATIENCE_S)
    assert reply.status == 200, reply
    return list(reply.json)


class TestWaking:
    def test_a_message_wakes_one_consumer(self, served: ServedBroker, start: Callable[..., list[Later]]) -> None:
        waiting = set(start(4))
        for left in (3, 2, 1, 0):
            [message_id] = produce(served, "x")
            done, waiting = wait(waiting, PATIENCE_S, FIRST_COMPLETED)
            [consumer] = done
            [message] = received(consumer)
            assert (message["id"], message["receive_count"]) == (message_id, 1)
            served.wait_for_waiting(left)
            assert not any(each.done() for each in waiting)

    def test_a_message_does_not_wake_the_crowd(
        self, served: ServedBroker, start: Callable[..., list[Later]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        consumers = start(6)
        claim, attempts = served.broker.claims.try_claim, []

        def counting(*arguments: Any) -> Any:
            attempts.append(arguments)
            return claim(*arguments)

        monkeypatch.setattr(served.broker.claims, "try_claim", counting)
        produce(served, "x")
        wait(consumers, PATIENCE_S, FIRST_COMPLETED)
        served.wait_for_waiting(5)
        assert 1 <= len(attempts) <= 3  # one takes it, and the next in line learns when the claim will end

    def test_a_batch_is_shared_by_those_who_wait(self, served: ServedBroker, start: Callable[..., list[Later]]) -> None:
        consumers = start(4, "max=5")
        ids = produce(served, *map(str, range(20)))
        shares = [[each["id"] for each in received(consumer)] for consumer in consumers]
        assert [len(share) for share in shares] == [5, 5, 5, 5]
        assert sorted(each for share in shares for each in share) == sorted(ids)

    def test_a_batch_that_one_takes_whole_leaves_the_others_waiting(
        self, served: ServedBroker, start: Callable[..., list[Later]]
    ) -> None:
        consumers = start(3, "max=1000")
        produce(served, *map(str, range(20)))
        done, waiting = wait(consumers, PATIENCE_S, FIRST_COMPLETED)
        assert [len(received(each)) for each in done] == [20]
        served.wait_for_waiting(2)
        assert not any(each.done() for each in waiting)

    def test_a_claim_that_expires(self, served: ServedBroker, start: Callable[..., list[Later]]) -> None:
        produce(served, "x")
        served("GET", "/messages/consume?visibility_timeout=0.7")
        consumers = start(2)
        done, waiting = wait(consumers, PATIENCE_S, FIRST_COMPLETED)
        assert (len(done), len(waiting)) == (1, 1)
        [message] = received(done.pop())
        assert message["receive_count"] == 2

    def test_a_delayed_message_that_becomes_due(self, served: ServedBroker, start: Callable[..., list[Later]]) -> None:
        [consumer] = start(1)
        produce(served, "x", delay=0.5)
        [message] = received(consumer)
        assert message["receive_count"] == 1

    def test_the_first_in_line_leaving_does_not_lose_the_deadline(
        self, served: ServedBroker, start: Callable[..., list[Later]], pool: ThreadPoolExecutor
    ) -> None:
        produce(served, "x")
        served("GET", "/messages/consume?visibility_timeout=1.2")
        short = pool.submit(served, "GET", "/messages/consume?wait=0.4")
        served.wait_for_waiting(1)
        [consumer] = start(1)
        assert received(short) == []
        assert len(received(consumer)) == 1

    @pytest.mark.parametrize("how", ["visibility_timeout=0", "visibility_timeout=0.4", "delay=0", "delay=0.4"])
    def test_a_message_that_is_given_back(
        self, served: ServedBroker, start: Callable[..., list[Later]], how: str
    ) -> None:
        [message_id] = produce(served, "x")
        served("GET", "/messages/consume?visibility_timeout=3600")
        [consumer] = start(1)
        assert served("UPDATE", f"/messages/{message_id}?{how}").status == 200
        [message] = received(consumer)
        assert (message["id"], message["receive_count"]) == (message_id, 2)

    def test_of_its_own_queue_only(self, served: ServedBroker, start: Callable[..., list[Later]]) -> None:
        served("PUT", "/queues/jobs")
        [other], [consumer] = start(1), start(1, queue="jobs")
        served("POST", "/queues/jobs/messages/produce", json={"message": "x"})
        assert [each["queue"] for each in received(consumer)] == ["jobs"]
        served.wait_for_waiting(1)
        assert not other.done()

    def test_time_is_up(self, served: ServedBroker) -> None:
        began = time.monotonic()
        assert served("GET", "/messages/consume?wait=0.3").json == []
        assert time.monotonic() - began >= 0.3
        assert served.waiting() == 0

    def test_a_queue_that_is_deleted(self, served: ServedBroker, start: Callable[..., list[Later]]) -> None:
        served("PUT", "/queues/jobs")
        consumers = start(2, queue="jobs")
        assert served("DELETE", "/queues/jobs").status == 200
        for consumer in consumers:
            reply = consumer.result(PATIENCE_S)
            assert (reply.status, reply.json["error"]["code"]) == (404, "queue_not_found")


class TestClientsThatAreGone:
    def test_nothing_is_claimed_for_one(self, served: ServedBroker) -> None:
        connection = served.connect()
        connection.sendall(request("GET", "/messages/consume?wait=20"))
        served.wait_for_waiting(1)
        connection.close()
        [message_id] = produce(served, "x")
        served.wait_for_waiting(0)
        shown = served("GET", f"/messages/{message_id}").json
        assert (shown["status"], shown["receive_count"]) == ("unprocessed", 0)

    def test_what_its_next_finished_stays_and_nothing_is_claimed(self, served: ServedBroker) -> None:
        one, two = produce(served, "1", "2")
        first, second = served("GET", "/messages/consume").json
        served("PUT", "/queues/jobs", json={})
        finish = {"delete": [first["receipt"]], "release": [{"receipt": second["receipt"], "delay": 60}]}
        connection = served.connect()
        connection.sendall(
            request("POST", "/messages/next", json={**finish, "wait": 20, "queues": ["jobs", "default"]})
        )
        served.wait_for_waiting(1)
        assert served("GET", f"/messages/{one}").status == 404, "it is done before the wait ends"
        connection.close()
        [three] = produce(served, "3")
        served.wait_for_waiting(0)
        shown = [served("GET", f"/messages/{each}").json["status"] for each in (two, three)]
        assert shown == ["delayed", "unprocessed"]

    def test_the_next_in_line_gets_the_message(self, served: ServedBroker, start: Callable[..., list[Later]]) -> None:
        connection = served.connect()
        connection.sendall(request("GET", "/messages/consume?wait=20"))
        served.wait_for_waiting(1)
        [consumer] = start(1)
        connection.close()
        [message_id] = produce(served, "x")
        [message] = received(consumer)
        assert (message["id"], message["receive_count"]) == (message_id, 1)

    def test_one_stops_waiting_without_any_message(self, served: ServedBroker) -> None:
        connection = served.connect()
        connection.sendall(request("GET", "/messages/consume?wait=20"))
        served.wait_for_waiting(1)
        connection.close()
        served.wait_for_waiting(0)


def test_more_than_may_wait(served: ServedBroker, start: Callable[..., list[Later]]) -> None:
    start(6)
    reply = served("GET", "/messages/consume?wait=20")
    error = check_error(reply.status, reply.headers["content-type"], reply.content)
    assert (reply.status, error["code"]) == (429, "too_many_waiting_consumers")
    assert int(reply.headers["retry-after"]) > 0
    assert served("GET", "/messages/consume").json == []
    served("PUT", "/queues/other")
    assert served("GET", "/queues/other/messages/consume?wait=1").status == 429  # the limit holds for all together
    produce(served, "x")
    served.wait_for_waiting(5)
    start(1)


class TestStopping:
    def test_what_is_under_way_is_finished_and_nothing_new_is_claimed(self, tmp_path: Path) -> None:
        broker = Broker(FileLog(tmp_path / "log"))
        inner, working, go_on = create_app(broker), threading.Event(), Event()

        def app(environ: Any, start_response: Any) -> Any:
            if environ["PATH_INFO"] == "/healthz":  # stands for any request that takes its time
                working.set()
                go_on.wait(PATIENCE_S)
            return inner(environ, start_response)

        with (
            serving(broker, app) as served,
            served.connect() as slow,
            served.connect() as kept,
            ThreadPoolExecutor() as pool,
        ):
            produce(served, "x", delay=3600)
            kept.sendall(request("GET", "/messages/consume"))
            assert read_reply(kept).json == []
            slow.sendall(request("GET", "/healthz"))
            assert working.wait(PATIENCE_S)
            waiting = [pool.submit(served, "GET", "/messages/consume?wait=20") for _ in range(3)]
            served.wait_for_waiting(3)

            served.server.stop()
            assert [received(each) for each in waiting] == [[], [], []]
            with pytest.raises(ConnectionRefusedError):
                served.connect()
            kept.sendall(request("GET", "/messages/consume?wait=20"))
            reply = read_reply(kept)
            assert (reply.status, reply.json["error"]["code"]) == (503, "shutting_down")
            assert int(reply.headers["retry-after"]) > 0
            kept.sendall(request("POST", "/messages/produce", json={"message": "the last"}))
            assert read_reply(kept).status == 201
            assert served.thread.is_alive()

            go_on.set()
            assert read_reply(slow).json == {"status": "ok"}
            served.thread.join(PATIENCE_S)
            assert not served.thread.is_alive()
        broker.close()

    def test_while_it_is_just_ending(self, tmp_path: Path) -> None:
        """A stop must not write to the wake-up descriptor after it is closed: the number may belong to another file."""
        broker = Broker(FileLog(tmp_path / "log"))
        with serving(broker) as served:
            stopping = served.server._stopping
            real = stopping.set
            ended = threading.Event()

            def set_slowly() -> None:
                real()
                served.server.trigger.pull_trigger()
                served.thread.join(PATIENCE_S)
                ended.set()

            stopping.set = set_slowly  # type: ignore[method-assign]
            served.server.stop()
            assert ended.is_set()
        broker.close()

    def test_once_more_when_it_has_stopped(self, tmp_path: Path) -> None:
        broker = Broker(FileLog(tmp_path / "log"))
        with serving(broker) as served:
            served.server.stop()
            served.thread.join(PATIENCE_S)
            served.server.stop()
        broker.close()

    def test_sigterm(self, tmp_path: Path) -> None:
        with RunningBroker(tmp_path / "data", "--waiting-consumers", "4") as running, ThreadPoolExecutor() as pool:
            wire = Wire(running.host, running.port)
            made = wire("POST", "/messages/produce", json={"message": "x"}).json
            receipt = wire("GET", "/messages/consume?visibility_timeout=3600").json[0]["receipt"]

            def consume() -> WireReply:
                while True:
                    reply = wire("GET", "/messages/consume?wait=20")
                    if reply.status != 429:
                        return reply

            consumers = [pool.submit(consume) for _ in range(4)]
            eventually(lambda: wire("GET", "/messages/consume?wait=0.001").status == 429, "as many wait as may")
            assert running.terminate() == 0
            assert [received(each) for each in consumers] == [[], [], [], []]
            with pytest.raises(ConnectionRefusedError):
                wire("GET", "/healthz")
            assert "stopped cleanly" in running.log()

        with RunningBroker(tmp_path / "data") as running:  # so the folder was let go
            wire = Wire(running.host, running.port)
            [message] = wire("GET", "/dev/messages").json
            assert (message["id"], message["status"]) == (made["id"], "processing")
            assert wire("DELETE", f"/messages/{made['id']}?receipt={receipt}").status == 200
