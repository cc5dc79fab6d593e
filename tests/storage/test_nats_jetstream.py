"""The calls of JetStream: answers that are none, and what a real server does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import make_certificate
from tests.support.fake_nats import FakeNats, Request, message
from tests.support.log_streams import LogStream
from tests.support.nats_servers import NatsCluster, needs_nats, start, wait_until_ready
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage.nats import (
    Ack,
    ApiError,
    Connection,
    JetStream,
    NatsError,
    NatsTimeoutError,
    ProtocolError,
    StoredMessage,
)
from wonderq_storage.nats import connection as nats_connection
from wonderq_storage.nats import jetstream as api
from wonderq_storage.nats.local_servers import LocalServer, free_ports

SOON_S = 0.05


class Answering:
    """A JetStream whose next answers a test gives."""

    def __init__(self, server: FakeNats, jetstream: JetStream) -> None:
        self.server = server
        self.jetstream = jetstream

    def says(self, answer: Any, *, status: str = "") -> JetStream:
        payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.server.answer = lambda request: message(request, payload, status=status)
        return self.jetstream


@pytest.fixture
def answering() -> Iterator[Answering]:
    with FakeNats() as server, closing(Connection(server.url)) as connection:
        connection.server_info(timeout_s=PATIENCE_S)  # so that no time limit is for the connection
        yield Answering(server, JetStream(connection))


def publish(jetstream: JetStream) -> Ack:
    return jetstream.publish("S", "s.log", b"payload", {}, timeout_s=PATIENCE_S)


def test_an_acknowledgement_is_read(answering: Answering) -> None:
    assert publish(answering.says({"stream": "S", "seq": 7})) == Ack(7, is_duplicate=False)
    assert publish(answering.says({"stream": "S", "seq": 7, "duplicate": True})) == Ack(7, is_duplicate=True)


@pytest.mark.parametrize(
    "answer",
    [b"", b"OK", b"[]", b"{}", b"[" * 9999, {"stream": "S"}, {"stream": "S", "seq": "7"}, {"stream": "T", "seq": 7}],
)
def test_an_acknowledgement_that_is_none_is_an_error(answering: Answering, answer: Any) -> None:
    with pytest.raises(ProtocolError):
        publish(answering.says(answer))


def test_a_refusal_has_its_reason(answering: Answering) -> None:
    with pytest.raises(ApiError, match=r"wrong last sequence: 3 \(JetStream error 10071\)") as caught:
        publish(answering.says({"error": {"code": 400, "err_code": 10071, "description": "wrong last sequence: 3"}}))
    assert (caught.value.code, caught.value.error_code) == (400, 10071)


@pytest.mark.parametrize(
    ("code", "error_code", "description", "temporary"),
    [
        (503, 10008, "JetStream system temporarily unavailable", True),
        (500, 10009, "JetStream cluster can not handle request", True),
        (409, 10158, "duplicate message id is in process", True),
        (503, 10077, "store is closed", True),
        (503, 10077, "maximum bytes exceeded", False),
        (400, 10071, "wrong last sequence: 3", False),
        (404, 10059, "stream not found", False),
        (500, 10118, "stream is offline", True),
        (500, 10049, "error creating store for stream", True),
        (400, 10005, "no suitable peers for placement, peer offline", True),
        (400, 10005, "no suitable peers for placement, peer offline, insufficient storage", False),
        (400, 10005, "no suitable peers for placement, tags not matched", False),
    ],
)
def test_some_refusals_are_temporary(code: int, error_code: int, description: str, temporary: bool) -> None:
    assert api.is_temporary(ApiError(code, error_code, description)) is temporary


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"state": 1, "config": {}},
        {"state": {}, "config": {}},
        {"state": {"last_seq": 1, "messages": 1, "first_seq": "1"}, "config": {}},
    ],
)
def test_a_description_of_a_stream_that_is_none_is_an_error(answering: Answering, answer: Any) -> None:
    with pytest.raises(ProtocolError):
        answering.says(answer).stream_info("S", timeout_s=PATIENCE_S)


@pytest.mark.parametrize(
    "answer", [{}, {"message": []}, {"message": {"seq": 1}}, {"message": {"seq": 1, "subject": "a", "data": "é"}}]
)
def test_a_message_that_is_none_is_an_error(answering: Answering, answer: Any) -> None:
    with pytest.raises(ProtocolError):
        answering.says(answer).get("S", 1, timeout_s=PATIENCE_S)


def silent_at_first(server: FakeNats, answer: bytes) -> None:
    """Let the server answer the second request, and all after it."""
    server.answer = lambda request: b"" if len(server.requests) == 1 else message(request, answer)


def test_a_request_that_reads_is_sent_again_while_no_server_answers(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_REPEAT_S", SOON_S)
    silent_at_first(answering.server, b'{"message": {"seq": 7, "subject": "s.log"}}')
    assert answering.jetstream.get("S", 7, timeout_s=PATIENCE_S) == StoredMessage(7, "s.log", b"")
    first, *others = answering.server.requests
    assert set(others) == {first}


@pytest.mark.parametrize(
    "change",
    [
        lambda jetstream: jetstream.publish("S", "s.log", b"", {}, timeout_s=5 * SOON_S),
        lambda jetstream: jetstream.purge("S", 4, timeout_s=5 * SOON_S),
    ],
    ids=["publish", "purge"],
)
def test_a_request_that_changes_something_is_sent_once(
    answering: Answering, change: Callable[[JetStream], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_REPEAT_S", SOON_S)
    silent_at_first(answering.server, b'{"stream": "S", "seq": 7}')
    with pytest.raises(NatsTimeoutError):
        change(answering.jetstream)
    assert len(answering.server.requests) == 1


def batch(jetstream: JetStream, timeout_s: float = PATIENCE_S) -> list[StoredMessage]:
    return list(jetstream.get_batch("S", 1, messages=5, max_bytes=1000, timeout_s=timeout_s))


def test_a_batch_without_messages(answering: Answering) -> None:
    assert batch(answering.says(b"", status="404 Message Not Found")) == []
    assert batch(answering.says(b"", status="204 EOB")) == []
    with pytest.raises(ApiError, match="Bad Request"):
        batch(answering.says(b"", status="408 Bad Request"))
    with pytest.raises(ProtocolError):
        batch(answering.says(b"no headers"))


def test_a_batch_that_breaks_off_is_an_error(answering: Answering) -> None:
    def answer(request: Request) -> bytes:
        return message(request, b"one", {"Nats-Sequence": "1", "Nats-Subject": "a"})

    answering.server.answer = answer
    found = answering.jetstream.get_batch("S", 1, messages=5, max_bytes=1000, timeout_s=SOON_S)
    with pytest.raises(NatsTimeoutError):
        list(found)


def test_a_refusal_for_want_of_a_leader_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_connection, "_UNANSWERED", 1)

    def refuse(request: Request) -> bytes:
        error = {"code": 503, "err_code": 10008, "description": "JetStream system temporarily unavailable"}
        return message(request, json.dumps({"error": error}).encode())

    with (
        FakeNats(refuse) as cut_off,
        FakeNats() as other,
        closing(Connection(f"{cut_off.url},{other.url}")) as connection,
    ):
        JetStream(connection)
        eventually(lambda: other.options)


# With a real server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("nats"), 1) as cluster:
        yield cluster


@pytest.fixture
def jetstream(cluster: NatsCluster) -> Iterator[JetStream]:
    with closing(Connection(cluster.url)) as connection:
        jetstream = JetStream(connection)
        config = {"name": "S", "subjects": ["s.>"], "storage": "file", "allow_direct": True}
        jetstream.create_stream(config, timeout_s=PATIENCE_S)
        yield jetstream
        jetstream.call("STREAM.DELETE.S", timeout_s=PATIENCE_S)


@needs_nats
class TestRealServer:
    def put(self, jetstream: JetStream, count: int) -> list[StoredMessage]:
        stored = []
        for number in range(count):
            payload = b"message %d " % number * number
            ack = jetstream.publish("S", f"s.{number % 2}", payload, {}, timeout_s=PATIENCE_S)
            stored.append(StoredMessage(ack.sequence, f"s.{number % 2}", payload))
        return stored

    def test_what_was_published_is_read(self, jetstream: JetStream) -> None:
        stored = self.put(jetstream, 12)
        assert [each.sequence for each in stored] == list(range(1, 13))
        assert [jetstream.get("S", each.sequence, timeout_s=PATIENCE_S) for each in stored] == stored
        assert jetstream.get("S", 13, timeout_s=PATIENCE_S) is None
        assert jetstream.get_last("S", "s.0", timeout_s=PATIENCE_S) == stored[-2]
        assert jetstream.get_last("S", "s.none", timeout_s=PATIENCE_S) is None
        found = jetstream.get_batch("S", 3, messages=100, max_bytes=1 << 20, timeout_s=PATIENCE_S)
        assert list(found) == stored[2:]
        some = jetstream.get_batch("S", 3, messages=4, max_bytes=1 << 20, timeout_s=PATIENCE_S)
        assert list(some) == stored[2:6]
        few = list(jetstream.get_batch("S", 3, messages=100, max_bytes=150, timeout_s=PATIENCE_S))
        assert few == stored[2 : 2 + len(few)]
        assert 1 <= len(few) < 10
        assert list(jetstream.get_batch("S", 13, messages=5, max_bytes=1000, timeout_s=PATIENCE_S)) == []

    def test_info_and_purge(self, jetstream: JetStream) -> None:
        info = jetstream.stream_info("S", timeout_s=PATIENCE_S)
        assert (info.first_sequence, info.last_sequence, info.bytes, info.leader) == (1, 0, 0, "n1")
        assert info.config["storage"] == "file"
        self.put(jetstream, 5)
        for _ in range(2):
            jetstream.purge("S", 4, timeout_s=PATIENCE_S)
            info = jetstream.stream_info("S", timeout_s=PATIENCE_S)
            assert (info.first_sequence, info.last_sequence) == (4, 5)
        jetstream.purge("S", 6, timeout_s=PATIENCE_S)
        info = jetstream.stream_info("S", timeout_s=PATIENCE_S)
        assert (info.first_sequence, info.last_sequence, info.bytes) == (6, 5, 0)
        with pytest.raises(ApiError) as caught:
            jetstream.stream_info("T", timeout_s=PATIENCE_S)
        assert caught.value.error_code == api.STREAM_NOT_FOUND
        with pytest.raises(ApiError):
            jetstream.get("T", 1, timeout_s=PATIENCE_S)

    def test_conditions(self, jetstream: JetStream) -> None:
        def put(**conditions: str) -> Ack:
            headers = {f"Nats-{name.replace('_', '-')}": value for name, value in conditions.items()}
            return jetstream.publish("S", "s.log", b"x", headers, timeout_s=PATIENCE_S)

        assert put(Expected_Last_Sequence="0", Msg_Id="1:1") == Ack(1, is_duplicate=False)
        assert put(Msg_Id="1:1") == Ack(1, is_duplicate=True)
        with pytest.raises(ApiError) as caught:
            put(Expected_Last_Sequence="0", Msg_Id="1:1")  # a single server checks the sequence first, a cluster the id
        assert caught.value.error_code == api.WRONG_LAST_SEQUENCE
        with pytest.raises(ApiError) as caught:
            put(Expected_Last_Subject_Sequence="0")
        assert caught.value.error_code == api.WRONG_LAST_SEQUENCE
        assert put(Expected_Last_Subject_Sequence="1").sequence == 2

    def test_the_largest_message_passes_through(self, jetstream: JetStream) -> None:
        payload = bytes(range(256)) * (7 << 12)
        ack = jetstream.publish("S", "s.log", payload, {"A": "b"}, timeout_s=PATIENCE_S)
        (found,) = jetstream.get_batch("S", ack.sequence, messages=1, max_bytes=8 << 20, timeout_s=PATIENCE_S)
        assert found.payload == payload
        again = jetstream.get("S", ack.sequence, timeout_s=PATIENCE_S)
        assert again is not None
        assert again.payload == payload


# Real servers that demand credentials and TLS


@contextmanager
def secured(folder: Path, secured_by: str) -> Iterator[int]:
    """Run a server with these settings, and yield its port."""
    (port,) = free_ports(1)
    server = LocalServer("n1", folder, port, accounts=secured_by)
    start(server)
    try:
        yield port
    finally:
        server.kill()


@needs_nats
@pytest.mark.parametrize(
    ("settings", "credentials"),
    [
        ('authorization { user: "me", password: "a/word" }', "me:a%2Fword@"),
        ('authorization { token: "sesame" }', "sesame@"),
    ],
)
def test_real_credentials(tmp_path: Path, settings: str, credentials: str) -> None:
    with secured(tmp_path, settings) as port:
        with closing(Connection(f"nats://{credentials}127.0.0.1:{port}")) as connection:
            assert JetStream(connection).call("STREAM.NAMES", timeout_s=PATIENCE_S)["total"] == 0
        for wrong in ("", "me:wrong@", "wrong@"):
            with closing(Connection(f"nats://{wrong}127.0.0.1:{port}")) as connection:
                await_refusal(connection)


def await_refusal(connection: Connection) -> None:
    eventually(lambda: "Authorization Violation" in connection._problem)


@needs_nats
def test_real_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    settings = f'tls {{ cert_file: "{certificate.chain}", key_file: "{certificate.key}" }}'
    with (
        secured(tmp_path, settings) as port,
        closing(Connection(f"tls://localhost:{port}", tls=certificate.trusting)) as connection,
    ):
        log = LogStream(connection).start(max_record_bytes=4 << 20)
        record = bytes(range(256)) * (1 << 13)
        position = log.append(record)
        log.wait(position)
        log.close()


@pytest.mark.parametrize(
    ("config", "is_always"), [({"sync_always": True}, True), ({"sync_interval": 120}, False), ({}, False)]
)
def test_whether_a_server_syncs_before_it_acknowledges(answering: Answering, config: Any, is_always: bool) -> None:
    says = answering.says({"server": {"name": "n1", "ver": "2.15.1"}, "data": {"config": config}})
    # On a busy machine the answer may come after the time limit.
    assert eventually(lambda: says.server_settings(timeout_s=SOON_S)) == [("n1", "2.15.1", is_always)]


@pytest.mark.parametrize("answer", [{}, {"server": {"name": "n1", "ver": "2"}}, {"server": [], "data": {"config": {}}}])
def test_settings_that_are_none_are_an_error(answering: Answering, answer: Any) -> None:
    says = answering.says(answer)
    with pytest.raises(ProtocolError):
        eventually(lambda: says.server_settings(timeout_s=SOON_S))


def test_a_server_that_does_not_tell_its_settings(answering: Answering) -> None:
    assert answering.says(b"", status="503").server_settings(timeout_s=SOON_S) == []


@pytest.mark.parametrize(
    ("cluster", "current"),
    [
        (None, 0),
        ({"leader": "a"}, 1),
        ({"leader": "a", "replicas": [{"current": True}, {"current": False}]}, 2),
        ({"leader": "a", "replicas": [{"current": True, "offline": True}, {"current": True}]}, 2),
        ({"replicas": [{"current": True}]}, 1),
    ],
)
def test_how_many_replicas_are_current(answering: Answering, cluster: Any, current: int) -> None:
    state = {"messages": 0, "first_seq": 0, "last_seq": 0, "bytes": 0}
    answer = {"state": state, "config": {}, "cluster": cluster, "ts": "2026-11-30T01:36:03.8Z"}
    info = answering.says(answer).stream_info("S", timeout_s=PATIENCE_S)
    assert (info.replicas_current, info.now) == (current, "2026-11-30T01:36:03.8Z")


@needs_nats
def test_a_server_that_is_cut_off_is_replaced_by_one_with_a_quorum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients still reach it, and it answers their pings."""
    monkeypatch.setattr(nats_connection, "_UNANSWERED", 2)
    ports, (first, second, nobody, alone) = free_ports(3), free_ports(4)
    cut_off = LocalServer("n1", tmp_path / "n1", ports[0], alone, routes=[nobody, alone])
    others = [
        LocalServer(f"n{number}", tmp_path / f"n{number}", ports[number - 1], port, routes=[first, second])
        for number, port in ((2, first), (3, second))
    ]
    with ExitStack() as stack:
        for each in (cut_off, *others):
            start(each)
            stack.callback(each.kill)
        wait_until_ready(others)
        addresses = ",".join(each.url for each in (cut_off, *others))
        jetstream = JetStream(stack.enter_context(closing(Connection(addresses))))
        jetstream.connection.server_info(timeout_s=PATIENCE_S)

        def reaches_a_quorum() -> bool:
            with suppress(NatsError):
                jetstream.call("STREAM.NAMES", timeout_s=SOON_S)
                return True
            return False

        eventually(reaches_a_quorum)
