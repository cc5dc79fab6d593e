"""The broker as the worker uses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wonderq.client.errors import WonderQError
from wonderq.client.messages import Contents
from wonderq.worker.outcomes import Settlement


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
    repeats the call.
    """

    def prepare(self) -> None:
        """Make sure that the queues exist."""

    def next(self, settlements: Sequence[Settlement], free: int, wait_s: float) -> Next:
        """Settle claims, and claim up to ``free`` messages; wait up to ``wait_s`` seconds for the first.

        The settlements are durable at once, not only with the answer. After `cancel` it returns soon.
        """

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Refusal]:
        """Settle claims."""

    def renew(self, messages: Sequence[Contents], lease_s: float) -> Sequence[bool]:
        """Renew claims for a time from now; return for each whether the worker still holds it."""

    def cancel(self) -> None:
        """End an open poll, from another thread."""
