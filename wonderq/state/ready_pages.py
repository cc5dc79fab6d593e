"""Pages of one queue that have waiting messages."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from wonderq.state.page import PAGE_BITS, Page


class ReadyPages:
    """Heap of the numbers of pages with a waiting message, lowest first.

    A page stays listed when its last waiting message is claimed or deleted. `take` drops such a page when it meets it.
    """

    def __init__(self, pages: Mapping[int, Page]) -> None:
        """Make an empty heap for a queue with these pages, by number."""
        self._pages = pages
        self._heap: list[int] = []

    def add(self, page: Page) -> None:
        """List a page that has a waiting message, unless it is listed."""
        if not page.listed:
            page.listed = True
            heapq.heappush(self._heap, page.first >> PAGE_BITS)
            if len(self._heap) > 2 * len(self._pages) + 64:
                # `take` drops the number of a freed page, but may never be called.
                self._heap = [number for number, page in self._pages.items() if page.listed]

    def take(self, taken: list[int]) -> Page | None:
        """Remove the lowest page with a waiting message from the heap and return it, or None without such a page.

        Appends the page's number to ``taken``, for `put_back`.
        """
        while self._heap:
            number = heapq.heappop(self._heap)
            page = self._pages.get(number)
            if page is None or not page.waiting:
                if page is not None:
                    page.listed = False
                continue
            if taken and taken[-1] == number:
                continue  # a page that was freed and its successor both listed the number
            taken.append(number)
            return page
        return None

    def put_back(self, taken: list[int]) -> None:
        """List again the pages that `take` removed."""
        for number in taken:
            heapq.heappush(self._heap, number)
