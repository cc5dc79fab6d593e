"""Queues that the client of a call may use, as a predicate that the broker calls while it holds its lock.

A call may find its target only by looking: the queue of a schedule, or the source of a redrive. A check before the call
would be of the target that was there then. So the broker checks the target that it is about to change.
"""

from __future__ import annotations

from collections.abc import Callable

Permits = Callable[[str | None], bool]
"""Returns whether the client may use a queue in the way of the call; None stands for all queues, also future ones."""


def everything(_queue: str | None) -> bool:
    """Permit every queue: the `Permits` of a client without a key, and of the broker itself."""
    return True
