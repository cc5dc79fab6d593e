"""Time for records: wall-clock milliseconds that never run backwards."""

from __future__ import annotations

import time
from datetime import timedelta

from wonderq.runtime.time_evidence import Sighting, TimeEvidence

#: Interval between two sightings of the time, and so the most that a sighting may lag after a crash.
_SIGHTING_INTERVAL_MS = 300_000


class Clock:
    """The wall clock as read at the start of the process, advanced by the monotonic clock.

    A change of the system time while the broker runs therefore neither ends a claim early nor extends it. Time for
    which the machine is suspended is not counted until a restart. A restart reads the wall clock again, but the clock
    never starts below the newest time in the log.
    """

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def raise_floor(self, floor_ms: int) -> None:
        """Advance the clock to ``floor_ms``, the newest time in the log, if it is behind."""
        self._advance(floor_ms - self.now_ms())

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970."""
        return (self._offset_ns + time.monotonic_ns()) // 1_000_000

    def ahead_ms(self) -> int:
        """Return how far this clock is ahead of the system's clock; negative if it is behind."""
        return self.now_ms() - time.time_ns() // 1_000_000

    @property
    def is_held(self) -> bool:
        """Whether the clock does not follow the system's clock because that may be wrong."""
        return False

    @property
    def problem(self) -> str | None:
        """Sentences about a doubtful time, and the remedy; None if there is no doubt."""
        return None

    def review(self) -> bool:
        """Follow the system's clock again if there is no doubt any more; return whether the clock did so."""
        return False

    def remember(self, *, at_once: bool = False) -> None:
        """Store the time every few minutes, or ``at_once``, so that the next start can judge the system's clock.

        Call it often, and without a lock.
        """

    def _advance(self, by_ms: int) -> None:
        self._offset_ns += max(by_ms, 0) * 1_000_000


class CautiousClock(Clock):
    """A clock that does not follow a leap of the system's clock across a restart without evidence for it.

    Time that seems to have passed since the log's newest time ends claims, deletes messages and fires schedules, and
    nothing can undo that. If it is more than ``max_jump_ms`` and nothing confirms it, the clock is held: it continues
    from the newest time that is known, as if the broker had not been down. Evidence is, in this order:

    1. the operator's word (``accept``);
    2. the kernel's statement that a time service disciplines its clock;
    3. the time since the machine was started, if a broker has run on this log in the same run of the machine.

    A held clock follows the system's clock as soon as `review` finds that evidence, or that the system's clock was
    corrected.
    """

    def __init__(self, evidence: TimeEvidence, *, max_jump_ms: int, accept: bool = False) -> None:
        super().__init__()
        self._evidence = evidence
        self._max_jump_ms = max_jump_ms
        self._accept = accept
        self._held = False
        self._remember_ms = 0  # when to store the time next

    def raise_floor(self, floor_ms: int) -> None:
        super().raise_floor(floor_ms)
        if not floor_ms:  # a new log: there is nothing that could end too early
            return
        newest_ms = max(floor_ms, self._last_sighted_ms())
        gap_ms = self.now_ms() - newest_ms
        if gap_ms > self._max_jump_ms and not self._accept and not self._evidence.is_synchronised():
            self._held = True
            self._offset_ns -= gap_ms * 1_000_000

    def _last_sighted_ms(self) -> int:
        """Return the latest time that is known to have come since a broker last ran, or 0."""
        last = self._evidence.last_sighting()
        if last is None:
            return 0
        same_boot = last.boot_id and last.boot_id == self._evidence.boot_id()
        return last.time_ms + (max(self._evidence.since_boot_ms() - last.since_boot_ms, 0) if same_boot else 0)

    @property
    def is_held(self) -> bool:
        return self._held

    def review(self) -> bool:
        if not self._held:
            return False
        if -self.ahead_ms() > self._max_jump_ms and not self._evidence.is_synchronised():
            return False
        self._held = False
        self._advance(-self.ahead_ms())
        return True

    def remember(self, *, at_once: bool = False) -> None:
        now_ms = self.now_ms()
        if at_once or now_ms >= self._remember_ms:
            self._remember_ms = now_ms + _SIGHTING_INTERVAL_MS
            self._evidence.save(Sighting(now_ms, self._evidence.boot_id(), self._evidence.since_boot_ms()))

    @property
    def problem(self) -> str | None:
        ahead_ms = self.ahead_ms()
        difference = timedelta(seconds=abs(ahead_ms) // 1000)
        if self._held:
            return (
                f"The system's clock is {difference} ahead of the log, and nothing confirms it. The broker works, but "
                "its clock continues from the log's newest time, so that a wrong time ends no claim or message. "
                "If the system's clock is right, restart with --accept-clock; otherwise correct it."
            )
        if ahead_ms > self._max_jump_ms:
            return (
                f"The broker's clock is {difference} ahead of the system's clock, which was changed, or was wrong at "
                "an earlier start. If the system's clock is right, stop the broker and run "
                "'wonderq folder reset-clock' on its folder."
            )
        if -ahead_ms > self._max_jump_ms:
            return (
                f"The broker's clock is {difference} behind the system's clock, which was changed, or the machine was "
                "suspended. If the system's clock is right, restart the broker."
            )
        return None
