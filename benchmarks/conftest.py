"""Fixtures of the benchmarks. Compare medians of one run: absolute times depend on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wonderq.broker.broker import Broker
from wonderq_storage import FileLog, SyncPolicy


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker without syncs, so that the disk does not affect the measurement."""
    broker = Broker(FileLog(tmp_path / "data", sync=SyncPolicy("os")))
    yield broker
    broker.close()


@pytest.fixture
def durable_broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(FileLog(tmp_path / "data"))
    yield broker
    broker.close()


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    """URL of a durable `wonderq serve` in a process of its own."""
    command = [sys.executable, "-m", "wonderq", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[3]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
