"""Fibers: calls that wait without a thread each. The thread that serves the connections runs all of them.

A fiber is a greenlet: a call that can be suspended until it is woken, such as when its records are durable, when a
message arrives for it, or when a timeout ends. Its code looks like blocking code, and does block when it does not run
on a fiber.

With a thread per request, each response would cost two context switches and a wait for the interpreter's lock, and a
thousand waiting consumers would take a thousand threads.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

logger = logging.getLogger("wonderq")

T = TypeVar("T")

#: Number of idle fibers that are kept for reuse, because creating one is the most expensive step of a call.
_MAX_IDLE_FIBERS = 256

#: Steps of a turn; see `took`.
_STEPS_PER_TURN = 2000

#: Values that `sorted_in_turns` sorts at a time, in a millisecond or less, and those that it puts together in a turn.
_SORTED_AT_ONCE = 2000
_MERGED_PER_TURN = 500


class Fiber(greenlet):
    """Runs one piece of work after another, on the thread of its hub."""

    def __init__(self, hub: Hub) -> None:
        creator = getcurrent()
        # The parent is the greenlet that runs the hub, to which every fiber switches when it pauses.
        super().__init__(parent=creator.parent if isinstance(creator, Fiber) else creator)
        self.hub = hub
        self.work: Callable[[], Any] | None = None
        self.sleeps = 0
        """Number of completed sleeps. A wake-up names the sleep that it is for, and is ignored when that has ended."""
        self.interruptible = False
        """Whether `Hub.recheck` may wake the fiber."""
        self.steps_left = _STEPS_PER_TURN
        """Steps left of this turn; see `took`."""
        self.has_acted = False
        """Whether this piece of work has appended a record; see `note_action`."""

    def run(self) -> None:
        while self.work is not None:
            self.has_acted = False
            try:
                self.work()
            except Exception:
                logger.exception("a request failed")
            self.work = None
            self.sleeps += 1
            if self.hub.recycle(self):
                self.pause()

    def sleep(self, seconds: float | None = None) -> None:
        """Suspend the fiber until `Hub.wake`, or until ``seconds`` have passed."""
        if seconds is not None:
            self.hub.wake_later(self, seconds)
        self.pause()
        self.sleeps += 1

    def yield_to_others(self) -> None:
        """Yield to all fibers that are ready. One yielded fiber resumes per turn, so that long work is interleaved."""
        self.hub.add_yielded(self)
        self.pause()
        self.sleeps += 1

    def pause(self) -> None:
        """Switch to the hub."""
        assert self.parent is not None
        self.parent.switch()
        self.steps_left = _STEPS_PER_TURN


Sleeper = tuple[Fiber, int]
"""A fiber, and the number of the sleep from which it is to be woken (`Fiber.sleeps`)."""


class Hub:
    """Runs fibers on the thread that calls `run`. Other threads may call `wake`, `submit` and `interrupt`."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        """Use ``interrupt`` to make the thread of the hub stop waiting and call `run`."""
        self._interrupt = interrupt
        self._interrupt_lock = threading.RLock()  # reentrant: a signal handler may interrupt on the same thread
        self._closed = False
        self._thread = 0
        self._submitted: deque[Callable[[], Any]] = deque()
        self._ready: deque[Sleeper] = deque()
        self._yielded: deque[Sleeper] = deque()
        self._timers: list[tuple[float, int, Sleeper]] = []
        self._numbers = itertools.count()
        self._idle: list[Fiber] = []
        self._interrupted = False
        self._after_turn: list[Callable[[], None]] = []

    @staticmethod
    def current() -> Fiber | None:
        """Return the fiber that the caller runs on, or None if it runs on a plain thread."""
        caller = getcurrent()
        return caller if isinstance(caller, Fiber) else None

    def spawn(self, work: Callable[[], Any]) -> None:
        """Run ``work`` on a fiber, at the next call of `run`."""
        fiber = self._idle.pop() if self._idle else Fiber(self)
        fiber.work = work
        self._ready.append((fiber, fiber.sleeps))

    def submit(self, work: Callable[[], Any]) -> None:
        """Run ``work`` on a fiber soon. May be called from any thread."""
        self._submitted.append(work)
        self._call_soon()

    def recycle(self, fiber: Fiber) -> bool:
        """Keep a fiber whose work has ended for reuse. Returns False if enough are kept."""
        if len(self._idle) >= _MAX_IDLE_FIBERS:
            return False
        self._idle.append(fiber)
        return True

    def run(self) -> float | None:
        """Run one turn: every fiber that is ready.

        Returns the time in seconds after which the next turn is due, or None if nothing is due until a fiber is woken.
        """
        self._thread = threading.get_ident()
        self._interrupted = False
        while self._submitted:
            self.spawn(self._submitted.popleft())
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._ready.append(heapq.heappop(self._timers)[2])
        if self._yielded:
            self._ready.append(self._yielded.popleft())
        for _ in range(len(self._ready)):
            fiber, sleep = self._ready.popleft()
            if fiber.sleeps == sleep:
                fiber.switch()
        for each in self._after_turn:
            each()
        self._after_turn.clear()
        if self._ready or self._yielded or self._submitted:
            return 0
        return max(self._timers[0][0] - time.monotonic(), 0) if self._timers else None

    def after_turn(self, work: Callable[[], None]) -> None:
        """Call ``work`` once at the end of this turn, when all ready fibers have run."""
        self._after_turn.append(work)

    def wake(self, *sleepers: Sleeper) -> None:
        """Make fibers ready, in this order. May be called from any thread."""
        self._ready.extend(sleepers)
        self._call_soon()

    def _call_soon(self) -> None:
        """Make the thread of the hub call `run` if another thread asks for it."""
        if not self._interrupted and threading.get_ident() != self._thread:
            self._interrupted = True
            self.interrupt()

    def interrupt(self) -> None:
        """Make the thread of the hub call `run`. May be called from any thread and from a signal handler."""
        with self._interrupt_lock:
            if not self._closed:
                self._interrupt()

    def close(self) -> None:
        """Make `interrupt` do nothing from now on."""
        with self._interrupt_lock:
            self._closed = True

    def add_yielded(self, fiber: Fiber) -> None:
        """Queue a fiber to resume when all earlier yielded ones have, one per turn."""
        self._yielded.append((fiber, fiber.sleeps))

    def wake_later(self, fiber: Fiber, seconds: float) -> None:
        """Wake a fiber after ``seconds``, unless it is woken earlier."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), (fiber, fiber.sleeps)))

    def recheck(self, fiber: Fiber) -> None:
        """Wake a fiber whose client may have disconnected, so that it checks whether to continue waiting."""
        if fiber.interruptible:
            self.wake((fiber, fiber.sleeps))


def yield_to_others() -> None:
    """Let other fibers run, if the caller runs on one (`Fiber.yield_to_others`). Long work calls this between steps."""
    fiber = Hub.current()
    if fiber is not None:
        fiber.yield_to_others()


def in_turns(values: Iterable[T], per_turn: int) -> Iterator[T]:
    """Yield values, and let other fibers run after every ``per_turn`` of them."""
    for number, value in enumerate(values, 1):
        if not number % per_turn:
            yield_to_others()
        yield value


def sorted_in_turns(values: Sequence[T], key: Callable[[T], Any], *, reverse: bool = False) -> Iterator[T]:
    """Yield values in the order of `sorted`, and let other fibers run meanwhile. The first ones take the least work."""
    runs = []
    for at in range(0, len(values), _SORTED_AT_ONCE):
        if at:
            yield_to_others()
        runs.append(sorted(values[at : at + _SORTED_AT_ONCE], key=key, reverse=reverse))
    if len(runs) == 1:
        yield from runs[0]
    else:
        yield from in_turns(heapq.merge(*runs, key=key, reverse=reverse), _MERGED_PER_TURN)


def took(steps: int) -> None:
    """Count steps of about a microsecond each, and let other fibers run if this one has taken a whole turn.

    Long work calls this outside the broker's lock, as it goes. Short work then never pauses.
    """
    fiber = Hub.current()
    if fiber is not None:
        fiber.steps_left -= steps
        if fiber.steps_left <= 0:
            fiber.yield_to_others()


class _Acting(threading.local):
    has_acted = False


_acting = _Acting()


def note_action() -> None:
    """Note that the work of the calling fiber, or of the calling thread without one, has appended a record."""
    fiber = Hub.current()
    if fiber is not None:
        fiber.has_acted = True
    else:
        _acting.has_acted = True


def begin_action() -> None:
    """Forget what `note_action` noted, because another piece of work begins."""
    fiber = Hub.current()
    if fiber is not None:
        fiber.has_acted = False
    else:
        _acting.has_acted = False


def has_acted() -> bool:
    """Return whether the work of the caller has appended a record since `begin_action`.

    If it has not, whoever does it again elsewhere does it only once.
    """
    fiber = Hub.current()
    return _acting.has_acted if fiber is None else fiber.has_acted


class Event:
    """An event like `threading.Event`, for one waiter, which may be a fiber or a thread."""

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
        """Return when the event is set, after ``timeout_s``, or when `Hub.recheck` wakes the fiber."""
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
