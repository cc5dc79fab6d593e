"""One process among those that share a log: when it takes the log over, and what it tells the others."""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from wonderq.ownership.announcements import Announcement, Role, decode
from wonderq.ownership.neighbours import SUSPECT_S, Listening, Neighbours, Owner, clock_ahead_ms
from wonderq_storage import CorruptLogError, LogClosedError, LogLostError, Reached

logger = logging.getLogger("wonderq.ownership")

#: A process whose clock is further off than this takes nothing over. A clock that is ahead would end claims early, and
#: the time of the log never goes back.
MAX_CLOCK_AHEAD_MS = 250

#: A process that lost the log to another one leaves it to the others for this long, while there are others.
_KEEP_OFF_S = 10.0

#: Bounds of the random pause of a process that was not fast enough, so that the winner is heard first.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0

#: Interval at which the decision is reviewed when nothing is heard.
_REVIEW_S = 0.1


class Hearing(NamedTuple):
    """How well this process hears the others, and the clock of the servers."""

    connected_s: float
    """How long it has been connected; 0 if it is not."""
    clock_ahead_ms: int | None
    """By how much its clock is ahead of the server's, or None if that is not known yet."""


class Member:
    """This process. It is the `wonderq_storage.jetstream_takeover.Turn` of its log.

    ``hearing`` tells what it hears at present. ``now_s`` is a monotonic clock and ``time_ms`` the wall clock.

    Threads: any number may call any method.
    """

    def __init__(
        self,
        node: str,
        hearing: Callable[[], Hearing],
        *,
        now_s: Callable[[], float] = time.monotonic,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.node = node
        self._token = secrets.token_hex(8)
        self._hearing = hearing
        self._now_s = now_s
        self._time_ms = time_ms
        self._neighbours = Neighbours()
        self._changed = threading.Condition()
        self._role: Role = "standing_by"
        self._epoch = 0
        self._has_read = False
        self._closing = False
        self._listening = Listening(now_s())
        self._keep_off_until_s = 0.0
        self._pause_until_s = 0.0
        self.decided_s = 0.0
        """Monotonic time at which this process last decided to take over."""

    # What the others say

    def hear(self, data: bytes) -> None:
        """Take in what another process announces. The thread that reads the connection calls it."""
        said = decode(data)
        if said is None or said.token == self._token:
            return
        with self._changed:
            self._neighbours.hear(said, self._now_s(), self._time_ms())
            self._changed.notify_all()

    @property
    def owner(self) -> Owner | None:
        """The owner of the log, or None if nobody is heard."""
        with self._changed:
            if self._role == "owner":
                return Owner(self.node, self._token, self._epoch)
            return self._neighbours.owner(self._now_s())

    @property
    def is_owner(self) -> bool:
        """Whether this process has taken the log over, and has not lost it since, as far as it knows."""
        with self._changed:
            return self._role == "owner"

    @property
    def epoch(self) -> int:
        """Newest epoch that this process knows of."""
        with self._changed:
            return self._neighbours.newest_epoch

    @property
    def is_deposed(self) -> bool:
        """Whether another process is heard to own a newer epoch than this one."""
        with self._changed:
            return self._role == "owner" and self._neighbours.newest_epoch > self._epoch

    @property
    def others(self) -> int:
        """Number of other processes that are heard."""
        with self._changed:
            return self._neighbours.count(self._now_s())

    @property
    def heard(self) -> list[tuple[str, str]]:
        """Names of the other processes that are heard, and their roles."""
        with self._changed:
            return sorted((said.node, said.role) for said in self._neighbours.heard(self._now_s()))

    @property
    def has_read(self) -> bool:
        """Whether this process has read what the log had when it began to stand by, so that it can take over soon."""
        with self._changed:
            return self._has_read

    @property
    def clock_ahead_ms(self) -> int | None:
        """By how much the own clock is ahead of the others, or None if none of them is known."""
        with self._changed:
            return self._clock_ahead_ms()

    def _clock_ahead_ms(self) -> int | None:
        of_server = self._hearing().clock_ahead_ms
        if of_server is None:
            return None
        return clock_ahead_ms([*self._neighbours.clocks_ahead_ms(self._now_s()), of_server])

    @property
    def obstacle(self) -> str | None:
        """Reason why this process would not take the log over if its owner ended now; None if it would."""
        ahead_ms = self.clock_ahead_ms
        if ahead_ms is None or abs(ahead_ms) <= MAX_CLOCK_AHEAD_MS:
            return None
        side = "ahead of" if ahead_ms > 0 else "behind"
        return (
            f"The clock of this machine is {abs(ahead_ms) / 1000:.1f} s {side} the others, so this process does not "
            "take over. Correct the clock, for example with NTP."
        )

    # What this process says

    def announcement(self) -> bytes:
        """Return what to tell the others."""
        with self._changed:
            epoch = self._epoch if self._role in ("owner", "released") else self._neighbours.newest_epoch
            # In each role: a process that restarts has no other source, and would not notice that messages are lost.
            log_id, sequence = self._neighbours.newest_known
            said = Announcement(self.node, self._token, self._role, epoch, log_id, sequence, self._time_ms())
        return said.encode()

    def acknowledge(self, log_id: bytes, sequence: int) -> None:
        """Tell that a message was acknowledged, so that the others read up to it, and know that it must be there."""
        with self._changed:
            self._neighbours.know(log_id.hex(), sequence)

    def lose(self) -> None:
        """Own the log no more, and leave it to the others for some time."""
        self.stand_by()
        with self._changed:
            self._keep_off_until_s = self._now_s() + _KEEP_OFF_S

    def stand_by(self) -> None:
        """Own the log no more, and read it anew."""
        with self._changed:
            self._role = "standing_by"
            self._has_read = False

    def close(self, *, is_final: bool = False) -> None:
        """Take nothing over any more: this process ends, or goes on without ever being able to own the log."""
        with self._changed:
            self._closing = True
            if is_final:
                self._role = "unable"
            self._changed.notify_all()

    def release(self) -> None:
        """Own the log no more, and let another process take over at once. Call it when the log is closed."""
        with self._changed:
            if self._role == "owner":
                self._role = "released"

    # The turn

    def wait(self, reached: Reached) -> int | None:
        log_id = _hex(reached.log_id)
        with self._changed:
            self._has_read = True
            self._neighbours.know_epoch(reached.epoch)
            while not self._closing:
                known = self._known_sequence(log_id)
                if known > reached.sequence:
                    return known
                if self._may_take_over():
                    self.decided_s = self._now_s()
                    return None
                self._changed.wait(_REVIEW_S)
        raise LogClosedError("this process does not take over any more")

    def _known_sequence(self, log_id: str) -> int:
        """Return the sequence of the newest message that must be in a log. The id of an empty stream is empty.

        Raises:
            CorruptLogError: the others know another log: servers that lost a whole stream begin a new one.
        """
        known, sequence = self._neighbours.newest_known
        if log_id and known and known != log_id:
            reason = f"the log {known} was here, with {sequence} acknowledged messages, and it is gone"
            raise CorruptLogError(f"the log {log_id}", 0, reason)
        return sequence

    def _may_take_over(self) -> bool:
        now_s = self._now_s()
        self._listening.review(now_s)
        connected_s = self._hearing().connected_s
        ahead_ms = self._clock_ahead_ms()
        if not connected_s or ahead_ms is None or abs(ahead_ms) > MAX_CLOCK_AHEAD_MS or now_s < self._pause_until_s:
            return False
        if self._neighbours.owner(now_s) is not None:
            return False
        if self._neighbours.is_released:
            return True
        has_listened = min(connected_s, self._listening.listened_s(now_s)) >= SUSPECT_S
        keeps_off = now_s < self._keep_off_until_s and self._neighbours.count(now_s)
        return has_listened and not keeps_off

    def known_sequence(self, log_id: bytes | None) -> int:
        with self._changed:
            return self._neighbours.known_sequence(_hex(log_id))

    def beaten(self, error: LogLostError) -> None:
        pause_s = random.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S)  # noqa: S311 - no secret
        logger.info("%s This process goes on standing by", error)
        with self._changed:
            self._pause_until_s = self._now_s() + pause_s

    def claimed(self, epoch: int) -> None:
        with self._changed:
            self._role, self._epoch = "owner", epoch
            self._neighbours.know_epoch(epoch)


def _hex(log_id: bytes | None) -> str:
    return "" if log_id is None else log_id.hex()
