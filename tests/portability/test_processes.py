"""Processes on systems without pidfds, with other limits on open files, and with other evidence about the time."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from wonderq import logs
from wonderq.cli.line_batches import read_batches
from wonderq.cli.serve import raise_file_limit
from wonderq.runtime import time_evidence
from wonderq.runtime.time_evidence import TimeEvidence
from wonderq.testing import broker
from wonderq.testing.messages import Messages

# Brokers of tests


@pytest.fixture
def no_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.delattr(signal, "pidfd_send_signal", raising=False)


@pytest.mark.usefixtures("no_pidfd")
def test_brokers_of_tests_are_killed_and_stopped_without_pidfds() -> None:
    with broker() as running:
        running.kill()
        running.restart()
        running.advance(1)
        running.stop()
        running.restart()
        running.advance(1)


@pytest.mark.usefixtures("no_pidfd")
def test_no_other_process_is_killed_in_place_of_a_broker_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    kill = os.kill
    with broker() as running:
        running.kill()
        running.restart()
        process: Any = running._process
        kill(process._pid, signal.SIGKILL)
        with pytest.raises(RuntimeError):
            running.advance(1)
        monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(number) or kill(pid, number))
        running.kill()
        assert signal.SIGKILL not in killed
        running.restart()


def test_messages_arrive_whole_and_with_their_sockets() -> None:
    ours, theirs = (Messages(each) for each in socket.socketpair())
    sent, other = socket.socketpair()
    large = {"text": "x" * 3000}
    with sent, other:
        ours.send({"number": 1}, sent)
        ours.send(large)
        assert theirs.receive() == {"number": 1}
        assert theirs.receive() == large
        [received] = theirs.sockets
        with received:
            received.send(b"through")
            assert other.recv(10) == b"through"
    assert not theirs.is_at_end()
    ours.end()
    assert theirs.is_at_end()
    assert theirs.receive() is None
    theirs.send({"number": 2})
    assert ours.receive() == {"number": 2}
    theirs.close()
    with pytest.raises(OSError, match=r"Broken pipe|not connected"):
        ours.send({})
    ours.close()


# Limits


@pytest.mark.parametrize(
    ("limits", "largest", "expected"),
    [
        ((256, resource.RLIM_INFINITY), 10240, (10240, resource.RLIM_INFINITY)),
        ((256, resource.RLIM_INFINITY), 200_000, (65536, resource.RLIM_INFINITY)),
        ((256, 50_000), 10240, (10240, 50_000)),
        ((256, 4096), 10240, (4096, 4096)),
        ((20_000, resource.RLIM_INFINITY), 10240, None),
        ((256, 8000), 100, None),
        ((4096, 4096), 100, None),
    ],
)
def test_the_limit_on_open_files_is_raised_as_far_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], largest: int, expected: tuple[int, int] | None
) -> None:
    """macOS states no hard limit, and refuses to lift the soft one beyond a number that differs by version."""
    chosen: list[tuple[int, int]] = []

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        if not 0 <= wanted[0] <= largest:
            raise ValueError("current limit exceeds maximum limit")
        chosen.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    raise_file_limit()
    assert chosen == ([] if expected is None else [expected])


# Terminals, for which the poll of macOS does not work


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")


@pytest.mark.usefixtures("no_poll")
def test_lines_of_a_terminal_are_read_as_they_come() -> None:
    ours, theirs = os.openpty()
    os.write(ours, b"one\ntwo\n")
    batches = read_batches(theirs, longest=100)
    assert b"one" in next(batches).lines, "what is there is not kept back until more comes"
    os.close(ours)
    os.close(theirs)


@pytest.mark.usefixtures("no_poll")
def test_log_lines_are_written_whole_to_a_stream_that_does_not_block() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    text = "x" * 300_000
    read: list[bytes] = []

    def read_all() -> None:
        while data := os.read(ours, 1 << 16):
            read.append(data)

    reader = threading.Thread(target=read_all)
    reader.start()
    with os.fdopen(theirs, "w") as stream:
        logs._write(stream, text)
    reader.join()
    os.close(ours)
    assert b"".join(read).decode() == text


# The clock


class Library:
    """The C library of a system with ntp_gettime and parameters of the kernel, and without adjtimex."""

    def __init__(self, state: int, seconds: float, boot_id: bytes | None = None) -> None:
        self._state, self._seconds, self._boot_id = state, seconds, boot_id

    def ntp_gettime(self, into: Any) -> int:
        into._obj.seconds = int(self._seconds)
        return self._state

    def sysctlbyname(self, name: bytes, value: Any, size: Any, *_: object) -> int:
        if self._boot_id is None:
            return -1
        assert name == b"kern.bootsessionuuid"
        value.value = self._boot_id
        size._obj.value = len(self._boot_id) + 1
        return 0


@pytest.mark.parametrize(
    ("state", "ahead_s", "believed"), [(0, 0, True), (4, 0, True), (5, 0, False), (-1, 0, False), (0, 3600, False)]
)
def test_the_clock_of_a_kernel_with_ntp_gettime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: int, ahead_s: float, believed: bool
) -> None:
    library = Library(state, time.time() + ahead_s)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    assert TimeEvidence(tmp_path).is_synchronised() is believed


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "ntp_gettime"), reason="this system has no ntp_gettime")
def test_ntp_gettime_states_what_adjtimex_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = ctypes.CDLL(None)
    expected = TimeEvidence(tmp_path).is_synchronised()

    class WithoutAdjtimex:
        ntp_gettime = library.ntp_gettime

    monkeypatch.setattr(ctypes, "CDLL", lambda _: WithoutAdjtimex)
    assert TimeEvidence(tmp_path).is_synchronised() is expected


def test_without_either_nothing_confirms_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not TimeEvidence(tmp_path).is_synchronised()


@pytest.mark.parametrize(("boot_id", "expected"), [(b"7C4F-21", "7C4F-21"), (None, ""), (b"\xff", "")])
def test_the_run_of_a_machine_without_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot_id: bytes | None, expected: str
) -> None:
    monkeypatch.setattr(time_evidence, "_BOOT_ID_FILE", tmp_path / "none")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(0, 0, boot_id))
    assert TimeEvidence(tmp_path).boot_id() == expected


def test_a_system_without_such_parameters_has_no_identity_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_evidence, "_BOOT_ID_FILE", tmp_path / "none")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert TimeEvidence(tmp_path).boot_id() == ""
    assert TimeEvidence(tmp_path).since_boot_ms() > 0
