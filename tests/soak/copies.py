"""Backups of a running broker, and what is in them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.history.calls import Listing
from tests.support.history.recording import seen_in
from wonderq.broker.broker import Broker
from wonderq.runtime.clock import Clock
from wonderq_storage import FileLog

_ROOT = Path(__file__).parents[2]


def wonderq(*arguments: str, within_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line."""
    return subprocess.run(
        [sys.executable, "-m", "wonderq", *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


class _StoppedClock(Clock):
    """A clock that shows one moment: the newest in the log, or ``now_ms`` if that is later."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def raise_floor(self, floor_ms: int) -> None:
        self._now_ms = max(self._now_ms, floor_ms)

    def now_ms(self) -> int:
        return self._now_ms


def listings(copy: Path, queues: Sequence[str], start_s: float, wall_s: float, segment_bytes: int) -> list[Listing]:
    """List the queues of a copy that was made from ``start_s``, when the wall clock said ``wall_s``, until now.

    All that was acknowledged before is in it, and it is the broker's state at one moment until now; so to the checker it
    is one more listing.
    """
    end_s = time.monotonic()
    log = FileLog(copy, segment_bytes=segment_bytes)
    broker = Broker(log, clock=_StoppedClock(round(wall_s * 1000)))
    try:
        there = {info.name for info in broker.queues()}
        return [
            Listing(queue=queue, start_s=start_s, end_s=end_s, messages=seen_in(broker, queue))
            for queue in queues
            if queue in there
        ]
    finally:
        broker.close()
