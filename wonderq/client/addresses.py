"""Which of several addresses a client uses: one of them until it fails, then the next."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from wonderq.client.requests import Answer, NoAnswer

#: Statuses that say nothing about other addresses: a process that stands by, stops, or cannot be reached by its proxy.
_ELSEWHERE = (502, 503, 504)


class Addresses:
    """The choice among addresses, which count from 0. It begins with any of them, so that clients are spread evenly.

    Any number of threads may share it: the worst of a race is one more attempt at an address that has failed.
    """

    def __init__(self, count: int, choose: Callable[[int], int] = random.randrange) -> None:
        self._count = count
        self._failures = 0  # since the last good answer
        self.at = choose(count)
        """The address for the next request."""

    def judge(self, at: int, outcome: Answer | NoAnswer) -> tuple[Answer | NoAnswer, bool]:
        """Take in what came of a request to an address. After a failure, the next request goes to the next address.

        Returns the outcome, without the pause that one address asks for while others are untried, and whether to send
        the request to the next address at once, because it has surely not arrived.
        """
        if isinstance(outcome, Answer) and outcome.status not in _ELSEWHERE:
            self._failures = 0
            return outcome, False
        if self.at == at:
            self.at = (at + 1) % self._count
        self._failures += 1
        is_untried = self._failures < self._count
        if isinstance(outcome, NoAnswer):
            return outcome, is_untried and not outcome.outcome_unknown
        return (msgspec.structs.replace(outcome, retry_after_s=None) if is_untried else outcome), False
