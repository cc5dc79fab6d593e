"""How often, and after which pause, a request is repeated."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

from wonderq.client.errors import Unreachable
from wonderq.client.requests import Answer, Failure, Request

#: Statuses after which the same request may succeed: the broker restarts, or asks for patience.
_PASSING = (429, 502, 503, 504)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause before the next attempt."""

    seconds: float


Attempt = Generator[Request | Pause, Answer | Failure | None, Answer]
"""A request with its repetitions: yields what to do next, receives what came of it, and returns the answer."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Policy of repetitions."""

    most: int = 5
    """Number of repetitions after the first attempt."""
    random: Callable[[], float] = random.random

    def pause_s(self, repetition: int, retry_after_s: float | None = None) -> float:
        """Return the pause before a repetition, which count from 0: exponential, with full jitter.

        The pause is never shorter than the broker asks with ``Retry-After``.
        """
        longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * float(1 << repetition))
        return max(self.random() * longest_s, retry_after_s or 0.0)

    def attempt(self, request: Request) -> Attempt:
        """Send a request, and again while that may help.

        A request that may have arrived is repeated only if it is repeatable.

        Raises:
            Unreachable: no answer came.
        """
        repetition = 0
        while True:
            outcome = yield request
            assert isinstance(outcome, Answer | Failure)
            again = repetition < self.most
            if isinstance(outcome, Failure):
                if not again or (outcome.outcome_unknown and not request.repeatable):
                    raise Unreachable(outcome.reason, outcome_unknown=outcome.outcome_unknown)
                retry_after_s = None
            else:
                if outcome.status not in _PASSING or not again:
                    return replace(outcome, attempts=repetition + 1)
                retry_after_s = outcome.retry_after_s
            yield Pause(self.pause_s(repetition, retry_after_s))
            repetition += 1
