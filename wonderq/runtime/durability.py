"""Waiting until records are durable."""

from __future__ import annotations

import threading
from contextlib import suppress

from wonderq.runtime.fibers import Hub, Sleeper
from wonderq_storage import Log, Position, StorageError


class DurabilityWaiter:
    """Waits for records of one log to become durable.

    At the end of each turn of a hub, the fibers of that turn wait together for the highest of their positions. So their
    records share a commit group and one sync, as those of many threads would. A log that does not block wakes them
    itself (`wonderq_storage.Log.call_when_durable`). For any other log, one thread waits.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gathering: list[Sleeper] = []  # fibers that have waited in this turn
        self._wanted: Position = -1
        self._handed_over = threading.Condition()
        self._sleepers: list[Sleeper] = []  # fibers that the thread has to wake
        self._reached: Position = -1
        self._thread: threading.Thread | None = None
        self._closed = False

    def wait(self, position: Position) -> None:
        """Wait until the log is durable up to ``position``; raise the errors of `Log.wait`."""
        fiber = Hub.current()
        if fiber is not None and position > self._reached:
            if not self._gathering:
                fiber.hub.after_turn(self._hand_over)
            self._gathering.append((fiber, fiber.sleeps))
            self._wanted = max(self._wanted, position)
            fiber.sleep()
        if position > self._reached:
            self._log.wait(position)

    def close(self) -> None:
        """End the thread. A call of `wait` that no longer reaches it blocks its own thread."""
        with self._handed_over:
            self._closed = True
            self._handed_over.notify()
        if self._thread is not None:
            self._thread.join()

    def _hand_over(self) -> None:
        gathered, self._gathering = self._gathering, []
        if self._log.call_when_durable(self._wanted, lambda: gathered[0][0].hub.wake(*gathered)):
            return
        with self._handed_over:
            is_closed = self._closed
            if not is_closed:
                self._sleepers += gathered
                self._handed_over.notify()
        if is_closed:  # its broker has ended, while others go on in this process: each asks the log itself
            gathered[0][0].hub.wake(*gathered)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wonderq-durability", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._handed_over:
                while not self._sleepers:
                    if self._closed:
                        return
                    self._handed_over.wait()
                sleepers, self._sleepers = self._sleepers, []
                # This may be the position of a fiber that is handed over only next: its record is appended, too.
                position = self._wanted
            with suppress(StorageError):  # each fiber calls the log again, which raises the error to it
                self._log.wait(position)
                self._reached = position
            sleepers[0][0].hub.wake(*sleepers)
