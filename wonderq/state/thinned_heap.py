"""A heap that gets rid of its void items a few at a time, however large it is."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=tuple[Any, ...])

#: Items that each `push` takes over after the heap had too many void ones.
_ITEMS_OF_A_PUSH = 4


class ThinnedHeap(Generic[T]):
    """Heap of items, some of which are void. Once there are too many items, it takes over the valid ones step by step.

    Examining all items at once would take a fifth of a second for a million.
    """

    __slots__ = ("_heap", "_is_valid", "_old")

    def __init__(self, is_valid: Callable[[T], bool]) -> None:
        """Make an empty heap."""
        self._is_valid = is_valid
        self._heap: list[T] = []
        self._old: list[T] = []  # a heap too, whose valid items are taken over

    def __len__(self) -> int:
        """Return the number of items, with the void ones."""
        return len(self._heap) + len(self._old)

    def lists(self) -> tuple[list[T], list[T]]:
        """Return the lists of all items."""
        return self._heap, self._old

    def push(self, item: T, most: int) -> None:
        """Add an item. Begin to remove void items if there are more than ``most`` items."""
        heapq.heappush(self._heap, item)
        if self._old:
            for _ in range(min(_ITEMS_OF_A_PUSH, len(self._old))):
                each = self._old.pop()
                if self._is_valid(each):
                    heapq.heappush(self._heap, each)
        elif len(self._heap) > most:
            self._old, self._heap = self._heap, []

    def first(self) -> T | None:
        """Return the smallest item, void or not, or None."""
        smallest = self._smallest()
        return smallest[0] if smallest else None

    def pop(self) -> None:
        """Remove the smallest item."""
        heapq.heappop(self._smallest())

    def _smallest(self) -> list[T]:
        """Return the list that begins with the smallest item."""
        if self._old and (not self._heap or self._old[0] < self._heap[0]):
            return self._old
        return self._heap
