"""The application of a Celery worker, as a user would write it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

app = Celery("tasks", broker=os.environ["TASKS_BROKER"])
app.conf.update(
    broker_transport_options={
        "region": "us-east-1",
        "is_secure": False,
        "visibility_timeout": 2,
        "wait_time_seconds": 1,
        "polling_interval": 0.1,
    },
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_default_queue="celery-tasks",
    worker_prefetch_multiplier=1,
)


@app.task
def note(word: str, work_s: float = 0) -> None:
    with Path(os.environ["TASKS_DONE"]).open("a") as file:
        print("begins", word, file=file, flush=True)
        time.sleep(work_s)
        print("ends", word, file=file, flush=True)
