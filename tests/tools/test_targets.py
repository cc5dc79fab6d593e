"""The new folder of a tool: where links lead to, and mount points."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.copies import bodies_in, names, opened
from wonderq.cluster_tools.folders import check_new
from wonderq.folder.backup import backup
from wonderq.folder.import_ import Importer, into_folder
from wonderq.folder.lock import FolderError
from wonderq.folder.repair import repair
from wonderq.folder.restore import restore


def import_into(_: Path, target: Path) -> None:
    with into_folder(target) as into:
        Importer(into).run(
            [b'{"type":"queue","queue":"default"}', b'{"type":"message","queue":"default","message":"a"}']
        )


TOOLS: list[Callable[[Path, Path], Any]] = [repair, restore, backup, import_into]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with opened(tmp_path / "d") as broker:
        broker.produce("default", ["a"])
    return tmp_path / "d"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_leads_to_the_new_folder(
    folder: Path, tmp_path: Path, tool: Callable[[Path, Path], Any], *, exists: bool
) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to("real")
    if exists:
        real.mkdir()
    tool(folder, link)
    assert link.is_symlink()
    assert bodies_in(real) == ["a"]
    assert names(tmp_path) == ["d", "link", "real"]


@pytest.mark.parametrize("tool", TOOLS)
def test_links_in_a_circle_are_no_folder(folder: Path, tmp_path: Path, tool: Callable[[Path, Path], Any]) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises((OSError, FolderError)):
        tool(folder, tmp_path / "link")


def test_a_mount_point_is_refused_before_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder cannot be renamed to its name, and the unfinished one would be on another disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "link").symlink_to("disk")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == disk)
    for target in (disk, tmp_path / "link"):
        for refuse in (lambda target=target: repair(folder, target), lambda target=target: check_new(target)):
            with pytest.raises(FolderError, match=r"disk is a mount point.* Name a folder inside it"):
                refuse()
    assert names(tmp_path) == ["d", "disk", "link"]
    repair(folder, disk / "new")
    assert bodies_in(disk / "new") == ["a"]
