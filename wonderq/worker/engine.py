"""The engine of a worker: one loop that polls, one that settles, one that renews claims, one that ends those in time.

All state is under one lock; each loop waits on a condition of its own. The messages that a worker holds are never more
than its slots: a poll asks for as many as are free.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

from wonderq.client.errors import Invalid, NotFound, Refused, WonderQError
from wonderq.client.messages import Contents
from wonderq.client.operations import MOST_ENTRIES
from wonderq.worker.claims import Claim, Claims, Job, State
from wonderq.worker.executor import Places
from wonderq.worker.middleware import Middleware
from wonderq.worker.outcomes import Dead, Ending, LeaseLost, Settlement, Stopping, TimedOut, settle
from wonderq.worker.policy import Policy
from wonderq.worker.reports import Reports
from wonderq.worker.runner import Runner
from wonderq.worker.slots import RESERVED_S, Share
from wonderq.worker.source import Refusal, Source, in_requests
from wonderq.worker.time import MonotonicTime, Time

Resolve = Callable[[Contents], Job]
"""Returns the handler of a message. It raises `Dead` or another error for a message that no handler can run."""

#: Longest wait of a poll, in seconds. It is all that an idle worker does.
POLL_S = 20.0

#: Longest wait for the handlers of the last poll before the next one, in seconds. Tasks that end at once are so settled
#: together, and a worker makes one request for all of its slots and not for each of them.
_GATHER_S = 0.002

#: Longest pause between two attempts to reach a broker, in seconds.
_LONGEST_PAUSE_S = 15.0
_FIRST_PAUSE_S = 0.25

#: Seconds for giving back messages at the end, in addition to the grace.
_GIVE_BACK_S = 10.0

#: Seconds until the end of a call that is under way when the worker stops. A silent broker does not hold it up longer.
_CALL_S = 5.0


def _longest_pause_s(failures: int) -> float:
    """Return the longest pause after a failure that follows a number of others."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * (1 << min(failures, 10)))


class _Alarm:
    """Times at which a loop has to do something. The caller holds the lock."""

    def __init__(self, lock: threading.RLock, next_s: Callable[[], float]) -> None:
        self.changed = threading.Condition(lock)
        self.next_s = next_s
        self.wakes_s = float("inf")
        """Time at which the loop wakes up."""


class Engine:
    """Runs the handlers of messages until it is stopped."""

    def __init__(
        self,
        source: Source,
        resolve: Resolve,
        *,
        slots: Share,
        places: Places,
        lease_s: float,
        grace_s: float,
        default: Policy | None = None,
        middleware: Sequence[Middleware] = (),
        reports: Reports | None = None,
        time: Time | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        """Make an engine.

        Args:
            source: the broker.
            resolve: finds the handler of a message.
            slots: those of the worker, which bound the messages that it holds.
            places: where the handlers run. The caller closes them after `run`.
            lease_s: time of the first claim.
            grace_s: time that handlers have to finish when the worker stops.
            default: policy of messages without a handler.
            middleware: runs around every handler.
            reports: logs and counts.
            time: replaced by tests.
            random: gives the jitter of pauses, from 0 to 1.
        """
        self._source = source
        self._resolve = resolve
        self._slots = slots
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._default = default or Policy()
        self._reports = reports or Reports()
        self._time = time or MonotonicTime()
        self._random = random
        self._runner = Runner(middleware, self._check, self._ended, places)
        self._lock = slots.lock
        self._for_poll = slots.changed
        self._for_settling = threading.Condition(self._lock)
        self._claims = Claims()
        self._renewals = _Alarm(self._lock, self._claims.next_renewal_s)
        self._ends = _Alarm(self._lock, self._claims.next_end_s)
        self._settlements: list[Settlement] = []
        self._is_busy = False
        """Whether the last poll found messages. Then the next one waits a moment, and takes their settlements along."""
        self._was_empty = False
        """Whether the last poll found nothing."""
        self._wanted_slots = 1
        """Number of free slots for which the polling loop waits."""
        self._polls_soon = False
        """Whether the polling loop is about to poll, or in a poll that does not wait."""
        self._is_settling = False
        self._stop_s: float | None = None
        """Time at which the worker was stopped."""
        self._was_stopped = threading.Event()
        self._hurries = False
        self._defect: BaseException | None = None
        """Error that ended a loop."""
        self._has_ended = False

    # Called from outside

    def run(self) -> None:
        """Run until `stop` is called, and the handlers have ended or were given up.

        Raises:
            Exception: a defect ended one of the loops.
        """
        poll, *others = loops = [
            threading.Thread(target=self._keep, args=(loop,), name=f"wonderq-{name}", daemon=True)
            for name, loop in (
                ("poll", self._poll_all),
                ("settle", self._settle_all),
                ("renew", self._renew_all),
                ("end", self._end_all),
            )
        ]
        for loop in loops:
            loop.start()
        try:
            self._was_stopped.wait()
        finally:
            self.stop()
            poll.join(_CALL_S)  # first, as it may still bring messages, which are given back
            self._shut_down()
            for loop in others:
                loop.join(_CALL_S)
        if self._defect is not None:
            raise self._defect

    def _keep(self, loop: Callable[[], None]) -> None:
        """Run a loop. A defect in it ends the worker: without renewals or settlements, it would do harm."""
        try:
            loop()
        except BaseException as defect:  # noqa: BLE001 - `run` raises it
            self._defect = defect
            self.stop(at_once=True)

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more messages. Let handlers finish within the grace, or none if ``at_once``."""
        with self._lock:
            if self._stop_s is None:
                self._stop_s = self._time.now_s()
            self._hurries |= at_once
            self._wake()
        self._was_stopped.set()
        self._source.cancel()

    def _wake(self) -> None:
        for each in (self._for_poll, self._for_settling, self._renewals.changed, self._ends.changed):
            each.notify_all()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop_s is not None

    @property
    def running(self) -> int:
        """Number of handlers that run."""
        return len(self._claims)

    # Polling

    def _poll_all(self) -> None:
        failures = 0
        prepared = False
        while not self.is_stopping:
            try:
                if not prepared:
                    self._source.prepare()
                    prepared = True
                self.poll()
                failures = 0
            except WonderQError as error:
                if _is_final(error, prepared=prepared):
                    raise
                prepared = prepared and not isinstance(error, NotFound)
                with self._lock:
                    self._slots.leave_line()
                self._pause("a poll", error, failures)
                failures += 1

    def poll(self) -> None:
        """Wait for a free slot, settle what has ended, and start the handlers of new messages.

        Raises:
            WonderQError: the broker gave no answer, or no messages. Wait before the next poll.
        """
        with self._lock:
            if self._is_busy:
                self._for_poll.wait_for(self._has_slots, _GATHER_S)
            self._wanted_slots = 1
            self._await_slots()
            if self.is_stopping:
                return
            settlements, self._settlements = self._settlements[:MOST_ENTRIES], self._settlements[MOST_ENTRIES:]
            free = self._wanted_slots = min(self._slots.available(self._time.now_s()), MOST_ENTRIES)
            wait_s = 0.0 if settlements else POLL_S  # so an answer tells soon what became of the settlements
            if self._slots.is_shared:
                free, wait_s = self._reserve(free, wait_s)
            self._slots.leave_line()
            self._polls_soon = bool(settlements)
        try:
            answer = self._source.next(settlements, free, wait_s)
        except BaseException:
            with self._lock:
                self._settlements[:0] = settlements
            raise
        finally:
            with self._lock:
                self._polls_soon = True
                self._slots.end_reservation()
        self._refused(answer.refused)
        self._is_busy = bool(answer.messages)
        self._was_empty = not answer.messages
        if answer.claim_error is not None:
            raise answer.claim_error
        if self.is_stopping:
            self._add([Settlement(message, Ending.GIVE_BACK) for message in answer.messages])
            return
        self._start(answer.messages)

    def _await_slots(self) -> None:
        """Wait for a free slot, under the lock; in turn with the other engines if the slots are shared."""
        timeout_s = RESERVED_S if self._slots.is_shared else None
        self._slots.line_up()
        while not self._time.wait(self._for_poll, self._has_slots, timeout_s):
            pass

    def _reserve(self, free: int, wait_s: float) -> tuple[int, float]:
        """Return how many messages to ask for, and how long to wait for them, if other engines have the same slots.

        A poll that waits begins only when there is nothing, and asks for one message: another engine may need the slots
        meanwhile. If none is free when the message comes, it is given back.
        """
        if self._was_empty and wait_s:
            self._wanted_slots = 1
            return 1, wait_s
        self._slots.reserve(free, self._time.now_s())
        return free, 0.0

    def _has_slots(self) -> bool:
        return self.is_stopping or self._slots.available(self._time.now_s()) >= self._wanted_slots

    def _start(self, messages: Sequence[Contents]) -> None:
        claims = [claim for message in messages if (claim := self._claim_of(message)) is not None]
        with self._lock:
            claims, surplus = claims[: self._slots.free], claims[self._slots.free :]
            self._claims.add(claims)
            self._slots.fill(len(claims))
            if messages:  # there may be more; now, so that no engine behind this one is faster
                self._slots.line_up()
            if surplus:
                self._add([Settlement(each.message, Ending.GIVE_BACK) for each in surplus])
        for _ in claims:
            self._reports.started()
        self._runner.start(claims)
        with self._lock:  # after the start, so that the handlers do not wait for the thread that this wakes
            held = [claim for claim in claims if claim.state is State.HELD]
            if any(claim.renew_s < self._renewals.wakes_s for claim in held):
                self._renewals.changed.notify()
            if any(min(claim.ends_s, claim.times_out_s) < self._ends.wakes_s for claim in held):
                self._ends.changed.notify()

    def _claim_of(self, message: Contents) -> Claim | None:
        """Return the claim of a message, or settle the message if no handler can run."""
        try:
            job = self._resolve(message)
            if message.tries > job.policy.retries + 1:
                raise Dead("the handler of the last try did not end: its worker was killed, or lost its lease")
        except Exception as error:  # noqa: BLE001 - no message may stop the worker
            settlement = settle(message, error, self._default, self._random)
            self._reports.not_run(settlement)
            self._add([settlement])
            return None
        return Claim(message, job, self._lease_s, self._time.now_s())

    def _pause(self, what: str, error: Exception, failures: int) -> None:
        pause_s = _longest_pause_s(failures) / 2 * (1 + self._random())
        self._reports.repeats(what, error, pause_s)
        with self._lock:
            self._polls_soon = False
            self._for_settling.notify()
            self._time.wait(self._for_poll, lambda: self.is_stopping, pause_s)

    # Ends of handlers

    def _check(self, claim: Claim) -> None:
        with self._lock:
            self._lose_if_ended(claim, self._time.now_s())
            if claim.state is State.LOST:
                raise LeaseLost("the claim has ended, and another consumer may have the message")
            if claim.state is State.SETTLED or self.is_stopping:
                raise Stopping("the worker stops, or the handler ran longer than its timeout")

    def _ended(self, claim: Claim, error: BaseException | None) -> None:
        now_s = self._time.now_s()
        with self._lock:
            self._lose_if_ended(claim, now_s)
            self._claims.remove(claim)
            self._slots.empty()
            if claim.state is State.HELD and not isinstance(error, LeaseLost):
                self._settle(claim, settle(claim.message, error, claim.job.policy, self._random))
            if self._has_slots():
                self._for_poll.notify()
        self._reports.ended(claim, error, now_s - claim.started_s)

    def _settle(self, claim: Claim, settlement: Settlement) -> None:
        """Settle a claim, under the lock."""
        claim.state = State.SETTLED
        claim.settlement = settlement
        self._add([settlement])

    def _lose_if_ended(self, claim: Claim, now_s: float) -> None:
        if claim.lose_if_ended(now_s):
            self._reports.lost(claim)

    def _add(self, settlements: Sequence[Settlement]) -> None:
        with self._lock:
            self._settlements += settlements
            if not self._takes_along:
                self._for_settling.notify()

    def _refused(self, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            self._reports.refused(refusal.settlement, refusal.error)

    # Settling beside a poll that waits

    def _settle_all(self) -> None:
        failures = 0
        while True:
            with self._lock:
                self._for_settling.wait_for(lambda: self._has_ended or (self._settlements and not self._takes_along))
                if not self._settlements:
                    return
                settlements, self._settlements = self._settlements, []
                self._is_settling = True
            error = None
            # A queue that the broker refuses does not keep the results of others. Deletes have requests of their own,
            # so nothing is sent again that was carried out.
            for each in in_requests(settlements, lambda each: (each.message.queue, each.ending is Ending.DELETE)):
                try:
                    self._refused(self._source.settle(each))
                except WonderQError as raised:
                    error = raised
                    with self._lock:
                        self._settlements += each
            with self._lock:
                self._is_settling = False
                self._for_poll.notify()
                if error is not None and self._has_ended:
                    return
            if error is None:
                failures = 0
            else:
                self._pause_settling(error, failures)
                failures += 1

    @property
    def _takes_along(self) -> bool:
        """Whether the polling loop takes the settlements along. Another engine may take the slot that it waits for."""
        if self._slots.is_shared:
            return False
        return self._polls_soon and self._slots.free > 0 and not self.is_stopping

    def _pause_settling(self, error: Exception, failures: int) -> None:
        pause_s = _longest_pause_s(failures)
        self._reports.repeats("settling", error, pause_s)
        with self._lock:
            self._time.wait(self._for_settling, lambda: self._has_ended, pause_s)

    # Renewing

    def _renew_all(self) -> None:
        while True:
            with self._lock:
                self._wait_for(self._renewals)
                if self._has_ended:
                    return
            self.renew()

    def _wait_for(self, alarm: _Alarm) -> None:
        """Wait for the next time of a loop, or the end, under the lock."""
        while not self._has_ended and (due_s := alarm.next_s()) > (now_s := self._time.now_s()):
            alarm.wakes_s = due_s
            timeout_s = None if due_s == float("inf") else due_s - now_s
            self._time.wait(alarm.changed, lambda: self._has_ended or alarm.next_s() < alarm.wakes_s, timeout_s)

    def renew(self) -> None:
        """Renew all claims if one is due."""
        now_s = self._time.now_s()
        with self._lock:
            for claim in self._claims.held():
                self._lose_if_ended(claim, now_s)
            to_renew = self._claims.to_renew(now_s)
        # A queue that the broker refuses does not keep the claims of others from their renewal.
        for claims in in_requests(to_renew, lambda claim: (claim.message.queue, claim.job.policy.lease)):
            try:
                kept = self._source.renew([claim.message for claim in claims], claims[0].job.policy.lease)
            except WonderQError as error:
                self._reports.repeats("a renewal", error, 0.0)
                with self._lock:
                    for claim in claims:
                        claim.not_renewed(self._time.now_s())
                continue
            with self._lock:
                for claim, is_kept in zip(claims, kept, strict=True):
                    if claim.state is not State.HELD:
                        continue
                    if is_kept:
                        claim.renewed(now_s)
                    else:
                        claim.state = State.LOST
                        self._reports.lost(claim)

    # Ending claims in time, beside a renewal that gets no answer

    def _end_all(self) -> None:
        while True:
            with self._lock:
                self._wait_for(self._ends)
                if self._has_ended:
                    return
            self.end()

    def end(self) -> None:
        """End claims whose handlers time out; notice those that ended."""
        now_s = self._time.now_s()
        with self._lock:
            for claim in self._claims.held():
                self._lose_if_ended(claim, now_s)
            late = self._claims.timed_out(now_s)
            for claim in late:
                self._time_out(claim)
        for claim in late:
            if not self._runner.cancel(claim):
                self._reports.still_runs(claim)

    def _time_out(self, claim: Claim) -> None:
        error = TimedOut(f"the handler ran longer than {claim.job.policy.timeout:g} s")
        self._settle(claim, settle(claim.message, error, claim.job.policy, self._random))

    # Stopping

    def _has_settled(self) -> bool:
        return self._defect is not None or not (self._settlements or self._is_settling)

    def _shut_down(self) -> None:
        assert self._stop_s is not None
        with self._lock:
            left_s = self._stop_s + self._grace_s - self._time.now_s()
            self._time.wait(self._for_poll, lambda: self._hurries or not any(self._claims.held()), max(left_s, 0.0))
            for claim in self._claims.held():
                self._lose_if_ended(claim, self._time.now_s())
            given_back = list(self._claims.held())
            for claim in given_back:
                self._settle(claim, Settlement(claim.message, Ending.GIVE_BACK))
        for claim in given_back:
            self._runner.cancel(claim)
        with self._lock:
            self._time.wait(self._for_poll, self._has_settled, _GIVE_BACK_S)
            self._has_ended = True
            self._wake()


def _is_final(error: WonderQError, *, prepared: bool) -> bool:
    """Return whether the broker will refuse a poll or its preparation whenever it is asked: the code must be changed.

    The queues may be in different shards of a cluster, or a schedule may be one that the broker does not take.
    """
    if isinstance(error, Refused) and error.code == "different_shards":
        return True
    return not prepared and isinstance(error, Invalid)
