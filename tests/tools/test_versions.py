"""Tools on a log whose older segments are of format version 1, as a release wrote them, and whose newer ones are of version 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.folders import segment_files, snapshot
from tests.support.independent_state import live_messages
from tests.tools.copies import LATE_MS, bodies_in, compact_anyhow, opened, state_view_in
from wonderq.cli.main import main
from wonderq.folder.backup import backup
from wonderq.folder.restore import restore
from wonderq.model.messages import NewMessage
from wonderq_storage import frame

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1" / "plain"
READING = ["verify", "inspect", "inspect --records", "export"]

NEW = NewMessage("new", priority=7, group="some")
"""A message that no record of version 1 can hold."""


def versions(folder: Path) -> list[int]:
    headers = [frame.unpack_segment_header(path.read_bytes()) for path in segment_files(folder)]
    return [header.version for header in headers if header is not None]


def write_in_version_2(folder: Path, parts: int = 20) -> None:
    with opened(folder, clock=FakeClock(LATE_MS)) as broker:
        for part in range(parts):
            broker.send("default", [NEW._replace(body=f"new {part} ".ljust(400, "x"))])


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "mixed"))
    write_in_version_2(folder)
    found = versions(folder)
    assert found == sorted(found)
    assert found.count(1) == 7
    assert found.count(frame.VERSION) > 2
    return folder


@pytest.mark.parametrize("command", READING)
def test_reading(mixed: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    before = snapshot(mixed)
    assert main(["folder", *command.split(), str(mixed)]) == 0
    _, err = capfd.readouterr()
    assert "wonderq folder repair" not in err
    assert snapshot(mixed) == before


def test_a_reader_that_knows_only_the_documented_format_agrees(mixed: Path) -> None:
    messages = live_messages(mixed)["default"].values()
    assert [each["body"] for each in messages] == bodies_in(mixed)


def test_inspect_counts_both(mixed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["folder", "inspect", "--json", str(mixed)]) == 0
    about = json.loads(capfd.readouterr().out)
    assert [each["state"] for each in about["segments"]] == ["sealed"] * (len(versions(mixed)) - 1) + ["active"]
    assert all(each["records"] for each in about["segments"])
    assert about["problems"] == []


@pytest.mark.parametrize("which", [1, -2], ids=["an older segment", "a newer one"])
def test_repair_salvages_both(mixed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], which: int) -> None:
    path = segment_files(mixed)[which]
    bodies = bodies_in(mixed)
    whole = path.read_bytes()
    path.write_bytes(bytes(frame.SEGMENT_HEADER_BYTES // 2) + whole[frame.SEGMENT_HEADER_BYTES // 2 :])
    assert main(["folder", "verify", str(mixed)]) == 1
    assert str(path) in "".join(capfd.readouterr())
    main(["folder", "repair", str(mixed), str(tmp_path / "new")])
    assert bodies_in(tmp_path / "new") == bodies
    assert set(versions(tmp_path / "new")) == {frame.VERSION}


def test_backup_and_restore(tmp_path: Path) -> None:
    """A backup that was begun before, and goes on after."""
    folder, copy = Path(shutil.copytree(GOLDEN, tmp_path / "d")), tmp_path / "copy"
    backup(folder, copy)
    assert versions(copy) == versions(folder) == [1] * 7
    write_in_version_2(folder)
    backup(folder, copy)
    assert versions(copy) == versions(folder)
    restore(copy, tmp_path / "new")
    assert state_view_in(tmp_path / "new") == state_view_in(copy) == state_view_in(folder)
    assert versions(tmp_path / "new") == versions(folder)


def test_restore_to_a_time_before(mixed: Path, tmp_path: Path) -> None:
    backup(mixed, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new", until_ms=LATE_MS - 1)
    assert state_view_in(tmp_path / "new") == state_view_in(Path(shutil.copytree(GOLDEN, tmp_path / "before")))
    assert versions(tmp_path / "new") == [1] * 7 + [frame.VERSION], "the last is empty: that time is between the two"
    write_in_version_2(tmp_path / "new")
    assert state_view_in(tmp_path / "new") == state_view_in(mixed)
    assert versions(tmp_path / "new") == versions(mixed)


def test_compact_leaves_version_2_alone(mixed: Path) -> None:
    bodies = bodies_in(mixed)
    compact_anyhow(mixed)
    assert set(versions(mixed)) == {frame.VERSION}
    assert bodies_in(mixed) == bodies
