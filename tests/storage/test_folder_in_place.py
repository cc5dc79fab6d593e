"""A folder or segment that is moved or removed under an open log: nothing is acknowledged that no start would find."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.folders import open_log, records_in, segment_files
from tests.support.waiting import eventually
from wonderq_storage import LogFailedError, SyncPolicy

REMOVALS: dict[str, Callable[[Path], object]] = {
    "the folder is removed": shutil.rmtree,
    "the segments are removed": lambda folder: [each.unlink() for each in segment_files(folder)],
    "the segment in use is removed": lambda folder: segment_files(folder)[-1].unlink(),
}
MOVES: dict[str, Callable[[Path], object]] = {
    "the folder is moved": lambda folder: folder.rename(folder.with_name("elsewhere")),
    "another folder takes its place": lambda folder: (
        folder.rename(folder.with_name("elsewhere")),
        folder.mkdir(),
    ),
    "an old segment is removed": lambda folder: segment_files(folder)[0].unlink(),
}
ALL = {**REMOVALS, **MOVES}


@pytest.mark.parametrize("policy", ["always", "os", "interval:60000"])
@pytest.mark.parametrize("how", REMOVALS)
def test_a_record_in_a_removed_file_is_never_acknowledged(tmp_path: Path, how: str, policy: str) -> None:
    log, _ = open_log(tmp_path / "d", sync=SyncPolicy.parse(policy))
    log.wait(log.append(b"before"))
    REMOVALS[how](tmp_path / "d")
    with pytest.raises(LogFailedError, match="was moved or removed while the broker runs"):
        log.wait(log.append(b"lost"))
    with pytest.raises(LogFailedError):
        log.append(b"refused before it is decided")
    log.close()


@pytest.mark.parametrize("how", list(ALL))
def test_an_idle_log_notices(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    log, _ = open_log(tmp_path / "d")
    log.wait(log.append(b"before"))
    log.rotate()
    log.sync()
    log.check_folder()
    assert log.failure is None
    ALL[how](tmp_path / "d")
    log.check_folder()
    assert log.failure is not None
    assert str(tmp_path / "d") in log.failure
    assert "put the folder back or restore a backup" in log.failure
    assert [each.levelname for each in caplog.records].count("CRITICAL") == 1
    log.check_folder()
    assert [each.levelname for each in caplog.records].count("CRITICAL") == 1
    log.close()


def test_it_is_checked_without_traffic(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path / "d")
    shutil.rmtree(tmp_path / "d")
    eventually(lambda: log.failure is not None)
    log.close()


def test_a_moved_folder_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path / "d")
    log.wait(log.append(b"kept"))
    (tmp_path / "d").rename(tmp_path / "elsewhere")
    log.check_folder()
    log.close()
    assert records_in(tmp_path / "elsewhere") == [b"kept"]


def test_segments_that_the_log_itself_removes_are_not_missed(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path / "d")
    log.wait(log.append(b"old"))
    held = log._files.oldest()
    end = log.rotate()
    log.sync()
    log.trim(end)
    log._files.published[held.number] = held  # as a check sees it that began before the removal
    assert held.file.is_removed()
    log.check_folder()
    assert log.failure is None
    del log._files.published[held.number]
    log.close()
