"""The slots of a worker, each for a message that it holds: one engine has them all, or several engines share them.

An engine that polls without a wait reserves the slots that it asks for, so the others do not ask for them too. One that
waits for a message reserves none: the queues of the others may have messages meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

#: A reservation ends after this time. The broker of the engine that made it may be silent, and others have messages.
RESERVED_S = 1.0


class Slots:
    """A number of slots, and the lock of all that the engines do with them."""

    def __init__(self, count: int) -> None:
        self.lock = threading.RLock()
        self.free = count
        """Number of slots without a message."""
        self.shares: list[Share] = []

    def share(self, draw: Callable[[], float] = lambda: 0.0) -> Share:
        """Return the slots as one engine sees them.

        ``draw`` gives the place of the engine in the line for each slot: the lowest one is served first.
        """
        self.shares.append(Share(self, draw))
        return self.shares[-1]


class Share:
    """The slots as one engine sees them. The caller of a method holds the lock."""

    def __init__(self, slots: Slots, draw: Callable[[], float]) -> None:
        self._slots = slots
        self.draw = draw
        self.place: float | None = None
        """Place in the line of the engines that want slots; None while this one wants none."""
        self.reserved = 0
        self.reserved_until_s = 0.0
        self.lock = slots.lock
        self.changed = threading.Condition(slots.lock)
        """Notified when there may be free slots for this engine."""

    @property
    def is_shared(self) -> bool:
        """Whether other engines have the same slots."""
        return len(self._slots.shares) > 1

    @property
    def free(self) -> int:
        """Number of slots without a message, also those that others have reserved."""
        return self._slots.free

    @property
    def _others(self) -> list[Share]:
        return [each for each in self._slots.shares if each is not self]

    def available(self, now_s: float) -> int:
        """Return the number of slots that this engine may ask messages for; 0 while it is the turn of another one."""
        others = self._others
        if self.place is not None and any(each.place is not None and each.place < self.place for each in others):
            return 0
        reserved = sum(each.reserved for each in others if now_s < each.reserved_until_s)
        return max(self._slots.free - reserved, 0)

    def line_up(self) -> None:
        """Take part in the order of the engines that want slots, until `leave_line`."""
        if self.place is None:
            self.place = self.draw()

    def leave_line(self) -> None:
        """Want no slot any more, or have one. The others get new places, as each slot is for any of them."""
        self.place = None
        for each in self._others:
            if each.place is not None:
                each.place = each.draw()
        self._notify_others()

    def reserve(self, count: int, now_s: float) -> None:
        """Keep slots from the other engines until `end_reservation`, or for `RESERVED_S`."""
        self.reserved, self.reserved_until_s = count, now_s + RESERVED_S

    def end_reservation(self) -> None:
        """Let the others have the slots that got no message."""
        if self.reserved:
            self.reserved = 0
            self._notify_others()

    def fill(self, count: int) -> None:
        """Note that so many slots got a message."""
        self._slots.free -= count

    def empty(self) -> None:
        """Note that a message has left its slot."""
        self._slots.free += 1
        self._notify_others()

    def _notify_others(self) -> None:
        for each in self._others:
            each.changed.notify_all()
