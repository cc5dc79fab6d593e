"""Evidence about one message: certain changes, possible changes, and observations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from tests.support.history.calls import Call, Consume, Delete, Delivery, Listing, Produce, Seen, Update


@dataclass(frozen=True, slots=True)
class Change:
    """A certain or possible effect of a call on one message, at a moment from ``start_s`` to ``end_s``."""

    call: Call
    start_s: float
    end_s: float
    certain: bool
    rank: int | None = None
    """The place, among the claims that are known of, of the claim that it is or whose receipt it used; from 1."""
    claims: bool = False
    hold_s: float = 0
    value: str | None = None
    """The body or the error that it sets."""

    @classmethod
    def of(
        cls,
        call: Call,
        *,
        certain: bool = True,
        rank: int | None = None,
        claims: bool = False,
        hold_s: float = 0,
        value: str | None = None,
    ) -> Self:
        return cls(call, call.start_s, call.end_s, certain, rank, claims, hold_s, value)

    @property
    def earliest_s(self) -> float:
        return self.start_s + self.hold_s

    @property
    def latest_s(self) -> float:
        return self.end_s + self.hold_s

    @property
    def held_as(self) -> str:
        """The status of a message that it holds."""
        delays = isinstance(self.call, Produce) or (isinstance(self.call, Update) and self.call.delay_s is not None)
        return "delayed" if delays else "processing"

    def before(self, other: Change) -> bool:
        """Tell whether this is certain to have come first, if both happened."""
        if self.end_s < other.start_s:
            return True
        if self.rank is None or other.rank is None:
            return False
        return self.rank < other.rank or (self.rank == other.rank and self.claims and not other.claims)


def last_before(changes: Iterable[Change], moment: Change) -> list[Change]:
    """Return each change that may have been the last one at that moment."""
    earlier = [each for each in changes if each.start_s <= moment.end_s and not moment.before(each)]
    settled = [each for each in earlier if each.certain and each.before(moment)]
    return [each for each in earlier if not any(each.before(later) for later in settled)]


@dataclass(slots=True)
class Message:
    """Everything that a history contains about one message."""

    id: str
    queue: str
    produce: Produce | None = None
    index: int = 0
    """Its place in the batch."""
    known_s: float = float("inf")
    """Time from which the message certainly existed."""
    source: str | None = None
    """Former id of a dead letter."""
    claims: list[tuple[Consume, Delivery, Change]] = field(default_factory=list)
    """Claims in their order."""
    undoings: dict[int, list[Update]] = field(default_factory=dict)
    """Releases that may have undone the receive of a claim, by its rank."""
    seen: list[tuple[Listing, Seen]] = field(default_factory=list)
    deletes: list[Delete] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    removals: list[tuple[Call, bool]] = field(default_factory=list)
    """Everything that may have deleted it, a purge or the end of its queue too, and whether that is certain."""
    holds: list[Change] = field(default_factory=list)
    bodies: list[Change] = field(default_factory=list)
    errors: list[Change] = field(default_factory=list)

    @property
    def witnesses(self) -> list[tuple[Call, str]]:
        """Every sight of the message, with the body it had."""
        return [(call, each.body) for call, each, _ in self.claims] + [(call, each.body) for call, each in self.seen]

    def may_be_gone(self, by_s: float) -> bool:
        return any(call.start_s <= by_s for call, _ in self.removals)

    def claim(self, rank: int) -> Consume | None:
        return self.claims[rank - 1][0] if 0 < rank <= len(self.claims) else None

    def counts_after(self, rank: int, moment: Change | None = None) -> tuple[set[int], bool]:
        """Return the receive counts that a claim can have left, at a moment or at its end, if no other followed.

        The second value tells whether that is all that is known: a release that undid it may have happened or not.
        """
        count = self.claims[rank - 1][1].receive_count
        undoings = self.undoings.get(rank, [])
        if moment is not None:
            undoings = [each for each in undoings if each.start_s <= moment.end_s]
        if any(each.happened and (moment is None or each.end_s < moment.start_s) for each in undoings):
            return {count - 1}, False
        return ({count - 1, count}, True) if undoings else ({count}, False)

    def may_be_undone(self, since_s: float, until_s: float) -> bool:
        """Tell whether a release may have undone a receive between two moments."""
        undoings = [each for found in self.undoings.values() for each in found]
        return any(each.start_s <= until_s and each.end_s >= since_s for each in undoings)

    def held_anew(self, since_s: float, until_s: float) -> bool:
        """Tell whether an update may have changed how long it is held."""
        return any(
            each.possible and each.hold_s is not None and each.start_s <= until_s and each.end_s >= since_s
            for each in self.updates
        )


def removes(call: Delete | Update) -> bool:
    """Return whether a call takes the message out of its queue."""
    return isinstance(call, Delete) or call.dead


def releases(update: Update) -> bool:
    """Return whether an update ends the claim."""
    return update.delay_s is not None or update.visibility_timeout_s == 0


def needs_claim(update: Update) -> bool:
    """Return whether an update is refused for a message that is not claimed."""
    return update.delay_s is None and update.visibility_timeout_s is not None
