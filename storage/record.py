"""What the records say: the eight kinds of facts a log is made of, as msgpack arrays.

A record carries an outcome, not a request: which messages, until when. So replaying it needs no clock and no chance.
Every record is ``[kind, at_ms, ...]``; times are milliseconds since 1970 UTC. docs/FORMAT.md lists the fields for
readers in other languages; this module is where they are written and read.

A message is known by its queue's number and its sequence number in that queue. Several messages are named as *runs*,
``[first, count, first, count, ...]``, ascending.

Message contents stand in *entries*, each 4 bytes of CRC-32 and a msgpack value (a string: the body). The entries of
one record are one byte string at its very end, so where each of them lies follows from the record's position and the
lengths: the state keeps that place and no body, and a body read back can be verified by itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgpack
import msgspec

from storage.checksum import crc32

#: ``[at_ms, key, next_queue]``: 16 random bytes from which message ids are made, and the number that the next new queue
#: gets (numbers are never used twice); the first record of a log.
IDENTITY = 0
#: ``[at_ms, queue, name, settings, created_ms, next_sequence]``: the queue with that number exists and has these settings
#: (a map); its next message gets that sequence number.
QUEUE = 1
#: ``[at_ms, queue, first, due_ms, lengths, entries]``: new messages; ``due_ms`` is [] or when each becomes available.
PRODUCE = 2
#: ``[at_ms, queue, runs, timeout_ms, token]``: claimed until ``at_ms + timeout_ms``; the receipts carry ``token``.
CLAIM = 3
#: ``[at_ms, queue, runs]``
DELETE = 4
#: ``[at_ms, queue, changes, runs, produced_ms, lengths, claims, entries]``: each change is ``[sequence, status, due_ms,
#: timeout_ms]``: the status from then on, its deadline, the claim's timeout; a status other than CLAIMED voids the receipt.
#: The messages of the runs are restated: when each was produced, the length of its entry, and of those that do more than
#: wait, or were claimed before, ``[sequence, status, due_ms, timeout_ms, receives, token]``. That is all there is to know
#: of them, so no earlier record of them is needed any more.
UPDATE = 5
#: ``[at_ms, queue, end]``: every message below that sequence number is gone.
PURGE = 6
#: ``[at_ms, queue]``: the queue and its messages are gone.
DROP = 7

#: Message states, as they stand in records and in memory.
GONE = 0
WAITING = 1
CLAIMED = 2
DELAYED = 3

Runs = list[int]

_CRC = struct.Struct("<I")
_read_crc = _CRC.unpack_from


#: Writes the same bytes as `msgpack.packb`, in a third of the time.
_encode = msgspec.msgpack.Encoder().encode

#: Reads a string as `msgpack.unpackb` does, and nothing else, in half the time.
_decode_text = msgspec.msgpack.Decoder(str).decode


def encode(record: Sequence[Any]) -> bytes:
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


def encode_entry(body: str) -> bytes:
    """Encode one message's contents.

    Raises:
        UnicodeEncodeError: the body is not Unicode text (it holds a lone surrogate).
    """
    value = _encode(body)
    return _CRC.pack(crc32(value)) + value


def decode_entries(entries: Iterable[bytes]) -> list[str]:
    """Return the bodies that entries hold.

    Raises:
        ValueError: an entry does not verify.
    """
    bodies = []
    try:
        for entry in entries:
            value = entry[_CRC.size :]
            if crc32(value) != _read_crc(entry)[0]:
                raise ValueError("a message does not match its checksum")
            bodies.append(_decode_text(value))
    except (struct.error, msgspec.DecodeError) as error:
        raise ValueError(f"a message is not an entry: {error}") from error
    return bodies


def decode_entry(entry: bytes) -> str:
    """Return the body that one entry holds; raises what `decode_entries` does."""
    return decode_entries((entry,))[0]


def to_runs(sequences: Iterable[int]) -> Runs:
    """Write ascending sequence numbers as runs."""
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
