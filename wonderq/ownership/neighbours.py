"""The announcements that one process has heard of the others."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

from wonderq.ownership.announcements import Announcement

#: A process that was not heard for this long is taken for dead.
SUSPECT_S = 1.0

#: A process that did not review for this long was itself paused, and has heard nothing meanwhile.
PAUSED_S = 0.5

#: Announcements of a process whose clock is compared. A delay on the way makes its clock look late, so the one with
#: the shortest delay counts.
_COMPARED = 10

#: Most processes, and most logs, that are remembered. There are more only if somebody sends nonsense.
_MOST = 64


class _Neighbour:
    def __init__(self, said: Announcement) -> None:
        self.newest = said
        self.heard_s = 0.0
        self.ahead_ms: deque[int] = deque(maxlen=_COMPARED)
        """By how much the own clock was ahead when each announcement arrived."""


class Owner(NamedTuple):
    """The process that owns the log, as far as it was heard."""

    node: str
    token: str
    epoch: int


class Listening:
    """How long a process has heard what the others say. It may take nothing over before it has listened for some time.

    After a pause of its own it begins anew: the others may have spoken meanwhile. But it does so only once, and not
    again for a pause before it has listened for `SUSPECT_S`. On a busy machine, pauses may follow each other all the
    time, and the process would never take anything over.
    """

    def __init__(self, now_s: float) -> None:
        self._since_s = self._reviewed_s = now_s

    def review(self, now_s: float) -> bool:
        """Note that the process works; return whether it was paused, and listens anew."""
        gap_s, listened_s = now_s - self._reviewed_s, self._reviewed_s - self._since_s
        self._reviewed_s = now_s
        if gap_s <= PAUSED_S:
            return False
        if listened_s < SUSPECT_S:
            self._since_s += gap_s - PAUSED_S
            return False
        self._since_s = now_s
        return True

    def listened_s(self, now_s: float) -> float:
        return now_s - self._since_s


class Neighbours:
    """The announcements of all other processes. ``now_s`` is a monotonic time.

    Threads: the caller calls one method at a time.
    """

    def __init__(self) -> None:
        self._by_token: dict[str, _Neighbour] = {}
        self._known: dict[str, int] = {}  # newest acknowledged sequence, by log
        self.newest_epoch = 0
        """Newest epoch that anybody ever knew of."""
        self.released_epoch = 0
        """Newest epoch whose owner has said that it ended."""

    def hear(self, said: Announcement, now_s: float, time_ms: int) -> None:
        """Take an announcement in. ``time_ms`` is the own wall clock."""
        neighbour = self._by_token.setdefault(said.token, _Neighbour(said))
        neighbour.newest, neighbour.heard_s = said, now_s
        neighbour.ahead_ms.append(time_ms - said.time_ms)
        self.know(said.log_id, said.sequence)
        self.know_epoch(said.epoch)
        if said.role == "released":
            self.released_epoch = max(self.released_epoch, said.epoch)
        while len(self._by_token) > _MOST:
            del self._by_token[min(self._by_token, key=lambda token: self._by_token[token].heard_s)]

    def know(self, log_id: str, sequence: int) -> None:
        """Remember that a message of a log was acknowledged."""
        if log_id:
            self._known[log_id] = max(self._known.pop(log_id, 0), sequence)
            while len(self._known) > _MOST:
                del self._known[next(iter(self._known))]

    def know_epoch(self, epoch: int) -> None:
        """Remember that an epoch has begun."""
        self.newest_epoch = max(self.newest_epoch, epoch)

    def known_sequence(self, log_id: str) -> int:
        """Return the sequence of the newest message of a log that is known to be acknowledged, or 0."""
        return self._known.get(log_id, 0)

    @property
    def newest_known(self) -> tuple[str, int]:
        """The log that was heard of last, and the newest message of it that is known; "" and 0 if there is none."""
        return next(reversed(self._known.items()), ("", 0))

    def owner(self, now_s: float) -> Owner | None:
        """Return the owner, if it was heard lately.

        One with an older epoch than the newest does not own the log any more, and does not know that yet.
        """
        for said in self.heard(now_s):
            if said.role == "owner" and said.epoch >= self.newest_epoch:
                return Owner(said.node, said.token, said.epoch)
        return None

    @property
    def is_released(self) -> bool:
        """Whether the newest owner has said that it ended."""
        return self.released_epoch > 0 and self.released_epoch >= self.newest_epoch

    def count(self, now_s: float) -> int:
        """Return the number of processes that were heard lately and can own the log."""
        return sum(said.role in ("owner", "standing_by") for said in self.heard(now_s))

    def heard(self, now_s: float) -> list[Announcement]:
        """Return the newest announcement of each process that was heard lately."""
        return [each.newest for each in self._present(now_s)]

    def _present(self, now_s: float) -> list[_Neighbour]:
        return [each for each in self._by_token.values() if now_s - each.heard_s < SUSPECT_S]

    def clocks_ahead_ms(self, now_s: float) -> list[int]:
        """Return by how much the own clock is ahead of that of each process that was heard lately."""
        return [min(each.ahead_ms, key=abs) for each in self._present(now_s)]


def clock_ahead_ms(of_others: list[int]) -> int:
    """Return by how much the own clock is ahead of the median of all clocks, the own one included.

    ``of_others`` has by how much it is ahead of each other one. Of two clocks nobody knows which one is right, so the
    whole difference counts.
    """
    return of_others[0] if len(of_others) == 1 else round(median([0, *of_others]))
