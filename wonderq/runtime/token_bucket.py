"""Rate limits: a token bucket per API key, which holds the tokens of one second."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Number of buckets above which full ones are dropped: a full bucket behaves like a new one.
_MANY = 10_000

#: Tolerance for the rounding errors of sums of fractions.
_ROUNDING_S = 1e-9


class TokenBuckets:
    """Token buckets by API key. Each is stored as one number: the time at which it will be full.

    This is the generic cell rate algorithm (ITU-T I.371, annex A), which is equivalent to a token bucket.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._full_s: dict[str, float] = {}

    def wait_s(self, key_id: str, per_second: int, *, take: bool) -> float:
        """Return the time until a token is available. If it is 0 and ``take`` is set, take the token."""
        now_s = self._now_s()
        wait_s = max(self._full_s.get(key_id, 0.0), now_s) + 1 / per_second - now_s - 1
        if wait_s > _ROUNDING_S:
            return wait_s
        if take:
            self.take(key_id, per_second)
        return 0.0

    def available(self, key_id: str, per_second: int) -> int:
        """Return the number of available tokens."""
        now_s = self._now_s()
        return int((now_s + 1 - max(self._full_s.get(key_id, 0.0), now_s) + _ROUNDING_S) * per_second)

    def take(self, key_id: str, per_second: int) -> None:
        """Take one token, which must be available."""
        now_s = self._now_s()
        if len(self._full_s) > _MANY:
            self._full_s = {each: then_s for each, then_s in self._full_s.items() if then_s > now_s}
        self._full_s[key_id] = max(self._full_s.get(key_id, 0.0), now_s) + 1 / per_second
