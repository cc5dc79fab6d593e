"""Background thinning of the pages of messages (`wonderq.state.thinning`), a step at a time."""

from __future__ import annotations

import time

from wonderq.broker.background import TICK_S
from wonderq.broker.broker import Broker
from wonderq.state.thinning import Thinning

#: Seconds from the beginning of one pass to the next. A pass over 10,000 queues takes about 20 ms of processor time.
_PASS_EVERY_S = 5.0

#: Steps in a row before housekeeping turns to its other work, and the rest between two, in seconds. A step holds the
#: lock for one or two milliseconds.
_STEPS = 64
_REST_S = 0.001


class Thinner:
    """Passes of thinning over all queues, as long as the state changes."""

    def __init__(self, broker: Broker, *, pass_every_s: float = _PASS_EVERY_S) -> None:
        self._broker = broker
        self._pass_every_s = pass_every_s
        self._thinning = Thinning(broker.core.state)
        self._began_s = float("-inf")
        self._changes = [-1, -1]  # bytes of records at the beginning of each of the last two passes
        self._is_complete = True

    def run(self) -> float:
        """Do some steps if a pass is due; return the seconds until the next call."""
        if self._is_complete:
            changes, now_s = self._broker.log_bytes, time.monotonic()
            # Two passes after the last change, because the first leaves pages alone that were in use.
            if self._changes == [changes, changes] or now_s < self._began_s + self._pass_every_s:
                return TICK_S
            self._changes, self._began_s = [self._changes[1], changes], now_s
        for _ in range(_STEPS):
            with self._broker.locked():
                self._is_complete = not self._thinning.step()
            if self._is_complete:
                break
            time.sleep(_REST_S)
        return TICK_S
