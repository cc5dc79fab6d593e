"""Encoding of the messages of a `wonderq_storage.jetstream_log.JetStreamLog`.

Integers are little-endian. ::

    group   | header 44 | length 4 | record | length 4 | record | ... | crc 4 |
    epoch   | header 44 | msgpack: name and token of the writer       | crc 4 |
    header  | magic 3 | version 1 | kind 1 | zeros 3 | log id 16 | epoch 8 | sequence 8 | chain 4 |

The crc is CRC-32 as in zlib, of all bytes before it. A group's ``sequence`` is the one it has in the stream, and its
``chain`` is the crc of the message before. So it verifies only in the place where it was written. An epoch record is
sent before its place is known, so its own two fields are 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgpack

from wonderq_storage.checksum import crc32

MAGIC = b"WQJ"
VERSION = 1

#: Kinds of messages.
GROUP, EPOCH = 1, 2

HEADER_BYTES = 44
LENGTH_BYTES = 4
CRC_BYTES = 4

_HEADER = struct.Struct("<3sBB3x16sQQI")
_U32 = struct.Struct("<I")


class FrameError(Exception):
    """A message does not verify. ``offset`` is where."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class NewerVersionError(Exception):
    """A newer program wrote the message."""


class Message(NamedTuple):
    """A message that verifies."""

    kind: int
    log_id: bytes
    """16 random bytes, the same in all messages of a log."""
    epoch: int
    sequence: int
    chain: int
    crc: int
    data: bytes
    """The whole message."""

    def records(self) -> Iterator[tuple[int, memoryview]]:
        """Yield the offset and the bytes of each record of a group.

        Raises:
            FrameError: a length does not fit. Its checksum was made of the same bytes, so its writer was wrong.
        """
        at, end = HEADER_BYTES, len(self.data) - CRC_BYTES
        view = memoryview(self.data)
        while at < end:
            start = at + LENGTH_BYTES
            stop = start + (_U32.unpack_from(view, at)[0] if start <= end else 0)
            if not start <= stop <= end:
                raise FrameError(at, "a record is longer than its group")
            yield start, view[start:stop]
            at = stop


class Writer(NamedTuple):
    """The writer that an epoch record names."""

    node: str
    token: str
    """Random text by which the writer recognizes its own record."""


def pack_group(log_id: bytes, epoch: int, sequence: int, chain: int, records: Sequence[bytes]) -> bytes:
    """Encode a group of records."""
    parts = [_HEADER.pack(MAGIC, VERSION, GROUP, log_id, epoch, sequence, chain)]
    for record in records:
        parts += (_U32.pack(len(record)), record)
    return _with_crc(b"".join(parts))


def pack_epoch(log_id: bytes, epoch: int, writer: Writer) -> bytes:
    """Encode the record by which a writer takes over the log."""
    return _with_crc(_HEADER.pack(MAGIC, VERSION, EPOCH, log_id, epoch, 0, 0) + msgpack.packb(writer))


def crc_of(data: bytes) -> int:
    """Return the crc at the end of an encoded message."""
    return int.from_bytes(data[-CRC_BYTES:], "little")


def _with_crc(data: bytes) -> bytes:
    return data + _U32.pack(crc32(data))


def unpack(data: bytes) -> Message:
    """Verify a message and return its parts.

    Raises:
        FrameError: it does not verify.
        NewerVersionError: a newer program wrote it.
    """
    if len(data) < HEADER_BYTES + CRC_BYTES or not data.startswith(MAGIC):
        raise FrameError(0, "this is no message of WonderQ")
    end = len(data) - CRC_BYTES
    with memoryview(data) as view:
        crc = crc32(view[:end])
    if _U32.unpack_from(data, end)[0] != crc:
        raise FrameError(0, "the checksum does not match")
    _, version, kind, log_id, epoch, sequence, chain = _HEADER.unpack_from(data)
    if version > VERSION:
        raise NewerVersionError(f"the message has format version {version}, and this WonderQ reads {VERSION}")
    if kind not in (GROUP, EPOCH):
        raise FrameError(4, f"{kind} is no kind of message")
    return Message(kind, log_id, epoch, sequence, chain, crc, data)


def writer_of(message: Message) -> Writer:
    """Return the writer that an epoch record names.

    Raises:
        FrameError: it names none.
    """
    try:
        node, token = msgpack.unpackb(message.data[HEADER_BYTES:-CRC_BYTES])
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise FrameError(HEADER_BYTES, "the epoch record names no writer") from error
    if not isinstance(node, str) or not isinstance(token, str):
        raise FrameError(HEADER_BYTES, "the epoch record names no writer")
    return Writer(node, token)
