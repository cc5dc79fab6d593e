"""The application of docs/TASK_LIBRARIES.md with a task that a test interrupts: it ends once a file is there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.clients.celery_recipe import app

NOTES, GO_ON = Path(os.environ["TASKS_NOTES"]), Path(os.environ["TASKS_GO_ON"])


@app.task
def work(word: str) -> None:
    note(f"begins {word} {os.getpid()}")
    while not GO_ON.exists():
        time.sleep(0.02)
    note(f"ends {word} {os.getpid()}")


def note(line: str) -> None:
    with NOTES.open("a") as file:
        print(line, file=file, flush=True)
