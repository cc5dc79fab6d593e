"""Encoding of the log's bytes: segment header, group header and record frame, as docs/FORMAT.md specifies them.

Integers are little-endian. A segment file is a 64-byte header, followed by groups back to back, followed by zeros.

    segment   | header 64 | group | group | ... | seal | zeros up to the capacity
    group     | header 40 | record | record | ...
    record    | crc 4 | length 4 | msgpack payload |

Checksums are CRC-32 as in zlib (ISO 3309). Each starts from another checksum instead of zero: a group header's from its
segment's, a record's from that of the frame before it. So bytes verify only in the place where they were written. A
frame that was moved, swapped, dropped or copied from elsewhere does not verify.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from wonderq_storage.checksum import crc32

MAGIC = b"WonderQ\0"
VERSION = 2
#: Oldest version that can be read. Only the newest version is written.
OLDEST_VERSION = 1

SEGMENT_HEADER_BYTES = 64
GROUP_HEADER_BYTES = 40
FRAME_BYTES = 8

#: Kinds of group headers: a group of records, or the seal that ends a segment.
GROUP = 0x50524751  # "QGRP"
SEAL = 0x4C455351  # "QSEL"

#: Bytes 5 to 8 of every group header. Recovery searches for them.
KIND_BYTES = {kind: struct.pack("<I", kind) for kind in (GROUP, SEAL)}

# magic, version, segment number, log id, capacity, creation time in ms, zeros up to the checksum
_SEGMENT = struct.Struct("<8sII16sQQ12x")
# checksum, kind, offset, length, base segment, group number, durable group number, chain
_GROUP = struct.Struct("<IIIIIQQI")
_FRAME = struct.Struct("<II")
_U32 = struct.Struct("<I")


class SegmentHeader(NamedTuple):
    """The first 64 bytes of a segment file. Their layout is the same in every format version."""

    version: int
    number: int
    log_id: bytes
    """16 random bytes, the same in all segments of a log."""
    capacity: int
    """Size of the file when it was created, in bytes. A sealed file is shorter."""
    created_ms: int
    crc: int
    """Checksum of the header, and the seed of every group header in the segment."""


class GroupHeader(NamedTuple):
    """Header of a group: the records that one sync made durable."""

    crc: int
    kind: int
    offset: int
    """Offset of this header in its segment, in bytes."""
    length: int
    """Size of the record frames that follow, in bytes."""
    base: int
    """Number of the oldest segment that still belongs to the log."""
    number: int
    """Consecutive number in the whole log, from 1. Seals and closing groups count."""
    durable: int
    """Number of the newest group that was known to be durable when this one was written."""
    chain: int
    """Checksum of the frame before: a record's, or a group header's if that group is empty; 0 in the first group."""


def pack_segment_header(number: int, log_id: bytes, capacity: int, created_ms: int) -> bytes:
    """Encode a segment header of the newest version."""
    body = _SEGMENT.pack(MAGIC, VERSION, number, log_id, capacity, created_ms)
    return body + _U32.pack(crc32(body))


def unpack_segment_header(data: bytes) -> SegmentHeader | None:
    """Return the header, or None if the bytes are not a complete segment header. The caller checks the version."""
    if len(data) < SEGMENT_HEADER_BYTES or not data.startswith(MAGIC):
        return None
    body = data[: SEGMENT_HEADER_BYTES - 4]
    crc = crc32(body)
    if _U32.unpack_from(data, SEGMENT_HEADER_BYTES - 4)[0] != crc:
        return None
    _, version, number, log_id, capacity, created_ms = _SEGMENT.unpack(body)
    return SegmentHeader(version, number, log_id, capacity, created_ms, crc)


def frame_prefix(payload: bytes, chain: int) -> tuple[bytes, int]:
    """Return the 8 bytes that precede a payload, and its checksum, which starts from ``chain``."""
    size = _U32.pack(len(payload))
    crc = crc32(payload, crc32(size, chain))
    return _U32.pack(crc) + size, crc


def pack_group(
    seed: int,
    records: list[bytes],
    *,
    kind: int = GROUP,
    offset: int,
    base: int,
    number: int,
    durable: int,
    chain: int,
) -> tuple[bytes, int]:
    """Encode a group.

    ``seed`` is the checksum of the segment's header. Returns the bytes, and the checksum of their last frame, which is
    the next group's ``chain``.
    """
    length = sum(map(len, records)) + FRAME_BYTES * len(records)
    body = _GROUP.pack(0, kind, offset, length, base, number, durable, chain)[4:]
    crc = crc32(body, seed)
    parts = [_U32.pack(crc), body]
    for record in records:
        prefix, crc = frame_prefix(record, crc)
        parts += (prefix, record)
    return b"".join(parts), crc


def unpack_group_header(data: bytes | memoryview, at: int, seed: int) -> GroupHeader | None:
    """Return the group header at ``data[at:]``, or None if those bytes are not a header of this segment."""
    if len(data) - at < GROUP_HEADER_BYTES:
        return None
    header = GroupHeader._make(_GROUP.unpack_from(data, at))
    if header.crc != crc32(data[at + 4 : at + GROUP_HEADER_BYTES], seed) or header.kind not in KIND_BYTES:
        return None
    return header


def split_records(
    data: memoryview, at: int, end: int, crc: int, offset: int
) -> tuple[list[tuple[int, memoryview]], int] | None:
    """Verify a group's payload, ``data[at:end]``, and split it into records.

    ``crc`` is the group header's checksum, ``offset`` the position of ``data`` in the file. Returns pairs of a record's
    offset in the file and its bytes, and the checksum of the last frame. Returns None if any byte does not verify: a
    group is valid as a whole or not at all.
    """
    records = []
    while at < end:
        if end - at < FRAME_BYTES:
            return None
        stored, length = _FRAME.unpack_from(data, at)
        start = at + FRAME_BYTES
        stop = start + length
        if stop > end:
            return None
        crc = crc32(data[at + 4 : stop], crc)
        if crc != stored:
            return None
        records.append((offset + start, data[start:stop]))
        at = stop
    return records, crc
