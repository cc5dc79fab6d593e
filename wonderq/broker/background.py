"""Background work: steps that run until they are stopped, or until the log fails.

The loop of a broker that is alone in its process has a thread of its own. Several brokers in one process share some
threads (`Rounds`).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from wonderq.broker.broker import Broker
from wonderq_storage import CorruptLogError, DiskFullError, LogClosedError, LogFailedError

T = TypeVar("T")

#: Polling interval for work whose due time cannot be computed.
TICK_S = 0.5

#: Ticks to pause after a step that failed because the disk is full, or because of a passing fault.
_PAUSE_TICKS = 10


class BackgroundLoop(ABC):
    """Runs the steps of `turn` again and again, and decides after a failure whether to continue.

    A full disk pauses the loop. A failed or damaged log, or a programming error, ends it until the broker is restarted.
    """

    def __init__(self, broker: Broker, name: str, tick_s: float) -> None:
        """Name the thread ``wonderq-NAME`` and the logger ``wonderq.NAME``."""
        self._broker = broker
        self._name = name
        self._tick_s = tick_s
        self._logger = logging.getLogger(f"wonderq.{name}")
        self._has_failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"wonderq-{name}", daemon=True)
        self._rounds: Rounds | None = None
        self._ended = threading.Event()  # for a loop of `Rounds`

    @abstractmethod
    def turn(self) -> float:
        """Run the steps that are due, each through `attempt`; return the seconds until the next turn."""

    def start(self, rounds: Rounds | None = None) -> None:
        """Begin, on a thread of its own or on those of ``rounds``."""
        self._rounds = rounds
        if rounds is None:
            self._thread.start()
        else:
            rounds.add(self)

    def stop(self) -> None:
        """End the loop, and wait until the step that it runs has ended."""
        self._stop.set()
        if self._rounds is not None:
            self._rounds.hurry(self)
            self._ended.wait()
        elif self._thread.is_alive():
            self._thread.join()

    def attempt(self, step: Callable[[], T], otherwise: T) -> T:
        """Return the result of a step, or ``otherwise`` if it failed."""
        try:
            return step()
        except CorruptLogError as error:
            if not self._broker.is_damaged:
                self._broker.mark_damaged(error.file, error.offset, error.reason)
            self._fail()
        except LogClosedError:
            self._fail()
        except (DiskFullError, LogFailedError, OSError) as error:
            if self._broker.core.log.failure is not None:
                self._fail()
            else:
                self._logger.warning("%s pauses: %s", self._name, error)
                self._stop.wait(_PAUSE_TICKS * self._tick_s)
        except Exception:
            self._logger.critical("%s ends until the broker is restarted", self._name, exc_info=True)
            self._fail()
        return otherwise

    def _fail(self) -> None:
        self._has_failed = True
        self._stop.set()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = self._take_turn()
        self.end()

    def _take_turn(self) -> float:
        """Run a turn, unless the broker has ended: steps that have nothing to do would not notice that."""
        core = self._broker.core
        if core.transaction.ended is not None or core.log.failure is not None:
            self._fail()
            return 0.0
        return self.turn()

    def run_turn(self) -> float | None:
        """Run one turn; return the seconds until the next one, or None at the end of the loop. `Rounds` calls it."""
        wait_s = 0.0
        if not self._stop.is_set():
            try:
                wait_s = self._take_turn()
            except Exception:
                self._logger.critical("%s ends until the broker is restarted", self._name, exc_info=True)
                self._fail()
        if not self._stop.is_set():
            return wait_s
        self.end()
        self._ended.set()
        return None

    @property
    def is_stopping(self) -> bool:
        """Whether the present turn is the last one."""
        return self._stop.is_set()

    def end(self) -> None:  # noqa: B027 - most loops have nothing to do
        """Do what is to be done after the last turn."""


class Rounds:
    """Threads on which the loops of several brokers run. One that is held up, by its log, does not hold up the others.

    Threads: any number may call any method.
    """

    def __init__(self, most_threads: int) -> None:
        self._pool = ThreadPoolExecutor(most_threads, "wonderq-rounds")
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, BackgroundLoop]] = []
        self._numbers = itertools.count()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="wonderq-rounds", daemon=True)
        self._thread.start()

    def add(self, loop: BackgroundLoop) -> None:
        """Begin to run a loop, until it is stopped."""
        self._push(loop, 0.0)

    def hurry(self, loop: BackgroundLoop) -> None:
        """Run the next turn of a loop at once, unless one runs already."""
        with self._changed:
            before = len(self._due)
            self._due = [each for each in self._due if each[2] is not loop]
            was_waiting = len(self._due) < before
            heapq.heapify(self._due)
        if was_waiting:
            self._push(loop, 0.0)

    def close(self) -> None:
        """End the threads, when all loops have ended."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._pool.shutdown()

    def _push(self, loop: BackgroundLoop, wait_s: float) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + wait_s, next(self._numbers), loop))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (not self._due or self._due[0][0] > time.monotonic()):
                    wait_s = self._due[0][0] - time.monotonic() if self._due else None
                    self._changed.wait(wait_s)
                if self._closing:
                    return
                loop = heapq.heappop(self._due)[2]
            self._pool.submit(self._turn, loop)

    def _turn(self, loop: BackgroundLoop) -> None:
        wait_s = loop.run_turn()
        if wait_s is not None:
            self._push(loop, wait_s)
            if loop.is_stopping:  # since the end of the turn, so that `hurry` did not find it
                self.hurry(loop)
