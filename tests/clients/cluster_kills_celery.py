"""The Celery application of `cluster_kills`, set up as docs/TASK_LIBRARIES.md says.

`python -m tests.clients.cluster_kills_celery QUEUE...` sends its task until SIGTERM, and notes what was acknowledged.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from tests.clients.celery_recipe import app

FOLDER = Path(os.environ["TASKS_FOLDER"])

_PAUSE_S = 0.02


@app.task(name="handle")
def handle(word: str) -> None:
    note("handled", word)


def note(name: str, line: str) -> None:
    """Append a line to a file."""
    with (FOLDER / name).open("a") as file:
        print(line, file=file, flush=True)


def send(queues: Sequence[str]) -> None:
    """Send tasks to the queues in turn until SIGTERM."""
    stopping = threading.Event()
    # On a thread: the handler runs on this one, perhaps while it holds the lock of the event.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stopping.set).start())
    for number in count():
        if stopping.wait(_PAUSE_S):
            return
        try:
            handle.apply_async((f"m{number}",), queue=queues[number % len(queues)])
        except Exception as error:
            note("errors", f"m{number}: {error!r}")
        else:
            note("acknowledged", f"m{number}")


if __name__ == "__main__":
    send(sys.argv[1:])
