"""Signals of a broker: SIGTERM counts at any moment, also for process 1, and SIGHUP lets it read its keys again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import COMMAND, clean_environment
from tests.support.process_1 import as_process_1, pid_of_process_1
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.auth import keys
from wonderq.runtime.signals import Signals, StopRequested

#: Runs `wonderq serve` with a start that takes long.
SLOW_START = """
import sys, time
import wonderq.serve
from wonderq.cli.main import main
def open_broker(*_):
    print("starting", flush=True)
    while True:  # a signal that another thread gets wakes no long sleep
        time.sleep(0.05)
wonderq.serve.open_broker = open_broker
sys.exit(main(sys.argv[1:]))
"""


def communicate(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a process prints until it ends. One that does not end is killed."""
    try:
        return process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_start_ends_it(number: int) -> None:
    before = signal.getsignal(number)
    has_gone_on = False
    with Signals():
        os.kill(os.getpid(), number)
        has_gone_on = True
    assert not has_gone_on
    assert signal.getsignal(number) is before


def test_a_stop_whose_exception_was_swallowed_counts_once_the_broker_is_ready() -> None:
    calls: list[str] = []
    with Signals() as signals:
        with suppress(StopRequested):
            os.kill(os.getpid(), signal.SIGTERM)
        signals.ready(lambda: calls.append("stop"), lambda: calls.append("reload"))
        os.kill(os.getpid(), signal.SIGTERM)  # it stops already
    assert calls == ["stop"]


def test_the_signal_after_one_whose_exception_was_swallowed_ends_the_start() -> None:
    """A start may wait without end, such as for the other nodes of a cluster."""
    ends: list[str] = []
    with Signals():
        with suppress(StopRequested):
            os.kill(os.getpid(), signal.SIGTERM)
        ends.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        ends.append("second")
    assert ends == ["first"]


def test_further_signals_do_not_interrupt_the_end_of_a_start() -> None:
    ended: list[str] = []

    def end(what: str) -> None:
        try:
            raise ValueError(what)
        except ValueError:
            os.kill(os.getpid(), signal.SIGTERM)
        ended.append(what)

    @contextmanager
    def part() -> Iterator[None]:
        try:
            yield
        finally:
            end("generator")

    with Signals(), ExitStack() as stack, part():
        stack.callback(end, "callback")
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended == ["generator", "callback"]


def test_a_hangup_during_the_start_counts_once_the_broker_is_ready() -> None:
    calls: list[str] = []
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not calls
        signals.ready(lambda: calls.append("stop"), lambda: calls.append("reload"))
    assert calls == ["reload"]


def test_later_each_signal_has_its_call() -> None:
    calls: list[str] = []
    with Signals() as signals:
        signals.ready(lambda: calls.append("stop"), lambda: calls.append("reload"))
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
    assert calls == ["reload", "stop"]


@pytest.mark.parametrize("is_process_1", [False, True])
def test_sigterm_ends_a_start(tmp_path: Path, is_process_1: bool) -> None:
    command = [
        sys.executable,
        "-c",
        SLOW_START,
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        str(tmp_path / "d"),
    ]
    if is_process_1:
        command = as_process_1(command)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        broker = pid_of_process_1(process.pid) if is_process_1 else process.pid
        os.kill(broker, signal.SIGTERM)
        _, error = communicate(process)
    assert process.returncode == 0
    assert "SIGTERM: stopping" in error
    assert "Traceback" not in error
    assert os.listdir(tmp_path) == []


def test_sighup_reads_the_keys_again(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "d") as broker:
        keys.create(tmp_path / "d" / "keys.json", name="x", roles=["admin"], queues=["*"])
        os.kill(broker.process.pid, signal.SIGHUP)
        eventually(lambda: "keys.json again: 1 keys" in broker.log_so_far())
        assert "SIGHUP: reading the keys again" in broker.log_so_far()
        with QueueClient(broker.url) as client:
            assert client.ready()
        assert broker.terminate() == 0


def test_a_standard_error_that_nobody_reads_holds_up_no_request(tmp_path: Path) -> None:
    options = ["--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--access-log", "true"]
    with subprocess.Popen(
        [*COMMAND, "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        with QueueClient(url) as client:
            for _ in range(1500):  # each logs more than 50 bytes, and a pipe holds 65,536
                client.count("unprocessed")
        process.terminate()
        _, error = communicate(process)
    assert process.returncode == 0
    assert error.count(" in ") >= 1500
    assert error.endswith("stopped cleanly\n")


@pytest.mark.slow
def test_a_stop_does_not_wait_for_a_reader_that_never_comes(tmp_path: Path) -> None:
    options = ["--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--access-log", "true"]
    reading, writing = os.pipe()
    while True:
        os.set_blocking(writing, False)
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    with subprocess.Popen(
        [*COMMAND, "serve", *options], stdout=subprocess.PIPE, stderr=writing, text=True, env=clean_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("wonderq listening")
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    os.close(reading)
    os.close(writing)
