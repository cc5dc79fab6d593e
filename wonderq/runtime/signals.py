"""Signals of a broker: SIGTERM and SIGINT stop it, also while it starts; SIGHUP lets it read its keys again."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from typing import Any, Self

from wonderq.runtime.service_manager import notify

logger = logging.getLogger("wonderq")


class StopRequested(BaseException):
    """SIGTERM or SIGINT arrived before the broker was ready. No handler of errors catches it."""


def _is_unwinding() -> bool:
    """Return whether the main thread, which a signal has interrupted, leaves its blocks because of `StopRequested`."""
    error = sys.exception()
    while error is not None and not isinstance(error, StopRequested):
        error = error.__context__  # a block that is left may handle an error of its own
    return error is not None


class Signals:
    """Handlers of the signals, while the context manager is open. A `StopRequested` goes no further than it.

    Without handlers, process 1 of a container would ignore SIGTERM, and SIGHUP would end the broker uncleanly.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None
        self._stopping = False
        self._hung_up = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number, handler in (
            (signal.SIGTERM, self._on_stop),
            (signal.SIGINT, self._on_stop),
            (signal.SIGHUP, self._on_hangup),
        ):
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        return isinstance(error, StopRequested)

    def ready(self, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        """From now on, call ``stop`` for SIGTERM and SIGINT, and ``reload`` for SIGHUP.

        Handlers of signals call them on the main thread, between any two steps of it. So they must neither wait nor
        take a lock that this thread may hold. What does so must be done on another thread.

        ``reload`` is called at once if SIGHUP arrived before. So is ``stop`` if one of the others did, and a destructor
        swallowed its exception.
        """
        was_stopped = self._stopping  # read first: from the next line on, the handler itself calls `stop`
        self._stop, self._reload = stop, reload
        if was_stopped:
            stop()
        elif self._hung_up:
            reload()

    def _on_stop(self, number: int, _frame: object) -> None:
        # A start whose StopRequested was swallowed goes on, and perhaps waits without end: the next signal counts, too.
        is_ending = _is_unwinding() if self._stop is None else self._stopping
        if is_ending:
            return  # it cannot end faster
        self._stopping = True
        logger.info("%s: stopping", signal.Signals(number).name)
        notify("STOPPING=1")
        if self._stop is None:
            raise StopRequested
        self._stop()

    def _on_hangup(self, _number: int, _frame: object) -> None:
        if self._stopping:
            logger.info("SIGHUP: ignored, because the broker stops")
        elif self._reload is None:
            self._hung_up = True
            logger.info("SIGHUP: the keys are read again once the broker is ready")
        else:
            logger.info("SIGHUP: reading the keys again")
            self._reload()
