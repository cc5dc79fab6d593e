"""Workers in threads of the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.threads import Call
from wonderq.worker.worker import JobWorker


@contextmanager
def running(worker: JobWorker) -> Iterator[Call[None]]:
    """Run a worker until the block ends."""
    call: Call[None] = Call(worker.run)
    try:
        yield call
    finally:
        worker.stop(at_once=True)
        call.result()
