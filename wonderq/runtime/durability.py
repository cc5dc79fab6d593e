"""Waiting until the log is durable."""

from __future__ import annotations

import threading
from contextlib import suppress

from wonderq.runtime.fibers import Hub, Sleeper
from wonderq_storage import Log, Position, StorageError


class DurabilityWaiter:
    """Waits for a log. For fibers, all of one hub, a thread does; it is told once what all that ran in one turn wait for.

    So they share a group and a sync, as many threads would.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gathering: list[Sleeper] = []
        self._wanted: Position = -1
        self._handed_over = threading.Condition()
        self._sleepers: list[Sleeper] = []
        self._reached: Position = -1
        self._thread: threading.Thread | None = None
        self._closed = False

    def wait(self, position: Position) -> None:
        """Do what `Log.wait` does, and raise what it does."""
        fiber = Hub.current()
        if fiber is not None and position > self._reached:
            if not self._gathering:
                fiber.hub.afterwards(self._hand_over)
            self._gathering.append((fiber, fiber.sleeps))
            self._wanted = max(self._wanted, position)
            fiber.sleep()
        if position > self._reached:
            self._log.wait(position)

    def close(self) -> None:
        """End the thread; whoever waits from now on blocks."""
        with self._handed_over:
            self._closed = True
            self._handed_over.notify()
        if self._thread is not None:
            self._thread.join()

    def _hand_over(self) -> None:
        with self._handed_over:
            self._sleepers += self._gathering
            self._handed_over.notify()
        self._gathering = []
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
                position = self._wanted  # perhaps of one who is handed over only next: it is appended, too
            with suppress(StorageError):  # each of them asks again, and is told
                self._log.wait(position)
                self._reached = position
            sleepers[0][0].hub.wake(*sleepers)
