"""Lanes: the messages of a queue that have a priority or belong to a group, in their order of delivery.

A lane holds the messages of one priority and one group, and delivers them in order of sequence number. Rules for the
next lane:

- The lane with the highest priority is next.
- In an ordinary queue, the group with the fewest messages in flight is next, then the group that was served longest
  ago. A lane delivers one message per turn. So no group can starve the others, however many messages it has.
- In a FIFO queue, a message is blocked while an older one of its group is in flight, delayed or set aside. The other
  groups take turns, and a lane delivers as many messages per turn as the consumer asks for.

Messages with neither are in no lane: they are *plain*. They need no memory here, and take turns with the lanes as one
group.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator

from wonderq.model.limits import UNLIMITED
from wonderq.model.messages import MAX_PRIORITY
from wonderq.model.status import CLAIMED, DELAYED, GONE
from wonderq.state.disposal import free
from wonderq.state.page import IN_LANE, SPENT
from wonderq.state.thinned_heap import ThinnedHeap

#: Lane number of a plain message.
NO_LANE = 0

#: Largest lane number, which fits into its column.
_MAX_NUMBER = (1 << 32) - 1

#: A heap of a lane may have this many void places, and one more per message of the lane.
_VOID_PLACES = 64

#: Most entries in the heaps of open lanes that one search passes because they are void, or their lanes are closed. Each
#: takes a microsecond or two.
_MOST_PASSED = 2000

#: Group of the messages of a FIFO queue that were sent without a group.
UNGROUPED = "\0"

Key = tuple[int, int]
"""Place of a group in the order of delivery: messages in flight, then the turn. The smallest key is next."""


class Group:
    """Counts that the lanes of one group share."""

    __slots__ = ("in_flight", "lanes", "name", "turn")

    def __init__(self, name: str, turn: int) -> None:
        self.name = name
        self.in_flight = 0
        self.turn = turn
        """Number of the turn in which the group was last served. All groups of a queue share the counter."""
        self.lanes: list[Lane] = []

    @property
    def key(self) -> Key:
        """Place of the group in the order of delivery."""
        return self.in_flight, self.turn


class Lane:
    """The messages of one priority and one group."""

    __slots__ = ("claimed", "delayed", "group", "listed", "messages", "number", "priority", "ready", "spent")

    def __init__(self, number: int, priority: int, group: Group) -> None:
        self.number = number
        self.priority = priority
        self.group = group
        self.messages = 0
        """Number of messages, in any status."""
        self.ready: list[int] = []  # heap of the sequence numbers of waiting messages, and of void ones
        self.delayed: list[int] = []  # the same for delayed messages
        self.claimed: list[int] = []  # the same for claimed messages
        self.spent: list[int] = []  # the same for those of a FIFO queue that are set aside
        self.listed: Key | None = None  # key of the lane in the heap of open lanes, if it is there

    @property
    def definition(self) -> tuple[int, int, str]:
        """Number, priority and group. They never change."""
        return self.number, self.priority, self.group.name


class LaneCount:
    """Number of lanes of several queues together, also of those that were deleted and are not freed yet."""

    __slots__ = ("lanes",)

    def __init__(self) -> None:
        self.lanes = 0


class Lanes:
    """The lanes of one queue."""

    def __init__(
        self,
        status_of: Callable[[int], int],
        receives_of: Callable[[int], int],
        count: LaneCount | None = None,
    ) -> None:
        """Make the lanes of an empty queue.

        ``status_of`` returns the status byte of a message, and ``receives_of`` how often it was claimed. ``count`` is
        kept up to date.
        """
        self._status_of = status_of
        self._receives_of = receives_of
        self._count = LaneCount() if count is None else count
        self._fifo = False
        self._in_flight_per_group = 0
        self.by_number: dict[int, Lane] = {}
        self._groups: dict[str, Group] = {}
        self._last_number = NO_LANE
        self._turn = 0
        self._plain_turn = 0
        self.in_flight = 0
        """Number of claimed messages of all lanes."""
        self._full: set[int] = set()  # numbers of lanes that the limit in flight keeps closed, and of some others
        self.withheld: list[set[int]] = []
        """Numbers of lanes that `configure` may have opened, for `offer_withheld`. No set is empty."""
        self.disordered: set[int] = set()
        """Numbers of lanes of a FIFO queue with a message that was set aside and is not any more: others of them may be
        younger, and would leave before it."""
        self.is_searched = True
        """Whether the last search (`pick`) passed all that it met; otherwise the next one finds more."""
        self._may_pass = 0  # entries of closed lanes, and void ones, that this search may still pass
        # By priority: heap of the keys and numbers of lanes that may deliver a message, and of void entries.
        self._open: dict[int, ThinnedHeap[tuple[Key, int]]] = {}

    def __getitem__(self, number: int) -> Lane:
        return self.by_number[number]

    def configure(self, *, fifo: bool, in_flight_per_group: int) -> None:
        """Set the kind of the queue, and the limit of messages in flight per group; 0 is no limit.

        `offer_withheld` must be called before groups that have room now deliver messages.
        """
        if fifo != self._fifo:  # only in a replay, if the record with the queue's name follows its messages
            self._fifo = fifo
            if self.by_number:
                self.withheld.append(set(self.by_number))
        if in_flight_per_group != self._in_flight_per_group:
            self._in_flight_per_group = in_flight_per_group
            if self._full:
                self.withheld.append(self._full)
                self._full = set()

    def offer_withheld(self, most: int) -> int:
        """List up to ``most`` lanes that may be open since `configure`; return how many of ``most`` are left."""
        while self.withheld and most > 0:
            numbers = self.withheld[-1]
            lane = self.by_number.get(numbers.pop())
            if not numbers:
                self.withheld.pop()
            if lane is not None:
                self._offer(lane)
            most -= 1
        return most

    def load(self, number: int, priority: int, group: str) -> None:
        """Load a lane of a dump (`Lane.definition`). `load_message` adds its messages."""
        self._make(number, priority, group)
        self._last_number = max(self._last_number, number)

    def load_message(self, number: int, sequence: int, status: int) -> None:
        """Load a message of a dump, in order of sequence number. `offer_all` must follow the last one."""
        lane = self.by_number[number]
        lane.messages += 1
        if status == IN_LANE:
            lane.ready.append(sequence)  # ascending, so the list is a heap
        elif status == DELAYED:
            lane.delayed.append(sequence)
        elif status == CLAIMED:
            lane.claimed.append(sequence)
            lane.group.in_flight += 1
            self.in_flight += 1

    def offer_all(self) -> None:
        """List all lanes that are open, after the messages of a dump were loaded."""
        for lane in self.by_number.values():
            self._offer(lane)

    def number_of(self, priority: int, group: str) -> int:
        """Return the number of a lane, created if necessary. A lane is deleted with its last message."""
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
        if group is None:  # a new group must not overtake the groups that wait already
            group = self._groups[name] = Group(name, self._turn)
        lane = self.by_number[number] = Lane(number, priority, group)
        group.lanes.append(lane)
        self._count.lanes += 1
        return lane

    def update_status(self, number: int, sequence: int, old: int, new: int) -> None:
        """Update a lane after one of its messages changed. The status before production and after deletion is GONE."""
        lane = self.by_number[number]
        group = lane.group
        if old == GONE:
            lane.messages += 1
        if new == CLAIMED:
            if old != CLAIMED:
                group.in_flight += 1
                self.in_flight += 1
                self._put(lane.claimed, sequence, CLAIMED, group.in_flight)
        elif old == CLAIMED:
            group.in_flight -= 1
            self.in_flight -= 1
        if new == IN_LANE:
            self._put(lane.ready, sequence, IN_LANE, lane.messages)
        elif new == DELAYED:
            self._put(lane.delayed, sequence, DELAYED, lane.messages)
        elif new == SPENT and self._fifo:  # it blocks those after it until it has left
            self._put(lane.spent, sequence, SPENT, lane.messages)
        elif new == GONE:
            lane.messages -= 1
            if not lane.messages:
                del self.by_number[number]
                self._count.lanes -= 1
                self._full.discard(number)
                group.lanes.remove(lane)
                if not group.lanes:
                    del self._groups[group.name]
        if new != SPENT:  # which opens no lane
            for each in group.lanes:
                self._offer(each)

    def disorder(self, number: int) -> None:
        """Have the messages of a lane put back that are set aside, if their order counts."""
        if self._fifo:
            self.disordered.add(number)

    def set_aside_in(self, number: int) -> list[int]:
        """Return the messages of a lane of a FIFO queue that are set aside, the oldest first.

        They are few: a lane is closed while it has one, so one search sets all of them aside.
        """
        lane = self.by_number.get(number)
        return sorted({each for each in lane.spent if self._status_of(each) == SPENT}) if lane else []

    def free(self, most: int) -> int:
        """Free the lanes of a queue that was deleted, in portions; see `wonderq.state.disposal.free`."""
        lanes = self.by_number
        before = len(lanes)
        while lanes and most > 0:
            number, lane = lanes.popitem()
            heaps = lane.ready, lane.delayed, lane.claimed, lane.spent
            most = free(most - 1, *heaps)
            if any(heaps):
                lanes[number] = lane
            lane.group.lanes.clear()  # a cycle, which only the garbage collector would free
        self._count.lanes -= before - len(lanes)
        entries = [each for heap in self._open.values() for each in heap.lists()]
        return free(most, self._groups, self._full, self.disordered, *self.withheld, *entries)

    def count_claim(self, number: int) -> None:
        """Count a turn of a lane, or of the plain messages (`NO_LANE`), after one of its messages was claimed."""
        self._turn += 1
        if number == NO_LANE:
            self._plain_turn = self._turn
        else:
            self.by_number[number].group.turn = self._turn

    def _put(self, heap: list[int], sequence: int, status: int, most: int) -> None:
        """Add a message to a heap of its lane, which holds ``most`` valid places.

        Remove the void places once they are the majority.
        """
        heapq.heappush(heap, sequence)
        if len(heap) > 2 * most + _VOID_PLACES:
            heap[:] = sorted({each for each in heap if self._status_of(each) == status})

    def _first(self, heap: list[int], status: int) -> int | None:
        """Return the oldest message of a heap, or None. Remove the void places before it."""
        while heap and self._status_of(heap[0]) != status:
            heapq.heappop(heap)
        return heap[0] if heap else None

    # Choosing the next messages

    def pick(
        self,
        plain: Iterator[int],
        plain_in_flight: int,
        allowance: Callable[[str], int],
        receives: int = UNLIMITED,
    ) -> Generator[int]:
        """Yield the messages to deliver next, in order. The caller must close the generator, which restores the lanes.

        ``plain`` yields the plain messages, oldest first, of which ``plain_in_flight`` are claimed. ``allowance``
        returns the number of messages that a group may get. The caller may set aside the message that was yielded last:
        it takes no turn. In a FIFO queue, a message that was claimed ``receives`` times is yielded only if none is
        delivered that comes before it in its group, so dead letters leave in the order of their group.

        A search ends early when it has passed too many closed lanes, such as those that a purge has deleted, or that
        were claimed before a start. `is_searched` is False then, and the next search continues there.
        """
        self.is_searched, self._may_pass = True, _MOST_PASSED
        return self._search(plain, plain_in_flight, allowance, receives)

    def _search(
        self, plain: Iterator[int], plain_in_flight: int, allowance: Callable[[str], int], receives: int
    ) -> Generator[int]:
        taken: list[tuple[Lane, int, int]] = []
        turn, plain_turn = self._turn, self._plain_turn
        allowed: dict[str, int] = {}
        visited: dict[int, Lane] = {}
        try:
            for priority in range(MAX_PRIORITY, -1, -1):
                plain_next = None if priority else next(plain, None)
                while True:
                    lane, sequence = self._top(priority)
                    if not self.is_searched:
                        return
                    plain_key = plain_in_flight, plain_turn
                    if plain_next is not None and (lane is None or plain_key <= lane.group.key):
                        yield plain_next
                        if self._status_of(plain_next) != SPENT:
                            plain_in_flight += 1
                            self._turn += 1
                            plain_turn = self._turn
                        plain_next = next(plain, None)
                        continue
                    if lane is None:
                        break
                    visited[lane.number] = lane
                    name = lane.group.name
                    if name not in allowed:
                        allowed[name] = allowance(name)
                    if allowed[name] <= 0:
                        self._withdraw(lane)
                    past_spent, before = False, len(taken)
                    while allowed[name] > 0 and sequence is not None:
                        yield sequence
                        if self._status_of(sequence) == SPENT:
                            past_spent = True
                        elif past_spent and self._fifo:  # those before it block it now
                            break
                        else:
                            taken.append((lane, sequence, lane.group.turn))
                            self._take(lane, sequence)
                            self._may_pass += 1  # the entry of this lane, which is now under another key
                            allowed[name] -= 1
                            if not self._fifo or self._is_full(lane.group):
                                break
                        sequence = self._head(lane, past_spent)
                        if not past_spent and sequence is not None and self._receives_of(sequence) >= receives:
                            self._withdraw(lane)
                            break
                    if past_spent and self._fifo:
                        self._withdraw(lane)
                        if len(taken) == before:  # it is closed until those have left
                            del visited[lane.number]
        finally:
            self._put_back(taken)
            self._turn = turn
            for lane in visited.values():
                for each in lane.group.lanes:
                    self._offer(each)

    def _take(self, lane: Lane, sequence: int) -> None:
        """Take the next message out of a lane, as if it were claimed."""
        ready = lane.ready
        while ready and ready[0] == sequence:  # twice if it waits again and its void place was not removed
            heapq.heappop(ready)
        self._turn += 1
        lane.group.turn = self._turn
        lane.group.in_flight += 1

    @property
    def block_groups(self) -> bool:
        """Whether a message that is set aside blocks those of its group after it."""
        return self._fifo

    @staticmethod
    def _put_back(taken: list[tuple[Lane, int, int]]) -> None:
        """Undo `_take` for messages, given with their lanes and the earlier turns of their groups."""
        for lane, sequence, turn_before in reversed(taken):
            lane.group.in_flight -= 1
            lane.group.turn = turn_before
            heapq.heappush(lane.ready, sequence)

    def _is_full(self, group: Group) -> bool:
        """Return whether a group has reached its limit of messages in flight. Ungrouped messages have no limit."""
        return bool(self._in_flight_per_group and group.name and group.in_flight >= self._in_flight_per_group)

    def _next(self, lane: Lane) -> int | None:
        """Return the message that a lane can deliver, or None if it is closed."""
        if self._in_flight_per_group and self._is_full(lane.group):
            if lane.ready:
                self._full.add(lane.number)
            return None
        return self._head(lane)

    def _head(self, lane: Lane, past_spent: bool = False) -> int | None:
        """Return the next message of a lane, or None.

        In a FIFO queue, an older one may block it; with ``past_spent``, not one that is set aside.
        """
        head = self._first(lane.ready, IN_LANE)
        if head is None or not self._fifo:
            return head
        if (
            (lane.claimed and self._is_older(lane.claimed, CLAIMED, head))
            or (lane.delayed and self._is_older(lane.delayed, DELAYED, head))
            or (lane.spent and not past_spent and self._is_older(lane.spent, SPENT, head))
        ):
            return None
        return head

    def _is_older(self, heap: list[int], status: int, sequence: int) -> bool:
        """Return whether the oldest message of a heap is older than another message."""
        first = self._first(heap, status)
        return first is not None and first < sequence

    def _offer(self, lane: Lane) -> None:
        """List an open lane under its current key, unless it is listed under that key or a smaller one."""
        key = lane.group.key
        if (lane.listed is not None and lane.listed <= key) or self._next(lane) is None:
            return
        lane.listed = key
        heap = self._open.get(lane.priority)
        if heap is None:
            heap = self._open[lane.priority] = ThinnedHeap(self._is_listed)
        heap.push((key, lane.number), 2 * len(self.by_number) + 64)

    def _is_listed(self, entry: tuple[Key, int]) -> bool:
        """Return whether an entry in the heap of open lanes is not void."""
        key, number = entry
        lane = self.by_number.get(number)
        return lane is not None and lane.listed == key

    def _withdraw(self, lane: Lane) -> None:
        """Remove the first lane of a priority from the heap of open lanes."""
        self._open[lane.priority].pop()
        lane.listed = None

    def _top(self, priority: int) -> tuple[Lane | None, int | None]:
        """Return the lane of a priority that delivers the next message, and this message; None if there is none.

        Sets `is_searched` to False if it ends early.
        """
        heap = self._open.get(priority)
        while heap is not None and (entry := heap.first()) is not None:
            key, number = entry
            lane = self.by_number.get(number)
            if lane is not None and lane.listed != key:
                lane = None
            if lane is not None and key == lane.group.key and (sequence := self._next(lane)) is not None:
                return lane, sequence
            if self._may_pass <= 0:
                self.is_searched = False
                break
            self._may_pass -= 1
            heap.pop()
            if lane is not None:
                lane.listed = None
                if key != lane.group.key:
                    self._offer(lane)
        return None, None
