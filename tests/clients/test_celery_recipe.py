"""Celery as docs/TASK_LIBRARIES.md sets it up: a task runs, and its claim lasts as long as the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from wonderq.testing import broker

pytest.importorskip("pycurl")
pytest.importorskip("celery")

ROOT = Path(__file__).parents[2]


def test_the_application_of_the_page_runs_tasks(tmp_path: Path) -> None:
    with broker() as running:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TASKS_ADDRESS": running.url.removeprefix("http://")}
        send = "from tests.clients.celery_recipe import resize; resize.delay('cat.png', width=400)"
        subprocess.run([sys.executable, "-c", send], env=environment, check=True, timeout=PATIENCE_S)
        celery = running.client().queue("celery")
        assert celery.info().settings["visibility_timeout"] == 300
        command = [sys.executable, "-m", "celery", "-A", "tests.clients.celery_recipe", "worker", "--pool", "solo"]
        output = tmp_path / "output"
        with output.open("w") as file:
            worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=file, stderr=file)
        try:
            eventually(lambda: "resized" in output.read_text(), "the task runs")  # Celery logs each word by itself
            eventually(lambda: not any(celery.info().counts.values()), "the task is acknowledged")
        finally:
            worker.kill()
            worker.wait()
