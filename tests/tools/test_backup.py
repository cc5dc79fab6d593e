"""`wonderq folder backup`: whenever it runs, the copy holds everything that was acknowledged before, and opens."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.clock import FakeClock
from tests.support.commands import clean_environment, run
from tests.support.folders import end_of_groups, groups_in, records_in, segment_files, snapshot
from tests.support.queue_client import QueueClient
from tests.support.random_life import live_a_random_life
from tests.support.waiting import PATIENCE_S, eventually
from tests.tools.copies import bodies_in, compact_anyhow, crash_at, names, opened, state_view_in
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.client.errors import Refused, Unreachable
from wonderq.folder.backup import BackupError, backup
from wonderq.folder.lock import FolderError, NoLogError
from wonderq_storage import CorruptLogError, DiskFullError, FileLog, frame
from wonderq_storage.disk import Disk, DiskFile

TOOL = Path(__file__).parents[2] / "tools" / "backup.py"


def live(folder: Path, clock: FakeClock, chance: random.Random, steps: int = 200) -> None:
    with opened(folder, clock=clock) as broker:
        live_a_random_life(broker, clock, chance, steps)


class Worker:
    """Produces and deletes on a running broker, and knows what must be there."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._number = number
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.there: set[str] = set()
        """Acknowledged, and nobody has begun to delete them."""
        self.gone: set[str] = set()
        """Deleted, and acknowledged."""
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        chance = random.Random(self._number)
        ids: list[tuple[str, str]] = []
        made = 0
        try:
            with QueueClient(self._url) as client:
                while not self.stop.is_set():
                    bodies = [
                        f"{self._number} {made + index} ".ljust(chance.randrange(20, 600), "x") for index in range(8)
                    ]
                    made += 8
                    new = client.produce_batch(bodies)
                    with self.lock:
                        self.there.update(bodies)
                    ids += zip(new, bodies, strict=True)
                    chance.shuffle(ids)
                    while len(ids) > 30:
                        name, body = ids.pop()
                        with self.lock:
                            self.there.discard(body)
                        [result] = client.delete_batch(ids=[name])
                        assert result["success"], result
                        with self.lock:
                            self.gone.add(body)
        except (AssertionError, Refused, Unreachable, OSError) as error:
            self.error = error

    def known(self) -> tuple[set[str], set[str]]:
        with self.lock:
            return set(self.there), set(self.gone)


@pytest.mark.slow
@pytest.mark.parametrize("prune", [False, True])
def test_backups_of_a_broker_under_load(tmp_path: Path, prune: bool) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    broker = BrokerProcess(source, "--fsync", "os", segment_bytes=1 << 15)
    clients: list[Worker] = []
    reused = 0
    try:
        url = broker.ready()
        clients = [Worker(url, number) for number in range(3)]
        oldest: set[str] = set()
        end = time.monotonic() + PATIENCE_S
        while len(oldest) < 4 or reused == 0:
            assert time.monotonic() < end, "the broker does not compact"
            assert [client.error for client in clients] == [None] * 3
            before = [client.known() for client in clients]
            try:
                done = backup(source, copy, prune=prune)
            except BackupError:  # the broker has dropped what would follow
                assert not prune
                shutil.rmtree(copy)
                done = backup(source, copy)
            after = [client.known() for client in clients]
            reused += len(done.reused)
            opened_copy = tmp_path / "opened"
            shutil.copytree(copy, opened_copy)
            found = set(bodies_in(opened_copy))
            shutil.rmtree(opened_copy)
            for (there, gone), (still_there, _) in zip(before, after, strict=True):
                assert there & still_there <= found, "what was acknowledged before and is still there is in it"
                assert not gone & found, "what was deleted before is not in it"
            assert len(found) == done.messages
            oldest.add(segment_files(source)[0].name)
            had = len(before[0][1])
            eventually(lambda had=had: len(clients[0].gone) > had + 40 or clients[0].error)  # type: ignore[misc]
        assert [client.error for client in clients] == [None] * 3
    finally:
        for client in clients:
            client.stop.set()
        for client in clients:
            client.thread.join(PATIENCE_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            broker.terminate()
    backup(source, copy, prune=True)
    assert state_view_in(copy) == state_view_in(source)


def test_only_what_is_new_is_copied(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock, chance = FakeClock(), random.Random(1)
    live(source, clock, chance)
    first = backup(source, copy)
    assert first.copied == [path.name for path in segment_files(source)]
    assert (first.reused, first.removed) == ([], [])
    live(source, clock, chance)
    kept = {path.name: path.stat().st_ino for path in segment_files(copy)[:-1]}
    second = backup(source, copy)
    assert second.reused == list(kept)
    assert second.copied == [path.name for path in segment_files(source)[len(kept) :]]
    assert {path.name: path.stat().st_ino for path in segment_files(copy)}.items() >= kept.items()
    assert second.copied_bytes < first.copied_bytes + second.copied_bytes
    assert state_view_in(copy, clock.ms) == state_view_in(source, clock.ms)
    assert names(copy) == [path.name for path in segment_files(source)]
    third = backup(source, copy)
    assert third.copied == second.copied[-1:]


def test_the_copy_says_where_it_ends(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock = FakeClock()
    live(source, clock, random.Random(2))
    done = backup(source, copy)
    last = segment_files(copy)[-1]
    assert done.end >> 32 == int(last.stem)
    assert done.end & 0xFFFF_FFFF == end_of_groups(last.read_bytes()) or last.stat().st_size == 4096
    assert last.stat().st_size == 4096, "the segment in use has the size of its capacity"
    log = FileLog(copy)
    assert done.newest_ms <= clock.ms
    list(log.replay())
    assert log.torn_bytes == 0
    log.close()


@pytest.mark.parametrize("compacted", [False, True])
def test_an_interrupted_backup_can_be_opened_and_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compacted: bool
) -> None:
    """A backup that goes on stays good at every moment. While one is replaced there is a moment when it must be repeated."""
    source, copy, crashed = tmp_path / "source", tmp_path / "copy", tmp_path / "crashed"
    clock, chance = FakeClock(), random.Random(3)
    live(source, clock, chance, 120)
    backup(source, copy)
    old = records_in(copy)
    live(source, clock, chance, 120)
    if compacted:
        compact_anyhow(source)
    new, said = records_in(source), state_view_in(source, clock.ms)
    opens = 0
    for step in range(1, 1000):
        shutil.copytree(copy, crashed)
        try:
            with crash_at(step, monkeypatch, ("pwrite", "fdatasync", "fsync", "rename", "unlink")):
                backup(source, crashed, prune=compacted)
            break
        except OSError:
            try:
                found = records_in(crashed)
                opens += 1
                assert found in (old, new) if compacted else len(old) <= len(found) and new[: len(found)] == found
            except CorruptLogError:
                assert compacted
            backup(source, crashed, prune=compacted)
            assert state_view_in(crashed, clock.ms) == said
            assert all(name.endswith(".wal") for name in names(crashed))
        shutil.rmtree(crashed)
    assert step > 10
    assert opens == step - 1 or (compacted and opens > 3)


def test_old_segments_stay_as_long_as_they_lead_up_to_the_rest(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock, chance = FakeClock(), random.Random(5)
    live(source, clock, chance)
    backup(source, copy)
    old = [segment_files(source)[0].name, segment_files(source)[1].name]
    log = FileLog(source, segment_bytes=4096)
    broker = Broker(log, clock=clock)
    assert compact_oldest(broker, log)
    assert compact_oldest(broker, log)
    log.close()
    assert not set(old) & set(names(source))
    done = backup(source, copy)
    assert done.removed == []
    assert set(old) < set(names(copy))
    assert state_view_in(copy, clock.ms) == state_view_in(source, clock.ms)
    done = backup(source, copy, prune=True)
    assert done.removed == old
    assert names(copy) == [path.name for path in segment_files(source)]
    assert state_view_in(copy, clock.ms) == state_view_in(source, clock.ms)


def test_a_segment_dropped_while_it_is_about_to_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock = FakeClock()
    live(source, clock, random.Random(6))
    second = segment_files(source)[1].name
    real = Disk.open

    def open_after_compaction(self: Disk, path: Path, *, write: bool = False) -> DiskFile:
        if path == source / second and len(segment_files(source)) > 1:
            monkeypatch.undo()
            compact_anyhow(source)
        return real(self, path, write=write)

    monkeypatch.setattr(Disk, "open", open_after_compaction)
    backup(source, copy)
    assert names(copy) == [path.name for path in segment_files(source)]
    assert len(names(copy)) == 1
    assert state_view_in(copy, clock.ms) == state_view_in(source, clock.ms)


def test_a_torn_tail_of_the_source_is_not_copied(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock = FakeClock()
    live(source, clock, random.Random(7))
    said = state_view_in(source, clock.ms)
    last = segment_files(source)[-1]
    data = last.read_bytes()
    end = len(data.rstrip(b"\0"))
    last.write_bytes((data[: end + 8] + b"torn").ljust(len(data), b"\0"))
    backup(source, copy)
    assert state_view_in(copy, clock.ms) == said
    assert segment_files(copy)[-1].read_bytes() != last.read_bytes()


@pytest.mark.parametrize("where", ["sealed", "in use"])
def test_damage_in_the_source_is_not_copied_as_if_it_were_the_end(tmp_path: Path, where: str) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock = FakeClock()
    live(source, clock, random.Random(8))
    backup(source, copy)
    good = snapshot(copy)
    path = segment_files(source)[-1]
    if where == "sealed":
        shutil.rmtree(copy)
        path = segment_files(source)[2]
    data = bytearray(path.read_bytes())
    header, _ = groups_in(path)[0]
    data[header.offset + frame.GROUP_HEADER_BYTES + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptLogError) as found:
        backup(source, copy)
    assert (found.value.file, found.value.offset) == (str(path), header.offset)
    assert snapshot(copy) == (good if where == "in use" else {})


def test_damage_in_the_copy_is_found(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    live(source, FakeClock(), random.Random(9))
    backup(source, copy)
    path = segment_files(copy)[1]
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    done = run("folder", "backup", str(source), str(copy))
    assert done.code == 1
    assert str(path) in done.error
    assert "backup is unusable" in done.error
    path.unlink()
    assert run("folder", "backup", str(source), str(copy)).code == 0
    assert state_view_in(copy) == state_view_in(source)


def test_folders_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    source, other, copy = tmp_path / "source", tmp_path / "other", tmp_path / "copy"
    clock = FakeClock()
    live(source, clock, random.Random(10))
    live(other, FakeClock(), random.Random(10))
    old = tmp_path / "old"
    shutil.copytree(source, old)
    live(source, clock, random.Random(11))
    backup(source, copy)
    before = snapshot(copy)
    with pytest.raises(BackupError, match="another log"):
        backup(other, copy)
    with pytest.raises(BackupError, match="older than its backup"):
        backup(old, copy)
    with pytest.raises(FolderError, match="is the source folder"):
        backup(source, source)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(NoLogError):
        backup(tmp_path / "nothing", tmp_path / "new")
    assert snapshot(copy) == before
    assert not (tmp_path / "new").exists()


def test_checkpoints_are_not_copied_and_stale_ones_go(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    live(source, FakeClock(), random.Random(12))
    (source / "0000000001-0000000064.ckpt").write_bytes(b"cache")
    backup(source, copy)
    assert names(copy) == [path.name for path in segment_files(source)]
    (copy / "0000000001-0000000064.ckpt").write_bytes(b"cache")
    (copy / "notes.txt").write_text("mine")
    backup(source, copy)
    assert names(copy) == [*(path.name for path in segment_files(source)), "notes.txt"]


def test_a_full_disk_leaves_the_backup_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    clock, chance = FakeClock(), random.Random(13)
    live(source, clock, chance)
    backup(source, copy)
    before = snapshot(copy)
    live(source, clock, chance)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DiskFile, "write", no_room)
    with pytest.raises(DiskFullError, match="no room"):
        backup(source, copy)
    assert snapshot(copy) == before


def test_the_command_and_the_tool(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    live(source, FakeClock(), random.Random(14))
    with opened(source):
        done = run("folder", "backup", str(source), str(copy))
    assert (done.code, done.error, done.lines[-1]) == (0, "", "ok")
    tool = subprocess.run(
        [sys.executable, TOOL, source, copy], capture_output=True, env=clean_environment(), check=False, timeout=60
    )
    assert tool.returncode == 0
    count = len(segment_files(source))
    assert f"reused    {count - 1} segments" in tool.stdout.decode()
    with opened(copy):
        done = run("folder", "backup", str(source), str(copy))
    assert done.code == 1
    assert "in use by another process" in done.error
