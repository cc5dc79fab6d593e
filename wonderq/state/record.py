"""What the records say: the eleven kinds of facts a log is made of, as msgpack arrays.

A record carries an outcome, not a request: which messages, until when. So replaying it needs no clock and no chance.
Every record is ``[kind, at_ms, ...]``; times are milliseconds since 1970 UTC. docs/FORMAT.md lists the fields for
readers in other languages; this module is where they are written and read.

A message is known by its queue's number and its sequence number in that queue. Several messages are named as *runs*,
``[first, count, first, count, ...]``, ascending.

Message contents stand in *entries*, each 4 bytes of CRC-32 and a msgpack value: a string, the body, or an array of the
body and a map of what else the message carries. The entries of one record are one byte string at its very end, so where each of them lies follows from the record's position and the
lengths: the state keeps that place and no body, and a body read back can be verified by itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgpack
import msgspec

from wonderq_storage.checksum import crc32

#: ``[at_ms, key, next_queue]``: 16 random bytes from which message ids are made, and the number that the next new queue
#: gets (numbers are never used twice); the first record of a log.
IDENTITY = 0
#: ``[at_ms, queue, name, settings, created_ms, next_sequence]``: the queue with that number exists and has these settings
#: (a map); its next message gets that sequence number.
QUEUE = 1
#: ``[at_ms, queue, first, due_ms, lengths, entries]``: new messages; ``due_ms`` is [] or when each becomes available.
PRODUCE = 2
#: ``[at_ms, queue, runs, timeout_ms, token]``: claimed until ``at_ms + timeout_ms``; the receipts carry ``token``. The runs
#: are in the order in which the messages were given out.
CLAIM = 3
#: ``[at_ms, queue, runs]``
DELETE = 4
#: ``[at_ms, queue, changes, runs, produced_ms, lengths, claims, entries]``: each change is ``[sequence, status, due_ms,
#: timeout_ms]``: the status from then on, its deadline, the claim's timeout; a status other than CLAIMED voids the receipt.
#: The messages of the runs are restated: when each was produced, the length of its entry, and of those that do more than
#: wait, or were claimed before, ``[sequence, status, due_ms, timeout_ms, receives, token, first_claimed_ms, version,
#: priority, group]``. That is all there is to know of them, so no earlier record of them is needed any more.
UPDATE = 5
#: ``[at_ms, queue, end]``: every message below that sequence number is gone.
PURGE = 6
#: ``[at_ms, queue]``: the queue and its messages are gone.
DROP = 7
#: ``[at_ms, queue, first, due_ms, lengths, lanes, entries]``: new messages, as with PRODUCE, of which each has a lane:
#: ``[priority, group]``.
SEND = 8
#: ``[at_ms, queue, memories]``: of each ``[key, value, until_ms]``, the queue remembers the value under the key until then.
DEDUP = 9
#: ``[at_ms, space, name, value]``: in that space (what kind of thing it is), the thing with that name is now like this (a
#: map), or is gone (nil).
METADATA = 10

Runs = list[int]

#: How a msgpack array of two begins.
_PAIR = 0x92

_CRC = struct.Struct("<I")
_read_crc = _CRC.unpack_from


#: Writes the same bytes as `msgpack.packb`, in a third of the time.
_encode = msgspec.msgpack.Encoder().encode

#: Reads a string as `msgpack.unpackb` does, and nothing else, in half the time.
_decode_text = msgspec.msgpack.Decoder(str).decode

#: Reads what a message carries besides its body as well.
_decode_contents = msgspec.msgpack.Decoder(tuple[str, dict[str, Any]]).decode


def encode(record: Sequence[Any] | Mapping[str, Any]) -> bytes:
    return _encode(record)


def decode(data: bytes | memoryview) -> list[Any]:
    """Read a record back.

    Raises:
        ValueError: it is not a msgpack array that begins with a kind and a time.
    """
    try:
        record = msgpack.unpackb(data)
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise ValueError(f"the record is not msgpack: {error}") from error
    if not isinstance(record, list) or len(record) < 2:
        raise ValueError("the record is not an array of a kind, a time and fields")
    return record


def encode_entry(body: str, headers: Mapping[str, Any] | None = None) -> bytes:
    """Encode one message's contents: its body, and what it carries besides, if anything.

    Raises:
        UnicodeEncodeError: the body is not Unicode text (it holds a lone surrogate).
    """
    value = _encode((body, headers) if headers else body)
    return _CRC.pack(crc32(value)) + value


def decode_entries(entries: Sequence[bytes]) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """Return the bodies that entries hold, and what those carry, by their index, that carry something.

    Raises:
        ValueError: an entry does not verify.
    """
    bodies: list[str] = []
    headers: dict[int, dict[str, Any]] = {}
    try:
        for entry in entries:
            value = entry[_CRC.size :]
            if crc32(value) != _read_crc(entry)[0]:
                raise ValueError("a message does not match its checksum")
            if value[0] == _PAIR:
                body, headers[len(bodies)] = _decode_contents(value)
                bodies.append(body)
            else:
                bodies.append(_decode_text(value))
    except (struct.error, LookupError, msgspec.DecodeError) as error:
        raise ValueError(f"a message is not an entry: {error}") from error
    return bodies, headers


def decode_entry(entry: bytes) -> tuple[str, dict[str, Any]]:
    """Return the body that one entry holds, and what it carries; raises what `decode_entries` does."""
    bodies, headers = decode_entries((entry,))
    return bodies[0], headers.get(0, {})


def contents(fields: Sequence[Any]) -> tuple[int, Runs, Sequence[int], bytes] | None:
    """Return the messages whose contents a record has: queue, runs, the length of each one's entry, and the entries.

    None if it has none. Raises what comes of a record that does not have the fields of its kind: `ValueError`.
    """
    match fields:
        case [kind, _, queue, first, _, lengths, entries] if kind == PRODUCE:
            return queue, [first, len(lengths)], lengths, entries
        case [kind, _, queue, first, _, lengths, _, entries] if kind == SEND:
            return queue, [first, len(lengths)], lengths, entries
        case [kind, _, queue, _, runs, _, lengths, _, entries] if kind == UPDATE:
            return (queue, runs, lengths, entries) if runs else None
        case [kind, *_] if kind in (PRODUCE, SEND, UPDATE):
            raise ValueError(f"a record of kind {kind} has {len(fields)} fields")
    return None


def to_runs(sequences: Iterable[int]) -> Runs:
    """Write sequence numbers as runs, in the order given."""
    runs: Runs = []
    end = -1
    for sequence in sequences:
        if sequence == end:
            runs[-1] += 1
        else:
            runs += (sequence, 1)
        end = sequence + 1
    return runs


def from_runs(runs: Runs) -> Iterator[int]:
    """Yield the sequence numbers that runs name."""
    for first, count in zip(runs[::2], runs[1::2], strict=True):
        yield from range(first, first + count)
