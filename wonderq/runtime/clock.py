"""Time for records: wall-clock milliseconds that never run backwards."""

from __future__ import annotations

import time


class Clock:
    """The wall clock as it stood at the start, carried on by the monotonic clock.

    Time that the machine spends suspended is not counted until a restart.

    So a change of the system's time while the broker runs neither releases a claim early nor holds it longer. Across a
    restart the wall clock is read anew, but never from below ``floor_ms``, the newest time in the log.
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def raise_floor(self, floor_ms: int) -> None:
        """Go on from ``floor_ms`` if the wall clock stands below it."""
        behind_ms = floor_ms - self.now_ms()
        if behind_ms > 0:
            self._offset_ns += behind_ms * 1_000_000

    def now_ms(self) -> int:
        return (self._offset_ns + time.monotonic_ns()) // 1_000_000
