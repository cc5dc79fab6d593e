"""Files that tools make belong to the folder's owner, also if root runs them: else the service could not start."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.tools.copies import compact_anyhow
from tests.tools.folders import broker_on, flip, records_of
from wonderq.folder.backup import backup
from wonderq.folder.export import export
from wonderq.folder.import_ import Importer, into_folder
from wonderq.folder.repair import repair
from wonderq.folder.restore import restore
from wonderq.model.messages import Target
from wonderq.runtime.time_evidence import CLOCK_FILE, Sighting, TimeEvidence
from wonderq.sns.signing import KEY_FILE, Signer
from wonderq_storage.segment import file_name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")

SERVICE = (12345, 12346)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A service's folder with something to compact, in another folder, which root has."""
    folder = tmp_path / "service"
    with broker_on(folder) as (broker, _):
        for number in range(50):
            broker.delete("default", Target(id=broker.produce("default", ["x" * 1000])[0]))
            broker.produce("default", [f"kept {number}"])
    for each in (folder, *folder.iterdir()):
        os.chown(each, *SERVICE)
    return folder


def owners(folder: Path) -> set[tuple[int, int]]:
    found = [each.stat() for each in (folder, *folder.rglob("*"))]
    assert len(found) > 1
    return {(each.st_uid, each.st_gid) for each in found}


def import_into(folder: Path, source: Path) -> None:
    lines = [msgspec.json.encode(each) for each in export(source)] * 3
    with into_folder(folder) as target:
        Importer(target).run(lines)


def run_a_broker(folder: Path) -> None:
    with broker_on(folder) as (broker, _):
        for _ in range(5):
            broker.produce("default", ["x" * 1000])


@pytest.mark.parametrize(
    "change",
    [
        compact_anyhow,
        lambda folder: import_into(folder, folder.parent / "copy"),
        run_a_broker,
    ],
    ids=["compact", "import", "a broker"],
)
def test_in_the_folder(folder: Path, tmp_path: Path, change: Callable[[Path], object]) -> None:
    backup(folder, tmp_path / "copy")
    before = set(os.listdir(folder))
    change(folder)
    assert set(os.listdir(folder)) - before
    assert owners(folder) == {SERVICE}


def test_what_a_broker_makes_beside_its_log(folder: Path) -> None:
    TimeEvidence(folder).save(Sighting(1, "boot", 2))
    assert Signer(folder / KEY_FILE).sign({}, "1") is not None
    assert {CLOCK_FILE, KEY_FILE} <= {*os.listdir(folder)}
    assert owners(folder) == {SERVICE}


def test_a_leftover_of_root_is_given_to_the_owner(folder: Path) -> None:
    (folder / f"{CLOCK_FILE}.tmp").touch()
    TimeEvidence(folder).save(Sighting(1, "boot", 2))
    assert owners(folder) == {SERVICE}


@pytest.mark.parametrize("copy", [backup, restore, repair])
def test_a_copy_belongs_to_the_owner_of_its_source(
    folder: Path, tmp_path: Path, copy: Callable[[Path, Path], object]
) -> None:
    copy(folder, tmp_path / "a" / "new")
    assert owners(tmp_path / "a" / "new") == {SERVICE}


@pytest.mark.parametrize("copy", [backup, restore, repair])
def test_a_copy_in_a_folder_that_is_there_belongs_to_its_owner(
    folder: Path, tmp_path: Path, copy: Callable[[Path, Path], object]
) -> None:
    (tmp_path / "new").mkdir()
    os.chown(tmp_path / "new", 54321, 54322)
    copy(folder, tmp_path / "new")
    assert owners(tmp_path / "new") == {(54321, 54322)}


def test_a_torn_tail_that_a_start_sets_aside(folder: Path) -> None:
    last = records_of(folder)[-1]
    flip(folder, last.segment, last.offset + len(last.data) + 300, 7)
    (folder / file_name(last.segment)).touch()
    with broker_on(folder):
        assert list((folder / "torn").iterdir())
    assert owners(folder) == {SERVICE}
