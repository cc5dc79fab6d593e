"""Places in the log of the messages of a PUBLISH or RESTATE record, for each of the queues that share them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import add
from typing import Any, NamedTuple

from wonderq.state.lanes import UNGROUPED
from wonderq.state.record import FIFO, Lane


class Places(NamedTuple):
    """Places of messages as one kind of queue has them: with or without heads."""

    positions: Sequence[int]
    lengths: Sequence[int]


class SharedPlaces(NamedTuple):
    """Places of the messages of one record."""

    without_head: Places
    with_head: Places
    ends: Sequence[int]
    """Position after each entry."""

    def of(self, has_head: int) -> Places:
        """Return the places for a queue whose flags have, or have not, `record.WITH_HEAD`."""
        return self.with_head if has_head else self.without_head


def shared_places(start: int, heads: Sequence[int], lengths: Sequence[int]) -> SharedPlaces:
    """Return the places of messages whose heads and entries lie back to back from the position ``start`` on."""
    whole = list(map(add, heads, lengths)) if heads else lengths
    begins = array("Q", accumulate(whole[:-1], initial=start))
    with_head = Places(begins, whole)
    without_head = Places(array("Q", map(add, begins, heads)), lengths) if heads else with_head
    return SharedPlaces(without_head, with_head, list(map(add, begins, whole)))


def chosen(column: Sequence[Any], indexes: Sequence[int]) -> Sequence[Any]:
    """Return the elements with these indexes; none if the column is empty."""
    return [column[index] for index in indexes] if column else column


def due_times_ms(own_ms: Sequence[int], default_ms: int, count: int) -> Sequence[int]:
    """Return the end of the delay of each message: its own, or else that of its queue; empty if none is delayed."""
    if not own_ms:
        return [default_ms] * count if default_ms else ()
    return [each or default_ms for each in own_ms]


def lanes_in(lanes: Sequence[Lane], flags: int, count: int) -> Sequence[Lane]:
    """Return the lane of each message in a queue with these flags; empty if none is in a lane."""
    if flags & FIFO:
        return [(0, group or UNGROUPED) for _, group in lanes] if lanes else [(0, UNGROUPED)] * count
    return lanes
