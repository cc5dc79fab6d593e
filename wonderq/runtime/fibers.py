"""Calls that wait without a thread each: fibers, all run by the thread that serves the connections.

A fiber is a call that can stand still in the middle (a greenlet) until it is woken: when its records are durable, when there
is a message for it, or when its time is up. The code it runs looks like code that blocks; not on a fiber, it does block.

With a thread for each request, the system has to put one to sleep and wake it up, and have it wait for its turn at the
interpreter, for every answer; and a thousand waiting consumers take a thousand threads.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

logger = logging.getLogger("wonderq")

T = TypeVar("T")

#: Idle fibers that are kept: making one takes longer than all the rest.
_SPARE_FIBERS = 256


class Fiber(greenlet):
    """Does one piece of work after the other, on the thread of its hub."""

    def __init__(self, hub: Hub) -> None:
        maker = getcurrent()
        super().__init__(parent=maker.parent if isinstance(maker, Fiber) else maker)  # which all make way for: the hub
        self.hub = hub
        self.work: Callable[[], Any] | None = None
        self.sleeps = 0
        """How often it has woken up: a call to wake it from an earlier sleep comes too late, and means nothing."""
        self.interruptible = False
        """Whether what it waits for may be given up."""

    def run(self) -> None:
        while self.work is not None:
            try:
                self.work()
            except Exception:
                logger.exception("a request failed")
            self.work = None
            self.sleeps += 1
            if self.hub.keep(self):
                self.pause()

    def sleep(self, seconds: float | None = None) -> None:
        """Let others run until `Hub.wake`, or for so many seconds."""
        if seconds is not None:
            self.hub.wake_later(self, seconds)
        self.pause()
        self.sleeps += 1

    def yield_to_others(self) -> None:
        """Let all others run that can, and then of those that make way one a turn: what takes long takes turns."""
        self.hub.add_yielded(self)
        self.pause()
        self.sleeps += 1

    def pause(self) -> None:
        assert self.parent is not None
        self.parent.switch()


Sleeper = tuple[Fiber, int]
"""A fiber, and which of its sleeps is meant."""


class Hub:
    """Runs fibers on the thread that calls `run`. Only `wake` and `interrupt` may be called from other threads."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        """``interrupt`` makes the thread that runs this call `run` again, whatever it waits for."""
        self._interrupt = interrupt
        self._interrupting = threading.RLock()  # a signal's handler may come in between, on the same thread
        self._closed = False
        self._thread = 0
        self._ready: deque[Sleeper] = deque()
        self._yielded: deque[Sleeper] = deque()
        self._timers: list[tuple[float, int, Sleeper]] = []
        self._numbers = itertools.count()
        self._spare: list[Fiber] = []
        self._interrupted = False
        self._afterwards: list[Callable[[], None]] = []

    @staticmethod
    def current() -> Fiber | None:
        """Return the fiber that calls this, or None if none does."""
        caller = getcurrent()
        return caller if isinstance(caller, Fiber) else None

    def spawn(self, work: Callable[[], Any]) -> None:
        """Do some work on a fiber, at the next `run`."""
        fiber = self._spare.pop() if self._spare else Fiber(self)
        fiber.work = work
        self._ready.append((fiber, fiber.sleeps))

    def keep(self, fiber: Fiber) -> bool:
        """Take a fiber back that has done its work; False if there are enough."""
        if len(self._spare) >= _SPARE_FIBERS:
            return False
        self._spare.append(fiber)
        return True

    def run(self) -> float | None:
        """Run every fiber that is ready. Returns after how many seconds to call this again, None if not without a reason."""
        self._thread = threading.get_ident()
        self._interrupted = False
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._ready.append(heapq.heappop(self._timers)[2])
        if self._yielded:
            self._ready.append(self._yielded.popleft())
        for _ in range(len(self._ready)):
            fiber, sleep = self._ready.popleft()
            if fiber.sleeps == sleep:
                fiber.switch()
        for each in self._afterwards:
            each()
        self._afterwards.clear()
        if self._ready or self._yielded:
            return 0
        return max(self._timers[0][0] - time.monotonic(), 0) if self._timers else None

    def afterwards(self, work: Callable[[], None]) -> None:
        """Do something when all that is ready has run."""
        self._afterwards.append(work)

    def wake(self, *sleepers: Sleeper) -> None:
        self._ready.extend(sleepers)
        if not self._interrupted and threading.get_ident() != self._thread:
            self._interrupted = True
            self.interrupt()

    def interrupt(self) -> None:
        """Make the thread that runs this call `run` again. May be called from other threads, and by a signal."""
        with self._interrupting:
            if not self._closed:
                self._interrupt()

    def close(self) -> None:
        """Interrupt nobody any more, from now on."""
        with self._interrupting:
            self._closed = True

    def add_yielded(self, fiber: Fiber) -> None:
        self._yielded.append((fiber, fiber.sleeps))

    def wake_later(self, fiber: Fiber, seconds: float) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), (fiber, fiber.sleeps)))

    def recheck(self, fiber: Fiber) -> None:
        """Let a fiber look again whether what it waits for is still wanted."""
        if fiber.interruptible:
            self.wake((fiber, fiber.sleeps))


def yield_to_others() -> None:
    """Let others run, if this runs on a fiber (`Fiber.yield_to_others`): between two pieces of what takes long."""
    fiber = Hub.current()
    if fiber is not None:
        fiber.yield_to_others()


class Event:
    """What one caller waits for, on a fiber or on a thread, and another sets. As `threading.Event`."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._sleeper: Sleeper | None = None

    def set(self) -> None:
        self._event.set()
        sleeper = self._sleeper
        if sleeper is not None:
            sleeper[0].hub.wake(sleeper)

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float) -> None:
        """Return when it is set, after ``timeout_s``, or when the fiber was disturbed."""
        fiber = Hub.current()
        if fiber is None:
            self._event.wait(timeout_s)
            return
        self._sleeper = (fiber, fiber.sleeps)
        if not self._event.is_set():
            fiber.interruptible = True
            fiber.sleep(timeout_s)
            fiber.interruptible = False
        self._sleeper = None
