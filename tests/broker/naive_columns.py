"""A queue's messages as one object each, and what is next among them worked out anew each time: what columns are compared
with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wonderq.model.status import CLAIMED, DELAYED, WAITING
from wonderq.state.page import NO_TOKEN, MessageView

Lane = tuple[int, str]
"""Priority and group."""

NO_LANE: Lane = (0, "")


@dataclass
class NaiveColumns:
    fifo: bool = False
    in_flight_per_group: int = 0
    messages: dict[int, MessageView] = field(default_factory=dict)
    """All messages, with lane 0: the number is private to the columns."""
    lanes: dict[int, Lane] = field(default_factory=dict)
    """Lane of each message."""
    next_sequence: int = 0
    now: int = 0
    """Counter of deliveries, used as a time."""
    given: dict[str, int] = field(default_factory=dict)
    """Time of the last delivery of a group, or of its first message. Messages in no lane form the unnamed group."""
    made: dict[Lane, int] = field(default_factory=dict)
    """Order in which lanes were created."""
    lanes_made: int = 0
    consumers: dict[int, str] = field(default_factory=dict)
    """Name of the consumer of each message that is claimed by one with a name."""

    def set(self, sequence: int, **fields: int) -> None:
        if fields.get("status", CLAIMED) != CLAIMED:
            self.consumers.pop(sequence, None)
        self.messages[sequence] = self.messages[sequence]._replace(**fields)

    def add(self, view: MessageView, lane: Lane) -> None:
        self.messages[view.sequence] = view
        self.lanes[view.sequence] = lane
        if lane != NO_LANE and lane not in self.made:
            self.lanes_made += 1
            if not any(group == lane[1] for _, group in self.made):
                self.given[_name(lane)] = self.now
            self.made[lane] = self.lanes_made

    def remove(self, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            del self.messages[sequence]
            self.consumers.pop(sequence, None)
            lane = self.lanes.pop(sequence)
            if lane not in self.lanes.values():
                self.made.pop(lane, None)

    def restate(self, sequences: list[int], position: int, lengths: list[int], updates: int) -> None:
        """Say anew what the messages are, which lie somewhere else from now on."""
        before = [(self.messages[sequence], self.lanes[sequence]) for sequence in sequences]
        consumers = dict(self.consumers)
        self.remove(sequences)
        self.consumers = consumers
        for (view, lane), length in zip(before, lengths, strict=True):
            new = view._replace(position=position, length=length, updates=view.updates + updates)
            if new.is_pristine and lane == NO_LANE:
                new = new._replace(due_ms=0, timeout_ms=0, token=NO_TOKEN)
            self.add(new, lane)
            position += length
        self.messages = dict(sorted(self.messages.items()))

    def start_anew(self) -> None:
        """Forget whose turn it is."""
        self.now = 0
        self.given = dict.fromkeys(self.given, 0)

    def advance(self, now_ms: int) -> None:
        for sequence, message in self.messages.items():
            if message.status in (CLAIMED, DELAYED) and message.due_ms <= now_ms:
                self.set(sequence, status=WAITING)

    def claim(self, sequences: list[int], now_ms: int, timeout_ms: int, token: int, consumer: str) -> None:
        for sequence in sequences:
            self.consumers.pop(sequence, None)
            if consumer:
                self.consumers[sequence] = consumer
            before = self.messages[sequence]
            self.set(
                sequence,
                status=CLAIMED,
                due_ms=now_ms + timeout_ms,
                timeout_ms=timeout_ms,
                token=token,
                receives=before.receives + 1,
                first_claimed_ms=before.first_claimed_ms if before.receives else now_ms,
            )
            self.now += 1
            self.given[_name(self.lanes[sequence])] = self.now

    def pick(self, limit: int, limit_bytes: int, allowance: Callable[[str], int] = lambda _: 1 << 30) -> list[int]:
        """Choose what is next; see `wonderq.state.lanes` for the rule."""
        chosen: list[int] = []
        lines = {lane: self._line(lane) for lane in (NO_LANE, *self.made)}
        in_flight, given, now = self._in_flight(), dict(self.given), self.now
        allowed: dict[str, int] = {}

        def is_open(lane: Lane) -> bool:
            if lane == NO_LANE:
                return bool(lines[lane])
            busy = in_flight.get(_name(lane), 0)
            full = lane[1] and self.in_flight_per_group and busy >= self.in_flight_per_group
            return bool(lines[lane]) and not full

        def turn(lane: Lane) -> tuple[int, ...]:
            name = _name(lane)
            return -lane[0], in_flight.get(name, 0), given.get(name, 0), self.made.get(lane, 0)

        while limit > 0 and (ready := [lane for lane in lines if is_open(lane)]):
            lane = min(ready, key=turn)
            name = _name(lane)
            if lane != NO_LANE and name not in allowed:
                allowed[name] = allowance(lane[1])
            if allowed.get(name, 1) <= 0:
                lines[lane] = []
                continue
            while allowed.get(name, 1) > 0 and is_open(lane):
                sequence = lines[lane].pop(0)
                limit_bytes -= self.messages[sequence].length
                if limit_bytes < 0 and chosen:
                    return chosen
                chosen.append(sequence)
                if len(chosen) == limit:
                    return chosen
                now += 1
                given[name] = now
                in_flight[name] = in_flight.get(name, 0) + 1
                if name in allowed:
                    allowed[name] -= 1
                if not self.fifo or lane == NO_LANE:
                    break
        return chosen

    def _line(self, lane: Lane) -> list[int]:
        """Return the waiting messages of a lane that the lane itself allows to deliver."""
        line: list[int] = []
        for sequence, message in self.messages.items():
            if self.lanes[sequence] == lane:
                if message.status == WAITING:
                    line.append(sequence)
                elif message.status in (DELAYED, CLAIMED) and self.fifo and lane != NO_LANE:
                    break
        return line

    def _in_flight(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for sequence, message in self.messages.items():
            name = _name(self.lanes[sequence])
            counts[name] = counts.get(name, 0) + (message.status == CLAIMED)
        return counts


def _name(lane: Lane) -> str:
    return "" if lane == NO_LANE else f"group {lane[1]}"
