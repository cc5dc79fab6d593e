"""The exploration finds what it is for: each of these bugs in the order of syncs, planted here, comes to light.

That a bug is found says that the states which show it are among those that are tried; so the rig, too, has tests that fail
when it is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.forgetful.explore import main
from tests.forgetful.lives import explore
from tests.support.forgetful_disk import ForgetfulDisk, ForgetfulFile
from wonderq.broker import core
from wonderq.state.columns import Columns
from wonderq.state.page import Page
from wonderq_storage import FileLog, checkpoint, frame, recovery, segment
from wonderq_storage.disk import Disk
from wonderq_storage.group_writer import GroupWriter
from wonderq_storage.log import Position
from wonderq_storage.recovery import Recovery
from wonderq_storage.segment import Segment

Patch = pytest.MonkeyPatch


def no_folder_sync_after_create(patch: Patch) -> None:
    def publish(disk: Disk, new: Segment) -> Segment:
        new.file.sync()
        path = new.path.with_name(segment.file_name(new.number))
        disk.rename(new.path, path)
        new.file.path = path
        return new

    patch.setattr(segment, "publish", publish)


def rename_before_file_sync(patch: Patch) -> None:
    def publish(disk: Disk, new: Segment) -> Segment:
        path = new.path.with_name(segment.file_name(new.number))
        disk.rename(new.path, path)
        disk.sync_folder(path.parent)
        new.file.path = path
        new.file.sync()
        return new

    patch.setattr(segment, "publish", publish)


def acknowledged_before_sync(patch: Patch) -> None:
    def sync(self: GroupWriter) -> None:
        self._durable = self._number - 1
        self.durable_base = self._written_base

    patch.setattr(GroupWriter, "sync", sync)


def answered_without_waiting(patch: Patch) -> None:
    patch.setattr(core.Core, "wait_until_durable", lambda self: None)


def no_sync_on_seal(patch: Patch) -> None:
    def rotate(self: GroupWriter, target: Segment) -> None:
        self._files.publish(target)
        self._put(frame.SEAL, [])
        self.active.file.truncate(self.written)
        self.active = target
        self.written = frame.SEGMENT_HEADER_BYTES

    patch.setattr(GroupWriter, "_rotate", rotate)


def checkpoint_without_sync(patch: Patch) -> None:
    sync = ForgetfulFile.sync

    def selective(self: ForgetfulFile) -> None:
        if not self.path.name.endswith(checkpoint.UNFINISHED_SUFFIX):
            sync(self)

    patch.setattr(ForgetfulFile, "sync", selective)


def checkpoint_before_log_sync(patch: Patch) -> None:
    patch.setattr(FileLog, "sync", lambda self: None)


def dropped_before_mark_is_synced(patch: Patch) -> None:
    def trim(self: FileLog, end: Position) -> None:
        self._writer.base = end >> 32
        while (number := min(self._files.published)) < end >> 32:
            segment.remove_oldest(self._disk, self._files.published.pop(number))
        self._lead_alone(self._put_closing_group)

    patch.setattr(FileLog, "trim", trim)


def removals_are_not_synced(patch: Patch) -> None:
    def remove(disk: Disk, oldest: Segment) -> None:
        disk.remove(oldest.path)

    patch.setattr(segment, "remove_oldest", remove)
    patch.setattr(segment, "remove_oldest", remove)


def torn_bytes_not_set_aside(patch: Patch) -> None:
    def cut(self: Recovery) -> None:
        assert self.active is not None
        file = self._disk.open(self.active.path, write=True)
        file.write(bytes(self.torn_bytes), self.offset)
        file.sync()

    patch.setattr(Recovery, "_cut_torn_tail", cut)


def torn_bytes_set_aside_without_sync(patch: Patch) -> None:
    sync = ForgetfulFile.sync

    def selective(self: ForgetfulFile) -> None:
        if self.path.parent.name != recovery.TORN_FOLDER:
            sync(self)

    patch.setattr(ForgetfulFile, "sync", selective)


def torn_folder_not_synced(patch: Patch) -> None:
    sync = ForgetfulDisk.sync_folder

    def selective(self: ForgetfulDisk, folder: Path) -> None:
        if folder.name != recovery.TORN_FOLDER:
            sync(self, folder)

    patch.setattr(ForgetfulDisk, "sync_folder", selective)


def torn_tail_left_in_place(patch: Patch) -> None:
    patch.setattr(Recovery, "_cut_torn_tail", lambda self: None)


def torn_tail_cut_off(patch: Patch) -> None:
    cut = Recovery._cut_torn_tail

    def shorten(self: Recovery) -> None:
        cut(self)
        assert self.active is not None
        self._disk.open(self.active.path, write=True).truncate(self.offset)

    patch.setattr(Recovery, "_cut_torn_tail", shorten)


def nothing_rewritten_at_the_start(patch: Patch) -> None:
    """Take unsynced writes of a killed process for durable."""
    reopen = Recovery._reopen_to_append

    def believe(self: Recovery) -> None:
        self._unproven = {}
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ForgetfulFile, "sync", lambda file: None)
            reopen(self)

    patch.setattr(Recovery, "_reopen_to_append", believe)


def a_group_counts_in_part(patch: Patch) -> None:
    """Recovery takes those records of a torn group that verify, though the group counts whole or not at all."""

    def split(
        data: memoryview, at: int, end: int, crc: int, offset: int
    ) -> tuple[list[tuple[int, memoryview]], int] | None:
        while (found := frame.split_records(data, at, end, crc, offset)) is None and end > at:
            end -= 1
        return found

    class Lenient:
        def __getattr__(self, name: str) -> Any:
            return split if name == "split_records" else getattr(frame, name)

    patch.setattr(segment, "frame", Lenient())


def strange_files_removed(patch: Patch) -> None:
    finish = Recovery.finish

    def tidy(self: Recovery, *args: Any) -> None:
        finish(self, *args)
        with suppress(FileNotFoundError):
            self._disk.remove(self._folder / "notes.txt")

    patch.setattr(Recovery, "finish", tidy)


def unfinished_checkpoints_left(patch: Patch) -> None:
    patch.setattr(checkpoint.FileCheckpoints, "remove_unfinished", lambda self: None)


def checkpoints_forget_something(patch: Patch) -> None:
    load = Columns.load

    def without_tokens(self: Columns, pages: Iterable[Page], *more: Any) -> None:
        pages = list(pages)
        for page in pages:
            for index in range(len(page.token)):
                page.token[index] = 0
        load(self, pages, *more)

    patch.setattr(Columns, "load", without_tokens)


#: The bug, a workload and a seed that show it, and what is said of it.
BUGS: list[tuple[Callable[[Patch], None], str, int, str]] = [
    (no_folder_sync_after_create, "tiny", 0, "changed or lost something"),
    (rename_before_file_sync, "tiny", 0, "the segment header does not verify"),
    (acknowledged_before_sync, "tiny", 0, "changed or lost something"),
    (answered_without_waiting, "messages", 0, "records were acknowledged, 0 are left"),
    (no_sync_on_seal, "rotation", 2, "and has no seal"),
    (checkpoint_without_sync, "checkpoints", 3, "skipping the checkpoint"),
    (
        checkpoint_before_log_sync,
        "arrivals-and-upkeep",
        1,
        "the log ends here, but a checkpoint records that it reached",
    ),
    (dropped_before_mark_is_synced, "compaction", 3, "the segment is missing"),
    (removals_are_not_synced, "compaction", 7, "the segment is missing"),
    (torn_bytes_not_set_aside, "tiny", 0, "torn bytes were not set aside"),
    (torn_bytes_set_aside_without_sync, "tiny", 0, "torn bytes of the first crash are gone"),
    (torn_folder_not_synced, "tiny", 0, "torn bytes of the first crash are gone"),
    (torn_tail_left_in_place, "tiny", 0, "torn bytes were not set aside"),
    (torn_tail_cut_off, "tiny", 0, "and has no seal"),
    (nothing_rewritten_at_the_start, "kills", 2, "records that it was durable"),
    (a_group_counts_in_part, "tiny", 0, "not the state of the first"),
    (strange_files_removed, "tiny", 0, "notes.txt, which is not ours, was touched"),
    (unfinished_checkpoints_left, "checkpoints", 3, "is left over"),
    (checkpoints_forget_something, "checkpoints", 3, "not the state of the first"),
]


@pytest.mark.parametrize(("plant", "workload", "seed", "says"), BUGS, ids=[bug[0].__name__ for bug in BUGS])
def test_a_planted_bug_is_found(
    plant: Callable[[Patch], None], workload: str, seed: int, says: str, monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    found = next((life.violations for life in explore(workload, str(seed), 25) if life.violations), [])
    assert any(says in violation.what for violation in found), found


def test_a_violation_can_be_seen_again(monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as bug:
        torn_bytes_set_aside_without_sync(bug)
        life = next(explore("tiny", "0", 25))
        violation = life.violations[0]
        assert len(violation.crashes) == 2  # it takes a crash of the recovery
        crashes = [f"{crash.operations}/{','.join(map(str, crash.fates))}" for crash in violation.crashes]
        words = " ".join(["tiny", "0", str(life.number), *crashes])
        assert main(["--repeat", words]) == 1
        assert violation.what in capsys.readouterr().out
    assert main(["--repeat", words]) == 0
