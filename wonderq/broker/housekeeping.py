"""Background work on messages: retention, dead letters, redrives and schedules."""

from __future__ import annotations

from wonderq.broker.background import TICK_S, BackgroundLoop
from wonderq.broker.broker import Broker


class Housekeeper(BackgroundLoop):
    """Enforces retention, removes dead letters, and runs redrives and schedules when they are due."""

    def __init__(self, broker: Broker, *, tick_s: float = TICK_S) -> None:
        super().__init__(broker, "housekeeping", tick_s)

    def start(self) -> None:
        """Start the thread."""
        self._broker.counters.housekeeper_runs = True
        super().start()

    def turn(self) -> float:
        """Run the steps that are due; return the seconds until the next one is."""
        steps = (
            self._enforce_retention,
            self._remove_dead_letters,
            self._broker.redrives.run,
            self._broker.schedules.fire_due,
        )
        return min(self._tick_s, *(self.attempt(step, self._tick_s) for step in steps))

    def _enforce_retention(self) -> float:
        self._broker.enforce_retention()
        return self._tick_s

    def _remove_dead_letters(self) -> float:
        return 0 if self._broker.remove_dead_letters() else self._tick_s

    def _run(self) -> None:
        super()._run()
        self._broker.counters.housekeeper_runs = False
