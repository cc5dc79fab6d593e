"""Folders that were written once and are read for ever, and what is made of them by damage and by later versions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.golden.contents import contents_of
from tests.support.clock import FakeClock
from tests.support.folders import groups_in, segment_files, snapshot
from tests.support.independent_reader import records
from tests.support.independent_state import live_messages
from wonderq.broker.broker import Broker
from wonderq.model.messages import NewMessage
from wonderq.state import record
from wonderq.state.state import LAYOUT
from wonderq_storage import CorruptLogError, FileLog, UnsupportedFormatError, frame

HERE = Path(__file__).parent
GOLDEN = sorted(path for path in HERE.glob("format-*/*") if path.is_dir())
NAMES = [str(path.relative_to(HERE)) for path in GOLDEN]

each_golden = pytest.mark.parametrize("golden", GOLDEN, ids=NAMES)


def copied(golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden, tmp_path / "data"))


def expected_of(golden: Path) -> tuple[dict[str, Any], int]:
    expected: dict[str, Any] = json.loads(golden.with_suffix(".json").read_text())
    return expected, expected.pop("as_of_ms")


def expected_part(found: Any, expected: Any) -> Any:
    """Return the expected part of the contents: later versions may know more about a message or a queue."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return {key: expected_part(value, expected[key]) for key, value in found.items() if key in expected}
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return [expected_part(*pair) for pair in zip(found, expected, strict=True)]
    return found


def test_they_are_all_there() -> None:
    names = ("plain", "trimmed", "with-checkpoint")
    folders = [f"format-{version}/{name}" for version in range(1, frame.VERSION + 1) for name in names]
    assert [*folders, f"format-{frame.VERSION}/with-checkpoint-{LAYOUT}"] == NAMES
    assert {fields[0] for _, _, fields in records(GOLDEN[-1])} == set(range(len(record.TYPES)))


@pytest.mark.parametrize(("at", "kinds_of_records"), [(0, 8), (3, 11)])
def test_they_hold_what_they_are_for(at: int, kinds_of_records: int) -> None:
    plain, trimmed, checkpoint = GOLDEN[at : at + 3]
    assert {fields[0] for _, _, fields in records(plain)} == set(range(kinds_of_records))
    updates = [fields for _, _, fields in records(plain) if fields[0] == 5]
    assert any(fields[3] for fields in updates)
    assert any(fields[4] for fields in updates)
    kinds = [group.kind for path in segment_files(plain) for group, _ in groups_in(path)]
    assert kinds.count(frame.SEAL) >= 2
    assert kinds[-1] == frame.GROUP
    assert int(segment_files(trimmed)[0].stem) > 3
    assert len(list(checkpoint.glob("*.ckpt"))) == 2
    assert {each["status"] for each in expected_of(plain)[0]["queues"]["default"]["messages"]} >= {1, 2, 3}


@each_golden
@pytest.mark.parametrize("checkpoints", [True, False], ids=["with checkpoints", "without"])
def test_each_opens_to_exactly_what_was_written(golden: Path, checkpoints: bool, tmp_path: Path) -> None:
    expected, now_ms = expected_of(golden)
    data = copied(golden, tmp_path)
    contents, read_bytes = contents_of(data, now_ms, checkpoints=checkpoints)
    assert expected_part(contents, expected) == expected
    total = sum(len(record) for path in segment_files(golden) for _, group in groups_in(path) for record in group)
    has_checkpoint = any(golden.glob("*.ckpt"))
    # On a machine with another byte order checkpoints are passed over.
    if sys.byteorder == "little":
        is_current = golden.name == f"with-checkpoint-{LAYOUT}"  # checkpoints of an older layout are passed over, too
        assert (read_bytes < total) == (checkpoints and has_checkpoint and is_current)
    # And again, after a start and a stop.
    assert expected_part(contents_of(data, now_ms, checkpoints=checkpoints)[0], expected) == expected


@each_golden
def test_a_reader_that_knows_only_the_documented_format_agrees(golden: Path) -> None:
    expected, _ = expected_of(golden)
    assert {
        name: {n: (each["body"], each["receives"]) for n, each in messages.items()}
        for name, messages in live_messages(golden).items()
    } == {
        name: {each["sequence"]: (each["body"], each["receives"]) for each in queue["messages"]}
        for name, queue in expected["queues"].items()
    }


# Variants


def opened(data: Path) -> None:
    log = FileLog(data, segment_bytes=4096)
    try:
        for _ in log.replay():
            pass
        log.start()
    finally:
        log.close()


@each_golden
def test_a_torn_tail_behind_it_is_cut(golden: Path, tmp_path: Path) -> None:
    expected, now_ms = expected_of(golden)
    data = copied(golden, tmp_path)
    last = segment_files(data)[-1]
    end = len(last.read_bytes().rstrip(b"\0"))
    torn = b"a group that was being written"
    with last.open("r+b") as file:
        file.seek(end + 4)  # the closing group may end in zeros
        file.write(torn)
    assert expected_part(contents_of(data, now_ms, checkpoints=True)[0], expected) == expected
    (aside,) = (data / "torn").iterdir()
    assert aside.read_bytes().strip(b"\0") == torn


@each_golden
def test_a_flipped_byte_is_refused_with_its_group(golden: Path, tmp_path: Path) -> None:
    data = copied(golden, tmp_path)
    for path in segment_files(data):
        whole = path.read_bytes()
        groups = [group for group, _ in groups_in(path)]
        for group in groups[:: max(len(groups) // 3, 1)]:
            if path == segment_files(data)[-1] and group is groups[-1]:
                continue  # the closing group: nothing vouches for it
            at = group.offset + frame.GROUP_HEADER_BYTES // 2
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
            before = snapshot(data)
            with pytest.raises(CorruptLogError) as refused:
                opened(data)
            assert (refused.value.file, refused.value.offset) == (str(path), group.offset)
            assert snapshot(data) == before
        path.write_bytes(whole)
    opened(data)


def of_version(header: bytes, version: int) -> bytes:
    body = header[:8] + version.to_bytes(4, "little") + header[12:60]
    return body + crc32(body).to_bytes(4, "little")


@each_golden
@pytest.mark.parametrize("which", [0, -1], ids=["the oldest segment", "the newest segment"])
def test_a_future_version_is_unsupported_and_left_alone(golden: Path, which: int, tmp_path: Path) -> None:
    data = copied(golden, tmp_path)
    path = segment_files(data)[which]
    whole = path.read_bytes()
    path.write_bytes(of_version(whole[:64], frame.VERSION + 1) + whole[64:])
    before = snapshot(data)
    with pytest.raises(UnsupportedFormatError, match=f"format version {frame.VERSION + 1}") as refused:
        opened(data)
    assert str(path) in str(refused.value)
    assert snapshot(data) == before


def spoil(path: Path) -> None:
    whole = path.read_bytes()
    at = len(whole) // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


def make_future(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(of_version(whole[:64], frame.VERSION + 1) + whole[64:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [spoil, make_future, cut, Path.unlink])
@pytest.mark.parametrize("both", [True, False], ids=["both checkpoints", "the newest checkpoint"])
def test_a_checkpoint_that_is_no_use_costs_nothing_but_time(
    damage: Callable[[Path], None], both: bool, tmp_path: Path
) -> None:
    golden = HERE / "format-1" / "with-checkpoint"
    expected, now_ms = expected_of(golden)
    data = copied(golden, tmp_path)
    newest_first = sorted(data.glob("*.ckpt"), reverse=True)
    for path in newest_first if both else newest_first[:1]:
        damage(path)
    left = {path.name: path.read_bytes() for path in data.glob("*.ckpt")}
    assert expected_part(contents_of(data, now_ms, checkpoints=True)[0], expected) == expected
    assert {path.name: path.read_bytes() for path in data.glob("*.ckpt")} == left


def test_what_was_released_is_not_written_again() -> None:
    before = snapshot(HERE / "format-1")
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.write"], cwd=HERE.parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "never written again" in done.stderr
    assert snapshot(HERE / "format-1") == before


# Upgrade


@pytest.mark.parametrize("name", ["plain", "trimmed", "with-checkpoint"])
@pytest.mark.parametrize("blank_next", [False, True], ids=["", "with a blank segment behind it"])
def test_a_log_of_version_1_goes_over_with_its_next_segment(name: str, blank_next: bool, tmp_path: Path) -> None:
    golden = HERE / "format-1" / name
    expected, now_ms = expected_of(golden)
    data = copied(golden, tmp_path)
    last = segment_files(data)[-1]
    if blank_next:
        header = bytearray(last.read_bytes()[:64])
        number = int(last.stem) + 1
        header[12:16] = number.to_bytes(4, "little")
        header[60:64] = crc32(header[:60]).to_bytes(4, "little")
        (data / f"{number:010}.wal").write_bytes(bytes(header).ljust(4096, b"\0"))
    old = {path.name for path in segment_files(data)}
    clock = FakeClock()
    clock.ms = now_ms
    broker = Broker(FileLog(data, segment_bytes=4096), clock=clock)
    [sent] = broker.send("default", [NewMessage("new", priority=9)])
    broker.close()
    versions = {path.name: path.read_bytes()[8] for path in segment_files(data)}
    assert {name: version for name, version in versions.items() if version == 1}.keys() == old
    assert set(versions.values()) == set(range(1, frame.VERSION + 1))
    assert {path.name for path, _, fields in records(data) if fields[0] > 7}.isdisjoint(old)
    found, _ = contents_of(data, now_ms, checkpoints=True)
    newest = found["queues"]["default"]["messages"].pop()
    assert (newest["body"], newest["priority"]) == ("new", 9)
    for each in (found, expected):
        del each["queues"]["default"]["next_sequence"], each["last_ms"]
    assert expected_part(found, expected) == expected
    again = Broker(FileLog(data, segment_bytes=4096), clock=clock)
    assert again.get("default", sent.id).body == "new"
    again.close()
