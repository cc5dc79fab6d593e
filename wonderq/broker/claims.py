"""Giving out messages: claims, the waiting for them, and what comes of a message that was claimed too often or is too old."""

from __future__ import annotations

import secrets
import time
from array import array
from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from wonderq.broker.consumers import Waiter
from wonderq.broker.core import CLAIM_LEAVES
from wonderq.broker.rate_limits import ClaimBudget
from wonderq.broker.transfers import Moving
from wonderq.model.errors import BrokerError, InvalidValueError, ShuttingDownError, TooManyInFlightError
from wonderq.model.limits import UNLIMITED
from wonderq.model.messages import Message, new_tuple
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS
from wonderq.model.status import CLAIMED, WAITING
from wonderq.state import record
from wonderq.state.page import NO_TOKEN, MessageView
from wonderq.state.record import Record
from wonderq.state.state import Queue, change_record
from wonderq_storage import Position

_TOKENS_BYTES = 4096

_MAX_ATTEMPT_CHARACTERS = 128

#: How what a queue remembers of attempts begins.
_ATTEMPT = "a"


class Claim(NamedTuple):
    """What a claim was given."""

    position: Position
    """Of the record that says so."""
    views: list[MessageView]
    token: int


class NoClaim(NamedTuple):
    """Why a claim was given nothing."""

    in_flight_limit: int = 0
    """How many may be in flight, if that is why."""
    wait_s: float = inf
    """After how long a rate allows more."""
    dead: Sequence[MessageView] = ()
    """Messages that were claimed too often, and have to go first."""


class Claiming(Moving):
    """What gives out messages."""

    def claim(
        self,
        queue: str,
        *,
        limit: int = 10,
        visibility_timeout_ms: int | None = None,
        wait_s: float = 0,
        client_gone: Callable[[], bool] = lambda: False,
        attempt_id: str | None = None,
    ) -> list[Message]:
        """Claim the messages that are next, at most ``limit``, waiting up to ``wait_s`` for the first.

        ``client_gone`` is asked before each attempt; once it says yes, nothing is claimed any more. The same ``attempt_id``
        again, within five minutes, gets the same messages and receipts, unless something was done to one of them since.
        """
        if not 1 <= limit <= self.limits.batch_messages:
            raise InvalidValueError("max", f"max must be from 1 to {self.limits.batch_messages}.")
        if visibility_timeout_ms is not None:
            self.limits.check_range("visibility_timeout", visibility_timeout_ms)
        if not 0 <= wait_s <= self.limits.wait_s:
            raise InvalidValueError("wait", f"wait must be from 0 to {self.limits.wait_s} seconds.")
        if attempt_id is not None and not 1 <= len(attempt_id) <= _MAX_ATTEMPT_CHARACTERS:
            raise InvalidValueError("attempt_id", f"attempt_id must have 1 to {_MAX_ATTEMPT_CHARACTERS} characters.")
        wait_until = time.monotonic() + wait_s
        waiter: Waiter | None = None
        claim = None
        try:
            while not client_gone():
                with self._transaction as now_ms:
                    if self._stopping:
                        if waiter is None:
                            raise ShuttingDownError
                        break
                    found = self._find_queue(queue)
                    outcome = self._claim(found, now_ms, limit, visibility_timeout_ms, attempt_id)
                    if isinstance(outcome, Claim):
                        claim = outcome
                        break
                    if not outcome.dead:
                        left_s = wait_until - time.monotonic()
                        if left_s <= 0:
                            if outcome.in_flight_limit:  # to say that there is nothing would be wrong
                                raise TooManyInFlightError(queue, outcome.in_flight_limit)
                            break
                        if waiter is None:
                            waiter = self._consumers.join(found)
                        else:
                            self._consumers.rejoin(found, waiter)
                        sleep_s = min(left_s, outcome.wait_s, (waiter.due_ms - now_ms) / 1000)
                if outcome.dead:
                    self._dead_letter(found, outcome.dead)
                else:
                    assert waiter is not None
                    waiter.wake.wait(max(sleep_s, 0.001))
        finally:
            if waiter is not None:
                with self._lock:
                    self._consumers.leave(waiter, self._state.queues.get(queue))
        if claim is None:
            self._wait_until_durable()
            return []
        self._durability.wait(claim.position)
        messages = self._read_messages(found, claim.views, claim.token)
        missing = len(claim.views) - len(messages)
        if not missing:
            return messages
        # They were deleted meanwhile, and dropped from the log: others may be there to be given for them.
        wait_s = 0 if messages else max(0, wait_until - time.monotonic())
        try:
            return messages + self.claim(
                queue,
                limit=missing,
                visibility_timeout_ms=visibility_timeout_ms,
                wait_s=wait_s,
                client_gone=client_gone,
            )
        except BrokerError:
            if not messages:
                raise
            return messages

    def _claim(
        self,
        queue: Queue,
        now_ms: int,
        limit: int,
        visibility_timeout_ms: int | None,
        attempt_id: str | None,
    ) -> Claim | NoClaim:
        messages, settings = queue.messages, queue.settings
        in_flight_limit, rates = self.limits.in_flight_per_queue, None
        messages.advance(now_ms)
        if queue.restricts_claims:
            if settings.retention_ms:
                self._expire(queue, now_ms)
            if settings.paused:
                return NoClaim()
            in_flight_limit = min(in_flight_limit, settings.max_in_flight or UNLIMITED)
            if settings.has_rates:
                rates = ClaimBudget(self._rates, queue)
        timeout_ms = settings.visibility_timeout_ms if visibility_timeout_ms is None else visibility_timeout_ms
        if attempt_id is not None:
            again = self._claim_again(queue, now_ms, timeout_ms, attempt_id)
            if again is not None:
                return again
        room = in_flight_limit - messages.counts[CLAIMED]
        if rates is None:
            runs = messages.pick(min(limit, room), self.limits.batch_bytes)
        else:
            most = min(limit, room, rates.messages())
            runs = messages.pick(most, self.limits.batch_bytes, rates.messages_of)
        if not runs:
            full = room <= 0 < messages.counts[WAITING]
            return NoClaim(in_flight_limit if full else 0, inf if rates is None else rates.wait_s)
        if settings.max_receives:
            dead = [view for view in messages.views(runs) if view.receives >= settings.max_receives]
            if dead:
                return NoClaim(dead=dead)
        token = self._new_token()
        records: list[Record] = [record.Claim(record.CLAIM, now_ms, queue.number, runs, timeout_ms, token)]
        if attempt_id is not None:
            records.append(self._attempt(queue, now_ms, attempt_id, token, runs, now_ms + timeout_ms))
        position = self._append_and_apply(*records, leave=CLAIM_LEAVES)
        produced_ms: Sequence[int] = messages.produced_ms(runs)
        if messages.lanes.by_number:
            produced_ms = sorted(produced_ms)  # lanes do not give out the oldest first
        self.counters.of(queue.name).claimed(now_ms, produced_ms)
        views = messages.views(runs)
        if rates is not None:
            rates.count(messages.lane_of(view)[1] for view in views)
        self._consumers.notify(queue)
        return new_tuple(Claim, (position, views, token))

    def expire(self) -> None:
        """Remove what is older than its queue keeps it, also from queues that nobody consumes from; and keys that ended."""
        with self._lock:
            self._state.forget(self._clock.now_ms())
            queues = list(self._state.queues.values())
        for queue in queues:
            if queue.settings.retention_ms:
                with self._transaction as now_ms:
                    if self._state.find(queue.number) is queue:
                        self._expire(queue, now_ms)
                        self._consumers.notify(queue)  # there is room for more in flight
        self._wait_until_durable()

    def _expire(self, queue: Queue, now_ms: int) -> None:
        """Remove what is older than the queue keeps it."""
        end = queue.messages.retention_end(now_ms - queue.settings.retention_ms + 1)
        if end is not None:
            before = len(queue.messages)
            self._append_and_apply(record.Purge(record.PURGE, now_ms, queue.number, end))
            self.counters.of(queue.name).retention_expired += before - len(queue.messages)

    def _claim_again(self, queue: Queue, now_ms: int, timeout_ms: int, attempt_id: str) -> Claim | None:
        """Return what the same attempt was given before, with the timeout anew; None if there was none, or not any more."""
        before = queue.dedup.get(_ATTEMPT + attempt_id, now_ms)
        if before is None:
            return None
        token, runs, due_ms = before
        views = [view for sequence in record.from_runs(runs) if (view := queue.messages.find(sequence)) is not None]
        count = sum(runs[1::2])
        if len(views) < count or any(
            (view.status, view.token, view.due_ms) != (CLAIMED, token, due_ms) for view in views
        ):
            return None
        changes = [record.Change(view.sequence, CLAIMED, now_ms + timeout_ms, timeout_ms) for view in views]
        position = self._append_and_apply(
            change_record(queue, changes, now_ms),
            self._attempt(queue, now_ms, attempt_id, token, runs, now_ms + timeout_ms),
            leave=CLAIM_LEAVES,
        )
        self._consumers.notify(queue)  # it may end sooner than it did
        return Claim(position, queue.messages.views(runs), token)

    def _attempt(
        self, queue: Queue, now_ms: int, attempt_id: str, token: int, runs: record.Runs, due_ms: int
    ) -> Record:
        """Return the record of what an attempt to claim was given."""
        self.limits.check_keys(self._state, 1, now_ms)
        memory = _ATTEMPT + attempt_id, [token, runs, due_ms], now_ms + DEDUPLICATION_WINDOW_MS
        return record.Dedup(record.DEDUP, now_ms, queue.number, [memory])

    def _new_token(self) -> int:
        """Return 32 bits that nobody can foresee, not all zero. Drawn in advance: a call of the system for each costs more."""
        for token in self._tokens:
            if token != NO_TOKEN:
                return token
        self._tokens = iter(array("I", secrets.token_bytes(_TOKENS_BYTES)))
        return self._new_token()
