"""Messages that are sent without waiting, and replies that are passed on as they come."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tests.support.fake_nats import FakeNats, Request, message
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage.nats import (
    ClientClosedError,
    Connection,
    ConnectionLostError,
    NatsError,
    NatsTimeoutError,
    NatsUnreachableError,
    NoRespondersError,
    PayloadTooLargeError,
    Reply,
    connection,
)
from wonderq_storage.nats.local_servers import free_ports

MIB = 1 << 20


@pytest.fixture
def server() -> Iterator[FakeNats]:
    with FakeNats(lambda _: b"", max_payload=8 * MIB) as server:
        yield server


@pytest.fixture
def client(server: FakeNats) -> Iterator[Connection]:
    with closing(Connection(server.url)) as client:
        client.server_info(timeout_s=PATIENCE_S)
        yield client


def first_request(server: FakeNats) -> Request:
    eventually(lambda: server.requests)
    return server.requests[0]


def test_all_replies_are_passed_on_until_nobody_wants_more(server: FakeNats, client: Connection) -> None:
    replies: list[Reply | NatsError] = []
    end = client.ask("subject", b"question", replies.append)
    request = first_request(server)
    assert (request.subject, request.payload) == ("subject", b"question")
    for number in range(3):
        server.send(message(request, b"%d" % number, {"x": "y"}))
    eventually(lambda: len(replies) == 3)
    assert [(each.payload, each.headers) for each in replies if isinstance(each, Reply)] == [
        (b"%d" % number, {"x": "y"}) for number in range(3)
    ]
    end()
    other: list[Reply | NatsError] = []
    client.ask("subject", b"", other.append)
    server.send(message(request, b"late"))
    server.send(message(eventually(lambda: server.requests[1:])[0], b"other"))
    eventually(lambda: other)
    assert len(replies) == 3, "the late reply came before"


def test_a_request_that_nobody_receives_fails(server: FakeNats, client: Connection) -> None:
    replies: list[Reply | NatsError] = []
    client.ask("subject", b"", replies.append)
    request = first_request(server)
    server.send(message(request, status="503"))
    [error] = eventually(lambda: replies)
    assert isinstance(error, NoRespondersError)


@pytest.mark.parametrize(
    ("end", "kind"),
    [(lambda server, _: server.drop(), ConnectionLostError), (lambda _, client: client.close(), ClientClosedError)],
    ids=["lost", "closed"],
)
def test_a_request_fails_with_its_connection(
    server: FakeNats, client: Connection, end: Callable[[FakeNats, Connection], None], kind: type[NatsError]
) -> None:
    replies: list[Reply | NatsError] = []
    client.ask("subject", b"", replies.append)
    eventually(lambda: server.requests)
    end(server, client)
    [error] = eventually(lambda: replies)
    assert isinstance(error, kind)


def test_nothing_is_sent_that_cannot_be(server: FakeNats, client: Connection) -> None:
    with pytest.raises(PayloadTooLargeError):
        client.ask("s", bytes(8 * MIB + 1), print)
    with pytest.raises(PayloadTooLargeError):
        client.post("s", bytes(8 * MIB + 1))
    with pytest.raises(ValueError, match="no subject"):
        client.post("two words", b"")
    with closing(Connection(f"nats://127.0.0.1:{free_ports(1)[0]}")) as nowhere, pytest.raises(NatsUnreachableError):
        nowhere.post("s", b"")
    client.close()
    with pytest.raises(ClientClosedError):
        client.post("s", b"")
    assert not server.requests


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "tls"])
def test_messages_keep_their_order_while_the_server_is_slow(is_encrypted: bool, tmp_path: Path) -> None:
    """The socket takes only a part of them at once. Posting never waits, and another thread sends the rest."""
    go_on = threading.Event()

    def answer(_: Request) -> bytes:
        go_on.wait(PATIENCE_S)
        return b""

    tls: ssl.SSLContext | None = None
    trusting: Callable[[], ssl.SSLContext] | None = None
    if is_encrypted:
        certificate = make_certificate(tmp_path)
        tls, trusting = certificate.serving(), certificate.trusting
    with FakeNats(answer, tls=tls, max_payload=8 * MIB) as server:
        url = f"nats://localhost:{server.port}" if is_encrypted else server.url
        with closing(Connection(url, tls=trusting)) as client:
            client.server_info(timeout_s=PATIENCE_S)
            sizes = [MIB, 10, 3 * MIB, 10, 10, MIB]
            for number, size in enumerate(sizes):
                client.post("s", b"%d" % number * size)
            go_on.set()
            eventually(lambda: len(server.requests) == len(sizes))
            assert [each.payload for each in server.requests] == [b"%d" % n * size for n, size in enumerate(sizes)]


def test_a_server_that_reads_nothing_is_given_up_before_memory_is_full(
    server: FakeNats, client: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_DIAL_S", PATIENCE_S)  # so that it is given up for nothing else
    go_on = threading.Event()

    def answer(_: Request) -> bytes:
        go_on.wait(PATIENCE_S)
        return b""

    server.answer = answer

    def post(count: int) -> None:
        for _ in range(count):
            client.post("s", bytes(MIB))

    post(65)
    with pytest.raises(ConnectionLostError):
        post(35)  # the socket and the server's buffers have taken some of them
    go_on.set()


def test_a_request_shows_where_its_answer_is_to_go(server: FakeNats, client: Connection) -> None:
    arrived: list[tuple[bytes, str]] = []
    client.subscribe_to_requests("mine", lambda payload, reply_to: arrived.append((payload, reply_to)))
    eventually(lambda: ("mine", 2) in server.subscriptions)
    server.send(b"MSG mine 2 there 3\r\nabc\r\nMSG mine 2 0\r\n\r\nHMSG mine 2 back 12 14\r\nNATS/1.0\r\n\r\nxy\r\n")
    eventually(lambda: len(arrived) == 3)
    assert arrived == [(b"abc", "there"), (b"", ""), (b"xy", "back")]


def test_one_reply_is_passed_on(server: FakeNats, client: Connection) -> None:
    replies: list[Reply | NatsError] = []
    client.ask_once("subject", b"question", {"name": "value"}, replies.append, timeout_s=PATIENCE_S)
    request = first_request(server)
    assert (request.subject, request.payload) == ("subject", b"question")
    assert b"name: value" in request.headers
    server.send(message(request, b"one") + message(request, b"two"))
    other: list[Reply | NatsError] = []
    client.ask("subject", b"", other.append)
    server.send(message(eventually(lambda: server.requests[1:])[0], b"other"))
    eventually(lambda: other)
    assert [each.payload for each in replies if isinstance(each, Reply)] == [b"one"]
    assert len(replies) == 1


def test_who_asked_once_learns_that_there_was_no_reply_in_time(
    server: FakeNats, client: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_PING_S", 0.02)
    late: list[Reply | NatsError] = []
    patient: list[Reply | NatsError] = []
    client.ask_once("subject", b"", {}, late.append, timeout_s=0.001)
    client.ask_once("subject", b"", {}, patient.append, timeout_s=PATIENCE_S)
    eventually(lambda: late)
    assert isinstance(late[0], NatsTimeoutError)
    eventually(lambda: len(server.requests) == 2)
    server.send(message(server.requests[0], b"late") + message(server.requests[1], b"in time"))
    eventually(lambda: patient)
    assert isinstance(patient[0], Reply)
    assert len(late) == 1


@pytest.mark.parametrize(
    ("end", "kind"),
    [(lambda server, _: server.drop(), ConnectionLostError), (lambda _, client: client.close(), ClientClosedError)],
    ids=["lost", "closed"],
)
def test_who_asked_once_learns_of_the_end_of_the_connection(
    server: FakeNats, client: Connection, end: Callable[[FakeNats, Connection], None], kind: type[NatsError]
) -> None:
    replies: list[Reply | NatsError] = []
    client.ask_once("subject", b"", {}, replies.append, timeout_s=PATIENCE_S)
    first_request(server)
    end(server, client)
    eventually(lambda: replies)
    assert [type(each) for each in replies] == [kind]


def test_what_cannot_be_asked_once_is_refused(client: Connection) -> None:
    replies: list[Reply | NatsError] = []
    with pytest.raises(PayloadTooLargeError):
        client.ask_once("subject", bytes(9 * MIB), {}, replies.append, timeout_s=PATIENCE_S)
    client.close()
    with pytest.raises(ClientClosedError):
        client.ask_once("subject", b"", {}, replies.append, timeout_s=PATIENCE_S)
    assert replies == []


def test_a_loss_while_the_message_is_sent_is_told_once(
    server: FakeNats, client: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies: list[Reply | NatsError] = []

    def lose(*_: object) -> None:
        server.drop()
        eventually(lambda: replies)
        raise ConnectionLostError("the message was being sent")

    monkeypatch.setattr(client, "_post", lose)
    client.ask_once("subject", b"", {}, replies.append, timeout_s=PATIENCE_S)
    assert [type(each) for each in replies] == [ConnectionLostError]
