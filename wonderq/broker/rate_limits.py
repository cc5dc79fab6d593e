"""How many messages a second a queue gives out, and each of its groups. Rates are not remembered across a restart."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from wonderq.model.limits import UNLIMITED
from wonderq.runtime.token_bucket import TokenBuckets
from wonderq.state.state import Queue


class ClaimBudget:
    """What the rates of a queue allow for one claim."""

    def __init__(self, buckets: TokenBuckets, queue: Queue) -> None:
        self._buckets = buckets
        self._queue = queue
        self._per_second = queue.settings.max_claims_per_second
        self._per_second_per_group = queue.settings.max_claims_per_second_per_group
        self.wait_s = inf
        """After how long there may be more for what was asked about, if it was refused."""

    def messages(self) -> int:
        """Return how many messages may be given out."""
        return self._allowed(str(self._queue.number), self._per_second)

    def messages_of(self, group: str) -> int:
        """Return how many of a group may be; messages without a group have no such limit."""
        return self._allowed(self._key(group), self._per_second_per_group) if group else UNLIMITED

    def _allowed(self, key: str, per_second: int) -> int:
        if not per_second:
            return UNLIMITED
        available = self._buckets.available(key, per_second)
        if not available:
            self.wait_s = min(self.wait_s, self._buckets.wait_s(key, per_second, take=False))
        return available

    def _key(self, group: str) -> str:
        return f"{self._queue.number}/{group}"

    def count(self, groups: Iterable[str]) -> None:
        """Count messages that were given out, by the group of each."""
        for group in groups:
            if self._per_second:
                self._buckets.take(str(self._queue.number), self._per_second)
            if self._per_second_per_group and group:
                self._buckets.take(self._key(group), self._per_second_per_group)
