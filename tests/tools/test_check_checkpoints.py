from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from tests.support.folders import snapshot, write_checkpoint
from tests.tools.folders import broker_on, compact_all, live_a_little
from wonderq.folder.verify import verify
from wonderq.model.messages import NewMessage, Target
from wonderq.state.replay import replay_log
from wonderq_storage import FileCheckpoints, FileLog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two checkpoints, compaction before and between them, and records behind them."""
    folder = tmp_path / "d"
    with broker_on(folder) as (broker, log):
        rng = random.Random(4)
        live_a_little(broker, rng, 60)
        compact_all(broker, log, 1)
        write_checkpoint(broker, log, folder)
        live_a_little(broker, rng, 40)
        compact_all(broker, log, 1)
        broker.claim("default", limit=5, visibility_timeout_ms=1)
        live_a_little(broker, rng, 5)
        write_checkpoint(broker, log, folder)
        live_a_little(broker, rng, 10)
    return folder


def test_they_agree_with_the_log(folder: Path) -> None:
    findings = verify(folder)
    assert len(list(folder.glob("*.ckpt"))) == 2
    assert (findings.problems, findings.warnings) == ([], [])


def test_groups_may_have_other_numbers_than_in_the_compacted_log(tmp_path: Path) -> None:
    with broker_on(tmp_path) as (broker, log):
        [first, _] = broker.send("q", [NewMessage("x", group="deleted"), NewMessage("y", group="kept")])
        broker.delete("q", Target(id=first.id))
        log.rotate()
        log.sync()
        compact_all(broker, log, 1)
        write_checkpoint(broker, log, tmp_path)
    findings = verify(tmp_path)
    assert (findings.problems, findings.warnings) == ([], [])


def test_damaged_ones_are_warnings(folder: Path) -> None:
    for path in folder.glob("*.ckpt"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    before = snapshot(folder)
    findings = verify(folder)
    assert findings.problems == []
    assert len(findings.warnings) == 2
    assert snapshot(folder) == before


def test_one_that_says_something_else_is_a_problem(folder: Path) -> None:
    checkpoints = FileCheckpoints(folder)
    path = checkpoints.paths()[0]
    mark, chunks = checkpoints.read(path)
    header, *pages = chunks
    page = bytearray(pages[-1])
    at = next(index for index in range(16, len(page)) if page[index] == 1)  # a waiting message
    page[at] = 0
    checkpoints.write(mark, [header, *pages[:-1], bytes(page)])
    findings = verify(folder)
    assert [(each.file, each.offset) for each in findings.problems] == [(str(path), 0)]
    assert "contradicts the log" in findings.problems[0].reason


@pytest.mark.parametrize(("later_ms", "problems"), [(-1, 1), (0, 0), (60_000, 0)])
def test_its_time_may_be_later_than_all_records_but_not_earlier(tmp_path: Path, later_ms: int, problems: int) -> None:
    with broker_on(tmp_path) as (broker, log):
        broker.produce("q", ["x"])
        write_checkpoint(broker, log, tmp_path)
    with closing(FileLog(tmp_path)) as log:
        newest_ms = replay_log(log)[0].last_ms
    checkpoints = FileCheckpoints(tmp_path)
    [path] = checkpoints.paths()
    mark, chunks = checkpoints.read(path)
    header, *others = chunks
    changed = {**msgpack.unpackb(header), "last_ms": newest_ms + later_ms}
    checkpoints.write(mark, [msgpack.packb(changed), *others])
    findings = verify(tmp_path)
    assert ["newest time" in each.reason for each in findings.problems] == [True] * problems


def test_one_of_another_log_is_a_warning(folder: Path, tmp_path: Path) -> None:
    with broker_on(tmp_path / "other") as (broker, log):
        live_a_little(broker, random.Random(9), 100)
        write_checkpoint(broker, log, tmp_path / "other")
    [path] = (tmp_path / "other").glob("*.ckpt")
    (folder / path.name).write_bytes(path.read_bytes())
    findings = verify(folder)
    assert findings.problems == []
    assert len(findings.warnings) == 1
