"""Each command on each kind of folder: its output, its exit code, and that it changes nothing."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import clean_environment
from tests.support.folders import snapshot, write_checkpoint
from tests.support.waiting import PATIENCE_S
from tests.tools.folders import broker_on, compact_all, flip, live_a_little
from wonderq.cli.main import main
from wonderq_storage.disk import Disk
from wonderq_storage.frame import SEGMENT_HEADER_BYTES
from wonderq_storage.segment import file_name

ROOT = Path(__file__).parents[2]
READING = ("inspect", "inspect --json", "inspect --records", "inspect --records --bodies", "verify", "export")


def make(kind: str, folder: Path) -> None:
    with broker_on(folder) as (broker, log):
        live_a_little(broker, random.Random(2), 90)
        if kind == "trimmed":
            compact_all(broker, log, 2)
        if kind == "healthy":
            write_checkpoint(broker, log, folder)
            live_a_little(broker, random.Random(3), 5)
    if kind == "torn":
        path = max(each for each in folder.glob("*.wal") if len(each.read_bytes().rstrip(b"\0")) > SEGMENT_HEADER_BYTES)
        with path.open("r+b") as file:
            file.seek(len(path.read_bytes().rstrip(b"\0")) + 50)
            file.write(b"torn")
    elif kind == "damaged":
        flip(folder, 2, 700)
    elif kind == "missing":
        (folder / file_name(2)).unlink()
    elif kind == "beheaded":
        (folder / file_name(1)).unlink()
    elif kind == "future":
        path = folder / file_name(2)
        data = bytearray(path.read_bytes())
        data[8] = 3
        data[60:64] = zlib.crc32(data[:60]).to_bytes(4, "little")
        path.write_bytes(data)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    made: dict[str, Path] = {}
    locks = []

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "d"
            make(kind, made[kind])
            if kind == "in use":
                locks.append(Disk().lock(made[kind]))
        return made[kind]

    yield get
    for lock in locks:
        Disk().unlock(lock)


def run(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(each) for each in arguments])
    out, err = capfd.readouterr()
    return code, out, err


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("healthy", 0, ""),
        ("torn", 0, ""),
        ("trimmed", 0, ""),
        ("damaged", 1, "wonderq folder repair "),
        ("missing", 1, "wonderq folder repair "),
        ("beheaded", 1, "wonderq folder repair "),
        ("future", 1, "has format version 3"),
        ("in use", 1, "is in use by another process"),
    ],
)
def test_reading(
    folder_of: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
    kind: str,
    code: int,
    says: str,
    command: str,
) -> None:
    folder = folder_of(kind)
    before = snapshot(folder)
    found, out, err = run(capfd, "folder", *command.split(), folder)
    assert found == code, err
    if command.startswith("inspect"):
        says = says.replace("wonderq folder repair", "wonderq folder verify")
    assert says in err
    assert err or not says
    assert "Traceback" not in err
    if code == 0:
        assert err == ""
        assert out
    if "--json" in command and kind not in ("future", "in use"):
        about = json.loads(out)
        assert {each["state"] for each in about["segments"]} >= {"sealed", "active"}
        assert bool(about["problems"]) == bool(code)
        assert bool(about["torn_tail"]) == (kind == "torn")
    if "--records" in command:
        for line in out.splitlines():
            assert {"kind", "time", "file", "offset", "position"} <= json.loads(line).keys()
    assert snapshot(folder) == before


@pytest.mark.parametrize("kind", ["healthy", "torn", "trimmed", "damaged", "missing", "beheaded"])
def test_repair_gives_a_folder_that_starts_and_verifies(
    folder_of: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    folder, new = folder_of(kind), tmp_path / "new"
    before = snapshot(folder)
    code, out, err = run(capfd, "folder", "repair", folder, new)
    assert (code, err) == (0, "")
    assert snapshot(folder) == before
    assert os.listdir(tmp_path) == ["new"]
    assert run(capfd, "folder", "verify", new)[0] == 0
    if kind in ("healthy", "torn", "trimmed"):
        assert "0 known to be lost" in out
        _, whole, _ = run(capfd, "folder", "export", folder)
        _, copied, _ = run(capfd, "folder", "export", new)
        assert copied == whole
    else:
        assert f"damaged   {folder}/" in out
    if kind == "damaged":
        assert f"{folder / file_name(2)}, byte " in out
    if kind == "missing":
        assert f"{folder / file_name(2)}, byte 0: the segment is missing" in out
        assert "known to be lost" in out
        assert "0 known to be lost" not in out
    if kind == "beheaded":
        assert "all ids and receipts are new" in out
        assert "is now called recovered-" in out
    with broker_on(new, segment_bytes=1 << 16) as (broker, _):
        assert broker.produce("default", ["it takes work"])


@pytest.mark.parametrize(("kind", "says"), [("future", "format version 3"), ("in use", "is in use")])
def test_repair_refuses(
    folder_of: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, says: str
) -> None:
    code, _, err = run(capfd, "folder", "repair", folder_of(kind), tmp_path / "new")
    assert code == 1
    assert says in err
    assert os.listdir(tmp_path) == []


def test_repair_writes_into_no_folder_that_has_something(
    folder_of: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("mine")
    code, _, err = run(capfd, "folder", "repair", folder_of("healthy"), tmp_path / "new")
    assert code == 1
    assert "is not empty" in err
    assert os.listdir(tmp_path / "new") == ["file"]
    code, _, err = run(capfd, "folder", "repair", folder_of("healthy"), tmp_path / "new" / "file")
    assert code == 1
    assert "file is not a folder" in err
    code, _, err = run(capfd, "folder", "repair", folder_of("healthy"), folder_of("healthy") / "new")
    assert code == 1
    assert "is inside" in err
    (tmp_path / "empty").mkdir()
    assert run(capfd, "folder", "repair", folder_of("healthy"), tmp_path / "empty")[0] == 0


@pytest.mark.parametrize("kind", ["damaged", "missing", "beheaded", "future", "in use"])
def test_import_refuses_what_does_not_start(
    folder_of: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    folder = folder_of(kind)
    before = snapshot(folder)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"type":"queue","queue":"q"}\n')))
    code, _, err = run(capfd, "folder", "import", folder)
    assert code == 1
    assert "Traceback" not in err
    assert snapshot(folder) == before


@pytest.mark.parametrize("command", ["inspect", "verify", "export"])
def test_no_log(tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    code, _, err = run(capfd, "folder", command, tmp_path)
    assert code == 1
    assert "holds no log" in err
    assert run(capfd, "folder", command, tmp_path / "none")[0] == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "command", [*READING, "repair", "compact", "compact --dry-run", "backup", "restore", "import", "send x", "receive"]
)
def test_with_standard_output_closed_nothing_is_done(
    folder_of: Callable[[str], Path], tmp_path: Path, command: str
) -> None:
    folder = folder_of("healthy")
    before = snapshot(folder)
    arguments = command.split() if command in ("send x", "receive") else ["folder", *command.split(), str(folder)]
    if command in ("repair", "backup", "restore"):
        arguments.append(str(tmp_path / "new"))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "wonderq", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        cwd=tmp_path,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "wonderq: standard output is closed, so nothing was done. To discard the output, redirect it to /dev/null.\n"
    )
    assert snapshot(folder) == before
    assert os.listdir(tmp_path) == []


def test_with_standard_error_closed_complaints_go_nowhere_else(folder_of: Callable[[str], Path]) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "wonderq", "folder", "export", folder_of("damaged")],
        stdout=subprocess.PIPE,
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_what_the_broker_logs_is_not_printed(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    make("healthy", folder)
    for path in folder.glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-1])
    done = subprocess.run(
        [sys.executable, "-m", "wonderq", "folder", "export", folder],
        capture_output=True,
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("tool", ["inspect", "verify", "repair"])
def test_each_tool_runs_as_a_script(folder_of: Callable[[str], Path], tmp_path: Path, tool: str) -> None:
    arguments: list[Any] = [folder_of("healthy"), *([tmp_path / "new"] if tool == "repair" else [])]
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / f"{tool}.py", *arguments],
        capture_output=True,
        env=clean_environment({"PYTHONPATH": str(ROOT)}),
        cwd=tmp_path,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout
