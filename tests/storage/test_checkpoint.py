"""A checkpoint file comes back whole or is known to be damaged, and costs time at most, never data."""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgpack
import pytest

from tests.support.disks import FaultyDisk, Operation, RecordingDisk, UnsyncedDisk
from tests.support.folders import snapshot
from wonderq_storage import DamagedCheckpointError, DiskFullError, FileCheckpoints, Mark, checkpoint, frame

CHUNKS = [b"first chunk", b"\0" * 70, bytes(range(256)), b"x"]


def mark(number: int) -> Mark:
    return Mark(3 << 32 | number, b"the log's own %d" % number)


def read_all(checkpoints: FileCheckpoints) -> list[tuple[Mark, list[bytes]]]:
    return [(found, list(chunks)) for found, chunks in checkpoints.newest_first()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    assert read_all(checkpoints) == []
    size = checkpoints.write(mark(500), iter(CHUNKS))
    assert read_all(checkpoints) == [(mark(500), CHUNKS)]
    assert read_all(FileCheckpoints(tmp_path)) == [(mark(500), CHUNKS)]
    assert names(tmp_path) == ["0000000003-0000000500.ckpt"]
    assert (tmp_path / "0000000003-0000000500.ckpt").stat().st_size == size


def test_a_checkpoint_without_chunks_and_one_of_many(tmp_path: Path) -> None:
    many = [b"%d" % number * (number % 50 + 1) for number in range(3000)]
    checkpoints = FileCheckpoints(tmp_path)
    checkpoints.write(mark(1), [])
    checkpoints.write(mark(2), many)
    assert read_all(checkpoints) == [(mark(2), many), (mark(1), [])]


def test_the_last_two_are_kept_and_the_newest_comes_first(tmp_path: Path) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    marks = [Mark(segment << 32 | offset, b"") for segment, offset in ((1, 999_999), (2, 64), (2, 700), (10, 64))]
    for count, each in enumerate(marks, start=1):
        checkpoints.write(each, [b"%d" % each.end])
        kept = marks[:count][::-1][:2]
        assert read_all(checkpoints) == [(one, [b"%d" % one.end]) for one in kept]
    assert names(tmp_path) == ["0000000002-0000000700.ckpt", "0000000010-0000000064.ckpt"]


def test_one_that_was_not_proved_makes_way_though_its_name_is_newer(tmp_path: Path) -> None:
    junk = [tmp_path / f"{9_999_999_999 - number}-0000000001.ckpt" for number in range(2)]
    for path in junk:
        path.write_bytes(b"junk")
    checkpoints = FileCheckpoints(tmp_path)
    checkpoints.write(mark(1), CHUNKS)
    assert read_all(checkpoints) == [(mark(1), CHUNKS)]
    assert [path.name for path in checkpoints.paths()] == ["0000000003-0000000001.ckpt"]


def test_the_one_that_a_start_used_is_kept_beside_the_next(tmp_path: Path) -> None:
    before = FileCheckpoints(tmp_path)
    for number in (1, 2):
        before.write(mark(number), CHUNKS)
    after = FileCheckpoints(tmp_path)
    after.prove(mark(1))  # the newer one turned out to be damaged
    after.write(mark(3), CHUNKS)
    assert read_all(after) == [(mark(3), CHUNKS), (mark(1), CHUNKS)]


def test_one_of_the_same_place_takes_the_place_of_the_other(tmp_path: Path) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    checkpoints.write(mark(1), [b"older"])
    checkpoints.write(mark(1), [b"newer"])
    assert read_all(checkpoints) == [(mark(1), [b"newer"])]


def test_it_is_durable_before_it_counts_and_counts_before_older_ones_go(tmp_path: Path) -> None:
    disk = RecordingDisk()
    checkpoints = FileCheckpoints(tmp_path, disk)
    for number in (1, 2):
        checkpoints.write(mark(number), CHUNKS)
    disk.operations.clear()
    checkpoints.write(mark(3), CHUNKS)
    file = "0000000003-0000000003.ckpt.tmp"
    operations = [each for each in disk.operations if each.name != "write"]
    assert operations == [
        Operation("create", file),
        Operation("sync", file),
        Operation("rename", file),
        Operation("sync_folder", tmp_path.name),
        Operation("remove", "0000000003-0000000001.ckpt"),
    ]
    # Every write came before the sync.
    last_write = max(at for at, each in enumerate(disk.operations) if each.name == "write")
    assert last_write < disk.operations.index(Operation("sync", file))
    assert {each.target for each in disk.operations if each.name == "write"} == {file}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=["disk full", "quota"])
@pytest.mark.parametrize(
    ("operation", "nth"), [("create", 1), ("write", 1), ("write", 2), ("write", 6), ("sync", 1), ("rename", 1)]
)
def test_a_full_disk_leaves_nothing_behind_and_the_older_ones(
    tmp_path: Path, operation: str, nth: int, code: int
) -> None:
    disk = FaultyDisk()
    checkpoints = FileCheckpoints(tmp_path, disk)
    for number in (1, 2):
        checkpoints.write(mark(number), CHUNKS)
    before = snapshot(tmp_path)
    disk.fail(operation, code, nth=nth, torn=operation == "write")
    with pytest.raises(DiskFullError, match="no room for a checkpoint"):
        checkpoints.write(mark(3), CHUNKS)
    assert snapshot(tmp_path) == before
    disk.mend()
    checkpoints.write(mark(3), CHUNKS)
    assert read_all(checkpoints) == [(mark(3), CHUNKS), (mark(2), CHUNKS)]


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename"])
def test_a_failing_disk_leaves_nothing_behind_and_the_older_ones(tmp_path: Path, operation: str) -> None:
    disk = FaultyDisk()
    checkpoints = FileCheckpoints(tmp_path, disk)
    checkpoints.write(mark(1), CHUNKS)
    before = snapshot(tmp_path)
    disk.fail(operation, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        checkpoints.write(mark(2), CHUNKS)
    assert snapshot(tmp_path) == before


def test_chunks_that_cannot_be_made_leave_nothing_behind(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise RuntimeError("no more")

    checkpoints = FileCheckpoints(tmp_path)
    with pytest.raises(RuntimeError, match="no more"):
        checkpoints.write(mark(1), chunks())
    assert names(tmp_path) == []


def test_unfinished_ones_are_removed_and_foreign_files_are_not(tmp_path: Path) -> None:
    foreign = [
        "notes.ckpt",
        "notes.ckpt.tmp",
        "0000000003-0000000001.ckpt.bak",
        "0000000003-0000000001.tmp",
        "3-1.ckpt.tmp",
        "0000000003-000000000a.ckpt.tmp",
        "0000000003-00000000\u00b2\u00b2.ckpt.tmp",
        "0000000003_0000000001.ckpt.tmp",
        "0000000003-0000000001-0000000001.ckpt",
        "0000000004.wal.tmp",
    ]
    for name in foreign:
        (tmp_path / name).write_bytes(b"not ours")
    checkpoints = FileCheckpoints(tmp_path)
    checkpoints.write(mark(1), CHUNKS)
    (tmp_path / "0000000003-0000000002.ckpt.tmp").write_bytes(b"half a checkpoint")
    checkpoints.remove_unfinished()
    assert names(tmp_path) == sorted([*foreign, "0000000003-0000000001.ckpt"])
    for number in range(2, 6):
        checkpoints.write(mark(number), CHUNKS)
    assert read_all(checkpoints) == [(mark(5), CHUNKS), (mark(4), CHUNKS)]
    assert {(tmp_path / name).read_bytes() for name in foreign} == {b"not ours"}


# Damage


def outcome(folder: Path) -> tuple[Mark, list[bytes]] | None:
    """Return what a reader gets of the newest checkpoint: all of it, or None after at most some correct chunks."""
    for found, chunks in FileCheckpoints(folder, UnsyncedDisk()).newest_first():
        got = []
        try:
            for chunk in chunks:
                got.append(chunk)  # noqa: PERF402 - what came before the damage counts
        except DamagedCheckpointError:
            assert got == CHUNKS[: len(got)]
            return None
        return found, got
    return None


def test_every_flipped_bit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    FileCheckpoints(tmp_path).write(mark(7), CHUNKS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at, byte in enumerate(whole):
            for bit in range(8):
                file.seek(at)
                file.write(bytes([byte ^ 1 << bit]))
                assert outcome(tmp_path) is None, f"byte {at}, bit {bit}"
            file.seek(at)
            file.write(whole[at : at + 1])
    assert outcome(tmp_path) == (mark(7), CHUNKS)


def test_every_truncation_is_noticed_and_bytes_behind_the_end_are_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    FileCheckpoints(tmp_path).write(mark(7), CHUNKS)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert outcome(tmp_path) is None, length
        path.write_bytes(whole[:length].ljust(len(whole), b"\0"))
        assert outcome(tmp_path) is None or whole[length:].strip(b"\0") == b"", length
    path.write_bytes(whole + b"more")
    assert outcome(tmp_path) == (mark(7), CHUNKS)


def test_frames_that_were_swapped_dropped_or_repeated_do_not_verify(tmp_path: Path) -> None:
    chunks = [b"chunk one", b"chunk two", b"chunk 333"]
    FileCheckpoints(tmp_path).write(mark(7), chunks)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    size = frame.FRAME_BYTES + 9
    first = whole.index(b"chunk one") - frame.FRAME_BYTES
    head, frames, tail = whole[:first], [whole[first + n * size :][:size] for n in range(3)], whole[first + 3 * size :]
    for order in ((1, 0, 2), (0, 2), (0, 1), (0, 0, 1, 2), (2, 1, 0), ()):
        path.write_bytes(head + b"".join(frames[n] for n in order) + tail)
        with pytest.raises(DamagedCheckpointError, match=r"0000000007\.ckpt, byte \d+: "):
            read_all(FileCheckpoints(tmp_path))


def test_the_older_one_is_next_when_the_newest_does_not_verify(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    for number in (1, 2):
        checkpoints.write(mark(number), CHUNKS)
    newest = tmp_path / "0000000003-0000000002.ckpt"
    data = bytearray(newest.read_bytes())
    data[70] ^= 1  # in the mark: it is passed over without being shown
    newest.write_bytes(data)
    assert read_all(checkpoints) == [(mark(1), CHUNKS)]
    assert "skipping the checkpoint" in caplog.text
    assert newest.name in caplog.text
    data[70] ^= 1
    data[-20] ^= 1  # in the last chunk: this shows when the reader gets there, and he goes on to the next
    newest.write_bytes(data)
    found = checkpoints.newest_first()
    at, chunks = next(found)
    assert at == mark(2)
    with pytest.raises(DamagedCheckpointError):
        list(chunks)
    at, chunks = next(found)
    assert (at, list(chunks)) == (mark(1), CHUNKS)
    assert newest.read_bytes() == data


def test_one_that_the_disk_cannot_read_is_passed_over(tmp_path: Path) -> None:
    """A checkpoint is a cache: a bad sector under it must not keep the broker from starting."""
    checkpoints = FileCheckpoints(tmp_path)
    for number in (1, 2):
        checkpoints.write(mark(number), CHUNKS)
    newest = tmp_path / "0000000003-0000000002.ckpt"
    newest.unlink()
    newest.mkdir()  # it opens, and every read fails
    assert read_all(checkpoints) == [(mark(1), CHUNKS)]
    newest.rmdir()
    newest.symlink_to(tmp_path / "nowhere")
    assert read_all(checkpoints) == [(mark(1), CHUNKS)]


def test_one_of_a_future_version_is_passed_over_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = FileCheckpoints(tmp_path)
    checkpoints.write(mark(1), CHUNKS)
    header = struct.pack("<8sI48x", checkpoint.MAGIC, checkpoint.VERSION + 1)
    future = tmp_path / "0000000003-0000000002.ckpt"
    future.write_bytes(header + crc32(header).to_bytes(4, "little") + b"whatever that version has")
    data = future.read_bytes()
    assert read_all(checkpoints) == [(mark(1), CHUNKS)]
    assert f"format version {checkpoint.VERSION + 1}" in caplog.text
    checkpoints.remove_unfinished()
    assert future.read_bytes() == data


def test_a_mark_that_is_none_is_passed_over(tmp_path: Path) -> None:
    """It verifies, so somebody wrote it: a program with a fault, or one that keeps other marks."""
    FileCheckpoints(tmp_path).write(mark(1), CHUNKS)
    header = struct.pack("<8sI48x", checkpoint.MAGIC, checkpoint.VERSION)
    for number, payload in enumerate([b"", msgpack.packb("no mark"), msgpack.packb([1, b"", 3]), b"\xc1"], start=2):
        crc = crc32(header)
        data = header + crc.to_bytes(4, "little")
        for each in (payload, b""):
            prefix, crc = frame.frame_prefix(each, crc)
            data += prefix + each
        path = tmp_path / f"0000000003-000000000{number}.ckpt"
        path.write_bytes(data)
        assert read_all(FileCheckpoints(tmp_path)) == [(mark(1), CHUNKS)]
        path.unlink()
