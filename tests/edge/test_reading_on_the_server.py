"""A connection to NATS that the thread of the HTTP server reads, as that of a node does."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tests.support.fake_nats import FakeNats, message
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.httpd.server import Server
from wonderq_storage.nats import Connection, ConnectionLostError, NatsError, NatsTimeoutError, Reply, connection


class Serving:
    """A server that runs on a thread of its own."""

    def __init__(self) -> None:
        self.server = Server(lambda _environ, _start: [], "127.0.0.1", 0)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.fixture
def serving() -> Iterator[Serving]:
    serving = Serving()
    yield serving
    serving.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have silent servers given up soon."""
    monkeypatch.setattr(connection, "_PING_S", 0.02)


class Asked:
    """A request, and on which threads its replies came."""

    def __init__(self, client: Connection, payload: bytes = b"x") -> None:
        self.replies: list[Reply | NatsError] = []
        self.threads: list[threading.Thread] = []
        client.ask("subject", payload, self._take)

    def _take(self, reply: Reply | NatsError) -> None:
        self.threads.append(threading.current_thread())
        self.replies.append(reply)

    def payload(self) -> bytes:
        """Wait for a reply, and return it."""
        [reply] = eventually(lambda: self.replies, "a reply")
        assert isinstance(reply, Reply), reply
        return reply.payload


def await_reading(client: Connection, serving: Serving) -> None:
    """Wait until the server reads the connection."""

    def is_reading() -> bool:
        asked = Asked(client)
        asked.payload()
        return asked.threads == [serving.thread]

    client.server_info(timeout_s=PATIENCE_S)
    eventually(is_reading, "the server to read")


def test_the_thread_of_the_server_makes_the_calls(serving: Serving) -> None:
    with FakeNats() as nats, closing(Connection(nats.url)) as client:
        client.server_info(timeout_s=PATIENCE_S)  # so that the connection has begun to read by itself
        client.read_on(serving.server)
        await_reading(client, serving)
        threads: list[threading.Thread] = []
        client.subscribe("news", lambda _: threads.append(threading.current_thread()))
        nats.send(b"PING\r\nMSG news 2 1\r\nx\r\n")
        eventually(lambda: threads == [serving.thread])
        assert client.request("x", bytes(500_000), timeout_s=PATIENCE_S).payload == bytes(500_000)
        assert len(nats.options) == 1


def test_a_lost_connection_is_replaced_and_the_server_reads_the_next_one(serving: Serving) -> None:
    with FakeNats() as nats, closing(Connection(nats.url)) as client:
        client.read_on(serving.server)
        await_reading(client, serving)
        nats.answer = lambda _: None  # closes the connection
        lost = Asked(client)
        eventually(lambda: lost.replies)
        assert isinstance(lost.replies[0], ConnectionLostError)
        nats.answer = lambda request: message(request, b"again")
        await_reading(client, serving)
        assert len(nats.options) == 2


def test_noise_ends_the_connection(serving: Serving) -> None:
    with FakeNats() as nats, closing(Connection(nats.url)) as client:
        client.read_on(serving.server)
        await_reading(client, serving)
        nats.send(b"HTTP/1.1 400 Bad Request\r\n")
        eventually(lambda: len(nats.options) == 2)
        await_reading(client, serving)


@pytest.mark.usefixtures("quick")
def test_a_server_that_falls_silent_is_replaced_and_one_that_answers_pings_is_kept(serving: Serving) -> None:
    with FakeNats() as one, FakeNats() as two, closing(Connection(f"{one.url},{two.url}")) as client:
        client.read_on(serving.server)
        await_reading(client, serving)
        eventually(lambda: one.pings >= 10)
        assert not two.options
        one.pong = b""
        eventually(lambda: two.options)
        await_reading(client, serving)


@pytest.mark.usefixtures("quick")
def test_a_server_over_which_nothing_answers_is_replaced(serving: Serving) -> None:
    with FakeNats() as one, FakeNats() as two, closing(Connection(f"{one.url},{two.url}")) as client:
        client.read_on(serving.server)
        await_reading(client, serving)
        client.watch("alive", lambda _: bool(two.options))
        eventually(lambda: two.options)
        await_reading(client, serving)
        assert len(one.requests) >= connection._UNANSWERED


def test_tls(serving: Serving, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with (
        FakeNats(tls=certificate.serving()) as nats,
        closing(Connection(f"tls://localhost:{nats.port}", tls=certificate.trusting)) as client,
    ):
        client.read_on(serving.server)
        await_reading(client, serving)
        for size in (0, 1, 100_000, 1_000_000):
            assert client.request("x", bytes(size), timeout_s=PATIENCE_S).payload == bytes(size)


def test_the_connection_reads_by_itself_again_when_the_server_has_ended() -> None:
    serving = Serving()
    with FakeNats() as nats, closing(Connection(nats.url)) as client:
        client.read_on(serving.server)
        await_reading(client, serving)
        serving.stop()
        asked = Asked(client, b"later")
        assert asked.payload() == b"later"
        assert asked.threads != [serving.thread]
        assert len(nats.options) == 1, "the same connection"


def test_the_connection_can_be_closed_while_the_server_reads_it(serving: Serving) -> None:
    with FakeNats() as nats:
        client = Connection(nats.url)
        client.read_on(serving.server)
        await_reading(client, serving)
        client.close()
        with closing(Connection(nats.url)) as next_one:
            next_one.read_on(serving.server)
            await_reading(next_one, serving)


def test_a_descriptor_that_was_lost_before_the_server_watches_it_is_not_watched(serving: Serving) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    ended = threading.Event()
    serving.server.watch(reading, lambda: False, ended.set)
    assert ended.wait(PATIENCE_S)
    assert serving.thread.is_alive()


def test_whoever_wants_to_watch_after_the_end_is_told_of_it() -> None:
    serving = Serving()
    serving.stop()
    ended = threading.Event()
    serving.server.watch(0, lambda: True, ended.set)
    assert ended.is_set()


def test_whoever_wants_to_watch_shortly_before_the_end_is_told_of_it() -> None:
    server = Server(lambda _environ, _start: [], "127.0.0.1", 0)
    ended = threading.Event()
    server.stop()
    server.watch(0, lambda: True, ended.set)
    server.run()
    assert ended.is_set()


def test_a_connection_that_is_lost_after_the_end_is_replaced() -> None:
    serving = Serving()
    with FakeNats() as nats, closing(Connection(nats.url)) as client:
        client.read_on(serving.server)
        await_reading(client, serving)
        nats.answer = lambda _: None  # closes the connection
        serving.stop()
        Asked(client)
        eventually(lambda: len(nats.options) == 2)
        nats.answer = lambda request: message(request, b"again")
        client.server_info(timeout_s=PATIENCE_S)
        assert Asked(client).payload() == b"again"
        assert len(nats.options) == 2


@pytest.mark.usefixtures("quick")
def test_a_reply_that_stays_away_is_noticed_while_the_server_reads(serving: Serving) -> None:
    with FakeNats() as nats, closing(Connection(nats.url)) as client:
        client.read_on(serving.server)
        await_reading(client, serving)
        nats.answer = lambda _: b""
        answers: list[Reply | NatsError] = []
        client.ask_once("subject", b"", {}, answers.append, timeout_s=0.001)
        eventually(lambda: answers)
        assert isinstance(answers[0], (NatsTimeoutError, ConnectionLostError))
