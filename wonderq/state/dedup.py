"""The dedup table of a queue: idempotency keys that were used, and attempts to claim, each for a limited time.

An entry outlives the message that it refers to. DEDUP records store the entries. Compaction rewrites them like
messages, before it drops the part of the log that has them.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

from wonderq.state import record
from wonderq.state.disposal import free

#: Key of the entry that a purge makes if it voids the idempotency keys. Its value is the sequence number after the
#: purged messages: a key of an older message is void.
PURGE = "p"


class DedupEntry(NamedTuple):
    """A key and its value."""

    key: str
    value: Any
    until_ms: int
    """Time at which the entry expires."""
    record_position: int
    """Position after the newest record that has the entry."""


class DedupTable:
    """Dedup entries of one queue, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, DedupEntry] = {}  # in the order of their newest records
        self._due: list[tuple[int, str]] = []  # heap of the times at which keys expire

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: str, now_ms: int) -> Any:
        """Return the value of a key, or None if there is none or it has expired."""
        found = self._by_key.get(key)
        return found.value if found is not None and found.until_ms > now_ms else None

    def message(self, key: str, now_ms: int) -> int | None:
        """Return the sequence number of the message that an idempotency key stands for, or None.

        A purge may void the keys of the messages before it; see `PURGE`.
        """
        sequence: int | None = self.get(key, now_ms)
        return None if sequence is None or sequence < (self.get(PURGE, now_ms) or 0) else sequence

    def put(self, key: str, value: Any, until_ms: int, record_position: int) -> None:
        """Set the entry of a key."""
        before = self._by_key.pop(key, None)
        self._by_key[key] = DedupEntry(key, value, until_ms, record_position)
        if before is None or until_ms < before.until_ms:  # `forget` moves the place of a key whose time was extended
            heapq.heappush(self._due, (until_ms, key))

    def next_ms(self) -> int | None:
        """Return the time from which `forget` has work, or None. It may be too early, but never too late."""
        return self._due[0][0] if self._due else None

    def forget(self, now_ms: int, most: int) -> int:
        """Remove expired entries, with at most ``most`` units of work; return how many units are left."""
        due = self._due
        while most > 0 and due and due[0][0] <= now_ms:
            _, key = heapq.heappop(due)
            most -= 1
            found = self._by_key.get(key)
            if found is None:
                continue
            if found.until_ms <= now_ms:
                del self._by_key[key]
            else:
                heapq.heappush(due, (found.until_ms, key))
        return most

    def free(self, most: int) -> int:
        """Free the entries of a queue that was deleted, in portions; see `wonderq.state.disposal.free`."""
        return free(most, self._by_key, self._due)

    def entries(self) -> list[DedupEntry]:
        """Return all entries, in an order in which `put` can restore them."""
        return list(self._by_key.values())

    def rows_before(self, position: int, now_ms: int, limit_bytes: int) -> list[tuple[str, Any, int]]:
        """Return rows of a DEDUP record for entries whose newest records lie before a position of the log.

        Returns at most ``limit_bytes`` of rows, oldest first; a first row that is larger is returned alone.
        """
        rows: list[tuple[str, Any, int]] = []
        for key, entry in self._by_key.items():
            if entry.record_position > position:
                break
            if entry.until_ms > now_ms:
                row = key, entry.value, entry.until_ms
                limit_bytes -= len(record.encode(row))
                if rows and limit_bytes < 0:
                    break
                rows.append(row)
        return rows
