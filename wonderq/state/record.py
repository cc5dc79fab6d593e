"""The records of the log: sixteen kinds of facts, each a msgpack array ``[kind, at_ms, ...]``.

A record carries an outcome, not a request: the messages that were chosen, and the deadline. So replay needs no clock
and no randomness. Times are milliseconds since 1970 UTC. Each kind is a named tuple here, and its fields are the
elements of the array, in order. docs/FORMAT.md lists them for readers in other languages; this module is the only
place that writes and reads them.

A message is identified by its queue's number and its sequence number in that queue. Several messages are named as
*runs*: ``[first, count, first, count, ...]``.

Message contents are stored in *entries*. An entry is 4 bytes of CRC-32 and a msgpack value: the body, or an array of
the body and a map of headers. The entries of a record are one byte string at its end, so the position and length of
each follow from the position of the record. The state keeps these two numbers and no body. An entry verifies by
itself.

A message that was published is in several queues, and its entry is in the log once. A
queue that wants an envelope has the bytes before the entry as well: the *head*, which says of which topic the message
is. So both kinds of queues share the bytes of the body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from operator import add
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack
import msgspec

from wonderq.model.topics import PUBLISHED_HEADER
from wonderq_storage.checksum import crc32

IDENTITY: Final = 0
QUEUE: Final = 1
PRODUCE: Final = 2
CLAIM: Final = 3
DELETE: Final = 4
UPDATE: Final = 5
PURGE: Final = 6
DROP: Final = 7
SEND: Final = 8
DEDUP: Final = 9
METADATA: Final = 10
NAMED_CLAIM: Final = 11
TOPIC: Final = 12
SUBSCRIPTION: Final = 13
PUBLISH: Final = 14
RESTATE: Final = 15

KIND_NAMES = (
    *("identity", "queue", "produce", "claim", "delete", "update", "purge", "drop"),
    *("send", "dedup", "metadata", "named claim", "topic", "subscription", "publish", "restate"),
)
"""Name of each kind, by its number."""

Runs = list[int]
"""Messages of one queue, by sequence number: ``[first, count, first, count, ...]``."""

Lane: TypeAlias = tuple[int, str]
"""Priority and group of a message."""


class Pieces:
    """Entries of a new record that are joined only when it is encoded, because copying many megabytes takes long."""

    __slots__ = ("_entries", "_size")

    def __init__(self, entries: Sequence[bytes], size: int) -> None:
        self._entries = entries
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._entries)

    def encode_after(self, fields: Sequence[Any]) -> bytes:
        """Return the record that has these fields, and the entries as the last one."""
        without = _encode((*fields, b""))
        return b"".join((without[: -len(_NO_BYTES)], _BYTES_HEAD.pack(_BYTES_32, self._size), *self._entries))


def joined(entries: Sequence[bytes], size: int) -> bytes | Pieces:
    """Return entries of ``size`` bytes together as the last field of a new record."""
    return Pieces(entries, size) if size > _LONG_BYTES else b"".join(entries)


class Identity(NamedTuple):
    """Identity of the log. It is the first record of a log, and compaction rewrites it."""

    kind: int
    at_ms: int
    key: bytes
    """16 random bytes from which message ids are derived."""
    next_queue: int
    """Number of the next new queue. Numbers are never reused."""


class DefineQueue(NamedTuple):
    """A queue exists and has these settings."""

    kind: int
    at_ms: int
    queue: int
    name: str
    settings: Mapping[str, Any]
    """The settings that differ from the defaults."""
    created_ms: int
    next_sequence: int
    """Lowest sequence number that the next message can get."""


class Produce(NamedTuple):
    """New messages without priority or group."""

    kind: int
    at_ms: int
    queue: int
    first: int
    """Sequence number of the first message."""
    due_ms: Sequence[int]
    """Time at which each message becomes available; empty if none is delayed."""
    lengths: Sequence[int]
    """Bytes of each message's entry."""
    entries: bytes | Pieces


class Claim(NamedTuple):
    """Messages claimed until ``at_ms + timeout_ms``."""

    kind: int
    at_ms: int
    queue: int
    runs: Sequence[int]
    """The messages in the order in which they were delivered."""
    timeout_ms: int
    token: int
    """32 random bits that the receipts of this claim carry."""


class Delete(NamedTuple):
    """Messages deleted by a client, or transferred to another queue."""

    kind: int
    at_ms: int
    queue: int
    runs: Sequence[int]


class Update(NamedTuple):
    """Messages changed in place (``changes``), and messages rewritten as a whole (the other fields).

    A rewritten message needs no earlier record. Clients cause it by replacing contents, and compaction by moving a
    message.
    """

    kind: int
    at_ms: int
    queue: int
    changes: Sequence[Sequence[int]]
    """`Change` or `Reset` of each changed message."""
    runs: Sequence[int]
    """The rewritten messages, ascending."""
    produced_ms: Sequence[int]
    """Time at which each rewritten message was produced."""
    lengths: Sequence[int]
    """Bytes of the entry of each rewritten message."""
    claims: Sequence[Sequence[Any]]
    """`MessageState` of each rewritten message that is not pristine."""
    entries: bytes | Pieces


class Purge(NamedTuple):
    """All messages below a sequence number deleted, by a purge or by retention."""

    kind: int
    at_ms: int
    queue: int
    end: int
    """Lowest sequence number that is kept."""


class Drop(NamedTuple):
    """A queue deleted with its messages, or a topic with its subscriptions."""

    kind: int
    at_ms: int
    queue: int
    """Number of the queue or the topic."""


class Send(NamedTuple):
    """New messages of which at least one has a priority or a group."""

    kind: int
    at_ms: int
    queue: int
    first: int
    """Sequence number of the first message."""
    due_ms: Sequence[int]
    """Time at which each message becomes available; empty if none is delayed."""
    lengths: Sequence[int]
    """Bytes of each message's entry."""
    lanes: Sequence[Lane]
    """Priority and group of each message."""
    entries: bytes | Pieces


class Dedup(NamedTuple):
    """Entries of a queue's dedup table: idempotency keys that were used, and attempts to claim."""

    kind: int
    at_ms: int
    queue: int
    rows: Sequence[tuple[str, Any, int]]
    """Key, value and end (in ms since 1970) of each entry."""


class Metadata(NamedTuple):
    """State that is kept beside the queues: redrives and schedules."""

    kind: int
    at_ms: int
    namespace: str
    """``move`` for redrives, ``schedule`` for schedules."""
    name: str
    value: Mapping[str, Any] | None
    """The newest value counts; None deletes it."""


class NamedClaim(NamedTuple):
    """Messages claimed by a consumer that gave its name."""

    kind: int
    at_ms: int
    queue: int
    runs: Sequence[int]
    timeout_ms: int
    token: int
    consumer: str


class DefineTopic(NamedTuple):
    """A topic exists and has these settings."""

    kind: int
    at_ms: int
    topic: int
    """Number of the topic. Topics and queues have no number in common."""
    name: str
    settings: Mapping[str, Any]
    """The settings that differ from the defaults."""
    created_ms: int
    next_sequence: int
    """Lowest sequence number that the next published message can get."""


class Subscribe(NamedTuple):
    """A topic has this subscription."""

    kind: int
    at_ms: int
    topic: int
    name: str
    value: Mapping[str, Any] | None
    """The newest value counts; None deletes the subscription."""


class Target(NamedTuple):
    """Queue that a PUBLISH record adds messages to."""

    queue: int
    first: int
    """Sequence number of the first message."""
    flags: int
    """Sum of `WITH_HEAD`, if the queue has the heads of the messages too, and `FIFO`."""
    due_ms: int
    """Time at which the messages become available that have none of their own; 0 if they do at once."""
    runs: Sequence[int]
    """Indexes of the messages in the record, as runs; empty for all of them."""


#: Flags of a `Target` and a `Part`. In a FIFO queue, a message has no priority, and always a group.
WITH_HEAD: Final = 1
FIFO: Final = 2


class Publish(NamedTuple):
    """Messages published to a topic: each is in several queues, and its entry is here once."""

    kind: int
    at_ms: int
    topic: int
    next_sequence: int
    """Sequence number of the next message that is published to the topic."""
    rows: Sequence[tuple[str, Any, int]]
    """Rows of the topic's dedup table, as in `Dedup`. Compaction rewrites them in a record without messages."""
    targets: Sequence[Target]
    due_ms: Sequence[int]
    """Time at which each message becomes available, 0 for that of the `Target`; empty if none has its own."""
    lanes: Sequence[Lane]
    """Priority and group of each message; empty if none has either."""
    heads: Sequence[int]
    """Bytes of the head of each message; empty if no queue has them."""
    lengths: Sequence[int]
    """Bytes of the entry of each message."""
    entries: bytes | Pieces
    """For each message its head, if there is one, and its entry."""


class Part(NamedTuple):
    """Messages of one queue in a RESTATE record; compare `Update`."""

    queue: int
    flags: int
    """`WITH_HEAD`, if the queue has the heads of the messages too."""
    indexes: Sequence[int]
    """Indexes of the messages in the record, as runs."""
    runs: Sequence[int]
    """The messages in the queue, ascending."""
    produced_ms: Sequence[int]
    claims: Sequence[Sequence[Any]]


class Restate(NamedTuple):
    """Published messages that compaction rewrites in all queues that still have them."""

    kind: int
    at_ms: int
    topic: int
    parts: Sequence[Part]
    heads: Sequence[int]
    lengths: Sequence[int]
    entries: bytes | Pieces


Record = (
    Identity
    | DefineQueue
    | Produce
    | Claim
    | Delete
    | Update
    | Purge
    | Drop
    | Send
    | Dedup
    | Metadata
    | NamedClaim
    | DefineTopic
    | Subscribe
    | Publish
    | Restate
)

TYPES: tuple[type[Record], ...] = (
    *(Identity, DefineQueue, Produce, Claim, Delete, Update, Purge, Drop),
    *(Send, Dedup, Metadata, NamedClaim, DefineTopic, Subscribe, Publish, Restate),
)
"""Type of each kind, by its number."""


class Change(NamedTuple):
    """Change of one message in an UPDATE record. Any status but CLAIMED voids the receipt."""

    sequence: int
    status: int
    due_ms: int
    """Deadline of the claim or delay; 0 without one."""
    timeout_ms: int
    """Visibility timeout of the claim."""


class Reset(NamedTuple):
    """`Change` that also sets the receive count."""

    sequence: int
    status: int
    due_ms: int
    timeout_ms: int
    receives: int


class MessageState(NamedTuple):
    """State of a rewritten message. Logs of format version 1 have the first six fields only."""

    sequence: int
    status: int
    due_ms: int
    timeout_ms: int
    receives: int
    token: int
    first_claimed_ms: int = 0
    version: int = 1
    priority: int = 0
    group: str = ""
    consumer: str = ""
    """Name of the consumer that holds the message."""

    @property
    def stored(self) -> Sequence[Any]:
        """The fields as an UPDATE record has them: without the name if there is none."""
        return self if self.consumer else self[:-1]


#: First byte of a msgpack array of two elements.
_PAIR = 0x92

#: First bytes of msgpack bytes with a length of one and of two bytes: a head. No entry has them there.
_BYTES_8, _BYTES_16 = 0xC4, 0xC5

_HEAD_BYTES = (bytes([_BYTES_8]), bytes([_BYTES_16]))


#: Bytes of entries above which a new record does not join them before it is encoded.
_LONG_BYTES = 1 << 18

#: Empty bytes in msgpack; the first byte of up to 2**32 bytes, and what precedes these.
_NO_BYTES = b"\xc4\x00"
_BYTES_32 = 0xC6
_BYTES_HEAD = struct.Struct(">BI")

_CRC = struct.Struct("<I")
#: First byte of a msgpack array whose length follows in four bytes.
_ARRAY = b"\xdd"

_CRC_BYTES = _CRC.size
_WRONG_CHECKSUM = "a message does not match its checksum"


#: Returns the same bytes as `msgpack.packb`, in a third of the time.
_encode = msgspec.msgpack.Encoder().encode

#: Accepts a string only, in half the time of `msgpack.unpackb`.
_decode_text = msgspec.msgpack.Decoder(str).decode

#: Accepts an array of strings, in a third of the time of one call for each.
_decode_texts = msgspec.msgpack.Decoder(list[str]).decode

#: Accepts an array of strings and of pairs of a string and a value that it does not decode.
_decode_all = msgspec.msgpack.Decoder(list[str | tuple[str, msgspec.Raw]]).decode

_decode_headers = msgspec.msgpack.Decoder(dict[str, Any]).decode

_decode_head = msgspec.msgpack.Decoder(list[Any]).decode

#: Accepts a body and a map of headers.
_decode_contents = msgspec.msgpack.Decoder(tuple[str, dict[str, Any]]).decode


def encode(value: Sequence[Any] | Mapping[str, Any]) -> bytes:
    """Return a record, or a part of one, as msgpack."""
    if isinstance(value, tuple) and isinstance(value[-1], Pieces):
        return value[-1].encode_after(value[:-1])
    return _encode(value)


def decode(data: bytes | memoryview) -> list[Any]:
    """Return the fields of a record, unchecked, as `State.apply` takes them; see `decode_typed`.

    Raises:
        ValueError: the bytes are not a msgpack array that begins with a kind and a time.
    """
    try:
        record = msgpack.unpackb(data)
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise ValueError(f"the record is not msgpack: {error}") from error
    if not isinstance(record, list) or len(record) < 2:
        raise ValueError("the record is not an array of a kind, a time and fields")
    return record


def decode_typed(data: bytes | memoryview) -> Record:
    """Return a record with named fields.

    Raises:
        ValueError: the bytes are not a record of a known kind with the fields of its kind.
    """
    fields = decode(data)
    kind = fields[0]
    if kind not in range(len(TYPES)):
        raise ValueError(f"{kind!r} is not a kind of record")
    try:
        named: Record = TYPES[kind]._make(fields)
    except TypeError as error:
        raise ValueError(f"a {KIND_NAMES[kind]} record does not have {len(fields)} fields") from error
    return named


def encode_entry(body: str, headers: Mapping[str, Any] | None = None) -> bytes:
    """Return the entry of one message: its body and, if it has any, its headers.

    Raises:
        UnicodeEncodeError: the body is not Unicode text (it holds a lone surrogate).
    """
    value = _encode((body, headers) if headers else body)
    return _CRC.pack(crc32(value)) + value


def encode_bodies(bodies: Sequence[str]) -> list[bytes]:
    """Do what `encode_entry` does, for messages without headers, in half the time per message.

    Raises:
        UnicodeEncodeError: a body is not Unicode text.
    """
    if len(bodies) == 1:
        return [encode_entry(bodies[0])]
    values = list(map(_encode, bodies))
    return list(map(add, map(_CRC.pack, map(crc32, values)), values))


def decode_entries(data: bytes, lengths: Sequence[int]) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """Return the bodies of entries that lie back to back, and by index the headers of those that have any.

    Entries with the same headers share one map, which must not be changed.

    Raises:
        ValueError: an entry does not verify.
    """
    if len(lengths) == 1:
        body, header = decode_entry(data)
        return [body], {0: header} if header else {}
    spans = list(pairwise(accumulate(lengths, initial=0)))
    values = [data[start + _CRC_BYTES : end] for start, end in spans]
    checksums = b"".join([data[start : start + _CRC_BYTES] for start, _ in spans])
    if struct.pack(f"<{len(values)}I", *map(crc32, values)) != checksums:
        return _decode_one_by_one(data, spans)  # some have heads, or one does not verify
    array = b"".join((_ARRAY, len(values).to_bytes(4, "big"), *values))
    with suppress(msgspec.DecodeError):  # one has headers
        return _decode_texts(array), {}
    try:
        decoded = _decode_all(array)
        headers = {index: bytes(each[1]) for index, each in enumerate(decoded) if not isinstance(each, str)}
        distinct = {each: _decode_headers(each) for each in set(headers.values())}
    except msgspec.DecodeError as error:
        raise ValueError(f"a message is not an entry: {error}") from error
    bodies = [each if isinstance(each, str) else each[0] for each in decoded]
    return bodies, {index: distinct[each] for index, each in headers.items()}


def _decode_one_by_one(data: bytes, spans: Sequence[tuple[int, int]]) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """Do what `decode_entries` does, for any entries."""
    decoded = [decode_entry(data[start:end]) for start, end in spans]
    return [body for body, _ in decoded], {at: headers for at, (_, headers) in enumerate(decoded) if headers}


def decode_entry(entry: bytes) -> tuple[str, dict[str, Any]]:
    """Return the body and the headers of one entry.

    Raises:
        ValueError: the entry does not verify.
    """
    if entry[_CRC_BYTES : _CRC_BYTES + 1] in _HEAD_BYTES:
        return _decode_with_head(entry)
    value = entry[_CRC_BYTES:]
    if crc32(value) != int.from_bytes(entry[:_CRC_BYTES], "little"):
        raise ValueError(_WRONG_CHECKSUM)
    try:
        return _decode_contents(value) if value[0] == _PAIR else (_decode_text(value), {})
    except (LookupError, msgspec.DecodeError) as error:
        raise ValueError(f"a message is not an entry: {error}") from error


def encode_head(fields: Sequence[Any]) -> bytes:
    """Return the head of an entry, which says where the message was published; the entry follows it."""
    value = _encode(_encode(fields))
    return _CRC.pack(crc32(value)) + value


def _decode_with_head(entry: bytes) -> tuple[str, dict[str, Any]]:
    """Do what `decode_entry` does, for an entry with a head before it. The head's fields are one more header."""
    size_bytes = 1 if entry[_CRC_BYTES] == _BYTES_8 else 2
    begin = _CRC_BYTES + 1 + size_bytes
    end = begin + int.from_bytes(entry[begin - size_bytes : begin], "big")
    if crc32(entry[_CRC_BYTES:end]) != int.from_bytes(entry[:_CRC_BYTES], "little"):
        raise ValueError(_WRONG_CHECKSUM)
    try:
        fields = _decode_head(entry[begin:end])
    except msgspec.DecodeError as error:
        raise ValueError(f"the head of a message is malformed: {error}") from error
    body, headers = decode_entry(entry[end:])
    return body, {**headers, PUBLISHED_HEADER: fields}


def to_runs(sequences: Iterable[int]) -> Runs:
    """Return sequence numbers as runs, in the order given."""
    if isinstance(sequences, range):
        return [sequences.start, len(sequences)] if sequences else []
    runs: Runs = []
    end = -1
    for sequence in sequences:
        if sequence == end:
            runs[-1] += 1
        else:
            runs += (sequence, 1)
        end = sequence + 1
    return runs


def from_runs(runs: Sequence[int]) -> Iterator[int]:
    """Yield the sequence numbers of runs."""
    for first, count in zip(runs[::2], runs[1::2], strict=True):
        yield from range(first, first + count)
