"""All requests are served on one thread, and none of them keeps the others waiting."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.http_client import ServedBroker, read_reply, request, serving
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq_storage import FileLog, Position

BODY = "x" * 10_000
MESSAGES = 3000


class ColdLog(FileLog):
    """A log of which nothing is in memory, on a disk that answers when the test says so."""

    cold = False
    may_read = threading.Event()
    readers: set[str] = set()  # noqa: RUF012

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        if self.cold:
            if not block:
                raise BlockingIOError
            self.readers.add(threading.current_thread().name)
            assert self.may_read.wait(PATIENCE_S)
        return super().read(spans, block=block)


@pytest.fixture
def log(tmp_path: Path) -> ColdLog:
    return ColdLog(tmp_path / "log")


@pytest.fixture
def served(log: ColdLog) -> Iterator[ServedBroker]:
    broker = Broker(log, limits=Limits(waiting_consumers=200))
    with serving(broker) as served:
        yield served
    broker.close()


def fill(served: ServedBroker, count: int = MESSAGES) -> None:
    for _ in range(count // 1000):
        served.broker.produce("default", [BODY] * 1000)


def test_consumers_that_wait_take_no_threads(served: ServedBroker) -> None:
    served("POST", "/messages/produce", json={"message": "x", "delay": 1000})
    before = threading.active_count()
    connections = [served.connect() for _ in range(100)]
    for connection in connections:
        connection.sendall(request("GET", "/messages/consume?wait=20"))
    served.wait_for_waiting(100)
    assert threading.active_count() == before
    for connection in connections:
        connection.close()
    served.wait_for_waiting(0)


def test_a_client_that_does_not_read_its_listing_holds_up_nobody(served: ServedBroker) -> None:
    fill(served)
    with served.connect() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        lazy.sendall(request("GET", "/dev/messages"))
        began = lazy.recv(1000, socket.MSG_PEEK)
        assert began.startswith(b"HTTP/1.1 200")
        [channel] = served.server.active_channels.values()
        for _ in range(20):
            assert served("GET", "/healthz").status == 200
            assert channel.total_outbufs_len < 2 << 20, "what it does not read is not kept for it"
        assert len(read_reply(lazy).json) == MESSAGES


def test_a_client_that_goes_in_the_middle_of_its_listing_is_forgotten(served: ServedBroker) -> None:
    fill(served)
    lazy = served.connect()
    lazy.sendall(request("GET", "/dev/messages"))
    assert lazy.recv(1000)
    lazy.close()
    eventually(lambda: not served.server.active_channels, "the end of the connection")
    assert served("GET", "/healthz").status == 200


def test_others_are_served_while_a_long_listing_is_written(served: ServedBroker) -> None:
    served.server.adj.outbuf_high_watermark = 1 << 30  # as if the client took all of it at once
    fill(served)
    answered = []
    with served.connect() as greedy, served.connect() as other:
        greedy.sendall(request("GET", "/dev/messages"))
        assert greedy.recv(1000, socket.MSG_PEEK)
        channels = served.server.active_channels.values()
        [channel] = [each for each in channels if each.addr == greedy.getsockname()]
        listing = threading.Thread(target=lambda: answered.append(read_reply(greedy)))
        listing.start()
        before = 0
        while channel.requests:
            other.sendall(request("GET", "/healthz"))
            assert read_reply(other).status == 200
            before += bool(channel.requests)
        listing.join()
    assert len(answered[0].json) == MESSAGES
    assert before >= 3


def test_a_read_from_a_slow_disk_holds_up_nobody(served: ServedBroker, log: ColdLog) -> None:
    [message_id] = served.broker.produce("default", ["from the disk"])
    log.cold = True
    with served.connect() as slow:
        slow.sendall(request("POST", "/messages/consume", json={"max": 1}))
        served("POST", "/messages/produce", json={"message": "y"})
        counts = json.loads(served("GET", "/queues/default").content)["counts"]
        assert counts == {"unprocessed": 1, "processing": 1, "delayed": 0, "buried": 0}
        log.may_read.set()
        [message] = read_reply(slow).json
    assert (message["id"], message["message"]) == (message_id, "from the disk")
    assert all(name.startswith("wonderq-blocking") for name in log.readers)
