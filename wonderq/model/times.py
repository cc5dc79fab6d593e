"""Times as clients read and write them."""

from __future__ import annotations

from functools import lru_cache
from time import gmtime, strftime


@lru_cache(1024)  # those of one batch are all the same
def iso_time(time_ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC."""
    moment = gmtime(time_ms // 1000)
    # %Y gives the year 1 one digit
    return f"{moment.tm_year:04}{strftime('-%m-%dT%H:%M:%S', moment)}.{time_ms % 1000:03d}Z"


def to_ms(seconds: float) -> int:
    return round(seconds * 1000)
