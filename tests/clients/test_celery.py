"""Celery with its SQS transport: tasks run, and one whose worker is killed runs again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S

pytest.importorskip("pycurl")
pytest.importorskip("celery")


class Workshop:
    """A broker, Celery workers on it, and what their tasks wrote down."""

    def __init__(self, folder: Path, broker: RunningBroker) -> None:
        self.broker = broker
        self._folder = folder
        self._notes = folder / "done"
        self._notes.touch()
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TASKS_BROKER": broker.url.replace("http://", "sqs://any:thing@"),
            "TASKS_DONE": str(self._notes),
        }
        self._workers: list[subprocess.Popen[bytes]] = []

    def call(self, *arguments: Any) -> None:
        """Send a task as a program of its own would."""
        code = f"from tests.clients.celery_tasks import note; note.delay(*{arguments!r})"
        subprocess.run([sys.executable, "-c", code], env=self._environment, check=True, timeout=PATIENCE_S)

    def hire(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "tests.clients.celery_tasks", "worker", "--pool", "solo"]
        with (self._folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(command, env=self._environment, cwd=self._folder, stdout=log, stderr=log)
        self._workers.append(worker)
        return worker

    def wait_for(self, line: str, times: int = 1) -> None:
        end = time.monotonic() + PATIENCE_S
        while self._notes.read_text().splitlines().count(line) < times:
            assert time.monotonic() < end, (self._folder / "worker.log").read_text()
            time.sleep(0.02)

    def restart_broker(self, sign: signal.Signals) -> None:
        self.broker = self.broker.restarted(sign, outage_s=3)  # which is longer than the retries of the SDK

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self.broker.kill()


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    with RunningBroker(tmp_path / "data") as broker:
        workshop = Workshop(tmp_path, broker)
        try:
            yield workshop
        finally:
            workshop.close()


def test_tasks_run_and_one_whose_worker_is_killed_runs_again(workshop: Workshop) -> None:
    worker = workshop.hire()
    workshop.call("first")
    workshop.wait_for("ends first")
    workshop.call("slow", 3600)
    workshop.wait_for("begins slow")
    worker.kill()
    worker.wait()
    workshop.hire()
    workshop.wait_for("begins slow", times=2)
    with QueueClient(workshop.broker.url, queue="celery-tasks") as client:
        [message] = client.messages()
        assert message["receive_count"] == 2


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=lambda sign: sign.name)
def test_a_worker_goes_on_after_a_restart_of_the_broker(workshop: Workshop, sign: signal.Signals) -> None:
    worker = workshop.hire()
    workshop.call("before")
    workshop.wait_for("ends before")
    workshop.restart_broker(sign)
    workshop.call("after")
    workshop.wait_for("ends after")
    assert worker.poll() is None, "the same worker"
