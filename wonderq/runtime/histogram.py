"""Histograms with fixed bounds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts of observed values by range, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """For each bound, the number of values up to it and above the previous one; last, those above all bounds."""
        self.total: float = 0
        """Sum of all values."""

    @classmethod
    def sum(cls, histograms: Sequence[Histogram]) -> Histogram:
        """Return a histogram of the values of several, one at least, which have the same bounds."""
        together = cls(histograms[0].bounds)
        together.counts = [sum(counts) for counts in zip(*(each.counts for each in histograms), strict=True)]
        together.total = sum(each.total for each in histograms)
        return together

    def quantile(self, share: float) -> float | None:
        """Return the bound that this share of the values did not exceed; None without values or above all bounds."""
        left = share * sum(self.counts)
        if not left:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=False):
            left -= count
            if left <= 0:
                return bound
        return None

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_ages(self, now_ms: int, since_ms: Sequence[int]) -> None:
        """Count the age of each message, given the times since which they exist, in ascending order.

        Most batches have messages of one time, or of few ranges. So the loop runs per range, and only the sum per
        message.
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
