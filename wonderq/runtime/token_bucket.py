"""How many requests a second: a token bucket for each key, which holds as many tokens as come in a second."""

from __future__ import annotations

import time
from collections.abc import Callable

#: With more than these, those that are full are forgotten: they are as if they had never been.
_MANY = 10_000

#: What sums of fractions of a second may be off by.
_ROUNDING_S = 1e-9


class TokenBuckets:
    """The buckets of all keys. Each is one number: when it will be full again.

    That decides as a bucket of tokens would, and is known as GCRA (ITU-T I.371, annex A).
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._full_s: dict[str, float] = {}

    def wait_s(self, key_id: str, per_second: int, *, take: bool) -> float:
        """Return after how many seconds there is a token, 0 if there is one now, which is taken if ``take``."""
        now_s = self._now_s()
        wait_s = max(self._full_s.get(key_id, 0.0), now_s) + 1 / per_second - now_s - 1
        if wait_s > _ROUNDING_S:
            return wait_s
        if take:
            self.take(key_id, per_second)
        return 0.0

    def available(self, key_id: str, per_second: int) -> int:
        """Return how many tokens there are."""
        now_s = self._now_s()
        return int((now_s + 1 - max(self._full_s.get(key_id, 0.0), now_s) + _ROUNDING_S) * per_second)

    def take(self, key_id: str, per_second: int) -> None:
        """Take one token, of those that there are."""
        now_s = self._now_s()
        if len(self._full_s) > _MANY:
            self._full_s = {each: then_s for each, then_s in self._full_s.items() if then_s > now_s}
        self._full_s[key_id] = max(self._full_s.get(key_id, 0.0), now_s) + 1 / per_second
