"""Rate limits of claims, per queue and per group. A restart resets them."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from wonderq.model.limits import UNLIMITED
from wonderq.runtime.token_bucket import TokenBuckets
from wonderq.state.state import Queue

#: Names of buckets. That of the queue is no prefix and a group.
_OF_QUEUE, _OF_GROUP = "", "g"


class ClaimBudget:
    """Number of messages that the rate limits of a queue allow for one claim."""

    def __init__(self, buckets: TokenBuckets, queue: Queue) -> None:
        """``buckets`` are those of the queue."""
        self._buckets = buckets
        self._per_second = queue.settings.max_claims_per_second
        self._per_second_per_group = queue.settings.max_claims_per_second_per_group
        self.wait_s = inf
        """Seconds until a limit that refused a message allows the next one; infinite if no limit did."""

    def messages(self) -> int:
        """Return how many messages may be claimed."""
        return self._allowed(_OF_QUEUE, self._per_second)

    def messages_of(self, group: str) -> int:
        """Return how many messages of a group may be claimed. Messages without a group have no such limit."""
        return self._allowed(_OF_GROUP + group, self._per_second_per_group) if group else UNLIMITED

    def _allowed(self, key: str, per_second: int) -> int:
        if not per_second:
            return UNLIMITED
        available = self._buckets.available(key, per_second)
        if not available:
            self.wait_s = min(self.wait_s, self._buckets.wait_s(key, per_second, take=False))
        return available

    def count(self, groups: Iterable[str]) -> None:
        """Count claimed messages, given the group of each."""
        for group in groups:
            if self._per_second:
                self._buckets.take(_OF_QUEUE, self._per_second)
            if self._per_second_per_group and group:
                self._buckets.take(_OF_GROUP + group, self._per_second_per_group)
