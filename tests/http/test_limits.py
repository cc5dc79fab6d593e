"""Limits over HTTP: each refusal has its status, its code, and a Retry-After where waiting helps; and each is counted."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import Result

from tests.support.broker_process import RunningBroker
from tests.support.clock import FakeClock
from tests.support.http_client import Client, ServedBroker, check_refused, read_reply, request, serving
from tests.support.memory_log import MemoryLog
from tests.support.queue_client import QueueClient as RemoteClient
from tests.support.waiting import eventually
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.client.errors import Refused
from wonderq.httpd.counters import refusals
from wonderq.httpd.parser import MAX_BODY_BYTES
from wonderq.model.limits import Limits
from wonderq.runtime.fibers import Event
from wonderq.runtime.token_bucket import TokenBuckets
from wonderq_storage import FileLog


def limited(**limits: Any) -> Client:
    return Client(Broker(MemoryLog(), clock=FakeClock(), limits=Limits(**limits)))


def check_limit(call: Callable[[], Result], status: int, code: str, retry_after: str | None, names: str) -> None:
    before = refusals[code]
    reply = call()
    check_refused(reply, status, code)
    assert reply.headers.get("Retry-After") == retry_after
    assert names in reply.json["error"]["message"]
    assert refusals[code] == before + 1


def test_queues() -> None:
    client = limited(queues=2)
    assert client("PUT", "/queues/a").status_code == 201
    check_limit(lambda: client("PUT", "/queues/b"), 507, "too_many_queues", None, "--queues")
    produce = {"message": "x"}
    check_limit(
        lambda: client("POST", "/queues/b/messages/produce", json=produce), 507, "too_many_queues", None, "2 queues"
    )
    assert [each["queue"] for each in client.get("/queues")] == ["a", "default"]
    assert client("DELETE", "/queues/a").status_code == 200
    assert client("PUT", "/queues/b").status_code == 201


@pytest.mark.parametrize(
    ("limits", "code", "names"),
    [
        ({"messages_per_queue": 2}, "queue_full", "--messages-per-queue"),
        ({"bytes_per_queue": 25}, "queue_full", "--bytes-per-queue"),
        ({"total_messages": 2}, "broker_full", "--total-messages"),
        ({"total_bytes": 25}, "broker_full", "--total-bytes"),
    ],
)
def test_messages_and_bytes(limits: dict[str, int], code: str, names: str) -> None:
    client = limited(**limits)
    first, _ = client.produce("x" * 4, "x" * 4)
    before = client.get("/dev/messages")
    for body in ({"message": "x" * 4}, {"messages": ["x" * 4]}, {"messages": ["x" * 4] * 5}):
        check_limit(lambda body=body: client("POST", "/messages/produce", json=body), 507, code, "5", names)  # type: ignore[misc]
    assert client.get("/dev/messages") == before
    assert client("DELETE", f"/messages/{first}").status_code == 200
    client.produce("y" * 4)


def test_messages_in_flight() -> None:
    client = limited(in_flight_per_queue=2)
    client.produce("a", "b", "c")
    assert len(client.consume("max=10")) == 2
    for target in ("/messages/consume", "/messages/consume?wait=0.05"):
        check_limit(lambda target=target: client("GET", target), 429, "too_many_in_flight", "1", "default")  # type: ignore[misc]
    [first, *_] = client.get("/dev/messages")
    assert client("UPDATE", f"/messages/{first['id']}?visibility_timeout=0").status_code == 200
    assert [each["id"] for each in client.consume()] == [first["id"]]


def test_sizes_of_messages_and_batches() -> None:
    client = limited(message_bytes=100, batch_messages=5, batch_bytes=200)
    check_limit(
        lambda: client("POST", "/messages/produce", json={"message": "x" * 101}), 413, "message_too_large", None, "100"
    )
    check_limit(
        lambda: client("POST", "/messages/produce", json={"messages": ["x"] * 6}),
        413,
        "batch_too_large",
        None,
        "may have 5",
    )
    check_limit(
        lambda: client("POST", "/messages/produce", json={"messages": ["x" * 100] * 3}),
        413,
        "batch_too_large",
        None,
        "200",
    )
    check_refused(client("GET", "/messages/consume?max=6"), 400, "invalid_value", "max")
    client.produce("x" * 100, "x" * 80)
    assert len(client.consume("max=5")) == 2


def test_what_a_batch_refuses_in_part_is_no_refusal() -> None:
    client = limited()
    before = refusals.total()
    reply = client("POST", "/messages/delete", json={"ids": ["x", "y"]})
    assert (reply.status_code, reply.json["success"]) == (200, False)
    assert refusals.total() == before


class TestOfKeys:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "keys.json"

    @staticmethod
    def headers(path: Path, rate: int | None = None) -> dict[str, str]:
        _, text = keys.create(path, name="x", roles=["admin"], queues=["*"], requests_per_second=rate)
        return {"Authorization": f"Bearer {text}"}

    @pytest.mark.parametrize(("own", "default", "rate"), [(3, 10, 3), (None, 4, 4)])
    def test_no_more_than_so_many_requests_a_second(self, path: Path, own: int | None, default: int, rate: int) -> None:
        headers, others = self.headers(path, own), self.headers(path, 1)
        now_s = 1000.0
        access = Access(Keys(path), requests_per_second=default, buckets=TokenBuckets(lambda: now_s))
        client = Client(Broker(MemoryLog()), access)
        targets = ["/queues", "/nothing", "/messages/consume", "/queues/none"]  # what is refused counts as well
        assert all(client("GET", each, headers=headers).status_code != 429 for each in targets[:rate])
        check_limit(
            lambda: client("POST", "/messages/produce", json={"message": "x"}, headers=headers),
            429, "too_many_requests", "1", f"{rate} requests per second",
        )  # fmt: skip
        assert client("GET", "/queues", headers=others).status_code == 200
        assert client("GET", "/healthz", headers=headers).status_code == 200
        now_s += 1 / rate
        assert client("POST", "/messages/produce", json={"message": "x"}, headers=headers).status_code == 201

    def test_without_a_rate_there_is_no_limit(self, path: Path) -> None:
        headers = self.headers(path)
        client = Client(Broker(MemoryLog()), Access(Keys(path), buckets=TokenBuckets(lambda: 1000.0)))
        assert {client("GET", "/queues", headers=headers).status_code for _ in range(100)} == {200}

    def test_whoever_is_too_fast_need_not_send_a_body(self, path: Path, tmp_path: Path) -> None:
        headers = self.headers(path, 2)
        access = Access(Keys(path), buckets=TokenBuckets(lambda: 1000.0))
        broker = Broker(FileLog(tmp_path / "log"))
        head = b"POST /messages/produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += b"Content-Length: 100000\r\nAuthorization: " + headers["Authorization"].encode() + b"\r\n"
        body = b'{"message":"%s"}' % (b"x" * 99_986)
        try:
            with serving(broker, create_app(broker, access), check_head=access.check_head) as served:
                # The server checks a large request twice, and counts it once.
                assert [served.send(head + b"\r\n" + body).status for _ in range(2)] == [201, 201]
                before = refusals["too_many_requests"]
                with served.connect() as connection:
                    connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
                    reply = read_reply(connection)
                assert (reply.status, reply.json["error"]["code"]) == (429, "too_many_requests")
                assert int(reply.headers["retry-after"]) == ceil(0.5)
                assert refusals["too_many_requests"] == before + 1
        finally:
            broker.close()


class TestListings:
    @pytest.fixture
    def served(self, tmp_path: Path) -> Iterator[ServedBroker]:
        broker = Broker(FileLog(tmp_path / "log"), limits=Limits(listings=2))
        for _ in range(3):
            broker.produce("default", ["x" * 10_000] * 1000)
        with serving(broker) as served:
            yield served
        broker.close()

    @staticmethod
    @contextmanager
    def lazy(served: ServedBroker) -> Iterator[socket.socket]:
        """A listing that is begun, and not read."""
        with served.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.sendall(request("GET", "/dev/messages"))
            assert connection.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 200")
            yield connection

    def test_no_more_than_so_many_at_once(self, served: ServedBroker) -> None:
        with self.lazy(served) as first, self.lazy(served) as second:
            before = refusals["too_many_listings"]
            for target in ("/dev/messages", "/dev/messages?limit=1", "/dev/messages/status?status=processing"):
                reply = served("GET", target)
                assert (reply.status, reply.json["error"]["code"]) == (429, "too_many_listings")
                assert reply.headers["retry-after"] == "1"
            assert refusals["too_many_listings"] == before + 3
            assert served("GET", "/dev/messages/count?status=unprocessed").json["count"] == 3000
            assert len(read_reply(first).json) == 3000
            assert len(served("GET", "/dev/messages?limit=1").json) == 1
            second.close()  # which the server notices by itself
            eventually(lambda: not served.broker.queries._listings, "the listing that nobody reads is given up")

    def test_a_refused_listing_takes_no_place(self, served: ServedBroker) -> None:
        for _ in range(5):
            assert served("GET", "/dev/messages?after=x").status == 400
            assert served("GET", "/queues/none/dev/messages").status == 404
        assert len(served("GET", "/dev/messages?limit=1").json) == 1
        assert not served.broker.queries._listings


@pytest.mark.slow
def test_a_real_broker_has_the_limits_that_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "wonderq.toml").write_text("messages_per_queue = 1100\nqueues = 2\n")
    options = ("--config", str(tmp_path / "wonderq.toml"), "--message-bytes", str(16 << 20), "--fsync", "os")
    sizes = ("--batch-bytes", str(32 << 20), "--batch-messages", "1100")
    with RunningBroker(tmp_path / "d", *options, *sizes) as broker, RemoteClient(broker.url) as client:
        client.produce_batch(["x" * (16 << 20), "x" * (15 << 20)])
        assert [len(each["message"]) for each in client.consume(limit=1100)] == [16 << 20, 15 << 20]
        client.produce_batch(["x"] * 1098)
        for call, code in (
            (lambda: client.produce_batch(["x" * (16 << 20)] * 2 + ["x" * 1000]), "batch_too_large"),
            (lambda: client.produce("x" * ((16 << 20) + 1)), "message_too_large"),
            (lambda: client.produce_batch(["x"] * 1101), "batch_too_large"),
            (lambda: client.produce("x"), "queue_full"),
        ):
            with pytest.raises(Refused) as refused:
                call()
            assert refused.value.code == code
        with RemoteClient(broker.url, queue="a") as other:
            other.produce("x")
        with RemoteClient(broker.url, queue="b") as other, pytest.raises(Refused) as refused:
            other.produce("x")
        assert refused.value.code == "too_many_queues"


@pytest.mark.parametrize("limit", [1000, MAX_BODY_BYTES + 1000])
def test_the_size_of_a_body_follows_that_of_a_batch(broker: Broker, limit: int) -> None:
    with serving(broker, max_body_bytes=limit) as served:
        for framing, status in (
            (b"Content-Length: %d\r\n\r\n" % (limit + 1), 413),
            (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (limit + 1), 413),
            (b"Content-Length: %d\r\n\r\n%s" % (limit, b" " * limit), 415),
        ):
            reply = served.send(b"POST /messages/produce HTTP/1.1\r\nHost: x\r\n" + framing)
            assert reply.status == status
            assert (str(limit) in reply.json["error"]["message"]) is (status == 413)


def test_large_bodies_are_at_work_a_few_at_a_time_and_the_others_wait(broker: Broker) -> None:
    at_work: list[Event] = []
    begun_by: list[int] = []
    large = b"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (1 << 20, b"x" * (1 << 20))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/large":
            done = Event()
            begun_by.append(int(environ["REMOTE_PORT"]))
            at_work.append(done)
            while not done.is_set():
                done.wait(1)
        start_response("204 No Content", [])
        return []

    with serving(broker, app, max_body_bytes=1 << 20) as served, ExitStack() as stack:
        connections = [stack.enter_context(served.connect()) for _ in range(6)]
        for connection in connections:
            connection.sendall(large)
        channels = served.server.active_channels.values()
        eventually(lambda: sum(len(each.requests) for each in channels) == 4, "as many have come as there is room for")
        for begun in range(2, 6):
            eventually(lambda: len(at_work) == begun, f"{begun} have begun")  # noqa: B023
            assert served.send(b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nsmall").status == 204
            assert len(at_work) == begun
            if begun == 2:
                waits = next(each for each in connections if each.getsockname()[1] not in begun_by)
                connections.remove(waits)
                waits.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                waits.close()  # which resets it, so that it is not begun any more
            at_work[begun - 2].set()
        at_work[-1].set()
        assert [read_reply(each).status for each in connections] == [204] * 5
        assert len(at_work) == 5
