"""Sends what is in the outboxes of a shard to the shards that own its queues, until they have it.

At most one portion of each outbox is under way, so its messages arrive in order. A portion whose outcome is not known
is sent again, by this owner of the shard or by the next one: the other shard recognizes what it has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from wonderq.broker.background import TICK_S, BackgroundLoop
from wonderq.broker.broker import Broker
from wonderq.broker.consumers import CallingWaiter
from wonderq.broker.outboxes import Departure
from wonderq.cluster import shard_calls
from wonderq.cluster.applications import Outcome
from wonderq.cluster.shard_map import shard_of
from wonderq.cluster.wire import ForwardedRequest

#: Shortest and longest pause after a failure, in seconds. It doubles from one failure to the next.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0

Try = Callable[[int, ForwardedRequest], Outcome]
"""Makes one try to carry a call out at the owner of a shard; see `wonderq.cluster.carrying.Carrier.try_once`."""


class _Line:
    """The state of sending from one outbox."""

    def __init__(self) -> None:
        self.creates = False
        """Whether the queue is to be created if it does not exist."""
        self.not_before_s = 0.0
        self.reason = ""
        """Why the last try failed; empty if it did not."""
        self._pause_s = 0.0

    def succeed(self) -> None:
        self.creates, self.reason, self._pause_s, self.not_before_s = False, "", 0.0, 0.0

    def fail(self, reason: str) -> float:
        """Note a failure, and return the pause after it."""
        self.reason = reason
        self._pause_s = min(2 * self._pause_s or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self.not_before_s = time.monotonic() + self._pause_s
        return self._pause_s


class Crosser(BackgroundLoop):
    """Sends the messages of a broker's outboxes."""

    def __init__(self, broker: Broker, try_once: Try, shards: int, *, tick_s: float = TICK_S) -> None:
        """``shards`` is the number of shards of the cluster."""
        super().__init__(broker, "crossing", tick_s)
        self._try = try_once
        self._shards = shards
        self._lines: dict[str, _Line] = {}
        self._waiter = CallingWaiter(self._wake)
        self._in_broker = threading.Lock()  # held while the broker is used, and not while a call is under way

    def _wake(self) -> None:
        if self._rounds is not None:
            self._rounds.hurry(self)

    def stop(self) -> None:
        """End the loop. A call that is under way is not waited for, and its outcome is not used."""
        self._stop.set()
        with self._in_broker:  # the broker may be closed after this
            pass
        self._wake()

    def turn(self) -> float:
        self._waiter.rearm()
        waits_s = [self._tick_s]
        names: list[str] = self.attempt(self._filled, [])
        for name in names:
            line = self._lines.setdefault(name, _Line())
            pause_s = line.not_before_s - time.monotonic()
            if pause_s <= 0:
                pause_s = self.attempt(partial(self._cross, name, line), self._tick_s)
            waits_s.append(pause_s)
        return 0 if self._waiter.wake.is_set() else min(waits_s)

    def _filled(self) -> list[str]:
        with self._in_broker:
            return [] if self.is_stopping else self._broker.outboxes.filled(self._waiter)

    def _cross(self, name: str, line: _Line) -> float:
        """Send a portion of an outbox; return the seconds until the next one may be sent."""
        with self._in_broker:
            departure = None if self.is_stopping else self._broker.outboxes.departure(name)
        if departure is None:
            return self._tick_s
        request = shard_calls.cross_request(departure, creates=line.creates)
        outcome = self._try(shard_of(name, self._shards), request)
        with self._in_broker:
            return self._tick_s if self.is_stopping else self._settle(departure, line, outcome)

    def _settle(self, departure: Departure, line: _Line, outcome: Outcome) -> float:
        outboxes, counters = self._broker.outboxes, self._broker.counters
        response = outcome.response if outcome.verdict == "done" else None
        if response is None:
            counters.crossings_failed[departure.queue] += 1
            return self._pause(departure, line, outcome.reason)
        body = response.read()
        if response.code == 200:
            outboxes.remove(departure, shard_calls.last_of(body))
            if line.reason:
                self._logger.info("messages cross to %s again", departure.queue)
            line.succeed()
            return 0
        if response.code == 404 and not line.creates:
            line.creates = outboxes.end_subscriptions(departure)
            return 0 if line.creates else self._tick_s
        counters.crossings_refused[departure.queue] += 1
        return self._pause(departure, line, body.decode(errors="replace"))

    def _pause(self, departure: Departure, line: _Line, reason: str) -> float:
        if not line.reason:
            self._logger.warning("messages for %s wait: %s", departure.queue, reason)
        return line.fail(reason)
