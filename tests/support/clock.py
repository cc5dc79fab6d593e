"""A clock that stands still until a test moves it."""

from __future__ import annotations

from wonderq.runtime.clock import Clock


class FakeClock(Clock):
    """A clock that shows ``ms``, which a test sets, advances or turns back."""

    def __init__(self, ms: int = 1_700_000_000_000) -> None:
        self.ms = ms

    def raise_floor(self, floor_ms: int) -> None:
        self.ms = max(self.ms, floor_ms)

    def now_ms(self) -> int:
        return self.ms

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.ms += round(seconds * 1000)
