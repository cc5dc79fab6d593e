"""The supervisor of worker processes, with small programs in the place of workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from wonderq.worker.source_files import SourceFiles
from wonderq.worker.supervisor import UNUSABLE, Child, Restarts

_SUPERVISE = """
import logging, sys
from pathlib import Path
from wonderq.worker.source_files import SourceFiles
from wonderq.worker.supervisor import Supervisor
logging.basicConfig(level="INFO")
files = SourceFiles(Path(sys.argv[4])) if len(sys.argv) > 4 else None
sys.exit(Supervisor([sys.executable, "-c", sys.argv[1]], int(sys.argv[2]), grace_s=float(sys.argv[3]), files=files).run())
"""

#: Writes a file with its pid when it starts, and ends with the first signal, or with the supervisor.
_WORK = """
import os, signal, sys, time
from pathlib import Path
from wonderq.worker.supervisor import obey_parent
folder = Path({folder!r})
def end(*_, **__):
    (folder / f"{{os.getpid()}}.ended").touch()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
obey_parent(end)
(folder / f"{{os.getpid()}}.started").touch()
while True:
    time.sleep(1)
"""


def supervised(program: str, processes: int, *more: str, grace_s: float = 30) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SUPERVISE, program, str(processes), str(grace_s), *more],
        stderr=subprocess.PIPE,
        text=True,
    )


def pids(folder: Path, what: str = "started") -> set[int]:
    return {int(path.stem) for path in folder.glob(f"*.{what}")}


def wait(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, errors


def test_pauses_grow_while_processes_die_young() -> None:
    restarts = Restarts()
    pauses = [restarts.pause_s(lived_s=0.1) for _ in range(12)]
    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0
    assert restarts.pause_s(lived_s=3600) == 0.5
    assert restarts.pause_s(lived_s=0.1) == 1.0


def test_a_killed_process_is_started_anew_and_a_signal_ends_all(tmp_path: Path) -> None:
    with supervised(_WORK.format(folder=str(tmp_path)), 2) as process:
        eventually(lambda: len(pids(tmp_path)) == 2)
        killed = min(pids(tmp_path))
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: len(pids(tmp_path)) == 3)
        process.send_signal(signal.SIGTERM)
        code, errors = wait(process)

    assert code == 0
    assert pids(tmp_path, "ended") == pids(tmp_path) - {killed}
    assert f"({killed}) was killed by SIGKILL; another one starts" in errors


def test_processes_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with supervised(_WORK.format(folder=str(tmp_path)), 2) as process:
        eventually(lambda: len(pids(tmp_path)) == 2)
        process.kill()
        eventually(lambda: len(pids(tmp_path, "ended")) == 2)


def test_a_process_that_cannot_work_ends_all(tmp_path: Path) -> None:
    with supervised(f"import sys; sys.exit({UNUSABLE})", 2) as process:
        code, _ = wait(process)
    assert code == UNUSABLE


def test_a_second_signal_is_the_order_to_hurry(tmp_path: Path) -> None:
    program = f"""
import os, signal, time
from pathlib import Path
from wonderq.worker.supervisor import obey_parent
folder = Path({str(tmp_path)!r})
def note(*_):
    (folder / f"{{os.getpid()}}.signal").touch()
def obey(*, at_once):
    if at_once:
        (folder / f"{{os.getpid()}}.hurried").touch()
        os._exit(0)
signal.signal(signal.SIGTERM, note)
obey_parent(obey)
(folder / f"{{os.getpid()}}.started").touch()
while True:
    time.sleep(1)
"""
    with supervised(program, 1) as process:
        eventually(lambda: pids(tmp_path))
        process.send_signal(signal.SIGINT)
        eventually(lambda: pids(tmp_path, "signal"))
        process.send_signal(signal.SIGINT)
        code, _ = wait(process)
    assert code == 0
    assert pids(tmp_path, "hurried")


def test_an_order_to_hurry_may_come_after_the_end_of_a_process() -> None:
    ended: list[Child] = []
    child = Child(0, [sys.executable, "-c", "raise SystemExit(3)"], ended.append)
    child.start()
    eventually(lambda: ended)
    child.hurry()
    assert child.end()[1] == 3


def test_changed_source_files_restart_all(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with supervised(_WORK.format(folder=str(tmp_path)), 2, str(source)) as process:
        eventually(lambda: len(pids(tmp_path)) == 2)
        (source / "tasks.py").write_text("x = 1\n")
        eventually(lambda: len(pids(tmp_path)) == 4)
        eventually(lambda: len(pids(tmp_path, "ended")) == 2)
        process.send_signal(signal.SIGTERM)
        code, errors = wait(process)
    assert code == 0
    assert "restarting" in errors
    assert "another one starts" not in errors


@pytest.mark.parametrize("change", ["add", "change", "remove", "below"])
def test_changes_of_source_files_are_seen(tmp_path: Path, change: str) -> None:
    there = tmp_path / "there.py"
    there.write_text("x = 1\n")
    files = SourceFiles(tmp_path)
    assert not files.have_changed()
    match change:
        case "add":
            (tmp_path / "new.py").touch()
        case "change":
            os.utime(there, ns=(1, 1))
        case "remove":
            there.unlink()
        case "below":
            (tmp_path / "package").mkdir()
            (tmp_path / "package" / "new.py").touch()
    assert files.have_changed()
    assert not files.have_changed()


def test_other_files_are_not_watched(tmp_path: Path) -> None:
    files = SourceFiles(tmp_path)
    for folder in (".venv", "__pycache__"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").touch()
    (tmp_path / "notes.txt").touch()
    assert not files.have_changed()
