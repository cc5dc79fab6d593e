"""Which of several addresses a client uses: one until it fails, and for a queue that of the node that owns it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from time import monotonic

import msgspec

from wonderq.client.endpoint import Endpoint
from wonderq.client.requests import Answer, NoAnswer, Request, code_of

#: Statuses that say nothing about other addresses: a process that stands by, stops, or cannot be reached by its proxy.
_ELSEWHERE = (502, 503, 504)

#: Codes that concern one shard only. The node that sends one may know the owners of other shards, and own some.
_OF_ONE_SHARD = ("shard_unavailable", "outcome_unknown")

#: Owners that a client remembers at most. With more, it begins anew, and requests go to their owners a little later.
MOST_OWNERS = 10_000

#: Time in which an address that has failed is not taken for that of an owner, whatever another node says.
AVOIDED_S = 30.0


class Addresses:
    """The choice among addresses, which count from 0.

    It begins with any of them, so that clients are spread evenly, and stays with it until it fails. A node of a cluster
    that passes a request on tells the address of the owner. If that is one of these addresses, further requests for the
    same queue go there. A node never leads a client to an address that it was not given, as its key goes with it.

    Any number of threads may share it: the worst of a race is one more attempt at an address that has failed, or one
    more request that is passed on.
    """

    def __init__(self, urls: Sequence[str], choose: Callable[[int], int] = random.randrange) -> None:
        """``urls`` are those of `Endpoint`."""
        self._numbers = {url: number for number, url in enumerate(urls)}
        # Neither is ever changed, but replaced: other threads read it.
        self._owners: dict[str, int] = {}
        self._failed: frozenset[int] = frozenset()  # since the last good answer
        self._failed_s = [-AVOIDED_S] * len(urls)  # when each failed last
        self.at = choose(len(urls))
        """The address for the next request whose owner is not known."""

    def of(self, request: Request) -> int:
        """Return the address for a request."""
        if not self._owners:
            return self.at
        stem = request.stem
        return self.at if stem is None else self._owners.get(stem, self.at)

    def judge(self, at: int, request: Request, outcome: Answer | NoAnswer) -> tuple[Answer | NoAnswer, bool]:
        """Take in what came of a request to an address. After a failure, the next request goes to another address.

        Returns the outcome, without the pause that one address asks for while others are untried, and whether to send
        the request to the next address at once, because it has surely not arrived.
        """
        if isinstance(outcome, NoAnswer) and outcome.is_local:
            return outcome, False
        if isinstance(outcome, Answer) and outcome.status not in _ELSEWHERE:
            self._failed = frozenset()
            if outcome.owner is not None:
                self._learn(request, outcome.owner)
            return outcome, False
        self._failed |= {at}
        if isinstance(outcome, Answer) and code_of(outcome) in _OF_ONE_SHARD:
            self._owners = {stem: owner for stem, owner in self._owners.items() if stem != request.stem}
        else:
            self._failed_s[at] = monotonic()
            self._owners = {stem: owner for stem, owner in self._owners.items() if owner != at}
        is_untried = len(self._failed) < len(self._numbers)
        if self.at == at:
            self.at = self._after(at)
        if isinstance(outcome, NoAnswer):
            return outcome, is_untried and not outcome.outcome_unknown
        return (msgspec.structs.replace(outcome, retry_after_s=None) if is_untried else outcome), False

    def _after(self, at: int) -> int:
        """Return the next address that has not failed, or the next one if all have."""
        count = len(self._numbers)
        others = [(at + step) % count for step in range(1, count + 1)]
        return next((each for each in others if each not in self._failed), others[0])

    def _learn(self, request: Request, url: str) -> None:
        owner, stem = self._number_of(url), request.stem
        if owner is None or stem is None or monotonic() - self._failed_s[owner] < AVOIDED_S:
            return
        known = self._owners if len(self._owners) < MOST_OWNERS else {}
        self._owners = {**known, stem: owner}

    def _number_of(self, url: str) -> int | None:
        """Return the number of an address as a node announces it, which may be written in another way."""
        try:
            return self._numbers.get(Endpoint.of(url, "none").url)
        except ValueError:
            return None
