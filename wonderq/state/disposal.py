"""Freeing of large containers in portions, because freeing a million objects at once would hold everybody up."""

from __future__ import annotations

from typing import Any

#: Items that are freed as one unit of work.
_ITEMS_OF_A_UNIT = 16


def free(most: int, *containers: dict[Any, Any] | list[Any] | set[Any]) -> int:
    """Remove items from containers, with at most ``most`` units of work, and return how many units are left.

    A result above 0 means that all containers are empty.
    """
    for each in containers:
        while each and most > 0:
            most -= 1
            if isinstance(each, list):
                del each[-_ITEMS_OF_A_UNIT:]
                continue
            remove = each.popitem if isinstance(each, dict) else each.pop
            for _ in range(min(len(each), _ITEMS_OF_A_UNIT)):
                remove()
    return most
