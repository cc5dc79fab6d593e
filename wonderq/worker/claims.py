"""The claims that a worker holds: when to renew them, and which are lost."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from wonderq.client.messages import Contents
from wonderq.worker.context import Context
from wonderq.worker.outcomes import Settlement
from wonderq.worker.policy import Policy

#: Part of a lease after which it is renewed: two renewals may fail before it ends.
RENEW_AT = 1 / 3

#: Seconds until a failed renewal is repeated, at most.
_REPEAT_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """The handler of one message."""

    name: str
    call: Callable[[Context], Any]
    """Runs the handler. If ``is_async``, it returns a coroutine."""
    is_async: bool
    policy: Policy


class State(enum.Enum):
    """States of a claim. Only the outcome of a handler whose claim is `HELD` is acknowledged."""

    HELD = enum.auto()
    LOST = enum.auto()
    SETTLED = enum.auto()
    """The worker settled it without the handler: it timed out, or was given back."""


class Claim:
    """One message whose handler runs."""

    def __init__(self, message: Contents, job: Job, lease_s: float, now_s: float) -> None:
        """``lease_s`` is the time for which the message was claimed."""
        self.message = message
        self.job = job
        self.state = State.HELD
        self.settlement: Settlement | None = None
        """Settlement of the message; None while the claim is held, and if it is lost."""
        self.started_s = now_s
        self.ends_s = now_s + lease_s
        self.renew_s = now_s + min(lease_s, job.policy.lease) * RENEW_AT
        timeout = job.policy.timeout
        self.times_out_s = float("inf") if timeout is None else now_s + timeout

    def lose_if_ended(self, now_s: float) -> bool:
        """Mark the claim as lost if its lease ended without a renewal; return whether this call did so."""
        if self.state is not State.HELD or self.ends_s > now_s:
            return False
        self.state = State.LOST
        return True

    def renewed(self, sent_s: float) -> None:
        """Note that the broker renewed the claim by a request that was sent at this time."""
        self.ends_s = sent_s + self.job.policy.lease
        self.renew_s = sent_s + self.job.policy.lease * RENEW_AT

    def not_renewed(self, now_s: float) -> None:
        """Note that a renewal got no answer."""
        self.renew_s = now_s + min(self.job.policy.lease * RENEW_AT, _REPEAT_S)


class Claims:
    """All claims whose handlers run. The caller holds a lock."""

    def __init__(self) -> None:
        self._claims: set[Claim] = set()

    def __len__(self) -> int:
        return len(self._claims)

    def add(self, claims: Iterable[Claim]) -> None:
        self._claims.update(claims)

    def remove(self, claim: Claim) -> None:
        self._claims.remove(claim)

    def held(self) -> Iterator[Claim]:
        """Yield those that are neither lost nor settled."""
        return (claim for claim in tuple(self._claims) if claim.state is State.HELD)

    def to_renew(self, now_s: float) -> list[Claim]:
        """Return all held claims if one of them is due; they are renewed together."""
        held = list(self.held())
        return held if any(claim.renew_s <= now_s for claim in held) else []

    def timed_out(self, now_s: float) -> list[Claim]:
        """Return those whose handler runs for too long."""
        return [claim for claim in self.held() if claim.times_out_s <= now_s]

    def next_renewal_s(self) -> float:
        """Return the time at which the next claim is to be renewed."""
        return min((claim.renew_s for claim in self.held()), default=float("inf"))

    def next_end_s(self) -> float:
        """Return the time at which the next claim ends or times out."""
        return min((min(claim.ends_s, claim.times_out_s) for claim in self.held()), default=float("inf"))
