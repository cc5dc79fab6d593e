"""Background work: upkeep, dead letters, redrives, schedules, sparse pages, history, review of a held clock."""

from __future__ import annotations

from functools import partial

from wonderq.broker.background import TICK_S, BackgroundLoop, Rounds
from wonderq.broker.broker import Broker
from wonderq.broker.thinning import Thinner

#: Rest between two portions of work, so that requests get the lock meanwhile.
_REST_S = 0.002


class Housekeeper(BackgroundLoop):
    """Does the upkeep, removes dead letters, runs what is due, thins pages and takes samples of the figures."""

    def __init__(self, broker: Broker, *, tick_s: float = TICK_S) -> None:
        super().__init__(broker, "housekeeping", tick_s)
        self._thinner = Thinner(broker)
        self._seen_bytes = -1  # `Broker.log_bytes` at the beginning of the last upkeep
        self._due_ms: float = 0  # when the next one has work, if nothing is appended before
        self._is_idle = False

    def start(self, rounds: Rounds | None = None) -> None:
        """Begin, on a thread of its own or on those of ``rounds``."""
        self._broker.counters.housekeeper_runs = True
        super().start(rounds)

    def turn(self) -> float:
        """Run the steps that are due; return the seconds until the next one is."""
        steps = (
            self._review_clock,
            self._keep_up,
            self._remove_dead_letters,
            self._broker.redrives.run,
            partial(self._broker.schedules.fire_due, self._rest),
            self._thinner.run,
            self._broker.history.run,
        )
        return min(self._tick_s, *(self.attempt(step, self._tick_s) for step in steps))

    def _review_clock(self) -> float:
        self._broker.review_clock()
        return self._tick_s

    def _keep_up(self) -> float:
        """Do the upkeep, unless nothing is due and nothing was appended: it takes a microsecond for each queue."""
        log_bytes, now_ms = self._broker.log_bytes, self._broker.core.clock.now_ms()
        self._is_idle = log_bytes == self._seen_bytes and now_ms < self._due_ms
        if not self._is_idle:
            self._seen_bytes, self._due_ms = log_bytes, 0
            self._due_ms = self._broker.upkeep(self._rest)
        return self._tick_s

    def _rest(self) -> bool:
        """Let others have the lock; return whether to stop."""
        return self._stop.wait(_REST_S)

    def _remove_dead_letters(self) -> float:
        if self._is_idle:
            return self._tick_s
        next_ms, self._due_ms = self._due_ms, 0  # so that a failure leaves the rest due
        if self._broker.remove_dead_letters():
            return 0
        self._due_ms = next_ms
        return self._tick_s

    def end(self) -> None:
        """Note that the housekeeper does not run any more."""
        self._broker.counters.housekeeper_runs = False
