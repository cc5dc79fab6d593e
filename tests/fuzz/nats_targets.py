"""Readers of what a NATS server sends: the stream of operations, the headers of a message, and messages of the log."""

from __future__ import annotations

from tests.fuzz.target import Target
from wonderq.ownership.announcements import Announcement, decode
from wonderq_storage import jetstream_frame
from wonderq_storage.nats import ProtocolError
from wonderq_storage.nats.headers import encode_headers, parse_headers
from wonderq_storage.nats.protocol import MAX_LINE_BYTES, Delivery, Event, Parser

_MAX_MESSAGE_BYTES = 1 << 17

_ANNOUNCEMENTS = (
    Announcement("10.0.0.1:7979", "0123456789abcdef", "owner", 7, "ff" * 16, 12_345, 1_796_002_563_807),
    Announcement("é", "t", "standing_by", 0, "", 0, 0),
)


def _read(chunks: list[bytes]) -> tuple[list[Event], bool]:
    """Return the events of chunks up to the first that is refused, and whether one was."""
    parser = Parser(max_message_bytes=_MAX_MESSAGE_BYTES)
    events: list[Event] = []
    for chunk in chunks:
        try:
            events += parser.feed(chunk)
        except ProtocolError:
            return events, True
        assert parser.held_bytes <= MAX_LINE_BYTES + _MAX_MESSAGE_BYTES
    return events, False


def check_operations(data: bytes) -> str:
    """A stream means the same wherever it is cut, and a message is a part of the stream."""
    whole, was_refused = _read([data])
    single, single_refused = _read([data[at : at + 1] for at in range(len(data))][:2000])
    if len(data) <= 2000:
        assert single_refused == was_refused
        assert was_refused or single == whole
    for event in single:
        if isinstance(event, Delivery):
            assert event.headers + event.payload in data
    return "refused" if was_refused else "read" if single else "incomplete"


def check_headers(data: bytes) -> str:
    """Headers that are read can be sent, and are then read the same."""
    try:
        status, _, fields = parse_headers(data)
    except ProtocolError:
        return "refused"
    assert 0 <= status <= 999
    try:
        encoded = encode_headers(fields)
    except ValueError:
        return "read"  # a single CR or LF is a part of a value, and is never sent
    assert parse_headers(encoded) == (0, "", fields)
    return "read"


def check_message(data: bytes) -> str:
    """A message that verifies is the one that was written; its records are parts of it, in order."""
    try:
        message = jetstream_frame.unpack(data)
    except (jetstream_frame.FrameError, jetstream_frame.NewerVersionError):
        return "refused"
    assert message.data == data
    if message.kind == jetstream_frame.EPOCH:
        writer = jetstream_frame.writer_of(message)
        assert jetstream_frame.pack_epoch(message.log_id, message.epoch, writer) == data
        return "read"
    records = []
    for offset, record in message.records():
        assert data[offset : offset + len(record)] == record
        records.append(bytes(record))
    again = jetstream_frame.pack_group(message.log_id, message.epoch, message.sequence, message.chain, records)
    assert again == data
    return "read"


def check_announcement(data: bytes) -> str:
    """Check that an announcement of another process is read whole or not at all."""
    said = decode(data)
    if said is None:
        return "refused"
    assert decode(said.encode()) == said
    assert len(said.node) + len(said.token) + len(said.log_id) < 400
    return "read"


def _message_samples() -> list[bytes]:
    log_id = bytes(range(16))
    groups: tuple[list[bytes], ...] = ([], [b""], [b"a"], [b"record", b"", b"x" * 300])
    writers = (("n1", "token"), ("é", ""))
    return [
        *(jetstream_frame.pack_group(log_id, 7, 9, 0xABCD, records) for records in groups),
        *(jetstream_frame.pack_epoch(log_id, 8, jetstream_frame.Writer(*each)) for each in writers),
    ]


def _operation_samples() -> list[bytes]:
    headers = encode_headers({"Nats-Sequence": "7", "Nats-Subject": "s.log"})
    batch = b"HMSG _INBOX.a.1 1 %d %d\r\n%shello\r\n" % (len(headers), len(headers) + 5, headers)
    return [
        b'INFO {"server_id":"A","headers":true,"max_payload":1048576}\r\nPING\r\n',
        b"MSG _INBOX.a.1 1 5\r\nhello\r\nMSG _INBOX.a.1 1 reply 0\r\n\r\n",
        batch * 3 + b"HMSG _INBOX.a.1 1 20 20\r\nNATS/1.0 204 EOB\r\n\r\n\r\n",
        b"+OK\r\nPONG\r\n-ERR 'Stale Connection'\r\n",
        b"MSG a 1 300\r\n" + bytes(range(150)) * 2 + b"\r\n",
    ]


def targets() -> list[Target]:
    headers = [encode_headers(each) for each in ({}, {"A": "b"}, {"Nats-Sequence": "12", "B": "é: x", "C": ""})]
    statuses = [b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 404 Message Not Found\r\nA: b\r\n\r\n"]
    return [
        Target("nats", check_operations, _operation_samples(), cost=10),
        Target("nats headers", check_headers, [*headers, *statuses]),
        Target("jetstream message", check_message, _message_samples()),
        Target("announcement", check_announcement, [said.encode() for said in _ANNOUNCEMENTS]),
    ]
