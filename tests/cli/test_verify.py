from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.broker_process import MIN_SEGMENT_BYTES, RunningBroker
from tests.support.commands import clean_environment, run
from tests.support.folders import copy_sparsely
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.state import record
from wonderq_storage import FileLog

TOOL = Path(__file__).parents[2] / "tools" / "verify.py"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a broker that did a little and was stopped."""
    folder = tmp_path_factory.mktemp("stopped") / "d"
    with RunningBroker(folder, "--segment-bytes", str(MIN_SEGMENT_BYTES)) as broker:
        with QueueClient(broker.url) as default, QueueClient(broker.url, queue="other") as other:
            default.produce_batch(["a", "b", "c"])
            [first] = default.consume(limit=1)
            default.consume(limit=1, visibility_timeout=1000)
            default.delete(first["receipt"])
            other.produce("later", delay=1000)
        assert broker.terminate() == 0
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    return copy_sparsely(stopped, tmp_path / "d")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {each.name: (each.stat().st_mtime_ns, each.read_bytes()) for each in folder.rglob("*") if each.is_file()}


def test_a_whole_folder_is_ok_and_is_not_changed(folder: Path) -> None:
    before = contents(folder), folder.stat().st_mtime_ns
    done = run("folder", "verify", str(folder))
    assert (done.code, done.error) == (0, "")
    text = [" ".join(line.split()) for line in done.lines]
    assert text == [
        f"folder {folder}",
        "segments 1 (0000000001.wal), 32.0 MiB with the space reserved",
        "records 8 (identity 1, queue 2, produce 2, claim 2, delete 1)",
        "",
        "QUEUE UNPROCESSED PROCESSING DELAYED BURIED SIZE",
        "default 1 1 0 0 12 B",
        "other 0 0 1 0 10 B",
        "",
        "ok",
    ]
    assert (contents(folder), folder.stat().st_mtime_ns) == before


def test_the_tool_does_the_same(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, TOOL, folder],
        capture_output=True,
        env=clean_environment(),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, run("folder", "verify", str(folder)).out)


def test_damage_is_named_and_nothing_is_changed(folder: Path) -> None:
    segment = folder / "0000000001.wal"
    data = bytearray(segment.read_bytes())
    data[data.index(b"later")] ^= 1
    segment.write_bytes(data)
    before = contents(folder)
    done = run("folder", "verify", str(folder))
    assert done.code == 1
    assert done.error.startswith(f"wonderq: {segment}, byte ")
    assert "Nothing was changed" in done.error
    assert "produce 1, claim 2, delete 1" in done.out.decode(), "what comes before the damage is reported"
    assert done.lines[-1].startswith("damaged")
    assert "ok" not in done.lines
    assert contents(folder) == before


def test_a_broken_segment_header(folder: Path) -> None:
    segment = folder / "0000000001.wal"
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(data)
    done = run("folder", "verify", str(folder))
    assert done.code == 1
    assert done.error.startswith(f"wonderq: {segment}, byte 0: the segment header does not verify")


def test_a_torn_tail_is_ok_and_stays_for_the_next_start(folder: Path) -> None:
    segment = folder / "0000000001.wal"
    end = len(segment.read_bytes().rstrip(b"\0"))
    with segment.open("r+b") as file:
        file.seek(end + 100)
        file.write(b"torn")
    before = contents(folder)
    done = run("folder", "verify", str(folder))
    assert done.code == 0
    assert "bytes that were never acknowledged" in done.out.decode()
    assert done.lines[-1] == "ok"
    assert contents(folder) == before


def test_records_that_contradict_each_other(folder: Path) -> None:
    log = FileLog(folder)
    list(log.replay())
    log.start()
    position = log.append(record.encode((record.PRODUCE, 2, 1, 0, [], [5], b"12345")))  # there was a message 0 before
    log.wait(position)
    log.close()
    done = run("folder", "verify", str(folder))
    assert done.code == 1
    assert f"{folder}/0000000001.wal, byte {position & 0xFFFFFFFF}: " in done.error


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "d"):
        done = run("folder", "verify", str(tmp_path / "d"))
    assert done.code == 1
    assert "is in use by another process" in done.error


def test_no_log_is_refused_and_nothing_is_created(tmp_path: Path) -> None:
    done = run("folder", "verify", str(tmp_path))
    assert done.code == 1
    assert done.error.startswith(f"wonderq: {tmp_path} holds no log")
    done = run("folder", "verify", str(tmp_path / "none"))
    assert done.code == 1
    assert done.error == (
        f"wonderq: there is no folder {tmp_path}/none. Pass the folder that 'wonderq serve --data' uses.\n"
    )
    assert os.listdir(tmp_path) == []
