"""When a cron expression is due.

The expressions, and what becomes of them when clocks are put forward or back, are those of CronSim
(https://github.com/cuu508/cronsim), which does what Debian's cron does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from wonderq.model.errors import InvalidValueError

_MAX_CHARACTERS = 200


def times_after(expression: str, timezone: str, after_ms: int) -> Iterator[int]:
    """Yield the times that come after one, in milliseconds, ascending. They end if there is none for 50 years.

    The expression has five fields, or six of which the first is the second.

    Raises:
        InvalidValueError: the expression is none, or the time zone is not known here.
    """
    zone = _zone(timezone)
    try:
        if len(expression) > _MAX_CHARACTERS:
            raise CronSimError(f"It may have {_MAX_CHARACTERS} characters")
        times = CronSim(expression, datetime.fromtimestamp(after_ms // 1000, zone))
    except CronSimError as error:
        advice = (
            "Give minute, hour, day of month, month and day of week, as in '30 4 * * MON-FRI'; a second may come first"
        )
        raise InvalidValueError("cron", f"This is not a cron expression: {error}. {advice}.") from error
    return _ascending(times, after_ms)


def _ascending(times: Iterator[datetime], after_ms: int) -> Iterator[int]:
    last_ms = after_ms
    for time in times:
        time_ms = int(time.timestamp()) * 1000
        # When clocks are put forward, two times may become one; when they are put back, one may come before the last.
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
            "timezone", f"{name[:100]!r} is no time zone that is known here. Give a name such as Europe/Vienna, or UTC."
        ) from error
