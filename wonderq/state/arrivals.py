"""Messages of one record on their way into many queues: each queue gets its own when it is next used.

To add messages to 10,000 queues takes longer than anybody may hold the broker's lock. So the publisher prepares its
targets in turns, appends one PUBLISH record, and has the queues settled in turns after that. A queue that somebody uses
before its turn settles first (`wonderq.state.state.Queue.messages`), so the messages are in all queues from the record
on, for whoever looks. The copy of a message by compaction does the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from wonderq.state import record
from wonderq.state.columns import Columns
from wonderq.state.places import SharedPlaces, chosen, due_times_ms, lanes_in


class Arrival(NamedTuple):
    """Messages on their way to one queue: a `record.Target` whose record has no time yet."""

    queue: int
    first: int
    flags: int
    delay_ms: int
    """Delay of the queue, which begins at the time of the record."""
    runs: Sequence[int]

    def at(self, at_ms: int) -> record.Target:
        """Return the target of a record with this time."""
        queue, first, flags, delay_ms, runs = self
        return record.Target(queue, first, flags, at_ms + delay_ms if delay_ms else 0, runs)


T = TypeVar("T", Arrival, record.Part)


class PublishedMessages:
    """Messages of a PUBLISH record, and their places in the log."""

    def __init__(self, at_ms: int, places: SharedPlaces, due_ms: Sequence[int], lanes: Sequence[record.Lane]) -> None:
        self._at_ms = at_ms
        self._places = places
        self._due_ms = due_ms
        self._lanes = lanes

    def add_arrivals_to(self, messages: Columns, arrivals: Sequence[Arrival]) -> None:
        """Add the messages of all arrivals to a queue, in one step those whose numbers follow each other.

        A dead-letter queue may get the messages that thousands of queues have refused.

        Raises: as `add_to`.
        """
        made: dict[tuple[int, tuple[int, ...]], tuple[_Rows, int]] = {}
        stretches: list[tuple[int, _Rows]] = []
        following = -1
        for each in arrivals:  # without a call for each: there may be 10,000, and the broker's lock is held meanwhile
            kind = each.flags, tuple(each.runs)
            if kind not in made:
                found = self._rows(each.at(self._at_ms))
                made[kind] = found, len(found.sizes)
            if each.first != following:
                stretches.append((each.first, _Rows([], [], [], [], None)))
            rows, (more, count) = stretches[-1][1], made[kind]
            for column, values in zip(rows[:4], more[:4], strict=True):
                column += values  # noqa: PLW2901 - in place
            following = each.first + count
        for first, rows in stretches:
            self._add(messages, arrivals[0].queue, first, rows)

    def add_to(self, messages: Columns, target: Sequence[Any]) -> list[int] | None:
        """Add the messages that a `record.Target` names to a queue; return their indexes, or None for all of them.

        Raises:
            ValueError: the queue has messages with these numbers.
        """
        rows = self._rows(target)
        self._add(messages, target[0], target[1], rows)
        return rows.indexes

    def _rows(self, target: Sequence[Any]) -> _Rows:
        _, _, flags, default_due_ms, runs = target
        positions, sizes = self._places.of(flags & record.WITH_HEAD)
        due_ms, lanes, indexes = self._due_ms, self._lanes, None
        if runs:
            indexes = list(record.from_runs(runs))
            positions, sizes, due_ms, lanes = (chosen(each, indexes) for each in (positions, sizes, due_ms, lanes))
        count = len(sizes)
        due = due_times_ms(due_ms, default_due_ms, count)
        return _Rows(positions, sizes, due, lanes_in(lanes, flags, count), indexes)

    def _add(self, messages: Columns, queue: int, first: int, rows: _Rows) -> None:
        if first < messages.next_sequence:
            raise ValueError(f"expected message {messages.next_sequence} of queue {queue}, found {first}")
        messages.add(first, self._at_ms, *rows[:4])


class _Rows(NamedTuple):
    """Messages as `Columns.add` takes them, and their indexes in the record, or None for all of them."""

    positions: Any
    sizes: Any
    due: Any
    lanes: Any
    indexes: list[int] | None


class RestatedMessages:
    """Messages of a RESTATE record, and their places in the log."""

    def __init__(self, places: SharedPlaces) -> None:
        self._places = places

    def add_parts_to(self, messages: Columns, parts: Sequence[record.Part]) -> None:
        """Rewrite the messages that parts name in a queue."""
        for each in parts:
            self.add_to(messages, each)

    def add_to(self, messages: Columns, part: Sequence[Any]) -> list[int]:
        """Rewrite the messages that a `record.Part` names in a queue; return their indexes."""
        _, flags, indexes, runs, produced_ms, claims = part
        rewritten = list(record.from_runs(indexes))
        positions, sizes = (chosen(column, rewritten) for column in self._places.of(flags & record.WITH_HEAD))
        messages.rewrite_at(runs, array("Q", positions), produced_ms, sizes)
        for state in claims:
            messages.rewrite_state(record.MessageState(*state))
        return rewritten


class Arrivals(Generic[T]):
    """Arrivals of one PUBLISH record, or parts of one RESTATE record, by the number of their queue.

    Use it under the lock that guards the state.
    """

    def __init__(self) -> None:
        self.targets: dict[int, list[T]] = {}
        """Arrivals or parts of each queue that has yet to settle, in ascending order of their messages."""
        self.used: list[int] = []
        """Queues that somebody used before the record was appended, so that their targets may be wrong."""
        self._add_to: Callable[[Columns, Sequence[T]], object] | None = None

    def begin(self, add_to: Callable[[Columns, Sequence[T]], object]) -> None:
        """Let the queues get their messages from now on, with this function: the record was appended."""
        self._add_to = add_to

    def settle(self, queue: int, messages: Columns) -> None:
        """Add the messages of a queue that is about to be used, or note that it was used before there are any."""
        if self._add_to is None:
            self.used.append(queue)
            return
        if targets := self.targets.pop(queue, None):
            self._add_to(messages, targets)


class ArrivingTargets(list[tuple[int, int, int, int, Sequence[int]]]):
    """Targets of a PUBLISH record whose queues all expect the same `Arrivals` (`wonderq.state.state.Queue.expect`)."""

    def __init__(self, arrivals: Arrivals[Arrival], at_ms: int, copies: Sequence[int], headed: Sequence[int]) -> None:
        """Make the targets of a record with the time ``at_ms``.

        ``copies`` is the number of queues that get each message, ``headed`` of those that get its head too.
        """
        # This is `Arrival.at` without calls: there may be 10,000 targets, and the broker's lock is held meanwhile.
        super().__init__(
            [
                (each.queue, each.first, each.flags, at_ms + each.delay_ms, each.runs) if each.delay_ms else each
                for each in chain.from_iterable(arrivals.targets.values())
            ]
        )
        self.arrivals = arrivals
        self.copies = copies
        self.headed = headed


class ArrivingParts(list[msgspec.Raw]):
    """Encoded parts of a RESTATE record whose queues all expect the same `Arrivals`."""

    def __init__(self, encoded: Sequence[bytes], arrivals: Arrivals[record.Part], copies: Sequence[int]) -> None:
        """``copies`` is the number of queues that have each message."""
        super().__init__(map(msgspec.Raw, encoded))
        self.arrivals = arrivals
        self.copies = copies
