"""Folders with messages or keys are for their owner alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from wonderq.auth import keys
from wonderq.folder.backup import backup
from wonderq.folder.restore import restore
from wonderq_storage import FileLog


def by_a_log(folder: Path) -> None:
    FileLog(folder, segment_bytes=1 << 16).close()


def by_a_key(folder: Path) -> None:
    keys.create(folder / "keys.json", name="a", roles=["admin"], queues=["*"])


def by_a_backup(folder: Path) -> None:
    source = folder.with_name("source")
    log = FileLog(source, segment_bytes=1 << 16)
    list(log.replay())
    log.start()
    log.close()
    backup(source, folder)


def by_a_restore(folder: Path) -> None:
    copy = folder.with_name("copy")
    by_a_backup(copy)
    restore(copy, folder)


@pytest.mark.parametrize("make", [by_a_log, by_a_key, by_a_backup, by_a_restore])
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_folder_is_private(tmp_path: Path, make: Callable[[Path], None], umask: int) -> None:
    before = os.umask(umask)
    try:
        make(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    by_a_log(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
