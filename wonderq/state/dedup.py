"""What a queue remembers for a time under a key: which message a key was used for, and what an attempt to claim was given.

It holds also when the message is gone. What is remembered stands in DEDUP records, and is restated like messages when
the part of the log that has it is dropped.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

from wonderq.state import record


class DedupEntry(NamedTuple):
    """One thing."""

    value: Any
    until_ms: int
    record_position: int
    """Position of the newest record that has it."""


class DedupTable:
    """All that one queue remembers."""

    def __init__(self) -> None:
        self._by_key: dict[str, DedupEntry] = {}  # those stated longest ago come first
        self._due: list[tuple[int, str]] = []  # heap of when each ends

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: str, now_ms: int) -> Any:
        """Return what is remembered under a key, or None."""
        found = self._by_key.get(key)
        return found.value if found is not None and found.until_ms > now_ms else None

    def put(self, key: str, value: Any, until_ms: int, record_position: int) -> None:
        before = self._by_key.pop(key, None)
        self._by_key[key] = DedupEntry(value, until_ms, record_position)
        if before is None or before.until_ms != until_ms:
            heapq.heappush(self._due, (until_ms, key))

    def forget(self, now_ms: int) -> None:
        """Let go of what has ended."""
        due = self._due
        while due and due[0][0] <= now_ms:
            until_ms, key = heapq.heappop(due)
            found = self._by_key.get(key)
            if found is not None and found.until_ms <= until_ms:
                del self._by_key[key]

    def copy(self) -> dict[str, DedupEntry]:
        """Return all of it, by key, as `put` is to be given it again."""
        return self._by_key.copy()

    def stated_before(self, position: int, now_ms: int, most_bytes: int) -> list[tuple[str, Any, int]]:
        """Return things whose newest record stands before a position, as a record has them.

        They have ``most_bytes`` together, unless there is one that has more; then that one comes alone.
        """
        found: list[tuple[str, Any, int]] = []
        for key, each in self._by_key.items():
            if each.record_position >= position:
                break
            if each.until_ms > now_ms:
                memory = key, each.value, each.until_ms
                most_bytes -= len(record.encode(memory))
                if found and most_bytes < 0:
                    break
                found.append(memory)
        return found
