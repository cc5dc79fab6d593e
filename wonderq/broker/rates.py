"""Rates: how fast counters grow, from samples of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

#: Samples that are kept: those of more than a minute, one every ten seconds.
_KEPT = 8


class Samples:
    """The newest samples of some counters, each with its time."""

    def __init__(self, now_ms: int, counters: Sequence[float]) -> None:
        self._samples: deque[tuple[int, Sequence[float]]] = deque([(now_ms, counters)], maxlen=_KEPT)

    @property
    def last(self) -> Sequence[float]:
        """The counters at the last sample."""
        return self._samples[-1][1]

    def add(self, now_ms: int, counters: Sequence[float]) -> None:
        """Add a sample."""
        self._samples.append((now_ms, counters))

    def per_second(self, now_ms: int, counters: Sequence[float], period_ms: int) -> list[float]:
        """Return the rates since the newest sample that is at least ``period_ms`` old, or else the oldest sample."""
        samples = list(self._samples)  # another thread may add one meanwhile
        then_ms, then = next((each for each in reversed(samples) if now_ms - each[0] >= period_ms), samples[0])
        passed_s = max(now_ms - then_ms, 1000) / 1000
        # The sum of all queues falls when a queue is deleted, with its counters.
        return [round(max(now - before, 0) / passed_s, 3) for now, before in zip(counters, then, strict=True)]
