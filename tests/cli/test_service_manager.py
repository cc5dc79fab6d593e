"""A broker notifies the service manager that started it (`Type=notify` of systemd) when it serves, and when it stops."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_signals import SLOW_START
from tests.support.broker_process import RunningBroker
from tests.support.commands import clean_environment
from tests.support.waiting import PATIENCE_S
from wonderq.runtime.service_manager import notify


@contextmanager
def manager(address: str | bytes) -> Iterator[socket.socket]:
    """Stand in for the service manager: a datagram socket at the address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(PATIENCE_S)
        yield receiver


def received(receiver: socket.socket) -> dict[str, str]:
    """Return the assignments of the next notification."""
    return dict(line.split("=", 1) for line in receiver.recv(4096).decode().split("\n"))


def test_a_broker_is_ready_when_clients_may_connect_and_stopping_after_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with (
        manager(str(path)) as receiver,
        RunningBroker(tmp_path / "data", environment={"NOTIFY_SOCKET": str(path)}) as broker,
    ):
        first = received(receiver)
        assert first["READY"] == "1"
        [address] = re.findall(r"listening on (\S+)", first["STATUS"])
        with urllib.request.urlopen(f"{address}/readyz", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        assert broker.terminate() == 0
        assert received(receiver) == {"STOPPING": "1"}
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(4096)


def test_a_broker_that_still_starts_is_not_ready(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    command = [sys.executable, "-c", SLOW_START, "serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    environment = clean_environment({"NOTIFY_SOCKET": str(path)})
    with (
        manager(str(path)) as receiver,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"starting\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
        assert received(receiver) == {"STOPPING": "1"}


def test_a_broker_serves_although_the_service_manager_cannot_be_reached(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with RunningBroker(tmp_path / "data", environment={"NOTIFY_SOCKET": missing}) as broker:
        with urllib.request.urlopen(f"{broker.url}/healthz", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        assert broker.terminate() == 0
        assert f"the service manager at NOTIFY_SOCKET={missing} cannot be notified: " in broker.log()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has abstract names")
def test_an_abstract_name_begins_with_an_at_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"wonderq-{tmp_path.name}-{id(tmp_path)}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with manager(f"\0{name}".encode()) as receiver:
        notify("READY=1\nSTATUS=two words")
        assert received(receiver) == {"READY": "1", "STATUS": "two words"}


def test_a_reader_that_is_too_slow_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with manager(str(path)):
        for _ in range(10_000):  # more than the socket's buffer has room for
            notify("STATUS=" + "x" * 1000)


def test_without_a_service_manager_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(socket, "socket", None)
    notify("READY=1")
