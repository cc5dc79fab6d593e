"""A system whose clocks a test sets, and a broker with something for each clock to end."""

from __future__ import annotations

import pytest

from wonderq.broker.broker import Broker

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEAR_MS = 365 * 24 * HOUR_MS


class System:
    """The system's two clocks, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall_ms = START_MS
        self.monotonic_ms = 5_000
        monkeypatch.setattr("wonderq.runtime.clock.time", self)

    def time_ns(self) -> int:
        return self.wall_ms * 1_000_000

    def monotonic_ns(self) -> int:
        return self.monotonic_ms * 1_000_000

    def passes(self, ms: int) -> None:
        self.wall_ms += ms
        self.monotonic_ms += ms

    def reboots(self) -> None:
        self.monotonic_ms = 10


def fill(broker: Broker) -> str:
    """Make one of everything that time can end, and return the receipt of a claim."""
    broker.put_queue("short", retention_ms=60_000)
    broker.put_queue("keys", deduplication_window_ms=60_000)
    broker.produce("short", ["kept for a minute"])
    broker.produce("default", ["claimed"])
    [claimed] = broker.claim("default", visibility_timeout_ms=30_000)
    broker.produce("default", ["delayed"], [60_000])
    broker.schedules.put("minutely", cron="* * * * *", queue="ticks", body="tick", missed="all")
    assert claimed.receipt is not None
    return claimed.receipt


def contents(broker: Broker) -> dict[str, dict[str, int]]:
    return {info.name: {name: count for name, count in info.counts.items() if count} for info in broker.queues()}
