"""Repetitions of requests: how often, and after which pause."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from typing import TypeVar

import msgspec

from wonderq.client.errors import Unreachable
from wonderq.client.requests import Answer, NoAnswer, Request

T = TypeVar("T")

#: Statuses after which the same request may succeed: the broker restarts, or asks for patience.
_PASSING = (429, 502, 503, 504)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class Pause(msgspec.Struct, frozen=True):
    """A pause before the next attempt."""

    seconds: float


Steps = Generator[Request | Pause, Answer | NoAnswer | None, T]
"""Generator that yields requests and pauses to carry out, receives the outcome of each, and returns its result."""


class Retries(msgspec.Struct, frozen=True):
    """Policy of repetitions."""

    most: int = 5
    """Number of repetitions after the first attempt."""
    read_s: float = 30.0
    """Seconds that an answer may take, besides the time that its request asks the broker to wait."""
    total_s: float = 60.0
    """Seconds that a call may take with all repetitions, besides the time that it asks the broker to wait."""
    random: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic
    ends_s: float | None = None
    """Time of ``clock`` at which all requests of a call end, if it makes several."""

    def pause_s(self, repetition: int, retry_after_s: float | None = None) -> float:
        """Return the pause before a repetition, which count from 0: exponential, with full jitter.

        The pause is never shorter than the broker asks with ``Retry-After``.
        """
        longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * float(1 << min(repetition, 10)))
        return max(self.random() * longest_s, retry_after_s or 0.0)

    def until(self, ends_s: float) -> Retries:
        """Return the policy for several requests of one call, which end together."""
        return msgspec.structs.replace(self, ends_s=ends_s)

    def for_one_call(self, wait_s: float = 0.0) -> Retries:
        """Return the policy for the requests of a call that begins now."""
        return self if self.ends_s is not None else self.until(self.clock() + self.total_s + wait_s)

    def attempt(self, request: Request) -> Steps[Answer]:
        """Send a request, and again while that may help.

        A request that may have arrived is repeated only if it is repeatable. None is repeated after the total time.

        Raises:
            Unreachable: no answer came.
        """
        own_end_s = self.clock() + self.total_s + request.wait_s
        deadline = own_end_s if self.ends_s is None else min(own_end_s, self.ends_s)
        if self.clock() >= deadline:
            raise Unreachable("the time of the call was over before this request", outcome_unknown=False)
        attempts = 0
        may_have_arrived = False
        while True:
            left_s = max(deadline - self.clock(), 0.001)
            outcome = yield msgspec.structs.replace(request, timeout_s=min(self.read_s + request.wait_s, left_s))
            assert outcome is not None
            attempts += 1
            is_repeated = may_have_arrived
            is_final = isinstance(outcome, Answer) and outcome.status not in _PASSING
            if outcome.outcome_unknown:
                may_have_arrived = True
                is_final = is_final or not request.repeatable
            retry_after_s = outcome.retry_after_s if isinstance(outcome, Answer) else None
            pause_s = self.pause_s(attempts - 1, retry_after_s)
            if is_final or attempts > self.most or self.clock() + pause_s >= deadline:
                if isinstance(outcome, NoAnswer):
                    raise Unreachable(outcome.reason, outcome_unknown=may_have_arrived) from outcome.cause
                if may_have_arrived and not is_final and not outcome.outcome_unknown:
                    reason = f"the outcome of an earlier request is unknown, and this one got {outcome.status}"
                    raise Unreachable(reason, outcome_unknown=True)
                return msgspec.structs.replace(outcome, is_repeated=True) if is_repeated else outcome
            yield Pause(pause_s)

    def repeat(self, request: Request) -> Steps[Answer]:
        """Send a request as `attempt` does, that repeats an earlier one whose answer was not waited for."""
        answer = yield from self.attempt(request)
        return msgspec.structs.replace(answer, is_repeated=True)
