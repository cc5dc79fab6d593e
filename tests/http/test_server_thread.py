"""The thread that serves all clients makes no call of the log that may take as long as a disk or a network does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from prometheus_client import CollectorRegistry

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import eventually
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.metrics import LogCollector, LogCounters, ProcessVitals
from wonderq_storage import Mark, Position


class WatchedLog(MemoryLog):
    """Remembers which threads made the calls that may take long. It never has a body in memory."""

    def __init__(self) -> None:
        super().__init__(shared=True)
        self.slow_calls: set[tuple[str, str]] = set()

    def _note(self, call: str) -> None:
        self.slow_calls.add((call, threading.current_thread().name))

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, bytes]]:
        self._note("replay")
        return super().replay(mark)

    def wait(self, position: Position) -> None:
        self._note("wait")
        super().wait(position)

    def sync(self) -> None:
        self._note("sync")
        super().sync()

    def trim(self, end: Position) -> None:
        self._note("trim")
        super().trim(end)

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        if not block:
            raise BlockingIOError
        self._note("read")
        return super().read(spans)


@pytest.fixture
def log() -> WatchedLog:
    return WatchedLog()


@pytest.fixture
def served(log: WatchedLog) -> Iterator[ServedBroker]:
    broker, counters = Broker(log), LogCounters()
    registry = CollectorRegistry()
    registry.register(LogCollector(log, counters, broker))
    app = create_app(broker, registry=registry, vitals=ProcessVitals(log, counters, 10).read)
    with serving(broker, app) as served:
        yield served
    broker.close()


def test_no_call_of_a_client_lets_the_server_wait_for_the_log(served: ServedBroker, log: WatchedLog) -> None:
    log.slow_calls.clear()
    [first, second] = served("POST", "/messages/produce", json={"messages": ["x", "y"]}).json["ids"]
    [claimed] = served("GET", "/messages/consume?max=1").json
    for method, target, body, status in [
        ("GET", f"/messages/{second}", None, 200),
        ("GET", "/messages/consume?queue=nowhere", None, 400),
        ("GET", f"/queues/nowhere/messages/{second}", None, 404),
        ("GET", "/dev/messages", None, 200),
        ("GET", "/dev/messages/count?status=unprocessed", None, 200),
        ("UPDATE", f"/messages/{first}?receipt={claimed['receipt']}", None, 200),
        ("DELETE", f"/messages/{first}?receipt={claimed['receipt']}", None, 200),
        ("DELETE", f"/messages/{first}?receipt={claimed['receipt']}", None, 404),
        ("POST", "/messages/next", {"max": 1}, 200),
        ("PUT", "/queues/new", {"delay": 1}, 201),
        ("GET", "/queues", None, 200),
        ("GET", "/overview", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/readyz", None, 200),
        ("GET", "/redrives", None, 200),
        ("GET", "/schedules", None, 200),
        ("POST", "/queues/new/purge", None, 200),
        ("DELETE", "/queues/new", None, 200),
    ]:
        assert served(method, target, json=body).status == status, (method, target)
    assert {call for call, _ in log.slow_calls} == {"wait", "read"}
    for call, thread in log.slow_calls:
        assert thread.startswith("wonderq-durability" if call == "wait" else "wonderq-blocking"), (call, thread)


def test_a_long_poll_does_not_either(served: ServedBroker, log: WatchedLog) -> None:
    log.slow_calls.clear()
    poll = threading.Thread(target=served, args=("GET", "/messages/consume?wait=20"), daemon=True)
    poll.start()
    served.wait_for_waiting(1)
    assert served("POST", "/messages/produce", json={"message": "x"}).status == 201
    eventually(lambda: not poll.is_alive())
    assert {thread.rstrip("_0123456789") for _, thread in log.slow_calls} <= {"wonderq-durability", "wonderq-blocking"}
