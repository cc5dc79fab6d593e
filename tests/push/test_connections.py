"""Connections to endpoints: which are used again, which are not, and how many stay open."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from tests.push.conftest import Pushing, pushing
from tests.support.clock import FakeClock
from tests.support.hook_server import Behavior, HookServer, Received, answer, hang_up, hook_server, raw
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.push import connections
from wonderq.push.pusher import PushLimits


@pytest.fixture
def hook() -> Iterator[HookServer]:
    """An endpoint that keeps its connections."""
    with hook_server() as server:
        server.keeps_connections = True
        yield server


def deliver(push: Pushing, *texts: str) -> None:
    """Publish messages one by one, each when the one before was delivered."""
    for text in texts:
        push.publish(text)
        eventually(lambda: not push.counts("mail"))


@pytest.mark.parametrize(
    "behavior",
    [
        answer(200),
        answer(204),
        answer(200, body=b"thank you"),
        answer(200, body=b"x" * 60_000),
        raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
        raw(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        raw(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n"
        ),
        raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ],
)
def test_requests_follow_each_other_on_one_connection(push: Pushing, hook: HookServer, behavior: Behavior) -> None:
    hook.behavior = behavior
    push.subscribe("mail", hook.url)
    deliver(push, "one", "two", "three")
    assert hook.texts == ["one", "two", "three"]
    assert hook.connections == 1


@pytest.mark.parametrize(
    "behavior",
    [
        answer(200, "Connection: close"),
        answer(200, "connection: Keep-Alive, Close"),
        raw(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        raw(b"HTTP/1.0 204 No Content\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n" * 17),
        answer(200, body=b"x" * 70_000),
    ],
)
def test_a_connection_is_not_used_again_after_such_a_response(
    push: Pushing, hook: HookServer, behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wonderq.push.connection._BODY_S", 0.05)
    hook.behavior = behavior
    push.subscribe("mail", hook.url)
    deliver(push, "one", "two")
    assert hook.texts == ["one", "two"]
    assert hook.connections == 2


def test_a_connection_that_ends_before_the_response_is_replaced_once(push: Pushing, hook: HookServer) -> None:
    push.subscribe("mail", hook.url)
    deliver(push, "one")
    used = iter(count())

    def behave(connection: socket.socket, received: Received, closed: threading.Event) -> None:
        (answer(200) if next(used) else hang_up)(connection, received, closed)

    hook.behavior = behave
    deliver(push, "two")
    assert hook.texts == ["one", "two", "two"]
    assert [each.headers["wonderq-attempt"] for each in hook.received] == ["1", "1", "1"]
    assert len({each.headers["webhook-id"] for each in hook.received[1:]}) == 1
    assert push.broker.counters.push.attempts["delivered"] == 2
    assert push.broker.counters.push.attempts["failed"] == 0
    hook.behavior = hang_up
    push.publish("three")
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    assert hook.texts[3:] == ["three", "three"], "on the kept connection, and on a new one"
    assert push.broker.counters.push.attempts["failed"] == 1


def test_a_request_on_a_new_connection_is_not_repeated(push: Pushing, hook: HookServer) -> None:
    hook.behavior = hang_up
    push.subscribe("mail", hook.url)
    push.publish("one")
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    assert hook.texts == ["one"]


@pytest.mark.parametrize("begin", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_request_whose_response_began_is_not_repeated(push: Pushing, hook: HookServer, begin: bytes) -> None:
    push.subscribe("mail", hook.url)
    deliver(push, "one")

    def behave(connection: socket.socket, received: Received, closed: threading.Event) -> None:
        connection.sendall(begin)
        hang_up(connection, received, closed)

    hook.behavior = behave
    push.publish("two")
    eventually(lambda: push.counts("mail") == {"delayed": 1})
    assert hook.texts == ["one", "two"]


def test_a_connection_that_its_server_has_closed_is_not_kept(push: Pushing, hook: HookServer) -> None:
    hook.keeps_connections = False
    push.subscribe("mail", hook.url)
    deliver(push, "one")
    eventually(lambda: not hook.open_connections)
    deliver(push, "two", "three")
    assert hook.texts == ["one", "two", "three"]
    assert push.broker.counters.push.attempts["failed"] == 0


@pytest.mark.parametrize(("later", "is_permitted"), [("192.168.0.1", False), ("127.0.0.2", True)])
def test_a_kept_connection_is_used_only_while_its_address_is_right(
    broker: Broker, clock: FakeClock, hook: HookServer, later: str, is_permitted: bool
) -> None:
    found = ["127.0.0.1"]
    with pushing(broker, clock, hosts=("hooks.example", "127.0.0.0/8"), lookup=lambda _: list(found)) as push:
        push.broker.put_queue("dead")
        url = f"http://hooks.example:{hook.port}/hook"
        push.subscribe("mail", url, dead_letter_queue="dead", delivery={"retries": 0})
        deliver(push, "one", "two")
        assert hook.connections == 1
        found[:] = [later]  # nobody listens there
        push.publish("three")
        [dead] = eventually(lambda: list(push.broker.messages("dead")))
        assert dead.envelope is not None
        assert dead.envelope.dead_letter_source is not None
        assert ("not a public address" in dead.envelope.dead_letter_source.reason) is not is_permitted
    assert hook.texts == ["one", "two"]


def test_so_many_connections_are_kept(broker: Broker, clock: FakeClock) -> None:
    """Two to one address, and three in all: the one that has waited longest is closed."""
    with pushing(broker, clock, PushLimits(3, 2)) as push:
        servers = []
        for number in range(5):
            server = push_server(push, f"s{number}")
            servers.append(server)
            push.publish(*map(str, range(6)))
            eventually(lambda: not any(push.counts(f"s{each}") for each in range(len(servers))))
            eventually(lambda: all(each.open_connections <= 2 for each in servers))
        eventually(lambda: sum(each.open_connections for each in servers) == 3)
    eventually(lambda: not any(each.open_connections for each in servers))
    for server in servers:
        server.close()


def push_server(push: Pushing, name: str) -> HookServer:
    server = HookServer()
    server.keeps_connections = True
    push.subscribe(name, server.url)
    return server


def test_a_connection_that_is_not_used_is_closed_after_a_time(
    push: Pushing, hook: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_IDLE_S", 0.01)
    push.subscribe("mail", hook.url)
    deliver(push, "one")
    eventually(lambda: not hook.open_connections)
    deliver(push, "two")
    assert hook.connections == 2


def test_bytes_that_nobody_asked_for_end_a_connection(push: Pushing, hook: HookServer) -> None:
    speak: list[Callable[[], None]] = []

    def behave(connection: socket.socket, received: Received, closed: threading.Event) -> None:
        answer(200)(connection, received, closed)
        speak.append(lambda: connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))

    hook.behavior = behave
    push.subscribe("mail", hook.url)
    deliver(push, "one")
    eventually(lambda: speak)[0]()
    eventually(lambda: not hook.open_connections)
    deliver(push, "two")
    assert hook.connections == 2
    assert push.broker.counters.push.attempts["failed"] == 0
