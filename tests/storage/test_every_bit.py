"""No damage to what was durable goes unnoticed: not one bit of it, and no file of it."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from zlib import crc32

import pytest

from tests.support.disks import FaultyDisk, UnsyncedDisk
from tests.support.folders import (
    Builder,
    end_of_groups,
    groups_in,
    open_log,
    records_in,
    segment_files,
    snapshot,
    write_log,
)
from wonderq_storage import CorruptLogError, FileLog, StorageError, UnsupportedFormatError, file_log
from wonderq_storage.frame import GROUP_HEADER_BYTES, SEGMENT_HEADER_BYTES

RECORDS = [f"record {number}".encode() * (number % 3) for number in range(14)]
SEGMENT_BYTES = 320


@pytest.fixture
def tiny_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments so small that each bit of several can be tried."""
    monkeypatch.setattr(file_log, "MIN_SEGMENT_BYTES", SEGMENT_BYTES)
    # And no closing group where a noisy machine pauses, so that they hold the same each time.
    monkeypatch.setattr(file_log, "_PAUSE_S", 3600)


@pytest.fixture
def folder(tmp_path: Path, tiny_segments: None) -> Path:
    """Several sealed segments, and an open one that ends in a closing group."""
    folder = tmp_path / "log"
    write_log(folder, RECORDS, segment_bytes=SEGMENT_BYTES)
    files = segment_files(folder)
    assert len(files) >= 4
    assert len(files[-1].read_bytes()) == SEGMENT_BYTES, "the last one is open"
    assert len(groups_in(files[-1])) >= 2
    assert groups_in(files[-1])[-1][1] == [], "and ends in a closing group"
    return folder


def refusal(folder: Path) -> StorageError:
    """The error by which the folder is refused. Asserts that it is, and that it stays as it was."""
    before = snapshot(folder)
    with pytest.raises((CorruptLogError, UnsupportedFormatError)) as caught:
        records_in(folder)
    assert snapshot(folder) == before
    return caught.value


def test_every_bit(folder: Path) -> None:
    """Flip each in turn: the start is refused, or, where a torn tail may be, exactly the same records are there."""
    disk = UnsyncedDisk()
    files = segment_files(folder)
    last = files[-1]
    closing = end_of_groups(last.read_bytes()) - GROUP_HEADER_BYTES
    before = snapshot(folder)
    tried = tolerated = 0
    for path in files:
        fd = os.open(path, os.O_RDWR)
        for at, byte in enumerate(path.read_bytes()):
            for bit in range(8):
                os.pwrite(fd, bytes([byte ^ 1 << bit]), at)
                where = f"{path.name}, byte {at}, bit {bit}"
                may_be_torn = path == last and at >= closing
                try:
                    held = records_in(folder, disk)
                except CorruptLogError as error:
                    refused = not may_be_torn and error.file == str(path) and error.offset <= at
                    assert refused, f"{where}: {error}"  # noqa: PT017 - most flips come this way, and some do not
                else:
                    assert may_be_torn, f"{where}: not noticed"
                    assert held == RECORDS, where
                    tolerated += 1
                os.pwrite(fd, bytes([byte]), at)
                tried += 1
        os.close(fd)
    assert tried > 8000
    assert tolerated == 8 * (SEGMENT_BYTES - closing)
    assert {name: data for name, (data, _) in snapshot(folder).items()} == {
        name: data for name, (data, _) in before.items()
    }


def test_every_bit_of_a_segment_that_is_reserved(folder: Path) -> None:
    """A blank segment behind the open one, as a kill leaves it: its header verifies, and behind it there is nothing."""
    blank = Builder(folder, log_id=segment_files(folder)[0].read_bytes()[16:32])
    blank.segment = len(segment_files(folder))
    blank.open()
    assert records_in(folder) == RECORDS
    data = blank.path.read_bytes()
    for at in range(SEGMENT_HEADER_BYTES):
        for bit in range(8):
            blank.path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            assert blank.path.name in str(refusal(folder))
    # Bytes in it say that it was used, so the seal of the one before it is missing.
    for at in range(SEGMENT_HEADER_BYTES, len(data)):
        blank.path.write_bytes(data[:at] + b"\x10" + data[at + 1 :])
        error = refusal(folder)
        assert isinstance(error, CorruptLogError)
        assert error.reason.startswith("the seal of this segment is missing")


def test_seeded_damage_of_every_shape(folder: Path) -> None:
    """Stretches overwritten, zeroed, copied from elsewhere in the log: the records are all there, or it is refused."""
    originals = {path: path.read_bytes() for path in segment_files(folder)}
    last = segment_files(folder)[-1]
    closing = end_of_groups(originals[last]) - GROUP_HEADER_BYTES
    chance = Random(2024)
    for round_number in range(1500):
        path = chance.choice(list(originals))
        data = originals[path]
        length = chance.choice([1, 2, 4, 8, 40, 48, 64, 100])
        at = chance.randrange(0, len(data))
        other = chance.choice(list(originals.values()))
        other_at = chance.randrange(0, len(other))
        patch = chance.choice([bytes(length), b"\xff" * length, chance.randbytes(length), other[other_at:][:length]])
        damaged = (data[:at] + patch + data[at + len(patch) :])[: len(data)]
        if damaged == data:
            continue
        path.write_bytes(damaged)
        first = next(at for at in range(len(data)) if data[at] != damaged[at])
        changed_to = max(at for at in range(len(data)) if data[at] != damaged[at])
        if path == last and first >= closing:
            assert records_in(folder, UnsyncedDisk()) == RECORDS, round_number
        elif not (path == last and changed_to >= closing):
            # (Damage that takes the last group and the closing group with it cannot be told from a torn write.)
            assert str(path) in str(refusal(folder)), round_number
        path.write_bytes(data)
    assert records_in(folder) == RECORDS


# Whole files.


def each_segment(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Each segment's path and bytes; it is put back afterwards."""
    for path in segment_files(folder):
        data = path.read_bytes()
        yield path, data
        path.write_bytes(data)
        assert records_in(folder) == RECORDS


def test_a_segment_that_is_missing(folder: Path) -> None:
    for path, _ in each_segment(folder):
        path.unlink()
        error = refusal(folder)
        assert isinstance(error, CorruptLogError)
        assert (error.file, error.offset) == (str(path), 0)
        assert "the segment is missing" in error.reason


def test_a_segment_under_another_number(folder: Path) -> None:
    count = len(segment_files(folder))
    for path, _ in each_segment(folder):
        for number in (0, 1, count, count + 1, count + 2, 9_999_999_999):
            other = path.with_name(f"{number:010d}.wal")
            if not other.exists():
                path.rename(other)
                refusal(folder)
                other.rename(path)


def test_a_segment_that_is_there_twice(folder: Path) -> None:
    count = len(segment_files(folder))
    for path, data in each_segment(folder):
        for number in (0, count + 1, count + 2):
            copy = path.with_name(f"{number:010d}.wal")
            copy.write_bytes(data)
            assert "0000000" in str(refusal(folder))
            copy.unlink()


def test_segments_that_were_swapped(folder: Path) -> None:
    for path, data in each_segment(folder):
        for other in segment_files(folder):
            if other != path:
                kept = other.read_bytes()
                path.write_bytes(kept)
                other.write_bytes(data)
                assert "which is not its name" in str(refusal(folder))
                other.write_bytes(kept)


def test_a_segment_cut_short_at_every_byte(folder: Path) -> None:
    for path, data in each_segment(folder):
        for length in range(len(data)):
            path.write_bytes(data[:length])
            error = refusal(folder)
            assert isinstance(error, CorruptLogError)
            assert error.file == str(path)
            assert error.offset <= length


def test_an_open_segment_that_grew(folder: Path) -> None:
    last = segment_files(folder)[-1]
    for more in (b"\0", b"\1", bytes(1000)):
        data = last.read_bytes()
        last.write_bytes(data + more)
        error = refusal(folder)
        assert isinstance(error, CorruptLogError)
        assert (error.file, error.offset) == (str(last), SEGMENT_BYTES)
        last.write_bytes(data)


def test_a_sealed_segment_of_its_full_length(folder: Path) -> None:
    """A kill may come between sealing and giving back the rest, so zeros behind a seal are in order; bytes are not."""
    for path, data in each_segment(folder):
        if path != segment_files(folder)[-1]:
            path.write_bytes(data.ljust(SEGMENT_BYTES, b"\0"))
            assert records_in(folder) == RECORDS
            path.write_bytes(data.ljust(SEGMENT_BYTES, b"\0") + b"\1")
            assert "behind the seal" in str(refusal(folder))


def test_an_older_copy_of_a_segment(tmp_path: Path, tiny_segments: None) -> None:
    """An older backup holds an earlier state of the same segment under the same name."""
    folder = tmp_path / "log"
    older: dict[str, set[bytes]] = {}
    log, _ = open_log(folder, segment_bytes=SEGMENT_BYTES)
    for record in RECORDS:
        log.wait(log.append(record))
        for path in segment_files(folder):
            older.setdefault(path.name, set()).add(path.read_bytes())
    log.close()
    tried = 0
    for path, data in each_segment(folder):
        if path != segment_files(folder)[-1]:
            for copy in older[path.name]:
                # The same with all of its capacity is no other state.
                if copy.rstrip(b"\0") != data.rstrip(b"\0"):
                    path.write_bytes(copy)
                    assert path.name in str(refusal(folder))
                    tried += 1
    assert tried > 4


def test_a_segment_of_another_log(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    write_log(twin, RECORDS, segment_bytes=SEGMENT_BYTES)
    for path, _ in each_segment(folder):
        shutil.copy(twin / path.name, path)
        assert "belongs to another log" in str(refusal(folder))


def test_a_segment_of_another_log_behind_the_last(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    write_log(twin, RECORDS * 2, segment_bytes=SEGMENT_BYTES)
    new = f"{len(segment_files(folder)) + 1:010d}.wal"
    shutil.copy(twin / new, folder / new)
    assert "belongs to another log" in str(refusal(folder))


def test_a_log_without_its_beginning(tmp_path: Path) -> None:
    """A log that was trimmed begins with a later segment and says so; one that was not is missing segments."""
    trimmed = tmp_path / "trimmed"
    log = Builder(trimmed).open().group(b"one").seal()
    log.open().group(b"two").seal()
    log.base = 3
    log.open().group(b"three")
    (trimmed / "0000000001.wal").unlink()
    (trimmed / "0000000002.wal").unlink()
    assert records_in(trimmed) == [b"three"]
    (trimmed / "0000000003.wal").unlink()
    log = Builder(trimmed).open().group(b"one").seal()
    log.open().group(b"two").seal()
    log.open().group(b"three")
    (trimmed / "0000000001.wal").unlink()
    error = refusal(trimmed)
    assert isinstance(error, CorruptLogError)
    assert error.file == str(trimmed / "0000000001.wal")


def test_a_zombie_from_before_the_beginning(tmp_path: Path) -> None:
    """A segment that was trimmed away long ago, and is back without those after it."""
    log = Builder(tmp_path).open().group(b"one").seal()
    zombie = log.path.read_bytes()
    log.open().group(b"two").seal()
    log.base = 3
    log.open().group(b"three")
    (tmp_path / "0000000001.wal").unlink()
    (tmp_path / "0000000002.wal").unlink()
    (tmp_path / "0000000001.wal").write_bytes(zombie)
    error = refusal(tmp_path)
    assert isinstance(error, CorruptLogError)
    assert error.file == str(tmp_path / "0000000002.wal")


def test_a_chain_that_was_cut_and_mended(tmp_path: Path) -> None:
    """Every header verifies and has the right number and place, and still it is not what was written."""
    log = Builder(tmp_path).open().group(b"one")
    log.chain ^= 1
    offset = len(log.data)
    log.group(b"two").group()
    error = refusal(tmp_path)
    assert isinstance(error, CorruptLogError)
    assert error.offset == offset
    assert "does not follow from the one before it" in error.reason


@pytest.mark.parametrize("skip", [-1, 1, 2])
def test_a_number_that_was_skipped(tmp_path: Path, skip: int) -> None:
    log = Builder(tmp_path).open().group(b"one")
    log.number += skip
    log.group(b"two").group()
    log.open()
    log.group(b"three")
    assert "expected group 2, found group" in str(refusal(tmp_path))


# Versions.


def of_version(data: bytes, version: int) -> bytes:
    header = bytearray(data[:SEGMENT_HEADER_BYTES])
    struct.pack_into("<I", header, 8, version)
    struct.pack_into("<I", header, 60, crc32(header[:60]))
    return bytes(header) + data[SEGMENT_HEADER_BYTES:]


@pytest.mark.parametrize("version", [0, 3, 2**32 - 1])
def test_an_unknown_version_is_unsupported_and_not_damage(folder: Path, version: int) -> None:
    for path, data in each_segment(folder):
        path.write_bytes(of_version(data, version))
        error = refusal(folder)
        assert isinstance(error, UnsupportedFormatError)
        assert f"{path} has format version {version}, and this WonderQ reads up to version 2" in str(error)
    for path in segment_files(folder):
        path.write_bytes(of_version(path.read_bytes(), version))
    assert isinstance(refusal(folder), UnsupportedFormatError)


def test_a_version_whose_checksum_is_wrong_is_damage(folder: Path) -> None:
    path = segment_files(folder)[0]
    data = bytearray(path.read_bytes())
    data[8] = 1
    path.write_bytes(data)
    assert isinstance(refusal(folder), CorruptLogError)


# Files that are not ours.

STRANGERS = ["README", "0000000001.wal.bak", "000000001.wal", "00000000001.wal", "000000000x.wal", "\u0661" * 10 + ".wal",
             "wal", ".wal", ".wal.tmp", "x.wal.tmp", "000000001.wal.tmp", "0000000009.tmp", "0000000009.wal.tmp.gz",
             "0000000009.WAL", "notes/0000000003.wal", "torn/0000000001-64-00000000.bin", "torn/mine.txt"]  # fmt: skip


def test_files_that_are_not_ours_are_never_touched(folder: Path) -> None:
    for name in STRANGERS:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(f"this is {name}".encode())
    before = snapshot(folder)

    def strangers() -> dict[str, tuple[bytes, int]]:
        return {name: found for name, found in snapshot(folder).items() if name in STRANGERS}

    assert strangers() == {name: before[name] for name in STRANGERS}
    log, held = open_log(folder, segment_bytes=SEGMENT_BYTES)
    assert held == RECORDS
    for record in RECORDS:
        log.wait(log.append(record))
    log.close()
    assert strangers() == {name: before[name] for name in STRANGERS}
    # And with a torn tail to be set aside among them, and with damage.
    newest = max(folder.glob("[0-9]" * 10 + ".wal"))
    data = newest.read_bytes()
    newest.write_bytes(data[:-1] + b"\1")
    log, held = open_log(folder, segment_bytes=SEGMENT_BYTES)
    log.close()
    assert held == RECORDS * 2
    assert strangers() == {name: before[name] for name in STRANGERS}
    (folder / "0000000002.wal").unlink()
    refusal(folder)
    assert strangers() == {name: before[name] for name in STRANGERS}


def test_unfinished_segments_are_removed_by_a_start_and_not_before(folder: Path) -> None:
    unfinished = folder / "0000000009.wal.tmp"
    unfinished.write_bytes(b"half a segment")
    assert records_in(folder) == RECORDS
    assert unfinished.exists()
    log, _ = open_log(folder, segment_bytes=SEGMENT_BYTES)
    assert not unfinished.exists()
    log.close()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_refused_start_asks_nothing_of_the_disk(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(segment_files(folder)[1])
    (folder / "0000000009.wal.tmp").write_bytes(b"half a segment")
    disk = FaultyDisk()
    with pytest.raises(CorruptLogError):
        FileLog(folder, disk=disk)
    assert disk.operations == []
    # And the folder was let go of.
    with pytest.raises(CorruptLogError):
        FileLog(folder, disk=disk)
