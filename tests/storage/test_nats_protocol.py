"""The bytes of NATS: what a server sends is read the same wherever it is cut, and nothing can be smuggled into a line."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from wonderq_storage.nats import ProtocolError, protocol
from wonderq_storage.nats.headers import NO_HEADERS, Headers, encode_headers, parse_headers
from wonderq_storage.nats.protocol import Delivery, Event, Failure, Info, Parser, Ping, Pong

STREAM = (
    b'INFO {"server_id":"A","max_payload":1048576}\r\n'
    b"PING\r\nPONG\r\n+OK\r\n"
    b"MSG a.b 1 5\r\nhello\r\n"
    b"MSG a.b 1 reply.to 0\r\n\r\n"
    b"HMSG a 1 12 17\r\nNATS/1.0\r\n\r\nhel\r\n\r\n"
    b"hmsg a 1 reply 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    b"-ERR 'Authorization Violation'\r\n"
    b"ping\r\n"
)
EVENTS: list[Event] = [
    Info({"server_id": "A", "max_payload": 1048576}),
    Ping(),
    Pong(),
    Delivery("a.b", b"", b"hello"),
    Delivery("a.b", b"", b"", "reply.to"),
    Delivery("a", b"NATS/1.0\r\n\r\n", b"hel\r\n"),
    Delivery("a", b"NATS/1.0\r\n\r\n", b"", "reply"),
    Failure("Authorization Violation"),
    Ping(),
]

subjects = some.text(some.characters(categories=["L", "N"]), min_size=1, max_size=20)
names = some.text(some.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=9)
values = some.text(some.characters(exclude_categories=["Cs", "Cc", "Z"]), max_size=20)


def fed(parser: Parser, *chunks: bytes) -> list[Event]:
    return [event for chunk in chunks for event in parser.feed(chunk)]


def kinds(events: list[Event]) -> list[tuple[type, Event]]:
    return [(type(event), event) for event in events]


def test_a_stream_is_read_the_same_wherever_it_is_cut() -> None:
    for first in range(len(STREAM) + 1):
        parser = Parser()
        assert kinds(fed(parser, STREAM[:first], STREAM[first:])) == kinds(EVENTS)
        assert parser.held_bytes == 0


def test_a_stream_can_arrive_byte_by_byte() -> None:
    assert kinds(fed(Parser(), *(STREAM[at : at + 1] for at in range(len(STREAM))))) == kinds(EVENTS)


@given(
    some.lists(
        some.tuples(subjects, some.dictionaries(names, values, max_size=3), some.binary(max_size=300)), max_size=8
    ),
    some.lists(some.integers(0, 4000), max_size=12),
)
def test_any_messages_are_read_the_same_wherever_they_are_cut(
    messages: list[tuple[str, dict[str, str], bytes]], cuts: list[int]
) -> None:
    stream = b""
    expected: list[Event] = []
    for subject, fields, payload in messages:
        headers = encode_headers(fields)
        line = f"HMSG {subject} 1 {len(headers)} {len(headers) + len(payload)}\r\n"
        stream += line.encode() + headers + payload + b"\r\n"
        expected.append(Delivery(subject, headers, payload))
        assert parse_headers(headers) == Headers(0, "", fields)
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert fed(Parser(), *(stream[one:other] for one, other in pairwise(borders))) == expected


@given(some.lists(some.binary(max_size=60), max_size=6))
def test_any_bytes_are_read_or_refused(chunks: list[bytes]) -> None:
    parser = Parser(max_message_bytes=1000)
    try:
        for chunk in chunks:
            parser.feed(chunk)
            assert parser.held_bytes <= protocol.MAX_LINE_BYTES + 1000
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"NOISE\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"INFO\r\n",
        b"INFO []\r\n",
        b"INFO {\r\n",
        b"INFO " + b"[" * 20000 + b"\r\n",
        b"MSG\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 reply 5 more\r\n",
        b"MSG a one 5\r\n",
        b"MSG a 1 -5\r\n",
        b"MSG a 1 +5\r\n",
        b"MSG a 1 \xc2\xb2\r\n",
        b"MSG a 1 1001\r\n",
        b"MSG a 1 9999999999\r\n",
        b"MSG \xff 1 5\r\n",
        b"MSG a 1 5\r\nhello!\r\n",
        b"HMSG a 1 5\r\n",
        b"HMSG a 1 6 5\r\n",
        b"HMSG a 1 x 5\r\n",
        b"HMSG a 1 reply 5 5 5\r\n",
        b"x" * (protocol.MAX_LINE_BYTES + 1),
        b"PING " + b"x" * protocol.MAX_LINE_BYTES + b"\r\n",
    ],
    ids=lambda data: repr(data[:25]),
)
def test_bytes_that_no_server_sends_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Parser(max_message_bytes=1000).feed(data)


def test_the_largest_message_is_read() -> None:
    (event,) = Parser(max_message_bytes=1000).feed(b"MSG a 1 1000\r\n" + bytes(1000) + b"\r\n")
    assert event == Delivery("a", b"", bytes(1000))


@pytest.mark.parametrize(
    ("data", "parsed"),
    [
        (b"", NO_HEADERS),
        (b"NATS/1.0\r\n\r\n", NO_HEADERS),
        (b"NATS/1.0 503\r\n\r\n", Headers(503, "", {})),
        (b"NATS/1.0 404 Message Not Found\r\n\r\n", Headers(404, "Message Not Found", {})),
        (b"NATS/1.0\r\nA: 1\r\nB:2\r\nA:  3 \r\nC:\r\n\r\n", Headers(0, "", {"A": "3", "B": "2", "C": ""})),
        (b"NATS/1.0 204 EOB\r\nA: b: c\r\n\r\n", Headers(204, "EOB", {"A": "b: c"})),
    ],
)
def test_headers_are_read(data: bytes, parsed: Headers) -> None:
    assert parse_headers(data) == parsed


@pytest.mark.parametrize(
    "data",
    [
        b"NATS/1.0",
        b"NATS/1.0\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"NATS/1.0 50\r\n\r\n",
        b"NATS/1.0 -50\r\n\r\n",
        b"NATS/1.0\r\nA\r\n\r\n",
        b"NATS/1.0\r\n: b\r\n\r\n",
        b"NATS/1.0\r\nA b: c\r\n\r\n",
        b"NATS/1.0\r\n\xff: c\r\n\r\n",
    ],
)
def test_malformed_headers_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_headers(data)


def test_messages_are_encoded() -> None:
    assert protocol.publish("a.b", "r", b"", b"hello") == b"PUB a.b r 5\r\nhello\r\n"
    headers = encode_headers({"A": "1"})
    assert protocol.publish("a", "r", headers, b"x") == b"HPUB a r 18 19\r\nNATS/1.0\r\nA: 1\r\n\r\nx\r\n"
    assert protocol.subscribe("a.*", 7) == b"SUB a.* 7\r\n"
    line = protocol.connect({"user": 'a"\r\nb'})
    assert line.count(b"\r\n") == 1
    assert json.loads(line.partition(b" ")[2]) == {"user": 'a"\r\nb'}


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a\tb", "a\0b", "a\x7f", "a\u2028b"])
def test_a_subject_cannot_end_its_line(subject: str) -> None:
    with pytest.raises(ValueError, match="is no subject of NATS"):
        protocol.publish(subject, "r", b"", b"")
    with pytest.raises(ValueError, match="is no subject of NATS"):
        protocol.publish("a", subject, b"", b"")


@pytest.mark.parametrize(
    ("name", "value"), [("", "x"), ("a b", "x"), ("a:", "x"), ("é", "x"), ("a", "x\r\ny: z"), ("a", "\n")]
)
def test_a_header_cannot_end_its_line(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="is no header"):
        encode_headers({name: value})
