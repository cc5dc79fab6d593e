"""The clock of a shard's broker, which follows no leap of the system's clock that nothing confirms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wonderq.cluster.steward import MAX_CLOCK_AHEAD_MS
from wonderq.runtime.clock import CautiousClock
from wonderq.runtime.time_evidence import TimeEvidence


class NodeEvidence(TimeEvidence):
    """Evidence about the time, for the brokers of all shards of a node.

    ``clock_ahead_ms`` tells by how much the clock of this machine is ahead of most others; None if no node is heard.
    """

    def __init__(self, folder: Path, clock_ahead_ms: Callable[[], int | None]) -> None:
        super().__init__(folder)
        self._clock_ahead_ms = clock_ahead_ms

    def is_synchronised(self) -> bool:
        """Return whether another node confirms the clock, or the kernel does."""
        ahead_ms = self._clock_ahead_ms()
        return (ahead_ms is not None and abs(ahead_ms) <= MAX_CLOCK_AHEAD_MS) or super().is_synchronised()


class ShardClock(CautiousClock):
    """A clock that reads the system's clock when the shard is taken over, and is held if nothing confirms a leap.

    The brokers of all shards of a node store their sightings in one file. So a broker stores one only if its own log
    has vouched for the time. That of an empty log, or one with times of the future, would vouch for a wrong time.
    """

    _has_records = False

    def raise_floor(self, floor_ms: int) -> None:
        self._offset_ns -= self.ahead_ms() * 1_000_000  # the time that the system's clock tells now
        self._has_records = floor_ms > 0
        super().raise_floor(floor_ms)

    def remember(self, *, at_once: bool = False) -> None:
        if self._has_records and not self.is_held and self.ahead_ms() <= MAX_CLOCK_AHEAD_MS:
            super().remember(at_once=at_once)

    @property
    def problem(self) -> str | None:
        return super().problem if self.is_held else None
