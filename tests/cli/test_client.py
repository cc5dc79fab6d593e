"""Errors of the client on broken connections and unexpected answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.client.errors import Refused, Unreachable
from wonderq.client.sync import Client

READY = b'{"status": "ready"}'


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@contextmanager
def server(connections: Sequence[Sequence[bytes]], on_close: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Serve a number of connections in turn, each with a number of answers, and close each after the last."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answers in connections:
                connection, _ = listening.accept()
                with connection:
                    for each in answers:
                        request = b""
                        while not request.endswith(b"\r\n\r\n"):
                            request += connection.recv(65536)
                        connection.sendall(each)
                on_close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the client made fewer requests than expected"


def test_a_connection_is_kept() -> None:
    with server([[answer(b"[]")] * 3]) as url, QueueClient(url) as client:
        for _ in range(3):
            assert client.queues() == []


def test_a_connection_that_was_closed_while_idle_is_made_anew() -> None:
    closed = threading.Event()
    with server([[answer(b"[]")], [answer(b"[]")]], closed.set) as url, QueueClient(url) as client:
        assert client.queues() == []
        assert closed.wait(PATIENCE_S)
        assert client.queues() == []


def test_a_connection_that_breaks_under_a_request_is_unreachable_and_the_next_call_works() -> None:
    with (
        server([[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n["], [answer(b"[]")]]) as url,
        QueueClient(url) as client,
    ):
        with pytest.raises(Unreachable, match="did not answer"):
            client.queues()
        assert client.queues() == []


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"<html>hello</html>"),
        answer(b'{"not": "a list"}'),
        answer(b"\xff"),
        answer(b"Bad Gateway", "502 Bad Gateway"),
        answer(b'{"detail": "Not Found"}', "404 Not Found"),
    ],
)
def test_what_does_not_answer_like_a_broker_is_said_to_be_none(reply: bytes) -> None:
    with server([[reply]]) as url, QueueClient(url) as client, pytest.raises(Unreachable, match="is not a WonderQ"):
        client.queues()


def test_a_refusal_carries_status_code_and_sentence() -> None:
    body = b'{"success": false, "statusCode": 507, "error": {"code": "disk_full", "message": "No room."}}'
    with server([[answer(body, "507 Insufficient Storage")]]) as url, QueueClient(url) as client:
        with pytest.raises(Refused, match=r"^No room\.$") as refused:
            client.queues()
        assert (refused.value.status, refused.value.code, refused.value.outcome_unknown) == (507, "disk_full", False)


def test_of_a_log_that_failed_the_outcome_is_unknown() -> None:
    assert Refused("", status=503, code="log_failed").outcome_unknown


def test_nobody_there_is_not_ready() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with QueueClient(f"http://127.0.0.1:{unused.getsockname()[1]}") as client:
            assert not client.ready()


def test_a_batch_is_of_one_kind() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ValueError, match="either"):
        client.queue().delete(["a"], ids=["b"])


def test_a_client_does_not_talk_to_itself() -> None:
    """A socket that connects to its own port succeeds, if nobody listens there; the client must see through that."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retries=0) as client:
        client._engine._http.pools[0].source_address = ("127.0.0.1", port)
        with pytest.raises(Unreachable, match="Connection refused") as raised:
            client.queues()
    assert not raised.value.outcome_unknown


def test_a_body_that_json_would_enlarge_is_sent_as_msgpack(broker: RunningBroker) -> None:
    """The limit of a request is for its body as sent, so a message could be within its limit, and its JSON beyond."""
    messages: list[dict[str, Any]] = [
        {"message": "\1" * (1 << 20), "attributes": {"bytes": {"type": "Binary", "value": "//8="}, "number": 7}}
        for _ in range(6)
    ]
    for message in messages:
        message["message"] = message["message"][:-100]
    with QueueClient(broker.url, queue="msgpack") as client:
        client.produce_batch(messages, delay=0)
        found = list(client.messages())
    assert [each["message"] for each in found] == [each["message"] for each in messages]
    assert found[0]["attributes"] == messages[0]["attributes"]
