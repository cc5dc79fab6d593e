"""Celery as docs/TASK_LIBRARIES.md sets it up: tasks run, and one that is killed runs again when the page says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from wonderq.testing import Broker, broker

pytest.importorskip("pycurl")
pytest.importorskip("celery")

ROOT = Path(__file__).parents[2]


class Celery:
    """Workers of an application, and programs that send its tasks."""

    def __init__(self, folder: Path, running: Broker, app: str) -> None:
        self.queue = running.client().queue("celery")
        self._folder = folder
        self._app = app
        self.go_on = folder / "go on"
        self._notes = folder / "notes"
        self._notes.touch()
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TASKS_ADDRESS": running.url.removeprefix("http://"),
            "TASKS_NOTES": str(self._notes),
            "TASKS_GO_ON": str(self.go_on),
        }
        self._workers: list[subprocess.Popen[bytes]] = []

    def send(self, task: str) -> None:
        """Send a task as a program of its own would."""
        code = f"from {self._app} import *; {task}"
        subprocess.run([sys.executable, "-c", code], env=self._environment, check=True, timeout=PATIENCE_S)

    def hire(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "celery", "-A", self._app, "worker", *options]
        with (self._folder / "output").open("ab") as log:
            worker = subprocess.Popen(
                command, env=self._environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        self._workers.append(worker)
        return worker

    def output(self) -> str:
        return (self._folder / "output").read_text(errors="replace")

    def process_of(self, line: str, times: int = 1) -> int:
        """Wait until tasks have noted a line so often, and return the process of the last one."""

        def found() -> list[str]:
            processes = [
                each.rpartition(" ")[2] for each in self._notes.read_text().splitlines() if each.startswith(f"{line} ")
            ]
            return processes if len(processes) == times else []

        return int((eventually(found, f"{line} {times} times") or [""])[-1])

    def wait_until_done(self) -> None:
        eventually(lambda: not any(self.queue.info().counts.values()), "the task is acknowledged")

    def close(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)  # with the processes of its pool
            worker.wait()


@pytest.fixture
def running() -> Iterator[Broker]:
    with broker() as running:
        yield running


@pytest.fixture
def recipe(running: Broker, tmp_path: Path) -> Iterator[Celery]:
    celery = Celery(tmp_path, running, "tests.clients.celery_recipe")
    yield celery
    celery.close()


@pytest.fixture
def killed(running: Broker, tmp_path: Path) -> Iterator[Celery]:
    celery = Celery(tmp_path, running, "tests.clients.celery_killed")
    yield celery
    celery.close()


def test_the_application_of_the_page_runs_tasks(recipe: Celery) -> None:
    recipe.send("resize.delay('cat.png', width=400)")
    assert recipe.queue.info().settings["visibility_timeout"] == 300
    recipe.hire("--pool", "solo")
    eventually(lambda: "resized" in recipe.output(), "the task runs")  # Celery logs each word by itself
    recipe.wait_until_done()


def test_a_task_whose_worker_is_killed_is_done_again_after_the_visibility_timeout(
    running: Broker, killed: Celery
) -> None:
    killed.send("work.delay('a')")
    worker = killed.hire("--pool", "solo")
    assert killed.process_of("begins a") == worker.pid
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    killed.go_on.touch()
    second = killed.hire("--pool", "solo")
    running.advance(299)
    [message] = killed.queue.look()
    assert (message.status, message.tries) == ("processing", 1), "until the timeout of the page"
    running.advance(1)
    assert killed.process_of("begins a", times=2) == second.pid
    assert killed.process_of("ends a") == second.pid
    killed.wait_until_done()


def test_a_task_whose_process_of_the_pool_is_killed_is_done_again_at_once(killed: Celery) -> None:
    killed.send("work.delay('a')")
    worker = killed.hire("--concurrency", "1")
    process = killed.process_of("begins a")
    assert process != worker.pid
    killed.go_on.touch()
    os.kill(process, signal.SIGKILL)
    again = killed.process_of("begins a", times=2)
    assert again != process
    assert killed.process_of("ends a") == again
    assert worker.poll() is None
    killed.wait_until_done()
