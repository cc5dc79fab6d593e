"""Histograms with fixed bounds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """How many values lie in which range."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By the first bound that is not below the value; the last is of those above all bounds."""
        self.total: float = 0
        """The sum of all values."""

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_ages(self, now_ms: int, since_ms: Sequence[int]) -> None:
        """Observe for how long each has been there, given from when on, earliest first.

        The messages of a batch are mostly of one moment, and if not, then of few ranges: what is done for each message is to
        add it up.
        """
        count = len(since_ms)
        first_ms = since_ms[0]
        oldest = bisect_left(self.bounds, now_ms - first_ms)
        if since_ms[-1] == first_ms:
            self.counts[oldest] += count
            self.total += (now_ms - first_ms) * count
            return
        newest = bisect_left(self.bounds, now_ms - since_ms[-1])
        done = 0
        for index in range(oldest, newest, -1):
            stop = bisect_left(since_ms, now_ms - self.bounds[index - 1], done)
            self.counts[index] += stop - done
            done = stop
        self.counts[newest] += count - done
        self.total += now_ms * count - sum(since_ms)
