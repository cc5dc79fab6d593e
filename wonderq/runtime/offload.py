"""Blocking work on other threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from wonderq.runtime.fibers import Event, T
from wonderq_storage import LogClosedError

#: Interval at which a waiting fiber checks the result itself, in addition to being woken.
_RESULT_CHECK_S = 1.0


class BlockingPool:
    """Threads that run blocking calls for fibers. The fiber that waits for a result yields to others."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, "wonderq-blocking")

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` on another thread; return its result, or raise its exception.

        Raises:
            LogClosedError: the pool is closed, because its broker has ended.
        """
        done = Event()
        try:
            future = self._pool.submit(work)
        except RuntimeError as error:
            raise LogClosedError("the broker has ended") from error
        future.add_done_callback(lambda _: done.set())
        while not future.done():
            done.wait(_RESULT_CHECK_S)
        return future.result()

    def close(self) -> None:
        """Wait for running work, and end the threads."""
        self._pool.shutdown()
