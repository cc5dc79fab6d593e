"""A folder has its broker's keys in it too: the tools neither mind nor touch them, and no copy has them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.folders import snapshot, write_checkpoint
from tests.tools.folders import broker_on, live_a_little
from wonderq.auth import keys
from wonderq.broker.broker import Broker
from wonderq.cli.main import main
from wonderq.folder.backup import backup
from wonderq.folder.restore import restore

FILES = ("keys.json", "keys.json.tmp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with broker_on(folder) as (broker, log):
        live_a_little(broker, random.Random(4), 90)
        write_checkpoint(broker, log, folder)
    return folder


def add_keys(folder: Path) -> None:
    keys.create(folder / FILES[0], name="x", roles=["admin"], queues=["*"])
    (folder / FILES[1]).write_bytes(b"what a crash left")


@pytest.mark.parametrize(
    "command", ["inspect", "inspect --json", "inspect --records", "verify", "export", "compact --dry-run"]
)
def test_a_tool_says_the_same_with_keys_as_without(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["folder", *command.split(), str(folder)])
    without = capsys.readouterr()
    add_keys(folder)
    before = snapshot(folder)
    assert main(["folder", *command.split(), str(folder)]) == code == 0
    if not command.startswith("compact"):  # which counts what the folder takes on the disk
        assert capsys.readouterr() == without
    assert snapshot(folder) == before


def test_no_copy_has_the_keys(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_keys(folder)
    saved, again, repaired = tmp_path / "saved", tmp_path / "again", tmp_path / "repaired"
    for _ in range(2):
        backup(folder, saved)
    restore(saved, again)
    assert main(["folder", "repair", str(folder), str(repaired)]) == 0, capsys.readouterr().err
    for copy in (saved, again, repaired):
        assert all(path.suffix == ".wal" for path in copy.iterdir() if path.is_file())


def test_what_changes_a_folder_leaves_its_keys(folder: Path, tmp_path: Path) -> None:
    add_keys(folder)
    copy = tmp_path / "copy"
    backup(folder, copy)
    add_keys(copy)
    kept = [(each / name).read_bytes() for each in (folder, copy) for name in FILES]
    with broker_on(folder) as (broker, _):
        live_a_little(broker, random.Random(5), 30)
    assert main(["folder", "compact", str(folder)]) == 0
    backup(folder, copy, prune=True)
    assert [(each / name).read_bytes() for each in (folder, copy) for name in FILES] == kept
    for each in (folder, copy):
        assert main(["folder", "verify", str(each)]) == 0


def test_a_broker_starts_in_a_folder_that_has_only_keys(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    add_keys_to = folder / FILES[0]
    keys.create(add_keys_to, name="x", roles=["admin"], queues=["*"])
    with broker_on(folder) as (broker, _):
        assert isinstance(broker, Broker)
        broker.produce("default", ["x"])
    with broker_on(folder) as (broker, _):
        assert broker.count("default", "unprocessed") == 1
