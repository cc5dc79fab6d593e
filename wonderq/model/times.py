"""Conversion between times in milliseconds and the formats that clients use."""

from __future__ import annotations

from functools import lru_cache
from time import gmtime, strftime
from typing import NamedTuple


class Period(NamedTuple):
    """A period, in milliseconds since 1970. None leaves an end open."""

    since_ms: int | None = None
    until_ms: int | None = None
    """The first millisecond after the period."""

    def has(self, at_ms: int) -> bool:
        """Return whether a moment is within the period."""
        return (self.since_ms is None or at_ms >= self.since_ms) and (self.until_ms is None or at_ms < self.until_ms)

    def overlaps(self, first_ms: int, last_ms: int) -> bool:
        """Return whether any moment from the first to the last one is within the period."""
        return (self.since_ms is None or last_ms >= self.since_ms) and (
            self.until_ms is None or first_ms < self.until_ms
        )


ANY_TIME = Period()


@lru_cache(1024)  # the messages of a batch share their times
def iso_time(time_ms: int) -> str:
    """Return a time in milliseconds since 1970 as ISO 8601 in UTC, such as ``2025-01-31T12:00:00.000Z``."""
    moment = gmtime(time_ms // 1000)
    # %Y formats the year 1 with one digit
    return f"{moment.tm_year:04}{strftime('-%m-%dT%H:%M:%S', moment)}.{time_ms % 1000:03d}Z"


def to_ms(seconds: float) -> int:
    """Return a duration in seconds as whole milliseconds."""
    return round(seconds * 1000)
