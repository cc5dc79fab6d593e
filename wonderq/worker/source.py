"""The broker as the worker uses it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from wonderq.client.errors import WonderQError
from wonderq.client.messages import Contents
from wonderq.client.operations import MOST_ENTRIES
from wonderq.worker.outcomes import Settlement

T = TypeVar("T")


def in_requests(items: Iterable[T], key: Callable[[T], Hashable]) -> Iterator[list[T]]:
    """Yield items in lists for one request each: those with the same key, and no more than a request may have."""
    found: dict[Hashable, list[T]] = {}
    for each in items:
        found.setdefault(key(each), []).append(each)
    for group in found.values():
        for at in range(0, len(group), MOST_ENTRIES):
            yield group[at : at + MOST_ENTRIES]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A settlement that the broker refused, mostly because the claim had ended."""

    settlement: Settlement
    error: Exception


@dataclass(frozen=True, slots=True)
class Next:
    """Answer to a poll."""

    messages: Sequence[Contents] = ()
    refused: Sequence[Refusal] = field(default=())
    claim_error: WonderQError | None = None
    """Reason for which the broker gave no messages, although it settled the claims."""


class Source(Protocol):
    """Messages of one or several queues. The methods are called from different threads.

    All of them raise `WonderQError` if the broker gives no answer or refuses the request as a whole. The caller then
    repeats the call. No call has more than `MOST_ENTRIES` messages.
    """

    def prepare(self) -> None:
        """Make sure that the queues exist."""

    def next(self, settlements: Sequence[Settlement], free: int, wait_s: float) -> Next:
        """Settle claims, and claim up to ``free`` messages; wait up to ``wait_s`` seconds for the first.

        The settlements are durable at once, not only with the answer. After `cancel` it returns soon.
        """

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Refusal]:
        """Settle claims of one queue. If the queue does not exist, return a refusal for each claim."""

    def renew(self, messages: Sequence[Contents], lease_s: float) -> Sequence[bool]:
        """Renew claims of one queue for a time from now; return for each whether the worker still holds it."""

    def cancel(self) -> None:
        """End an open poll, from another thread."""
