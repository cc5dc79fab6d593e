"""One endpoint: how many requests it may get at a time, and when.

An endpoint that answers gets up to a bound of requests at a time. One that does not gets a single request at a time,
after pauses that grow. So an endpoint that is down costs one slot for a short time, its messages stay in its queue
without using up their retries, and it gets its backlog at full speed when it answers again.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable

from wonderq.broker.consumers import CallingWaiter
from wonderq.broker.pushes import PushKey
from wonderq.push.delivery import Outcome, Settlement

#: Shortest and longest pause after a failure, in seconds. It doubles from one failure to the next.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 20.0
_LONGEST_RETRY_AFTER_S = 300.0
_MOST_DOUBLINGS = 16


class Line:
    """The state of one endpoint. Only the push thread uses it, except `waiter.wake`."""

    def __init__(self, key: PushKey, most: int, wake: Callable[[], None]) -> None:
        self.key = key
        self.waiter = CallingWaiter(wake)
        self.running = 0
        """Messages that are claimed and not settled."""
        self.is_filling = False
        """Whether a claim for it runs, or it steps aside."""
        self.has_place = False
        """Whether it may have a place among the consumers of its queue."""
        self.is_queued = False
        """Whether it waits for a free slot."""
        self.settlements: list[Settlement] = []
        """Outcomes that are not settled yet."""
        self.is_settling = False
        self.timer: TimerHandle | None = None
        """The next time at which it tries to claim by itself."""
        self.reason = ""
        """Why the last attempt failed; empty if it did not."""
        self.limit = 1
        """Most messages at a time, at present."""
        self._most = most
        self._failures = 0
        self._paused_until_s = 0.0
        self._failed_s = 0.0
        self._tokens_full_s = 0.0

    @property
    def room(self) -> int:
        """Number of messages that may be claimed for it."""
        return max(self.limit - self.running, 0)

    def pause_s(self, now_s: float) -> float:
        """Return the seconds until its next request."""
        return max(self._paused_until_s - now_s, 0.0)

    def permitted(self, per_second: int, wanted: int, now_s: float) -> tuple[int, float]:
        """Return how many of the wanted requests its rate permits now, and if none, the seconds until one is."""
        if not per_second:
            return wanted, 0.0
        full_s = max(self._tokens_full_s, now_s)
        available = int((now_s + 1 - full_s) * per_second + 1e-6)
        if available < 1:
            return 0, full_s + 1 / per_second - now_s - 1
        return min(wanted, available), 0.0

    def count(self, per_second: int, requests: int, now_s: float) -> None:
        """Count requests toward the rate."""
        if per_second:
            self._tokens_full_s = max(self._tokens_full_s, now_s) + requests / per_second

    def learn(self, outcome: Outcome, started_s: float, now_s: float) -> bool:
        """Adapt to the outcome of an attempt; return whether the endpoint has begun or ceased to fail."""
        before = self.reason
        if outcome.is_fault:
            self.limit, self.reason = 1, outcome.reason
            if started_s >= self._failed_s:  # those that ran together count as one failure
                self._failures += 1
                pause_s = _FIRST_PAUSE_S * (1 << min(self._failures - 1, _MOST_DOUBLINGS))
                self._paused_until_s = now_s + min(pause_s, _LONGEST_PAUSE_S)
                self._failed_s = now_s
            asked_s = min(outcome.retry_after_s, _LONGEST_RETRY_AFTER_S)
            self._paused_until_s = max(self._paused_until_s, now_s + asked_s)
        else:
            self.limit = min(self.limit + 1, self._most)
            if started_s >= self._failed_s:
                self.reason, self._failures, self._paused_until_s = "", 0, 0.0
        return bool(before) != bool(self.reason)

    def hold(self, now_s: float) -> None:
        """Pause it for the longest time, because the broker cannot work for it."""
        self._paused_until_s = now_s + _LONGEST_PAUSE_S
