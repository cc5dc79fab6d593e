"""Due times of cron expressions.

The syntax, and the due times at a change of daylight saving time, are those of CronSim
(https://github.com/cuu508/cronsim), which follows Debian's cron.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from wonderq.model.errors import InvalidValueError

_MAX_CHARACTERS = 200

#: CronSim takes a time also to explain an expression.
_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


def times_after(expression: str, timezone: str, after_ms: int) -> Iterator[int]:
    """Return an iterator over the due times after ``after_ms``, in ms since 1970, ascending.

    It ends when no due time follows within 50 years. The expression has five fields, or a sixth before them for the
    second.

    Raises:
        InvalidValueError: the expression is malformed, or the system does not know the time zone.
    """
    zone = _zone(timezone)
    try:
        if len(expression) > _MAX_CHARACTERS:
            raise CronSimError(f"it has more than {_MAX_CHARACTERS} characters")
        times = CronSim(expression, datetime.fromtimestamp(after_ms // 1000, zone))
    except CronSimError as error:
        advice = (
            "Give minute, hour, day of month, month and day of week, as in '30 4 * * MON-FRI', after an optional second"
        )
        raise InvalidValueError("cron", f"This is not a cron expression: {error}. {advice}.") from error
    return _ascending(times, after_ms)


@lru_cache(maxsize=2048)
def words_of(expression: str) -> str:
    """Return an expression that `times_after` accepts in words: "At 04:30 every day"."""
    return CronSim(expression, _SOME_TIME).explain()


def _ascending(times: Iterator[datetime], after_ms: int) -> Iterator[int]:
    last_ms = after_ms
    for time in times:
        time_ms = int(time.timestamp()) * 1000
        # Where daylight saving time begins, two due times may fall together; where it ends, one may lie before the
        # last.
        if time_ms > last_ms:
            last_ms = time_ms
            yield time_ms


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidValueError(
            "timezone", f"{name[:100]!r} is not a time zone of this system. Give a name such as Europe/Vienna, or UTC."
        ) from error
