"""Boundaries: of the pieces in which a segment is read, of records in a group, and of groups in a segment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.folders import Builder, records_in
from wonderq_storage import CorruptLogError, frame, segment
from wonderq_storage.checksum import crc32

PIECES = range(frame.GROUP_HEADER_BYTES + 1, 300)


def test_a_log_reads_the_same_in_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [b"one", b"", b"two" * 30, b"three" * 50]
    log = Builder(tmp_path, capacity=1024).open()
    for record in records:
        log.group(record)
    log.group()
    for size in PIECES:
        monkeypatch.setattr(segment, "_CHUNK_BYTES", size)
        assert records_in(tmp_path) == records, size


def test_proof_is_found_wherever_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else durable records would pass for a torn tail, once in some ten thousand damaged logs."""
    log = Builder(tmp_path).open().group(b"damaged" * 20)
    log.group()
    log.data[frame.SEGMENT_HEADER_BYTES + frame.GROUP_HEADER_BYTES + 20] ^= 1
    log.write()
    for size in PIECES:
        monkeypatch.setattr(segment, "_CHUNK_BYTES", size)
        with pytest.raises(CorruptLogError, match="group 2 records that it was durable") as caught:
            records_in(tmp_path)
        assert caught.value.offset == frame.SEGMENT_HEADER_BYTES, size


def test_a_record_does_not_reach_beyond_its_group(tmp_path: Path) -> None:
    """Not even if the bytes behind it verify: the group's header says where it ends."""
    log = Builder(tmp_path).open().group(b"one")
    assert log.header is not None
    seed, chain, at = log.header.crc, log.chain, len(log.data)
    whole, _ = frame.pack_group(seed, [b"x" * 50], offset=at, base=1, number=2, durable=1, chain=chain)
    record = whole[frame.GROUP_HEADER_BYTES :]
    # A header that verifies and says that its records end ten bytes before this one does.
    header = bytearray(whole[: frame.GROUP_HEADER_BYTES])
    header[12:16] = (len(record) - 10).to_bytes(4, "little")
    crc = crc32(header[4:], seed)
    header[:4] = crc.to_bytes(4, "little")
    prefix, _ = frame.frame_prefix(b"x" * 50, crc)
    log.data += header + prefix + b"x" * 50
    log.write()
    assert frame.unpack_group_header(bytes(log.data), at, seed) is not None
    assert records_in(tmp_path) == [b"one"]


def test_a_group_counts_only_in_its_place(tmp_path: Path) -> None:
    """Everything else in it is right: its checksum, its number, its chain."""
    log = Builder(tmp_path).open().group(b"one")
    assert log.header is not None
    at = len(log.data)
    for wrong in (at - 1, at + 1, at + frame.GROUP_HEADER_BYTES, frame.SEGMENT_HEADER_BYTES):
        group, _ = frame.pack_group(
            log.header.crc, [b"two"], offset=wrong, base=1, number=2, durable=1, chain=log.chain
        )
        log.data[at:] = group
        log.write()
        assert records_in(tmp_path) == [b"one"], wrong
