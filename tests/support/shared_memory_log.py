"""A log in memory that several processes share."""

from __future__ import annotations

from typing import Any

from tests.support.memory_log import MemoryLog
from tests.support.scripted_peers import LOG_ID


class SharedMemoryLog:
    """A shared `MemoryLog` with an epoch."""

    def __init__(self, log: MemoryLog, epoch: int) -> None:
        self.log = log
        self.epoch = epoch
        self.log_id = LOG_ID
        self.waiting_s = 0.0
        self.append_retries = 2
        self.sent_at_the_end = 0

    @property
    def acknowledged_sequence(self) -> int:
        return self.log.end() + self.sent_at_the_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)
