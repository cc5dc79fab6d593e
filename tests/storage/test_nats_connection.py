"""The connection to NATS: replies, time limits, losses, reconnects, credentials and TLS."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.fake_nats import Answer, FakeNats, Request, echo, message
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage.nats import (
    ClientClosedError,
    Connection,
    ConnectionLostError,
    JetStream,
    NatsError,
    NatsTimeoutError,
    NatsUnreachableError,
    NoRespondersError,
    PayloadTooLargeError,
    ProtocolError,
    connection,
    replies,
)
from wonderq_storage.nats.link import Link
from wonderq_storage.nats.local_servers import free_ports
from wonderq_storage.nats.replies import Reply

SOON_S = 0.05
"""Time limit of calls that must run into it."""

Connect = Callable[..., Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened = []

    def connect(*servers: FakeNats | str, tls: Callable[[], ssl.SSLContext] | None = None) -> Connection:
        urls = ",".join(each if isinstance(each, str) else each.url for each in servers)
        opened.append(Connection(urls, tls=tls))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have silent servers given up soon."""
    monkeypatch.setattr(connection, "_PING_S", 0.02)
    monkeypatch.setattr(connection, "_DIAL_S", 0.2)


def time_out(client: Connection, server: FakeNats) -> None:
    """Make requests that run into their time limit until the server, which answers none, has one."""
    client.server_info(timeout_s=PATIENCE_S)  # so that no time limit is for the connection
    while not server.requests:
        with pytest.raises(NatsTimeoutError):
            client.request("x", timeout_s=SOON_S)


def await_problem(client: Connection, text: str) -> None:
    """Wait until the client has failed to connect for this reason."""
    eventually(lambda: text in client._problem)


def test_a_request_returns_its_reply(connect: Connect) -> None:
    def answer(request: Request) -> bytes:
        assert request.headers == b"NATS/1.0\r\nName: value\r\n\r\n"
        return message(request, request.payload[::-1], {"Other": "one"}, status="200 Fine")

    with FakeNats(answer) as server:
        reply = connect(server).request("some.subject", b"abc", {"Name": "value"}, timeout_s=PATIENCE_S)
    assert reply == (200, "Fine", {"Other": "one"}, b"cba")


def test_many_threads_get_their_own_replies(connect: Connect) -> None:
    with FakeNats() as server:
        client = connect(server)

        def work(thread: int) -> None:
            for number in range(200):
                payload = b"%d %d" % (thread, number)
                assert client.request("x", payload, timeout_s=PATIENCE_S).payload == payload

        for each in [Call(work, thread) for thread in range(8)]:
            each.result()
        assert len(server.requests) == 1600
        assert len(server.options) == 1, "all share one connection"


def test_several_replies_to_one_request(connect: Connect) -> None:
    with FakeNats(lambda request: b"".join(message(request, b"%d" % number) for number in range(50))) as server:
        replies = connect(server).request_many("x", timeout_s=PATIENCE_S)
        assert [next(replies).payload for _ in range(50)] == [b"%d" % number for number in range(50)]
        replies.close()


def test_replies_that_nobody_reads_are_bounded(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "_MAX_WAITING_BYTES", 5000)
    with FakeNats(lambda request: message(request, bytes(1000)) * (50 if request.payload else 1)) as server:
        client = connect(server)
        unread = client.request_many("x", b"many", timeout_s=PATIENCE_S)
        next(unread)
        client.request("x", timeout_s=PATIENCE_S)  # so all 50 have arrived
        with pytest.raises(NatsError, match="faster than they were read"):
            list(unread)


def test_a_reply_that_comes_too_late_is_dropped(connect: Connect) -> None:
    with FakeNats(lambda _: b"") as server:
        client = connect(server)
        time_out(client, server)
        server.send(message(server.requests[0], b"late"))
        server.answer = echo
        assert client.request("x", b"next", timeout_s=PATIENCE_S).payload == b"next"


def test_nobody_serves_the_subject(connect: Connect) -> None:
    with FakeNats(lambda request: message(request, status="503")) as server, pytest.raises(NoRespondersError):
        connect(server).request("x", timeout_s=PATIENCE_S)


def test_malformed_headers_of_a_reply_are_an_error_of_the_request(connect: Connect) -> None:
    with FakeNats(lambda request: b"HMSG %s 1 3 3\r\nabc\r\n" % request.reply_to.encode()) as server:
        client = connect(server)
        with pytest.raises(ProtocolError):
            client.request("x", timeout_s=PATIENCE_S)
        server.answer = echo
        assert client.request("x", b"y", timeout_s=PATIENCE_S).payload == b"y"


def test_a_message_larger_than_the_server_takes_is_not_sent(connect: Connect) -> None:
    with FakeNats(max_payload=1000) as server:
        client = connect(server)
        assert client.server_info(timeout_s=PATIENCE_S)["max_payload"] == 1000
        with pytest.raises(PayloadTooLargeError, match="1,001"):
            client.request("x", bytes(1001), timeout_s=PATIENCE_S)
        assert client.request("x", bytes(1000), timeout_s=PATIENCE_S).payload == bytes(1000)
        assert len(server.requests) == 1


def test_what_cannot_be_sent_is_refused(connect: Connect) -> None:
    with FakeNats() as server:
        client = connect(server)
        with pytest.raises(ValueError, match="subject"):
            client.request("a b", timeout_s=PATIENCE_S)
        with pytest.raises(ValueError, match="header"):
            client.request("a", headers={"a": "\n"}, timeout_s=PATIENCE_S)
        assert client.request("x", b"y", timeout_s=PATIENCE_S).payload == b"y"


def test_a_lost_connection_fails_its_requests_and_is_replaced(connect: Connect) -> None:
    with FakeNats(lambda _: None) as server:
        client = connect(server)
        with pytest.raises(ConnectionLostError):
            client.request("x", timeout_s=PATIENCE_S)
        server.answer = echo
        assert client.request("x", b"again", timeout_s=PATIENCE_S).payload == b"again"
        assert len(server.options) == 2


def test_a_server_that_stops_is_replaced_by_another(connect: Connect) -> None:
    with FakeNats(lambda request: message(request, b"one")) as one, FakeNats(lambda r: message(r, b"two")) as two:
        client = connect(one, two)
        assert client.request("x", timeout_s=PATIENCE_S).payload == b"one"
        one.stop()
        eventually(lambda: two.options)
        assert client.request("x", timeout_s=PATIENCE_S).payload == b"two"


@pytest.mark.usefixtures("quick")
def test_a_server_that_falls_silent_is_replaced_by_another(connect: Connect) -> None:
    with FakeNats() as one, FakeNats(lambda request: message(request, b"two")) as two:
        client = connect(one, two)
        client.request("x", timeout_s=PATIENCE_S)
        one.pong = b""
        eventually(lambda: two.options)
        assert one.pings >= 3, "it was asked before it was given up"
        assert client.request("x", timeout_s=PATIENCE_S).payload == b"two"


@pytest.mark.usefixtures("quick")
def test_a_server_that_only_answers_pings_is_kept(connect: Connect) -> None:
    with FakeNats() as server:
        connect(server).server_info(timeout_s=PATIENCE_S)
        # One that is given up is pinged 3 times. On a busy machine the answers to 3 pings in a row may come late.
        eventually(lambda: server.pings >= 10 * len(server.options))


def is_yes(reply: Reply) -> bool:
    return reply.payload == b"yes"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("no", [lambda _: b"", lambda r: message(r, b"no"), lambda r: message(r, status="503")])
def test_a_server_over_which_nothing_answers_is_replaced_by_another(connect: Connect, no: Answer) -> None:
    with FakeNats(no) as cut_off, FakeNats(lambda request: message(request, b"yes")) as server:
        client = connect(cut_off, server)
        client.watch("alive", is_yes)
        eventually(lambda: server.options)
        assert len(cut_off.requests) >= connection._UNANSWERED, "an election passes before it is given up"
        assert client.request("x", timeout_s=PATIENCE_S).payload == b"yes"


@pytest.mark.usefixtures("quick")
def test_a_server_over_which_something_answers_now_and_then_is_kept(connect: Connect) -> None:
    asked = []

    def seldom(request: Request) -> bytes:
        asked.append(request)
        return message(request, b"no" if len(asked) % (connection._UNANSWERED // 2) else b"yes")

    with FakeNats(seldom) as server, FakeNats() as other:
        client = connect(server, other)
        client.server_info(timeout_s=PATIENCE_S)
        client.watch("alive", is_yes)
        # On a busy machine an answer may come late, and the other server be tried. One that is given up is asked less.
        eventually(lambda: len(server.requests) >= 10 * connection._UNANSWERED * len(server.options))


@pytest.mark.usefixtures("quick")
def test_a_server_that_does_its_work_is_kept_although_nothing_answers(connect: Connect) -> None:
    """A stream with one replica goes on while JetStream has no leader that answers questions."""

    def acknowledge(request: Request) -> bytes:
        return b"" if request.subject == "$JS.API.INFO" else message(request, b'{"stream":"s","seq":1}')

    with FakeNats(acknowledge) as server, FakeNats(acknowledge) as other:
        jetstream = JetStream(connect(server, other))

        def is_kept() -> bool:
            jetstream.publish("s", "x", b"y", {}, timeout_s=PATIENCE_S)
            asked = sum(each.subject == "$JS.API.INFO" for each in server.requests)
            return asked >= 10 * connection._UNANSWERED * len(server.options)

        eventually(is_kept)


@pytest.mark.usefixtures("quick")
def test_a_question_that_the_permissions_forbid_is_not_repeated(connect: Connect) -> None:
    violation = b"-ERR 'Permissions Violation for Publish to \"Alive\"'\r\n"
    with FakeNats(lambda _: violation) as server, FakeNats() as other:
        client = connect(server, other)
        client.server_info(timeout_s=PATIENCE_S)
        client.watch("Alive", is_yes)
        eventually(lambda: server.requests and server.pings >= 3 * connection._UNANSWERED * len(server.options))
        assert len(server.requests) < connection._UNANSWERED


@pytest.mark.usefixtures("quick")
def test_the_only_server_is_not_asked(connect: Connect) -> None:
    with FakeNats() as server:
        client = connect(server)
        client.watch("alive", is_yes)
        eventually(lambda: server.pings > 5)
        assert not [each for each in server.requests if each.subject == "alive"]


@pytest.mark.usefixtures("quick")
def test_a_frozen_server_that_accepts_is_passed_over(connect: Connect) -> None:
    with FakeNats() as frozen, FakeNats() as server:
        frozen.pong = b""  # it never answers the PING after CONNECT
        assert connect(frozen, server).request("x", b"y", timeout_s=PATIENCE_S).payload == b"y"


def test_the_servers_ping_is_answered(connect: Connect) -> None:
    with FakeNats() as server:
        client = connect(server)
        client.server_info(timeout_s=PATIENCE_S)
        server.send(b"PING\r\n+OK\r\n")
        assert client.request("x", b"y", timeout_s=PATIENCE_S).payload == b"y"


def test_a_new_info_counts_from_then_on(connect: Connect) -> None:
    with FakeNats() as server:
        client = connect(server)
        client.server_info(timeout_s=PATIENCE_S)
        server.send(b'INFO {"headers":true,"max_payload":77}\r\n')
        eventually(lambda: client.server_info(timeout_s=PATIENCE_S)["max_payload"] == 77)


def test_an_error_of_the_server_is_logged(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), FakeNats() as server:
        client = connect(server)
        client.server_info(timeout_s=PATIENCE_S)
        server.send(b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n")
        client.request("x", b"y", timeout_s=PATIENCE_S)
    assert "Permissions Violation" in caplog.text


def test_noise_ends_the_connection(connect: Connect) -> None:
    with FakeNats(lambda request: b"NOISE\r\n" if request.payload else message(request)) as server:
        client = connect(server)
        with pytest.raises(ConnectionLostError, match="NOISE"):
            client.request("x", b"y", timeout_s=PATIENCE_S)
        client.request("x", timeout_s=PATIENCE_S)


def test_without_a_server_a_request_says_which_it_tried(connect: Connect) -> None:
    server = FakeNats()
    server.stop()
    client = connect(f"nats://secret-user:secret@127.0.0.1:{server.port}")
    eventually(lambda: "not tried" not in client._problem)
    with pytest.raises(NatsUnreachableError, match=f"nats://127.0.0.1:{server.port}: .*refused") as caught:
        client.request("x", timeout_s=SOON_S)
    assert "secret" not in str(caught.value)
    assert not client.is_connected


def test_a_request_waits_for_a_server(connect: Connect) -> None:
    server = FakeNats()
    client = connect(server.url)
    asking = Call(client.request, "x", b"y", timeout_s=PATIENCE_S)
    with server:
        assert asking.result().payload == b"y"


@pytest.mark.parametrize(
    ("info", "problem"),
    [({"headers": False}, "does not support headers"), ({"max_payload": "much"}, "does not say its max_payload")],
)
def test_a_server_that_is_no_good_is_named(connect: Connect, info: dict[str, Any], problem: str) -> None:
    with FakeNats(**info) as server:
        client = connect(server)
        await_problem(client, problem)
        with pytest.raises(NatsUnreachableError, match=problem):
            client.request("x", timeout_s=SOON_S)


def test_a_refusal_is_the_problem(connect: Connect) -> None:
    with FakeNats() as server:
        server.refusal = "Authorization Violation"
        client = connect(server)
        await_problem(client, "Authorization Violation")
        with pytest.raises(NatsUnreachableError, match="refused the connection: Authorization Violation"):
            client.request("x", timeout_s=SOON_S)


def test_something_else_than_nats(connect: Connect) -> None:
    with FakeNats() as server:
        server.greeting = b"PING\r\n"
        client = connect(server)
        await_problem(client, "it is not a NATS server")


def test_close_ends_requests_and_later_ones(connect: Connect) -> None:
    with FakeNats(lambda _: b"") as server:
        client = connect(server)
        asking = Call(client.request, "x", timeout_s=PATIENCE_S)
        eventually(lambda: server.requests)
        client.close()
        with pytest.raises(ClientClosedError):
            asking.result()
        client.close()
        with pytest.raises(ClientClosedError):
            client.request("x", timeout_s=PATIENCE_S)


def test_close_ends_the_wait_for_a_server(connect: Connect) -> None:
    server = FakeNats()
    server.stop()
    client = connect(server.url)
    eventually(lambda: "not tried" not in client._problem)
    client.close()
    with pytest.raises(ClientClosedError):
        client.request("x", timeout_s=PATIENCE_S)


def test_events_before_the_pong_are_passed_over(connect: Connect) -> None:
    with FakeNats() as server:
        server.pong = b'+OK\r\nINFO {"headers":true,"max_payload":5}\r\nPING\r\n'
        client = connect(server)
        eventually(lambda: server.pings)
        assert not client.is_connected
        eventually(lambda: server.send(b"PING\r\nPONG\r\n") or client.is_connected)
        assert client.request("x", b"y", timeout_s=PATIENCE_S).payload == b"y"


def test_a_client_that_is_closed_while_it_connects(connect: Connect) -> None:
    with FakeNats() as server:
        server.pong = b""
        client = connect(server)
        eventually(lambda: server.pings)
        closing_it = Call(client.close)
        eventually(client._closing.is_set)
        server.send(b"PONG\r\n")
        closing_it.result()
        assert not client.is_connected


def test_a_server_that_does_not_read_holds_nobody_up(connect: Connect) -> None:
    go_on = threading.Event()

    def block(request: Request) -> bytes:
        assert go_on.wait(timeout=PATIENCE_S)
        return echo(request)

    with FakeNats(block, max_payload=1 << 26) as server:
        client = connect(server)
        time_out(client, server)
        with pytest.raises(NatsTimeoutError, match="could not be sent"):
            client.request("x", bytes(1 << 25), timeout_s=SOON_S)
        server.answer = echo
        assert client.request("x", b"y", timeout_s=PATIENCE_S).payload == b"y", "over another connection"
        go_on.set()


def test_a_connection_that_ends_before_the_request_is_sent(connect: Connect) -> None:
    with FakeNats() as server:
        client = connect(server)
        client.server_info(timeout_s=PATIENCE_S)
        link = client._link
        assert link is not None
        link.close()
        with pytest.raises(ConnectionLostError, match="the connection is closed"):
            client._send(link, b"PING\r\n", time.monotonic() + PATIENCE_S)


def test_a_message_waits_for_the_one_that_is_being_sent() -> None:
    with FakeNats() as server:
        link = Link("127.0.0.1", server.port, PATIENCE_S)
        with link._sending, pytest.raises(TimeoutError, match="another message is still being sent"):
            link.send(b"PING\r\n", SOON_S)
        link.close()


# Addresses and credentials


@pytest.mark.parametrize(
    ("credentials", "sent"),
    [("", {}), ("me:word@", {"user": "me", "pass": "word"}), ("sesame@", {"auth_token": "sesame"})],
)
def test_credentials_are_sent(connect: Connect, credentials: str, sent: dict[str, str]) -> None:
    with FakeNats() as server:
        connect(f"nats://{credentials}127.0.0.1:{server.port}").server_info(timeout_s=PATIENCE_S)
        (options,) = server.options
        assert {name: options[name] for name in ("user", "pass", "auth_token") if name in options} == sent


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def test_tls(connect: Connect, certificate: Certificate) -> None:
    with FakeNats(tls=certificate.serving()) as server:
        client = connect(f"nats://me:word@localhost:{server.port}", tls=certificate.trusting)
        for size in (0, 1, 100_000, 1_000_000):
            payload = bytes(size)
            assert client.request("x", payload, timeout_s=PATIENCE_S).payload == payload
        assert server.options[0]["tls_required"] is True


def test_many_threads_share_a_tls_connection(connect: Connect, certificate: Certificate) -> None:
    with FakeNats(tls=certificate.serving()) as server:
        client = connect(f"tls://localhost:{server.port}", tls=certificate.trusting)

        def work(thread: int) -> None:
            for number in range(50):
                payload = b"%d %d " % (thread, number) * 500
                assert client.request("x", payload, timeout_s=PATIENCE_S).payload == payload

        for each in [Call(work, thread) for thread in range(6)]:
            each.result()


def test_credentials_are_never_sent_to_a_stranger(connect: Connect, certificate: Certificate) -> None:
    with FakeNats(tls=certificate.serving()) as server:
        client = connect(f"nats://me:word@localhost:{server.port}")  # trusts what the system trusts
        await_problem(client, "CERTIFICATE_VERIFY_FAILED")
        client = connect(f"nats://me:word@127.0.0.1:{server.port}", tls=certificate.trusting)
        await_problem(client, "CERTIFICATE_VERIFY_FAILED")
        assert server.options == []


def test_credentials_are_never_sent_in_the_clear_if_tls_is_wanted(connect: Connect, certificate: Certificate) -> None:
    with FakeNats() as server:
        for url, context in (("tls", None), ("nats", certificate.trusting)):
            client = connect(f"{url}://me:word@localhost:{server.port}", tls=context)
            await_problem(client, "does not offer TLS")
        assert server.options == []


def test_bytes_before_tls_are_refused(connect: Connect, certificate: Certificate) -> None:
    with FakeNats(tls_required=True) as server:
        info = server.greeting
        for smuggled in (b"PONG\r\n", b"PO"):
            server.greeting = info + smuggled
            client = connect(f"nats://localhost:{server.port}", tls=certificate.trusting)
            await_problem(client, "before TLS began")


def test_a_server_that_breaks_off_the_handshake(connect: Connect, certificate: Certificate) -> None:
    with FakeNats(tls_required=True) as server:  # it reads the handshake as NATS, and closes
        client = connect(f"nats://localhost:{server.port}", tls=certificate.trusting)
        eventually(lambda: "not tried" not in client._problem)
        assert not client.is_connected


def test_the_iterator_of_replies_can_be_closed_early(connect: Connect) -> None:
    with FakeNats(lambda request: message(request, b"a") * 10) as server:
        client = connect(server)
        with closing(client.request_many("x", timeout_s=PATIENCE_S)) as replies:
            next(replies)
        assert client._expected == {}


def test_a_published_message_has_no_reply(connect: Connect) -> None:
    with FakeNats(lambda _: b"") as server:
        connect(server).publish("some.subject", b"abc", timeout_s=PATIENCE_S)
        (sent,) = eventually(lambda: server.requests)
    assert sent == ("some.subject", "", b"", b"abc")


def test_messages_of_a_subject_are_passed_on(connect: Connect) -> None:
    heard: list[bytes] = []
    with FakeNats() as server:
        client = connect(server)
        client.request("x", timeout_s=PATIENCE_S)
        client.subscribe("one", heard.append)
        client.subscribe("two", lambda data: heard.append(b"2" + data))
        eventually(lambda: len(server.subscriptions) == 3)
        server.send(b"MSG one 2 3\r\nabc\r\nMSG two 3 1\r\nd\r\nMSG other 9 1\r\ne\r\n")
        client.request("x", timeout_s=PATIENCE_S)
    assert heard == [b"abc", b"2d"]
    assert server.subscriptions[1:] == [("one", 2), ("two", 3)]


def test_a_subscription_outlives_its_connection(connect: Connect) -> None:
    with FakeNats() as server:
        client = connect(server)
        client.subscribe("one", lambda _: None)  # perhaps before there is a connection
        eventually(lambda: ("one", 2) in server.subscriptions)
        server.subscriptions.clear()
        server.drop()
        eventually(lambda: ("one", 2) in server.subscriptions)


def test_how_long_a_connection_lasts(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeNats() as server:
        client = connect(server)
        eventually(lambda: client.connected_s > 0)
        before_s = client.connected_s
        assert eventually(lambda: client.connected_s > before_s)
        server.stop()
        eventually(lambda: client.connected_s == 0)


def test_publishing_without_a_connection_fails(connect: Connect) -> None:
    (port,) = free_ports(1)
    with pytest.raises(NatsUnreachableError):
        connect(f"nats://127.0.0.1:{port}").publish("x", b"", timeout_s=SOON_S)
