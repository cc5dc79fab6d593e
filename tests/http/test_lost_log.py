"""Answers to clients of a broker whose log another writer has taken over."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.http_client import Client, ServedBroker, WireReply, check_refused, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits

SENTENCE = "Another writer has taken over the log."


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(shared=True)


@pytest.fixture
def broker(log: MemoryLog) -> Broker:
    return Broker(log, limits=Limits(wait_s=4 * int(PATIENCE_S)))


@pytest.fixture
def served(broker: Broker) -> Iterator[ServedBroker]:
    with serving(broker) as served:
        yield served
    broker.close()


def check_lost(reply: WireReply) -> None:
    assert (reply.status, reply.json["error"]["code"]) == (503, "log_lost")
    assert reply.json["error"]["message"] == SENTENCE
    assert reply.headers["retry-after"] == "1"


def test_every_call_is_refused(log: MemoryLog, broker: Broker) -> None:
    client = Client(broker)
    first, second = client.produce("first", "second")
    [message] = client.get("/messages/consume?max=1")
    log.opened_again()
    for method, target, body in [
        ("DELETE", f"/messages/{first}?receipt={message['receipt']}", None),
        ("POST", "/messages/produce", {"message": "x"}),
        ("GET", "/messages/consume", None),
        ("GET", "/messages/consume?wait=20", None),
        ("POST", "/messages/next", {"max": 1, "delete": [message["receipt"]]}),
        ("GET", f"/messages/{second}", None),
        ("POST", "/messages/delete", {"ids": [second]}),
        ("PUT", "/queues/new", {"delay": 1}),
        ("POST", "/queues/default/purge", None),
        ("GET", "/queues", None),
        ("GET", "/queues/nowhere", None),
        ("GET", "/redrives", None),
        ("GET", "/schedules", None),
    ]:
        reply = client(method, target, json=body)
        check_refused(reply, 503, "log_lost")
        assert reply.headers["retry-after"] == "1"
    check_refused(client("GET", "/readyz"), 503, "not_ready")
    assert client.get("/healthz") == {"status": "ok"}


def test_long_polls_are_answered_at_once(log: MemoryLog, served: ServedBroker) -> None:
    with ThreadPoolExecutor(5) as pool:
        polls = [pool.submit(served, "GET", "/messages/consume?wait=20") for _ in range(5)]
        served.wait_for_waiting(5)
        log.opened_again()
        assert not any(poll.done() for poll in polls)
        check_lost(served("GET", "/queues"))
        for poll in polls:
            check_lost(poll.result(PATIENCE_S))


def test_requests_under_way_are_answered(log: MemoryLog, served: ServedBroker) -> None:
    log.hold()
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(served, "POST", "/messages/produce", json={"message": "x"}) for _ in range(5)]
        log.opened_again()
        log.release()
        for call in calls:
            check_lost(call.result(PATIENCE_S))
    assert [served("GET", path).status for path in ("/readyz", "/healthz")] == [503, 200]
