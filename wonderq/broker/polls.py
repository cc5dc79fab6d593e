"""Polls: claiming from one queue or several, and waiting for the first message."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wonderq.broker.claims import DEFAULT_CLAIM, Claim, ClaimOptions, Claims, NoClaim, Room
from wonderq.broker.consumers import Attempt, Waiter
from wonderq.broker.core import Core
from wonderq.broker.reader import Batch, Reader
from wonderq.broker.transfers import PORTION_MESSAGES, Transfers
from wonderq.model.bounds import MAX_SOURCES, MAX_WEIGHT
from wonderq.model.errors import BrokerError, InvalidValueError, ShuttingDownError, TooManyInFlightError
from wonderq.model.failures import check_consumer
from wonderq.model.messages import Message
from wonderq.runtime.fibers import yield_to_others
from wonderq.state.state import Queue
from wonderq_storage import DiskFullError

_MAX_ATTEMPT_CHARACTERS = 128

#: Shortest sleep of a waiting consumer: a deadline that is nearly due must not make it spin.
_MIN_SLEEP_S = 0.001


class Sources(NamedTuple):
    """The queues of one poll."""

    queues: Sequence[str]
    weights: Sequence[int] | None = None
    """Weight of each queue; None for a strict order, in which a queue is only asked once those before it have no
    message left."""

    def check(self) -> None:
        """Check the number of queues and their weights.

        Raises:
            InvalidValueError: there are none or too many, one occurs twice, or a weight is out of range.
        """
        if not 1 <= len(self.queues) <= MAX_SOURCES:
            raise InvalidValueError("queues", f"queues must name 1 to {MAX_SOURCES} queues.")
        if len(set(self.queues)) < len(self.queues):
            raise InvalidValueError("queues", "queues names a queue twice. Name each once.")
        if any(not 1 <= weight <= MAX_WEIGHT for weight in self.weights or ()):
            raise InvalidValueError("queues", f"The weight of a queue must be from 1 to {MAX_WEIGHT}.")

    def in_turn(self) -> Sequence[str]:
        """Return the queues in the order in which the next round asks them.

        With weights the order is drawn at random. A queue is first with a probability proportional to its weight, so no
        state is needed, and the shares hold for all consumers together.
        """
        if self.weights is None:
            return self.queues
        # Exponential times with the weights as rates: the first of them is that of a queue in proportion to its weight.
        times = [random.expovariate(weight) for weight in self.weights]
        return [queue for _, queue in sorted(zip(times, self.queues, strict=True))]


class Polls:
    """Claims messages for consumers, which may wait for them."""

    def __init__(self, core: Core, reader: Reader, transfers: Transfers, claims: Claims) -> None:
        self._core = core
        self._reader = reader
        self._transfers = transfers
        self._claims = claims

    def claim(
        self,
        queue: str,
        *,
        limit: int = 10,
        visibility_timeout_ms: int | None = None,
        wait_s: float = 0,
        client_gone: Callable[[], bool] = lambda: False,
        attempt_id: str | None = None,
        room: Room | None = None,
        consumer: str = "",
    ) -> list[Message]:
        """Claim the next messages of a queue; see `ClaimOptions`. Raises what `claim_from` raises."""
        options = ClaimOptions(limit, visibility_timeout_ms, wait_s, client_gone, attempt_id, room, consumer)
        return self.claim_from(Sources((queue,)), options)

    def claim_from(self, sources: Sources, options: ClaimOptions = DEFAULT_CLAIM) -> list[Message]:
        """Claim the next messages of one or several queues. Raises what `deliver` raises."""
        return [message for batch in self.deliver(sources, options) for message in batch.messages()]

    def deliver(
        self, sources: Sources, options: ClaimOptions = DEFAULT_CLAIM, *, finished_any: bool = False
    ) -> list[Batch]:
        """Claim the next messages of one or several queues, and return them in batches, each of one queue.

        With ``finished_any``, the caller has finished messages before: their outcome is part of the answer, and becomes
        durable before the poll sleeps.

        Raises:
            InvalidValueError: an argument is out of range.
            QueueNotFoundError: a queue does not exist.
            ShuttingDownError: the broker is shutting down.
            TooManyInFlightError: messages wait, but a queue has as many in flight as it may have.
            TooManyWaitingError: as many consumers wait as may wait.
        """
        self.check(sources, options)
        poll = _Poll(self._core, self._transfers, self._claims, sources, options, finished_any)
        batches: list[Batch] = []
        left = options.limit
        # A message that was deleted meanwhile and dropped from the log cannot be read: claim another in its place. The
        # attempt's id stands for the first claim, so leave it out. Do not wait once there is a message to deliver.
        while True:
            try:
                claims = poll.run()
            except (BrokerError, DiskFullError):
                if not batches:
                    raise
                return batches
            if not claims:
                if finished_any and not batches:
                    self._core.confirm()
                elif not batches:  # no client acts on an empty answer, so the log need not confirm it
                    self._core.wait_until_durable()
                return batches
            self._core.durability.wait(claims[-1].position)
            unread = 0
            for claim in claims:
                batch = self._reader.read(claim.queue, claim.messages, claim.consumers, claim.token)
                unread += len(claim.messages.sequence) - len(batch.bodies)
                left -= len(batch.bodies)
                if batch.bodies:
                    batches.append(batch)
            if not unread or left <= 0:
                return batches
            poll.go_on(left, wait=not batches)

    def check(self, sources: Sources, options: ClaimOptions) -> None:
        """Check that the arguments of a poll are in range.

        Raises:
            InvalidValueError: one is not.
        """
        limits, timeout_ms, attempt_id = self._core.limits, options.visibility_timeout_ms, options.attempt_id
        if len(sources.queues) != 1 or sources.weights is not None:
            sources.check()
        if not 1 <= options.limit <= limits.batch_messages:
            raise InvalidValueError("max", f"max must be from 1 to {limits.batch_messages}.")
        if timeout_ms is not None:
            limits.check_range("visibility_timeout", timeout_ms)
        if not 0 <= options.wait_s <= limits.wait_s:
            raise InvalidValueError("wait", f"wait must be from 0 to {limits.wait_s} seconds.")
        check_consumer("consumer", options.consumer)
        if attempt_id is not None and not 1 <= len(attempt_id) <= _MAX_ATTEMPT_CHARACTERS:
            raise InvalidValueError("attempt_id", f"attempt_id must have 1 to {_MAX_ATTEMPT_CHARACTERS} characters.")


class _Poll:
    """One poll, from its first look at the queues to its claim."""

    def __init__(
        self,
        core: Core,
        transfers: Transfers,
        claims: Claims,
        sources: Sources,
        options: ClaimOptions,
        finished_any: bool,
    ) -> None:
        self._core = core
        self._transfers = transfers
        self._claims = claims
        self._sources = sources
        self._options = options
        self._until_s = time.monotonic() + options.wait_s
        self._must_sync = finished_any
        self._waiter: Waiter | None = None
        self._may_move = PORTION_MESSAGES

    @property
    def _attempt(self) -> Attempt | None:
        attempt_id = self._options.attempt_id
        return None if attempt_id is None else (tuple(self._sources.queues), attempt_id)

    def go_on(self, limit: int, *, wait: bool) -> None:
        """Prepare another `run` for messages in place of others."""
        self._options = self._options._replace(limit=limit, attempt_id=None)
        if not wait:
            self._until_s = 0.0

    def run(self) -> list[Claim]:
        """Claim messages, and wait for the first.

        Returns none if none came in time, if the client disconnected, or if it repeated the request meanwhile: the
        broker may notice a disconnected client later than its repetition, and what is claimed for it would be lost.
        """
        core = self._core
        if self._attempt is not None:
            with core.lock:
                core.consumers.replace(self._attempt)
        if len(self._sources.queues) > 1:
            with core.transaction:
                for name in self._sources.queues:  # also those that the first round may not come to
                    core.find_queue(name)
        try:
            while not self._options.client_gone():
                if self._waiter is not None:
                    self._waiter.rearm()  # before the first look: a message that comes during the round ends the sleep
                several = len(self._sources.queues) > 1
                claims = (several and self._claims_again()) or self._round()
                if claims is not None:
                    return claims
            return []
        finally:
            if self._waiter is not None:
                with core.lock:
                    core.consumers.leave(self._waiter, [core.state.queues.get(name) for name in self._sources.queues])
                self._waiter = None

    def _claims_again(self) -> list[Claim]:
        """Return the claims of an earlier attempt on several queues. `Claims.try_claim` finds that on a single one."""
        claims: list[Claim] = []
        if self._options.attempt_id is not None:
            for name in self._sources.queues:
                with self._core.transaction as now_ms:
                    again = self._claims.claim_again(self._core.find_queue(name), now_ms, self._options)
                    if again is not None:
                        claims.append(again)
        return claims

    def _round(self) -> list[Claim] | None:
        """Ask each queue once, each under the lock for itself, and sleep if none has a message.

        Returns the claims, none of them at the end of the poll, or None if another round is needed.
        """
        core = self._core
        claims: list[Claim] = []
        options, taken_bytes = self._options, 0
        left_s = self._until_s - time.monotonic()
        full: TooManyInFlightError | None = None
        sleep_s = left_s
        for name in self._sources.in_turn():
            try:
                with core.transaction as now_ms:
                    if core.stopping:
                        if self._waiter is None:
                            raise ShuttingDownError
                        return claims
                    if self._waiter is not None and self._waiter.is_replaced:
                        return claims
                    queue = core.find_queue(name)
                    outcome = self._claims.try_claim(queue, now_ms, options, taken_bytes)
                    if not isinstance(outcome, Claim):
                        if claims:
                            continue
                        if outcome.dead or outcome.unfinished:
                            break
                        if outcome.in_flight_limit:
                            full = TooManyInFlightError(name, outcome.in_flight_limit)
                        if left_s > 0:
                            due_ms = self._join(queue)
                            sleep_s = min(sleep_s, outcome.wait_s, (due_ms - now_ms) / 1000)
                        continue
            except (BrokerError, DiskFullError):
                if claims:  # they are made, and their messages must be delivered
                    break
                raise
            claims.append(outcome)
            left = options.limit - len(outcome.messages.sequence)
            if not left or len(self._sources.queues) == 1:
                break
            options = options._replace(limit=left)
            taken_bytes += sum(outcome.messages.length)
        else:
            if not claims:
                return self._sleep(sleep_s, full)
        if not claims:
            assert isinstance(outcome, NoClaim)
            self._make_progress(queue, outcome)
            return None
        return claims

    def _join(self, queue: Queue) -> int:
        """Wait in a queue, under the lock; return the deadline at which to wake up."""
        consumers = self._core.consumers
        if self._waiter is None:
            self._waiter = consumers.register(self._attempt)
        consumers.join(queue, self._waiter)
        return self._waiter.due_ms

    def _make_progress(self, queue: Queue, outcome: NoClaim) -> None:
        """Do what keeps a queue from delivering, outside the lock."""
        if outcome.dead and self._may_move > 0:  # housekeeping moves the others, so that nobody waits for many
            self._transfers.dead_letter(queue, outcome.dead[: self._may_move])
            self._may_move -= len(outcome.dead)
        else:
            yield_to_others()

    def _sleep(self, sleep_s: float, full: TooManyInFlightError | None) -> list[Claim] | None:
        """Sleep until a message may be there; return an empty list at the end of the poll."""
        if self._waiter is None or self._until_s <= time.monotonic():
            if full is not None:  # an empty answer would mean that no message waits
                self._core.confirm()
                raise full
            return []
        if self._must_sync:
            self._core.wait_until_durable()
            self._must_sync = False
        self._waiter.wake.wait(max(sleep_s, _MIN_SLEEP_S))
        return None
