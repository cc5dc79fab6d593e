"""Background work: a thread that runs steps until it is stopped, or until the log fails."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from wonderq.broker.broker import Broker
from wonderq_storage import CorruptLogError, DiskFullError, LogClosedError, LogFailedError

T = TypeVar("T")

#: Polling interval for work whose due time cannot be computed.
TICK_S = 0.5

#: Ticks to pause after a step that failed because the disk is full, or because of a passing fault.
_PAUSE_TICKS = 10


class BackgroundLoop(ABC):
    """A thread that runs the steps of `turn`, and decides after a failure whether to continue.

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

    @abstractmethod
    def turn(self) -> float:
        """Run the steps that are due, each through `attempt`; return the seconds until the next turn."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait until the step that it runs has ended."""
        self._stop.set()
        if self._thread.is_alive():
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
            wait_s = self.turn()
