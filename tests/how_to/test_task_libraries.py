"""dramatiq as docs/TASK_LIBRARIES.md sets it up, with the command `dramatiq`. Celery: tests/clients/test_celery_recipe.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import blocks_of
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.testing import Broker

PAGE = "TASK_LIBRARIES.md"


def test_each_section_has_a_test() -> None:
    assert {title: len(blocks) for title, blocks in blocks_of(PAGE).items()} == {"dramatiq": 1, "Celery": 1}


@pytest.mark.slow
def test_dramatiq(running: Broker, tmp_path: Path) -> None:
    [block] = blocks_of(PAGE)["dramatiq"]
    (tmp_path / "my_tasks.py").write_text(block.replace("http://127.0.0.1:7979", running.url))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    send = "import my_tasks; my_tasks.resize.send('cat.png', width=400)"
    subprocess.run([sys.executable, "-c", send], env=environment, check=True, timeout=PATIENCE_S)
    command = [sys.executable, "-m", "dramatiq", "my_tasks", "--processes", "1", "--threads", "1", "--skip-logging"]
    output = tmp_path / "output"
    with output.open("w") as file:
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=file, stderr=file)
    try:
        eventually(lambda: "resized cat.png 400\n" in output.read_text(), "the task runs")
    finally:
        worker.terminate()
        worker.wait(PATIENCE_S)
