"""Clients that are slow, silent or many: they are ended in time, and keep nobody else out."""

from __future__ import annotations

import errno
import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from tests.support.http_client import ServedBroker, WireReply, check_error, read_reply, request, serving
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.broker.broker import Broker
from wonderq.httpd import connections, server
from wonderq.httpd.connections import Timeouts
from wonderq.httpd.counters import refusals
from wonderq.httpd.server import Server

GET = request("GET", "/healthz")
LONG_S = 600.0

Serve = Callable[..., ServedBroker]


class StoppedTime:
    """Stands in for the module `time` in the server, so that only a test makes time pass."""

    def __init__(self) -> None:
        self.now_s = time.monotonic()
        self.checked_s = 0.0
        """Time of the server's last check of how long its connections have taken."""

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return time.time()

    def advance(self, seconds: float) -> None:
        """Let time pass, and return once the server has checked its connections before and after that."""
        # More than the interval, which the rounding of a large time could make too short.
        for step_s in (2 * server._TIMEOUT_CHECK_S, seconds):
            self.now_s += step_s
            eventually(lambda: self.checked_s >= self.now_s, "the server to check its connections")


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> StoppedTime:
    stopped = StoppedTime()
    monkeypatch.setattr(server, "_TIMEOUT_CHECK_S", 0.01)
    check = Server._check_timeouts

    def check_and_note(server: Server, now_s: float) -> None:
        check(server, now_s)
        stopped.checked_s = now_s

    monkeypatch.setattr(Server, "_check_timeouts", check_and_note)
    monkeypatch.setattr(connections, "time", stopped)
    monkeypatch.setattr(server, "time", stopped)
    return stopped


@pytest.fixture
def serve(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server that is patient in everything but what a test names."""
    with ExitStack() as stack:

        def start(*, limits: dict[str, Any] | None = None, **timeouts: Any) -> ServedBroker:
            patient = {"head_s": LONG_S, "body_s": LONG_S, "idle_s": LONG_S, "unread_s": LONG_S, **timeouts}
            return stack.enter_context(serving(broker, timeouts=Timeouts(**patient), **limits or {}))

        yield start
        monkeypatch.undo()  # a server that stops waits for its last answers, by a clock that does not stand still


def connect(served: ServedBroker, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((served.host, served.port), timeout=2 * PATIENCE_S, source_address=(address, 0))


@contextmanager
def connections_of(served: ServedBroker, count: int, *, data: bytes = b"", address: str = "127.0.0.1") -> Iterator[Any]:
    """Open a number of connections, and send these bytes on each."""
    with ExitStack() as stack:
        before = len(served.server.active_channels)
        opened = []
        for _ in range(count):
            connection = stack.enter_context(connect(served, address))
            connection.sendall(data)
            opened.append(connection)
        eventually(lambda: len(served.server.active_channels) == before + count, "all are accepted")
        yield opened


def check_refused(connection: socket.socket, status: int, code: str) -> WireReply:
    reply = read_reply(connection)
    assert check_error(reply.status, reply.headers["content-type"], reply.content)["code"] == code
    assert reply.status == status
    assert reply.headers["connection"] == "close"
    assert connection.recv(1) == b""
    return reply


def drip(stopped: StoppedTime, connection: socket.socket, data: bytes, *, size: int = 1) -> None:
    """Send byte by byte, or a few at a time, a tenth of a second apart, until the other side answers or all is sent."""
    for at in range(0, len(data), size):
        connection.sendall(data[at : at + size])
        stopped.advance(0.1)
        if select.select([connection], [], [], 0)[0]:
            break


class TestTime:
    def test_a_head_has_to_come_within_a_time_however_busily_it_drips(self, serve: Serve, stopped: StoppedTime) -> None:
        with connect(serve(head_s=0.5)) as connection:
            drip(stopped, connection, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 10_000)
            check_refused(connection, 408, "request_timeout")

    def test_so_it_does_after_an_answer(self, serve: Serve, stopped: StoppedTime) -> None:
        with connect(serve(head_s=0.5)) as connection:
            connection.sendall(GET)
            assert read_reply(connection).status == 200
            drip(stopped, connection, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 10_000)
            check_refused(connection, 408, "request_timeout")

    def test_who_sends_nothing_or_empty_lines_is_closed_without_an_answer(
        self, serve: Serve, stopped: StoppedTime
    ) -> None:
        served = serve(head_s=0.5)
        with connect(served) as silent, connect(served) as empty:
            drip(stopped, empty, b"\r\n" * 5000, size=2)
            assert empty.recv(1) == b""
            assert silent.recv(1) == b""

    def test_a_body_has_to_come_at_a_rate(self, serve: Serve, stopped: StoppedTime) -> None:
        for body in (b"Content-Length: 100000", b"Transfer-Encoding: chunked"):
            with connect(serve(body_s=0.5, body_bytes_per_s=1000)) as connection:
                connection.sendall(b"POST /messages/produce HTTP/1.1\r\nHost: x\r\n" + body + b"\r\n\r\n")
                drip(stopped, connection, b"fffff\r\n" + b"x" * 10_000)
                check_refused(connection, 408, "request_timeout")

    def test_a_body_that_does_may_take_long(self, serve: Serve, stopped: StoppedTime) -> None:
        body = b'{"message":"' + b"x" * 4000 + b'"}'
        with connect(serve(head_s=0.5, body_s=0.5, body_bytes_per_s=200)) as connection:
            connection.sendall(b"POST /messages/produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body))
            for at in range(0, len(body), 200):
                connection.sendall(body[at : at + 200])
                stopped.advance(0.1)
            assert read_reply(connection).status == 201

    def test_an_idle_connection_may_stay_longer_than_a_head_may_take(self, serve: Serve, stopped: StoppedTime) -> None:
        with connect(serve(head_s=0.5, idle_s=4)) as connection:
            for _ in range(2):
                connection.sendall(GET)
                assert read_reply(connection).status == 200
                stopped.advance(3)
            stopped.advance(2)
            assert connection.recv(1) == b""

    def test_one_that_waits_for_a_message_is_not_idle(self, serve: Serve, stopped: StoppedTime) -> None:
        served = serve(head_s=0.3, body_s=0.3, idle_s=0.3, unread_s=0.3)
        with connect(served) as connection:
            connection.sendall(request("GET", "/messages/consume?wait=20"))
            served.wait_for_waiting(1)
            stopped.advance(3)
            served.broker.produce("default", ["awaited"])
            assert [message["message"] for message in read_reply(connection).json] == ["awaited"]

    def test_who_does_not_read_an_answer_is_closed(self, serve: Serve, broker: Broker, stopped: StoppedTime) -> None:
        served = serve(unread_s=1)
        for _ in range(3):
            broker.produce("default", ["x" * 10_000] * 1000)
        with connections_of(served, 1, data=request("GET", "/dev/messages")):
            while served.server.active_channels:
                stopped.advance(1.5)


class TestLimits:
    def test_what_is_idle_for_longest_makes_way(self, serve: Serve, stopped: StoppedTime) -> None:
        served = serve(limits={"connections": 3})
        with connections_of(served, 3) as opened:
            for connection in opened[::-1]:
                connection.sendall(GET)
                assert read_reply(connection).status == 200
                stopped.advance(0.6)
            assert served("GET", "/healthz").status == 200
            assert opened[2].recv(1) == b""
            eventually(lambda: len(served.server.active_channels) == 2, "the honest one has gone")
            for connection in opened[:2]:
                connection.sendall(GET)
                assert read_reply(connection).status == 200

    def test_what_was_answered_a_moment_ago_is_not_idle_for_longest(self, serve: Serve, stopped: StoppedTime) -> None:
        served = serve(limits={"connections": 2})
        with connections_of(served, 1) as [busy], connections_of(served, 1) as [silent]:
            stopped.advance(1)
            busy.sendall(GET)
            assert read_reply(busy).status == 200
            assert served("GET", "/healthz").status == 200
            assert silent.recv(1) == b""

    def test_heads_that_do_not_end_make_way_after_that(self, serve: Serve) -> None:
        served = serve(limits={"connections": 3})
        with (
            connections_of(served, 2, data=b"GET / HTTP/1.1\r\n") as slow,
            connections_of(served, 1, data=GET) as [idle],
        ):
            assert read_reply(idle).status == 200
            assert served("GET", "/healthz").status == 200
            assert idle.recv(1) == b""
            eventually(lambda: len(served.server.active_channels) == 2, "the honest one has gone")
            with connections_of(served, 1, data=GET[:-2]) as [honest], connect(served) as last:
                assert slow[0].recv(1) == b""
                for connection, data in ((honest, GET[-2:]), (last, GET)):
                    connection.sendall(data)
                    assert read_reply(connection).status == 200

    def test_what_is_at_work_does_not(self, serve: Serve) -> None:
        served = serve(limits={"connections": 3})
        body = b"POST /messages/produce HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
        with (
            connections_of(served, 2, data=request("GET", "/messages/consume?wait=20")),
            connections_of(served, 1, data=body),
        ):
            served.wait_for_waiting(2)
            with connect(served) as connection:
                reply = check_refused(connection, 503, "too_many_connections")
            assert reply.headers["retry-after"] == "5"
            assert served.waiting() == 2

    def test_one_address_has_a_limit_of_its_own(self, serve: Serve) -> None:
        served = serve(limits={"connections_per_address": 2})
        wait = request("GET", "/messages/consume?wait=20")
        with connections_of(served, 2, data=wait), connect(served, "127.0.0.2") as other:
            served.wait_for_waiting(2)
            with connect(served) as connection:
                check_refused(connection, 429, "too_many_connections")
            other.sendall(GET)
            assert read_reply(other).status == 200

    def test_of_one_address_its_own_idle_ones_make_way(self, serve: Serve) -> None:
        served = serve(limits={"connections_per_address": 2})
        with connections_of(served, 1, address="127.0.0.2") as [other], connections_of(served, 2) as opened:
            assert served("GET", "/healthz").status == 200
            assert opened[0].recv(1) == b""
            other.sendall(GET)
            assert read_reply(other).status == 200


class Named:
    """A listening socket whose clients have other addresses than they say."""

    def __init__(self, listening: socket.socket, names: list[str]) -> None:
        self.listening = listening
        self.names = names

    def accept(self) -> Any:
        connection, address = self.listening.accept()
        return connection, (self.names.pop(0), address[1])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listening, name)


@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:fffe", "2001:db8:1:3::1"),
        ("2001:db8:0:0:1::", "2001:db8::2", "2001:db8:0:1::2"),
        ("fe80::1%eth0", "fe80::2%eth0", "fe80:0:0:1::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
    ],
)
def test_a_network_of_ipv6_has_the_limit_of_one_address(serve: Serve, first: str, second: str, other: str) -> None:
    served = serve(limits={"connections_per_address": 2})
    served.server.socket = Named(served.server.socket, [first, second, first, second, other])
    with connections_of(served, 2, data=request("GET", "/messages/consume?wait=20")):
        served.wait_for_waiting(2)
        for _ in range(2):
            before = refusals["too_many_connections"]
            with connect(served) as connection:
                check_refused(connection, 429, "too_many_connections")
            assert refusals["too_many_connections"] == before + 1
        assert served("GET", "/healthz").status == 200


def test_over_ipv6(broker: Broker) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(broker, host="::1", connections_per_address=1) as served:
        with served.connect() as kept:
            kept.sendall(request("GET", "/messages/consume?wait=20"))
            served.wait_for_waiting(1)
            with served.connect() as connection:
                check_refused(connection, 429, "too_many_connections")
        served.wait_for_waiting(0)


def test_accepting_pauses_when_there_are_no_file_descriptors(
    serve: Serve, stopped: StoppedTime, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve()

    class Exhausted:
        calls = 0

        def __init__(self, listening: socket.socket) -> None:
            self.listening = listening

        def accept(self) -> Any:
            self.calls += 1
            raise OSError(errno.EMFILE, "Too many open files")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.listening, name)

    with connect(served) as kept:
        kept.sendall(request("GET", "/messages/consume?wait=20"))
        served.wait_for_waiting(1)
        listening = served.server.socket
        exhausted = served.server.socket = Exhausted(listening)
        with connect(served) as connection:
            connection.sendall(GET)
            eventually(lambda: exhausted.calls, "an attempt to accept")
            for _ in range(3):
                stopped.advance(1)
            assert 1 <= exhausted.calls <= 7  # once after each check at most, not as often as it can
            served.server.socket = listening
            stopped.advance(1)
            assert read_reply(connection).status == 200
        served.broker.produce("default", ["awaited"])
        assert read_reply(kept).status == 200  # the request that was being processed went on
    assert "cannot accept connections: Too many open files" in caplog.text


def test_many_slow_clients_hold_up_nobody(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection at which nothing happens costs nothing: it is not even asked what it waits for."""
    served = serve(limits={"connections": 400, "connections_per_address": 120})
    asked = 0
    readable = served.server.channel_class.readable

    def count(channel: Any) -> bool:
        nonlocal asked
        asked += 1
        return bool(readable(channel))

    begun = (
        b"",
        b"GET /healthz HT",
        b"POST /messages/produce HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /messages/produce HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
        GET,
    )
    with ExitStack() as stack:
        for number in range(300):
            slow = stack.enter_context(connect(served, f"127.0.0.{2 + number % 3}"))
            slow.sendall(begun[number % len(begun)])
        eventually(lambda: len(served.server.active_channels) == 300, "all are accepted")
        honest = stack.enter_context(connect(served))
        honest.sendall(GET)
        assert read_reply(honest).status == 200
        monkeypatch.setattr(served.server.channel_class, "readable", count)
        for number in range(50):
            honest.sendall(request("POST", "/messages/produce", json={"message": str(number)}))
            assert read_reply(honest).status == 201
        assert asked < 50 * 10
        for _ in range(150):  # more than there is room for
            assert served("GET", "/healthz").status == 200
    assert json.loads(served("GET", "/queues").content)[0]["counts"]["unprocessed"] == 50


def test_no_more_is_read_of_a_client_than_one_request_ahead(serve: Serve) -> None:
    served = serve()
    head = b"GET /messages/consume?wait=20 HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"x" * 30_000)
    with connect(served) as connection:
        connection.sendall(head)
        served.wait_for_waiting(1)
        [channel] = served.server.active_channels.values()
        connection.setblocking(False)
        sent = 0
        with suppress(BlockingIOError):  # the system takes some MiB, and then no more
            while sent < 1 << 30:
                sent += connection.send(head * 100)
        assert 1 << 20 < sent < 1 << 30
        time.sleep(0.2)
        read = [*channel.requests, *([channel.request] if channel.request else ())]
        assert sum(len(str(each.headers)) + len(each.header_plus) for each in read) < 1 << 18
