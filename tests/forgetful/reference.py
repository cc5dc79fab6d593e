"""Expected state after a crash: the sum of the first records, up to some number."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from tests.support.states import state_view
from wonderq.state import record
from wonderq.state.state import State
from wonderq_storage import Position

Read = Callable[[Sequence[tuple[Position, int]]], list[bytes]]


class Records:
    """All records appended so far to one log, in order, and the states that they add up to."""

    def __init__(self, records: Sequence[tuple[Position, bytes]] = ()) -> None:
        self._positions = [position for position, _ in records]
        self._records = [data for _, data in records]
        self._bound: set[Position] = set()
        self._states: dict[tuple[int, int], dict[str, Any]] = {}
        self._seen_right: dict[tuple[object, ...], tuple[list[tuple[Position, int]], list[bytes]]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, positions: Sequence[Position], records: Sequence[bytes]) -> None:
        """Note records that were appended together: a crash may not part them."""
        assert not self._positions or positions[0] > self._positions[-1]
        self._bound.update(positions[1:])
        self._positions += positions
        self._records += records

    def parted(self, count: int) -> bool:
        """Return whether the first ``count`` records end inside a group that was appended together."""
        return count < len(self) and self._positions[count] in self._bound

    def first(self, count: int) -> Records:
        return Records(list(zip(self._positions[:count], self._records[:count], strict=True)))

    def before(self, end: Position) -> int:
        """Return the number of records that begin before ``end``."""
        return bisect_left(self._positions, end)

    def at(self, index: int) -> tuple[Position, bytes]:
        return self._positions[index], self._records[index]

    def read(self, spans: Sequence[tuple[Position, int]]) -> list[bytes]:
        found = []
        for position, length in spans:
            index = bisect_left(self._positions, position + 1) - 1
            start = position - self._positions[index]
            found.append(self._records[index][start : start + length])
        return found

    def state(self, count: int, now_ms: int) -> dict[str, Any]:
        """Everything that the first ``count`` records say at a moment."""
        known = self._states.get((count, now_ms))
        if known is None:
            state = State()
            for position, data in zip(self._positions[:count], self._records[:count], strict=True):
                state.apply(record.decode(data), position, len(data))
            known = self._states[count, now_ms] = everything(state, now_ms, self.read)
        return known

    def check(self, state: State, count: int, now_ms: int, came_by: int, read: Read) -> str | None:
        """Compare a state with that of the first ``count`` records; returns what is wrong.

        A state that is kept in the same bytes as one that was right, and ``came_by`` the same way (how much of the log was
        read for it), is right, if the contents of its messages can still be read.
        """
        snapshot = state.freeze()
        same = (count, now_ms, came_by, *snapshot.chunks(0))
        snapshot.release()
        seen = self._seen_right.get(same)
        if seen is not None:
            spans, entries = seen
            return None if read(spans) == entries else "the contents of messages are others"
        found, expected = everything(state, now_ms, read), self.state(count, now_ms)
        # A checkpoint also has the time at which it was taken.
        if expected["last_ms"] <= found["last_ms"] <= now_ms:
            expected = {**expected, "last_ms": found["last_ms"]}
        if found != expected:
            return difference(found, expected)
        queues = found["queues"].values()
        spans = [(view.position, view.length) for about in queues for view in about["messages"]]
        self._seen_right[same] = spans, [entry for about in queues for entry in about["entries"]]
        return None


def everything(state: State, now_ms: int, read: Read) -> dict[str, Any]:
    """Return the contents of a state at a moment, with all messages."""
    said = state_view(state, now_ms)
    said["identity_at"] = state.identity_at
    for name, queue in state.queues.items():
        about = said["queues"][name]
        about["record_position"] = queue.record_position
        about["entries"] = read([(view.position, view.length) for view in about["messages"]])
    return said


def difference(found: Any, expected: Any, where: str = "state") -> str:
    """Say where two states differ first."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys(), key=str):
            if found.get(key) != expected.get(key):
                return difference(found.get(key), expected.get(key), f"{where}.{key}")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                return difference(one, other, f"{where}[{index}]")
    return f"{where} is {found!r}, expected {expected!r}"
