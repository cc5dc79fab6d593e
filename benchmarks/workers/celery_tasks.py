"""Tasks of Celery."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.workers.counting import REDIS_VARIABLE, count

app = Celery("tasks", broker=os.environ.get(REDIS_VARIABLE))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=True,  # else the tasks of a worker that is killed are lost
    task_ignore_result=True,
)


@app.task
def empty() -> None:
    count()


def fill(_name: str, tasks: int) -> None:
    for _ in range(tasks):
        empty.delay()
