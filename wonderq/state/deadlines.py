"""Deadlines of the claims and delays of one queue."""

from __future__ import annotations

import heapq

from wonderq.model.status import CLAIMED, DELAYED
from wonderq.state.disposal import free
from wonderq.state.page import PAGE_BITS, Page
from wonderq.state.record import to_runs

# A deadline is one integer: the time, the first sequence number, and the number of messages less one. So a deadline
# takes a third of the memory of a tuple, and the garbage collector passes it.
_COUNT_BITS = 12
_TIME_SHIFT = 64 + _COUNT_BITS
_SEQUENCE_MASK = (1 << 64) - 1
_COUNT_MASK = (1 << _COUNT_BITS) - 1

#: The page of a deadline is one integer too: the time of the page's earliest deadline, and the number of the page.
_PAGE_SHIFT = 64
_PAGE_MASK = (1 << _PAGE_SHIFT) - 1

#: Void deadlines that a page may have, and one more per message that has a deadline. They are counted each time that
#: the page has a multiple of this number of deadlines.
_VOID_DEADLINES = 256

#: Void deadlines that a page may have when messages of it were deleted, and one more per message that is left.
_VOID_DEADLINES_OF_DELETED = 8


class Deadlines:
    """Schedule of deadlines, earliest first.

    Each page has a heap of its own, and another heap has the pages by their earliest deadlines. So the deadlines of a
    page leave with it, and no step reads more than one page.

    A deadline stays in the schedule when its message is deleted, released or renewed: removing it would cost more than
    ignoring it later. Such a deadline is void. `pop` returns void deadlines too, so the caller compares each with the
    message.
    """

    def __init__(self) -> None:
        """Make an empty schedule."""
        self._by_page: dict[int, list[int]] = {}
        # The place of a page in the heap of pages is at its earliest deadline or before it. Other places are void.
        self._places: dict[int, int] = {}
        self._pages: list[int] = []

    def next_ms(self) -> int | None:
        """Return the earliest deadline, or None without deadlines. It may be void, or too early."""
        return self._pages[0] >> _PAGE_SHIFT if self._pages else None

    def add(self, page: Page, due_ms: int, first: int, count: int) -> None:
        """Add the deadline of ``count`` messages of a page, from sequence number ``first`` on."""
        number = page.first >> PAGE_BITS
        deadline = due_ms << _TIME_SHIFT | first << _COUNT_BITS | count - 1
        heap = self._by_page.get(number)
        if heap is None:
            self._by_page[number] = [deadline]
            self._place(due_ms, number)
            return
        heapq.heappush(heap, deadline)
        if due_ms < self._places[number]:
            self._place(due_ms, number)
        if not len(heap) % _VOID_DEADLINES:
            status = page.status
            if len(heap) > 2 * (status.count(CLAIMED) + status.count(DELAYED)) + _VOID_DEADLINES:
                self.rebuild(page)

    def _place(self, due_ms: int, number: int) -> None:
        self._places[number] = due_ms
        heapq.heappush(self._pages, due_ms << _PAGE_SHIFT | number)
        if len(self._pages) > 2 * len(self._places) + 64:
            self._pages = [due_ms << _PAGE_SHIFT | number for number, due_ms in self._places.items()]
            heapq.heapify(self._pages)

    def pop(self, now_ms: int) -> tuple[int, int, int] | None:
        """Remove the earliest deadline and return it as ``(due_ms, first, count)``; None if it is after ``now_ms``.

        The count is 0 if only a place of a page was removed that is void, or before the earliest deadline of the page.
        """
        pages = self._pages
        if not pages or pages[0] >> _PAGE_SHIFT > now_ms:
            return None
        due_ms, number = pages[0] >> _PAGE_SHIFT, pages[0] & _PAGE_MASK
        if self._places.get(number) != due_ms:
            heapq.heappop(pages)
            return due_ms, 0, 0
        heap = self._by_page[number]
        first = count = 0
        if heap[0] >> _TIME_SHIFT == due_ms:
            deadline = heapq.heappop(heap)
            first, count = deadline >> _COUNT_BITS & _SEQUENCE_MASK, (deadline & _COUNT_MASK) + 1
        if not heap:
            del self._by_page[number], self._places[number]
            heapq.heappop(pages)
        elif heap[0] >> _TIME_SHIFT > due_ms:
            self._places[number] = heap[0] >> _TIME_SHIFT
            heapq.heapreplace(pages, heap[0] >> _TIME_SHIFT << _PAGE_SHIFT | number)
        return due_ms, first, count

    def shrink(self, page: Page) -> None:
        """Remove the void deadlines of a page, if it has many. Call this after messages of the page were deleted."""
        heap = self._by_page.get(page.first >> PAGE_BITS)
        if heap is not None and len(heap) > 2 * page.live + _VOID_DEADLINES_OF_DELETED:
            self.rebuild(page)

    def move(self, page: Page, target: Page) -> None:
        """Move the deadlines of a page to the page that got its messages."""
        moved = self._by_page.get(page.first >> PAGE_BITS, ())
        self.forget(page)
        for deadline in moved:
            first, count = deadline >> _COUNT_BITS & _SEQUENCE_MASK, (deadline & _COUNT_MASK) + 1
            self.add(target, deadline >> _TIME_SHIFT, first, count)

    def forget(self, page: Page) -> None:
        """Remove all deadlines of a page."""
        self._forget(page.first >> PAGE_BITS)

    def _forget(self, number: int) -> None:
        if self._by_page.pop(number, None) is not None:
            del self._places[number]

    def rebuild(self, page: Page) -> None:
        """Rebuild the deadlines of a page from its messages, without the void ones."""
        number = page.first >> PAGE_BITS
        by_due_ms: dict[int, list[int]] = {}
        for status in (CLAIMED, DELAYED):
            index = -1
            while (index := page.status.find(status, index + 1)) >= 0:
                by_due_ms.setdefault(page.due_ms[index], []).append(page.sequence(index))
        heap: list[int] = []
        for due_ms, sequences in by_due_ms.items():
            runs = to_runs(sorted(sequences))
            for first, count in zip(runs[::2], runs[1::2], strict=True):
                for part in range(0, count, _COUNT_MASK + 1):  # a run of a sparse page may be longer than a page
                    most = min(count - part, _COUNT_MASK + 1)
                    heap.append(due_ms << _TIME_SHIFT | first + part << _COUNT_BITS | most - 1)
        if not heap:
            self._forget(number)
            return
        heapq.heapify(heap)
        self._by_page[number] = heap
        if number not in self._places:
            self._place(heap[0] >> _TIME_SHIFT, number)

    def free(self, most: int) -> int:
        """Free the deadlines of a queue that was deleted, in portions; see `wonderq.state.disposal.free`."""
        while self._by_page and most > 0:
            number, heap = self._by_page.popitem()
            most = free(most - 1, heap)
            if heap:
                self._by_page[number] = heap
        return free(most, self._places, self._pages)
