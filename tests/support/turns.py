"""Work of a call on a fiber, turn by turn."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import pytest

from wonderq.runtime import fibers

T = TypeVar("T")


class Turns:
    """Counts of something, one for each turn that a call takes on a fiber."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts = [0]
        monkeypatch.setattr(fibers.Fiber, "yield_to_others", lambda fiber: self._begin(fiber))

    def _begin(self, fiber: fibers.Fiber) -> None:
        fiber.steps_left = fibers._STEPS_PER_TURN
        self.counts.append(0)

    def run(self, call: Callable[[], T]) -> T:
        """Make a call on a fiber, and return its result."""
        done: Future[T] = Future()
        hub = fibers.Hub(lambda: None)

        def work() -> None:
            try:
                done.set_result(call())
            except BaseException as error:
                done.set_exception(error)

        hub.spawn(work)
        while not done.done():
            hub.run()
        return done.result()

    def count(self, amount: int = 1) -> None:
        self.counts[-1] += amount
