"""Time for records: wall-clock milliseconds that never run backwards."""

from __future__ import annotations

import time


class Clock:
    """The wall clock as read at the start of the process, advanced by the monotonic clock.

    A change of the system time while the broker runs therefore neither ends a claim early nor extends it. Time for
    which the machine is suspended is not counted until a restart. A restart reads the wall clock again, but the clock
    never starts below ``floor_ms``, the newest time in the log.
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def raise_floor(self, floor_ms: int) -> None:
        """Advance the clock to ``floor_ms`` if it is behind."""
        behind_ms = floor_ms - self.now_ms()
        if behind_ms > 0:
            self._offset_ns += behind_ms * 1_000_000

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        return (self._offset_ns + time.monotonic_ns()) // 1_000_000
