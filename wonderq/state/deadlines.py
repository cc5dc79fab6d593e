"""Deadlines of the claims and delays of one queue."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import repeat

from wonderq.model.status import CLAIMED, DELAYED
from wonderq.state.page import Page
from wonderq.state.record import to_runs


class Deadlines:
    """Schedule of deadlines, earliest first.

    A deadline stays in the schedule when its message is deleted, released or renewed: removing it would cost more than
    ignoring it later. Such a deadline is void. `pop` returns void deadlines too, so the caller compares each with the
    message.
    """

    def __init__(self, pages: Mapping[int, Page], counts: Sequence[int]) -> None:
        """Make an empty schedule for a queue with these pages and these message counts by status."""
        self._pages = pages
        self._counts = counts
        self._heap: list[tuple[int, int, int]] = []
        self._messages = 0  # sum of the counts in the heap

    def next_ms(self) -> int | None:
        """Return the earliest deadline, void or not, or None without deadlines."""
        return self._heap[0][0] if self._heap else None

    def add(self, due_ms: int, first: int, count: int) -> None:
        """Add the deadline of ``count`` messages from sequence number ``first`` on."""
        heapq.heappush(self._heap, (due_ms, first, count))
        self._messages += count
        counts = self._counts
        # Rebuilding reads all pages. The threshold keeps the cost per void deadline small.
        if self._messages > 2 * (counts[CLAIMED] + counts[DELAYED]) + 1024 + sum(counts) // 64:
            self.rebuild()

    def pop(self, now_ms: int) -> tuple[int, int, int] | None:
        """Remove the earliest deadline and return it as ``(due_ms, first, count)``; None if it is after ``now_ms``."""
        heap = self._heap
        if not heap or heap[0][0] > now_ms:
            return None
        deadline = heapq.heappop(heap)
        self._messages -= deadline[2]
        return deadline

    def rebuild(self) -> None:
        """Rebuild the schedule from the pages, without the void deadlines."""
        by_due_ms: dict[int, list[int]] = {}
        for page in self._pages.values():
            for status in (CLAIMED, DELAYED):
                index = -1
                while (index := page.status.find(status, index + 1)) >= 0:
                    by_due_ms.setdefault(page.due_ms[index], []).append(page.sequence(index))
        self._heap = []
        for due_ms, sequences in by_due_ms.items():
            runs = to_runs(sequences)
            self._heap += zip(repeat(due_ms), runs[::2], runs[1::2], strict=False)
        heapq.heapify(self._heap)
        self._messages = sum(map(len, by_due_ms.values()))
