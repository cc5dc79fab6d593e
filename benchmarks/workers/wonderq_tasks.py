"""Tasks of WonderQ."""

from __future__ import annotations

import time

from benchmarks.workers.counting import count, note
from wonderq import App

_BATCH = 1000

QUEUE = "tasks"

app = App(queue=QUEUE)


@app.task()
def empty() -> None:
    count()


@app.task()
async def empty_coroutine() -> None:
    count()


@app.task()
def arrive(sent_ns: int) -> None:
    """Note the time since the task was sent. The clock is the same for all processes."""
    note(time.monotonic_ns() - sent_ns)


def fill(name: str, tasks: int) -> None:
    task = app.tasks[name]
    for start in range(0, tasks, _BATCH):
        with app.batch():
            for _ in range(min(_BATCH, tasks - start)):
                task.send()
    app.close()
