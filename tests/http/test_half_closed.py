"""A client that sends its request and shuts down its sending side, as ``nc -N`` does, gets the response."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.support.http_client import ServedBroker, read_reply, request, serving
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker

PRODUCE = request("POST", "/messages/produce", json={"message": "x"})
CONSUME = request("GET", "/messages/consume")
WAIT = request("GET", "/messages/consume?wait=20")


@pytest.fixture
def served(broker: Broker) -> Iterator[ServedBroker]:
    with serving(broker) as served:
        yield served


def half_closed(served: ServedBroker, sent: bytes) -> socket.socket:
    connection = served.connect()
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
    return connection


@pytest.mark.parametrize("sent", [PRODUCE, request("GET", "/healthz"), request("GET", "/queues")])
def test_it_gets_the_response_and_then_the_end(served: ServedBroker, sent: bytes) -> None:
    with half_closed(served, sent) as connection:
        assert read_reply(connection).status in (200, 201)
        assert connection.recv(1) == b""
    eventually(lambda: not served.server.active_channels, "the end of the connection")


def test_it_gets_the_messages_that_wait(served: ServedBroker) -> None:
    served("POST", "/messages/produce", json={"message": "x"})
    with half_closed(served, CONSUME) as connection:
        assert [each["message"] for each in read_reply(connection).json] == ["x"]


def test_it_gets_the_responses_to_all_its_requests(served: ServedBroker) -> None:
    with half_closed(served, PRODUCE * 3) as connection, connection.makefile("rb") as replies:
        assert replies.read().count(b"HTTP/1.1 201 Created") == 3


def test_it_gets_a_large_response_whole(served: ServedBroker) -> None:
    served.broker.produce("default", ["x" * (1 << 20)] * 8)
    with half_closed(served, CONSUME) as connection:
        assert [len(each["message"]) for each in read_reply(connection).json] == [1 << 20] * 8


def test_it_gets_the_reason_why_its_request_is_refused(served: ServedBroker) -> None:
    with half_closed(served, b"GET / HTTP/9\r\n\r\n") as connection:
        assert read_reply(connection).status == 400


def test_part_of_a_request_gets_none(served: ServedBroker) -> None:
    for part in (b"GET /he", PRODUCE[:-3]):
        with half_closed(served, part) as connection:
            assert connection.recv(1) == b""


def test_its_long_poll_ends_and_claims_nothing(served: ServedBroker) -> None:
    """It may as well have closed the connection, and a message would be lost until its claim expires."""
    with served.connect() as connection:
        connection.sendall(WAIT)
        served.wait_for_waiting(1)
        connection.shutdown(socket.SHUT_WR)
        served.wait_for_waiting(0)
        served("POST", "/messages/produce", json={"message": "x"})
        assert read_reply(connection).json == []
    assert len(served("GET", "/messages/consume").json) == 1


def test_a_client_that_resets_its_connection_afterwards_is_noticed(served: ServedBroker) -> None:
    served.broker.produce("default", ["x" * (1 << 20)] * 8)
    connection = served.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    connection.sendall(CONSUME)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    eventually(lambda: not served.server.active_channels, "the end of the connection")


def test_it_gets_every_byte_though_it_reads_late(served: ServedBroker) -> None:
    """The responses are more than the buffers of two sockets hold, so some are sent in parts."""
    text, count = "x" * 50_000, 300
    [message_id] = served.broker.produce("default", [text])
    with served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        connection.sendall(request("GET", f"/messages/{message_id}") * count)
        connection.shutdown(socket.SHUT_WR)
        eventually(
            lambda: any(each.total_outbufs_len for each in [*served.server.active_channels.values()]), "a full socket"
        )
        with connection.makefile("rb") as replies:
            assert replies.read().count(f'"{text}"'.encode()) == count
