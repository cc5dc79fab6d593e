"""Which of several addresses a client uses: one until it fails, and for a queue that of the node that owns it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from wonderq.client.requests import Answer, NoAnswer, Request

#: Statuses that say nothing about other addresses: a process that stands by, stops, or cannot be reached by its proxy.
_ELSEWHERE = (502, 503, 504)

#: Owners that a client remembers at most. With more, it begins anew, and requests go to their owners a little later.
MOST_OWNERS = 10_000


class Addresses:
    """The choice among addresses, which count from 0.

    It begins with any of them, so that clients are spread evenly, and stays with it until it fails. A node of a cluster
    that passes a request on tells the address of the owner. If that is one of these addresses, further requests for the
    same queue go there. A node never leads a client to an address that it was not given, as its key goes with it.

    Any number of threads may share it: the worst of a race is one more attempt at an address that has failed, or one
    more request that is passed on.
    """

    def __init__(self, urls: Sequence[str], choose: Callable[[int], int] = random.randrange) -> None:
        self._numbers = {url: number for number, url in enumerate(urls)}
        self._owners: dict[str, int] = {}  # never changed, but replaced: other threads read it
        self._failures = 0  # since the last good answer
        self.at = choose(len(urls))
        """The address for the next request whose owner is not known."""

    def of(self, request: Request) -> int:
        """Return the address for a request."""
        if not self._owners:
            return self.at
        stem = request.stem
        return self.at if stem is None else self._owners.get(stem, self.at)

    def judge(self, at: int, request: Request, outcome: Answer | NoAnswer) -> tuple[Answer | NoAnswer, bool]:
        """Take in what came of a request to an address. After a failure, the next request goes to the next address.

        Returns the outcome, without the pause that one address asks for while others are untried, and whether to send
        the request to the next address at once, because it has surely not arrived.
        """
        if isinstance(outcome, Answer) and outcome.status not in _ELSEWHERE:
            self._failures = 0
            self._learn(request, outcome)
            return outcome, False
        if self._owners:
            self._owners = {stem: owner for stem, owner in self._owners.items() if owner != at}
        if self.at == at:
            self.at = (at + 1) % len(self._numbers)
        self._failures += 1
        is_untried = self._failures < len(self._numbers)
        if isinstance(outcome, NoAnswer):
            return outcome, is_untried and not outcome.outcome_unknown
        return (msgspec.structs.replace(outcome, retry_after_s=None) if is_untried else outcome), False

    def _learn(self, request: Request, answer: Answer) -> None:
        owner = None if answer.owner is None else self._numbers.get(answer.owner)
        if owner is None or (stem := request.stem) is None:
            return
        known = self._owners if len(self._owners) < MOST_OWNERS else {}
        self._owners = {**known, stem: owner}
