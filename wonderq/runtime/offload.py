"""Blocking work on other threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from wonderq.runtime.fibers import Event, T

_LOOK_AGAIN_S = 1.0


class BlockingPool:
    """Other threads, for what blocks: the fiber that has it done makes way meanwhile."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "wonderq-aside")

    def do(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, and raise what it raises."""
        done = Event()
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: done.set())
        while not future.done():
            done.wait(_LOOK_AGAIN_S)
        return future.result()

    def close(self) -> None:
        self._pool.shutdown()
