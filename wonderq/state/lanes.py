"""Lanes: messages of a queue that do not simply wait in their order, since they have a priority or belong to a group.

A lane holds the messages of one priority and one group, and gives them out in order. Which lane is next:

- A higher priority comes first.
- Among groups of an ordinary queue, the one with the fewest messages in flight comes first, then the one that has waited
  longest for its turn; a lane gives one message a turn. So no group keeps the others waiting, however much it has.
- In a FIFO queue a group with a message in flight is blocked, and so is one whose next message is delayed; the others
  take turns, and a lane gives as many as are wanted.

Messages without either are in no lane, cost nothing here, and take turns with the lanes as a group of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator

from wonderq.model.messages import MAX_PRIORITY
from wonderq.model.status import CLAIMED, DELAYED, GONE
from wonderq.state.page import IN_LANE

#: The lane of a message that has none.
NO_LANE = 0

#: Lanes have numbers up to this, as far as their column goes.
_MAX_NUMBER = (1 << 32) - 1

#: So many places of a heap may be void, and as many more as there are messages.
_VOID_PLACES = 64

#: The group that messages of a FIFO queue are in which were given none.
UNGROUPED = "\0"

Key = tuple[int, int]


class Group:
    """What the lanes of one group have in common."""

    __slots__ = ("in_flight", "lanes", "name", "turn")

    def __init__(self, name: str, turn: int) -> None:
        self.name = name
        self.in_flight = 0
        self.turn = turn
        """Grows with each message that is given out, over all groups: the smallest has waited longest."""
        self.lanes: list[Lane] = []

    @property
    def key(self) -> Key:
        return self.in_flight, self.turn


class Lane:
    """The messages of one priority and one group."""

    __slots__ = ("delayed", "group", "listed", "messages", "number", "priority", "ready")

    def __init__(self, number: int, priority: int, group: Group) -> None:
        self.number = number
        self.priority = priority
        self.group = group
        self.messages = 0
        """How many there are, whatever they do."""
        self.ready: list[int] = []  # heap of sequence numbers, and some that no longer hold
        self.delayed: list[int] = []  # the same
        self.listed: Key | None = None  # under which key it stands in the heap of open lanes

    @property
    def about(self) -> tuple[int, int, str]:
        """Its number, priority and group, which never change."""
        return self.number, self.priority, self.group.name


class Lanes:
    """The lanes of one queue."""

    def __init__(self, status_of: Callable[[int], int]) -> None:
        """``status_of`` gives the status byte of a message of this queue."""
        self._status_of = status_of
        self._fifo = False
        self._in_flight_per_group = 0
        self.by_number: dict[int, Lane] = {}
        self._groups: dict[str, Group] = {}
        self._last_number = NO_LANE
        self._turn = 0
        self._plain_turn = 0
        self.in_flight = 0
        """Of all lanes."""
        self._open: dict[
            int, list[tuple[Key, int]]
        ] = {}  # by priority: heap of keys and lanes, and some that no longer hold

    def __getitem__(self, number: int) -> Lane:
        return self.by_number[number]

    def configure(self, *, fifo: bool, in_flight_per_group: int) -> None:
        """Set how lanes give out messages; a limit of 0 is none."""
        if (fifo, in_flight_per_group) != (self._fifo, self._in_flight_per_group):
            self._fifo, self._in_flight_per_group = fifo, in_flight_per_group
            for lane in self.by_number.values():
                self._offer(lane)

    def load(self, number: int, priority: int, group: str) -> None:
        """Take over a lane of a dump (`Lane.about`); its messages follow one by one."""
        self._make(number, priority, group)
        self._last_number = max(self._last_number, number)

    def number_of(self, priority: int, group: str) -> int:
        """Return the lane's number; it is made if need be, and is gone again with its last message."""
        found = self._groups.get(group)
        for lane in found.lanes if found else ():
            if lane.priority == priority:
                return lane.number
        number = self._last_number % _MAX_NUMBER + 1
        while number in self.by_number:
            number = number % _MAX_NUMBER + 1
        self._last_number = number
        return self._make(number, priority, group).number

    def _make(self, number: int, priority: int, name: str) -> Lane:
        group = self._groups.get(name)
        if group is None:  # its turn is not before that of those who wait already
            group = self._groups[name] = Group(name, self._turn)
        lane = self.by_number[number] = Lane(number, priority, group)
        group.lanes.append(lane)
        return lane

    def changed(self, number: int, sequence: int, old: int, new: int) -> None:
        """Take note of a message whose status has changed; it comes from GONE, and goes there in the end."""
        lane = self.by_number[number]
        group = lane.group
        if old == GONE:
            lane.messages += 1
        if new == CLAIMED:
            group.in_flight += old != CLAIMED
            self.in_flight += old != CLAIMED
        elif old == CLAIMED:
            group.in_flight -= 1
            self.in_flight -= 1
        if new == IN_LANE:
            self._put(lane, lane.ready, sequence, IN_LANE)
        elif new == DELAYED:
            self._put(lane, lane.delayed, sequence, DELAYED)
        elif new == GONE:
            lane.messages -= 1
            if not lane.messages:
                del self.by_number[number]
                group.lanes.remove(lane)
                if not group.lanes:
                    del self._groups[group.name]
        for each in group.lanes:
            self._offer(each)

    def gave(self, number: int) -> None:
        """Take note that a message was given out, from that lane or, with `NO_LANE`, from none."""
        self._turn += 1
        if number == NO_LANE:
            self._plain_turn = self._turn
        else:
            self.by_number[number].group.turn = self._turn

    def _put(self, lane: Lane, heap: list[int], sequence: int, status: int) -> None:
        """Put a message into a heap of its lane, and clear that of what no longer holds, if it is mostly that."""
        heapq.heappush(heap, sequence)
        if len(heap) > 2 * lane.messages + _VOID_PLACES:
            heap[:] = sorted({each for each in heap if self._status_of(each) == status})

    # Which one is next

    def pick(
        self, plain: Iterator[int], plain_in_flight: int, allowance: Callable[[str], int] = lambda _: 1
    ) -> Generator[int]:
        """Yield the messages that are next, in order, until closed. When it is, all is as it was.

        ``plain`` are those in no lane. ``allowance`` says how many a group may have now.
        """
        taken: list[tuple[Lane, int, int]] = []
        turn, plain_turn = self._turn, self._plain_turn
        allowed: dict[str, int] = {}
        touched: dict[int, Lane] = {}
        try:
            for priority in range(MAX_PRIORITY, -1, -1):
                plain_next = None if priority else next(plain, None)
                while True:
                    lane = self._top(priority)
                    plain_key = plain_in_flight, plain_turn
                    if plain_next is not None and (lane is None or plain_key <= lane.group.key):
                        plain_in_flight += 1
                        self._turn += 1
                        plain_turn = self._turn
                        yield plain_next
                        plain_next = next(plain, None)
                        continue
                    if lane is None:
                        break
                    touched[lane.number] = lane
                    name = lane.group.name
                    if name not in allowed:
                        allowed[name] = allowance(name)
                    if allowed[name] <= 0:
                        self._withdraw(lane)
                    while allowed[name] > 0 and (sequence := self._head(lane)) is not None:
                        taken.append((lane, sequence, lane.group.turn))
                        self._take(lane, sequence)
                        allowed[name] -= 1
                        yield sequence
                        if not self._fifo or self._is_full(lane.group):
                            break
        finally:
            for lane, sequence, before in reversed(taken):
                lane.group.in_flight -= 1
                lane.group.turn = before
                heapq.heappush(lane.ready, sequence)
            self._turn = turn
            for lane in touched.values():
                for each in lane.group.lanes:
                    self._offer(each)

    def _take(self, lane: Lane, sequence: int) -> None:
        """Take the lane's next message for the pick that is under way."""
        ready = lane.ready
        while ready and ready[0] == sequence:  # twice, if it came back before its old place was cleared
            heapq.heappop(ready)
        self._turn += 1
        lane.group.turn = self._turn
        lane.group.in_flight += 1

    def _is_full(self, group: Group) -> bool:
        """Tell whether a group has as many in flight as it may; messages without a group have no such limit."""
        return bool(self._in_flight_per_group and group.name and group.in_flight >= self._in_flight_per_group)

    def _is_open(self, lane: Lane) -> bool:
        if self._is_full(lane.group) or (self._fifo and lane.group.in_flight):
            return False
        return self._head(lane) is not None

    def _head(self, lane: Lane) -> int | None:
        """Return the lane's next message, unless there is none, or a delayed one comes before it in a FIFO queue."""
        ready = lane.ready
        while ready and self._status_of(ready[0]) != IN_LANE:
            heapq.heappop(ready)
        if not ready:
            return None
        if self._fifo:
            delayed = lane.delayed
            while delayed and self._status_of(delayed[0]) != DELAYED:
                heapq.heappop(delayed)
            if delayed and delayed[0] < ready[0]:
                return None
        return ready[0]

    def _offer(self, lane: Lane) -> None:
        """List a lane that may give a message, if it is not listed already where it belongs, or further ahead."""
        key = lane.group.key
        if (lane.listed is not None and lane.listed <= key) or not self._is_open(lane):
            return
        lane.listed = key
        heap = self._open.setdefault(lane.priority, [])
        heapq.heappush(heap, (key, lane.number))
        if len(heap) > 2 * len(self.by_number) + 64:
            heap[:] = [
                (each.listed, each.number)
                for each in self.by_number.values()
                if each.listed is not None and each.priority == lane.priority
            ]
            heapq.heapify(heap)

    def _withdraw(self, lane: Lane) -> None:
        """Take out the lane that is first of its priority."""
        heapq.heappop(self._open[lane.priority])
        lane.listed = None

    def _top(self, priority: int) -> Lane | None:
        """Return the lane of a priority that is to give the next message."""
        heap = self._open.get(priority)
        while heap:
            key, number = heap[0]
            lane = self.by_number.get(number)
            if lane is None or lane.listed != key:
                heapq.heappop(heap)
                continue
            if key == lane.group.key and self._is_open(lane):
                return lane
            self._withdraw(lane)
            self._offer(lane)
        return None
