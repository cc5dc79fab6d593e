"""Large bodies and responses are in memory, within bounds, and never in a file."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from waitress import buffers

from tests.support.http_client import ServedBroker, WireReply, check_error, read_reply, request, serving
from tests.support.waiting import eventually
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.httpd.connections import Timeouts
from wonderq.httpd.parser import MAX_BODY_BYTES
from wonderq.httpd.room import LARGE_RESPONSE_BYTES, RESPONSE_SHARE
from wonderq.model.limits import Limits
from wonderq.rest.body_limits import body_limit

MIB = 1 << 20
CONSUME = request("GET", "/messages/consume")


@pytest.fixture
def served(broker: Broker) -> Iterator[ServedBroker]:
    with serving(broker) as served:
        yield served


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be put into a temporary file, as on a machine whose disk is full or read-only."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(buffers.TempfileBasedBuffer, "newfile", refuse)


def check_refusal(reply: WireReply, status: int, code: str) -> None:
    assert (reply.status, check_error(reply.status, reply.headers["content-type"], reply.content)["code"]) == (
        status,
        code,
    )


def large(size: int = MIB, target: str = "/messages/produce") -> bytes:
    return request("POST", target, json={"message": "x" * (size - 100)})


def slow_reader(served: ServedBroker, sent: bytes) -> socket.socket:
    """Send a request, and read no more than the beginning of its response."""
    connection = served.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    connection.sendall(sent)
    connection.recv(1, socket.MSG_PEEK)
    return connection


@pytest.mark.usefixtures("no_files")
class TestWithoutFiles:
    def test_a_large_body_is_taken(self, served: ServedBroker) -> None:
        for framed in (large(), large().replace(b"Content-Length", b"X")):
            if b"Content-Length" not in framed:
                head, _, body = framed.partition(b"\r\n\r\n")
                framed = head + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            assert served.send(framed).status == 201

    def test_a_large_response_arrives_whole(self, served: ServedBroker) -> None:
        bodies = [str(number) * (MIB // 2) for number in range(8)]
        served.broker.produce("default", bodies)
        with slow_reader(served, CONSUME) as connection:
            assert [each["message"] for each in read_reply(connection).json] == bodies

    def test_a_large_listing_arrives_whole(self, served: ServedBroker) -> None:
        served.broker.produce("default", ["x" * MIB] * 8)
        with slow_reader(served, request("GET", "/dev/messages")) as connection:
            assert len(read_reply(connection).json) == 8


# Bodies


def test_a_body_that_finds_no_room_is_not_read_until_there_is_some(broker: Broker) -> None:
    with serving(broker, max_body_bytes=2 * MIB) as served, ExitStack() as stack:
        limit = 8 * MIB
        assert served.server.body_room._left_bytes == limit
        begun = large(2 * MIB)
        connections = [stack.enter_context(served.connect()) for _ in range(6)]
        for connection in connections:
            connection.sendall(begun[:-1])
        channels = served.server.active_channels.values()
        held = (limit // (2 * MIB - 67)) * (2 * MIB)
        eventually(
            lambda: sum(each.request is not None and each.request.awaits_room for each in channels) == 2, "two wait"
        )
        eventually(
            lambda: sum(each.request.body_bytes_received for each in channels if each.request) > held - MIB,
            "the others have come",
        )
        arrived = sum(each.request.body_bytes_received for each in channels if each.request.awaits_room)
        assert arrived < MIB // 4
        assert served("GET", "/healthz").status == 200
        assert served("POST", "/messages/produce", json={"message": "small"}).status == 201
        for connection in connections:
            connection.sendall(begun[-1:])
        assert {read_reply(connection).status for connection in connections} == {413}, "more than a message may have"
    assert served.server.body_room._left_bytes == limit


@pytest.mark.parametrize("part", [b"", b"x" * MIB])
def test_the_room_of_a_body_whose_client_leaves_is_free_again(broker: Broker, part: bytes) -> None:
    with serving(broker, max_body_bytes=2 * MIB) as served:
        before = served.server.body_room._left_bytes
        head = b"POST /messages/produce HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 * MIB)
        connections = [served.connect() for _ in range(8)]
        for connection in connections:
            connection.sendall(head + part)
        eventually(lambda: served.server.body_room.is_contended, "there is no more room")
        for connection in connections:
            connection.close()
        eventually(lambda: not served.server.active_channels, "the end of the connections")
        assert served.server.body_room._left_bytes == before
        assert not served.server.body_room.is_contended


def test_a_slow_body_gives_way_to_those_that_wait(broker: Broker) -> None:
    timeouts = Timeouts(body_s=0, body_bytes_per_s=1, contended_bytes_per_s=1 << 60)
    with serving(broker, max_body_bytes=2 * MIB, timeouts=timeouts) as served, ExitStack() as stack:
        head = b"POST /messages/produce HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 * MIB)
        slow = [stack.enter_context(served.connect()) for _ in range(4)]
        for connection in slow:
            connection.sendall(head + b" " * 100_000)
        channels = served.server.active_channels.values()
        eventually(lambda: sum(each.request is not None for each in channels) == 4, "they have begun")
        assert served.send(large()).status == 201
        check_refusal(read_reply(slow[0]), 408, "request_timeout")


LIMITS = Limits()
REST_OF_CALLS = 512 << 10


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/messages/produce", MAX_BODY_BYTES),
        ("/queues/a/messages/produce", MAX_BODY_BYTES),
        ("/messages/update", MAX_BODY_BYTES),
        ("/messages/hand-over", MAX_BODY_BYTES),
        ("/messages/delete", 1000 << 10),
        ("/queues/a/messages/consume", REST_OF_CALLS),
        ("/messages/0123", 6 * MIB + REST_OF_CALLS),
        ("/queues/a", REST_OF_CALLS),
        ("/schedules/a", REST_OF_CALLS),
        ("/nowhere/a", REST_OF_CALLS),
        ("/nowhere", 4 * MIB),  # may be the name of a queue, to which an SQS client posts
        ("/", 4 * MIB),
        ("/000000000000/a", 4 * MIB),
        ("/000000000000/a/", 4 * MIB),
        ("/queue/a", 4 * MIB),
        ("/queue/eu-central-1/000000000000/a", 4 * MIB),
    ],
)
def test_a_body_may_have_what_its_call_can_need(broker: Broker, path: str, size: int) -> None:
    app = create_app(broker)
    limit = body_limit(app._router, LIMITS, sqs_batch_bytes=MIB)
    most = limit("POST", path)
    assert 0.9 * size <= most <= 1.1 * size or path == "/messages/delete"
    with serving(broker, app, body_limit=limit) as served:
        for framing in (b"Content-Length: %d\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n"):
            head = b"POST %s HTTP/1.1\r\nHost: x\r\n" % path.encode()
            check_refusal(served.send(head + framing % (most + 1)), 413, "body_too_large")


def test_the_largest_requests_of_small_calls_are_taken(broker: Broker) -> None:
    """Each character is escaped, as no client does."""
    app = create_app(broker)
    with serving(broker, app, body_limit=body_limit(app._router, LIMITS, sqs_batch_bytes=MIB)) as served:
        tags = {f"{number:03}" + "\U0001f600" * 125: "\U0001f600" * 256 for number in range(8)}
        assert served("PUT", "/queues/a", json={"tags": tags}).status == 201
        schedule = {"cron": "* * * * *", "queue": "a", "message": "\x01" * 16_000}
        assert served("PUT", "/schedules/a", json=schedule).status == 201
        served.broker.produce("a", ["x"] * 1000)
        messages = served("GET", "/queues/a/messages/consume?max=1000").json
        escaped = b",".join(b'"%s"' % b"".join(b"\\u%04x" % ord(each) for each in one["receipt"]) for one in messages)
        body = b'{"receipts": [%s]}' % escaped
        head = b"POST /queues/a/messages/delete HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        reply = served.send(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        assert reply.status == 200
        assert reply.json["success"] is True


# Responses


@pytest.mark.parametrize(("left", "count"), [(-8 * MIB, 2), (0, 2), (MIB, 4), (3 * MIB, 8), (16 * MIB, 10)])
def test_a_consume_gets_as_many_messages_as_there_is_room_for(served: ServedBroker, left: int, count: int) -> None:
    served.broker.produce("default", ["x" * (MIB // 2 - 100)] * 16)
    served.server.response_room.left_bytes = left
    assert len(served("GET", "/messages/consume").json) == count
    eventually(lambda: served.server.response_room.left_bytes == left, "the room is free again")
    served.server.response_room.left_bytes = -MIB
    assert served("POST", "/messages/produce", json={"message": "x"}).status == 201


def test_the_room_of_a_response_is_taken_until_it_is_sent(broker: Broker) -> None:
    shares = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        share = environ[RESPONSE_SHARE]
        share.take(3 * MIB)
        shares.append(share.left_bytes)
        start_response("200 OK", [])
        return [b"x" * (32 * MIB)]

    with serving(broker, app, max_body_bytes=2 * MIB) as served:
        with slow_reader(served, CONSUME), slow_reader(served, CONSUME):
            assert shares == [6 * MIB, 3 * MIB]
        eventually(lambda: served.server.response_room.left_bytes == 8 * MIB, "their room is free")


def test_a_message_is_given_out_however_little_room_there_is(served: ServedBroker) -> None:
    served.broker.produce("default", ["x" * MIB] * 2)
    served.server.response_room.left_bytes = -MIB
    assert len(served("GET", "/messages/consume?max=2").json) == 1


def test_claimed_messages_arrive_even_if_they_grow_beyond_the_room(served: ServedBroker) -> None:
    served.broker.produce("default", ["\x01" * MIB])
    served.server.response_room.left_bytes = 0
    assert len(served("GET", "/messages/consume").json[0]["message"]) == MIB


def test_a_repeated_attempt_is_refused_before_it_renews_its_claims(served: ServedBroker) -> None:
    served.broker.produce("default", ["x" * MIB] * 3)
    target = "/messages/consume?attempt_id=a"
    room = served.server.response_room
    before = room.left_bytes
    first = served("GET", target).json
    eventually(lambda: room.left_bytes == before, "the room is free again")
    room.left_bytes = 0
    check_refusal(served("GET", target), 503, "too_many_unsent")
    room.left_bytes = 8 * MIB
    assert [each["receipt"] for each in served("GET", target).json] == [each["receipt"] for each in first]


def test_a_large_response_without_a_claim_is_refused(served: ServedBroker) -> None:
    [message_id] = served.broker.produce("default", ["\x01" * MIB])
    served.server.response_room.left_bytes = MIB
    reply = served("GET", f"/messages/{message_id}")
    check_refusal(reply, 503, "too_many_unsent")
    assert reply.headers["retry-after"] == "5"
    served.server.response_room.left_bytes = 8 * MIB
    assert served("GET", f"/messages/{message_id}").status == 200
    assert served.server.response_room.left_bytes == 8 * MIB


def test_an_unsent_response_is_in_memory_once(served: ServedBroker) -> None:
    served.broker.produce("default", ["x" * MIB] * 8)
    with slow_reader(served, CONSUME):
        [channel] = served.server.active_channels.values()
        assert channel.total_outbufs_len < 2 * LARGE_RESPONSE_BYTES
        assert served("GET", "/healthz").status == 200
    eventually(lambda: not served.server.active_channels, "the end of the connection")
    eventually(lambda: served.server.response_room.left_bytes == 4 * MAX_BODY_BYTES, "its room is free")
