"""The verdict of a judge: how often it could judge what, and the violations with the exchanges that prove them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from tests.promises.journal import Exchange


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    text: str
    evidence: tuple[Exchange, ...]

    def __str__(self) -> str:
        return "\n".join([self.text, *(f"  {each.line()}" for each in self.evidence)])


@dataclass(slots=True)
class Verdict:
    """The findings of a judge in one journal, or in several."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def saw(self, what: str, number: int = 1) -> None:
        """Count cases in which the promise could have been broken."""
        self.counts[what] += number

    def report(self, text: str, *evidence: Exchange) -> None:
        """Add a violation. Evidence that is given twice is shown once."""
        ordered = sorted({each.number: each for each in evidence}.values(), key=lambda each: each.began_s)
        self.violations.append(Violation(text, tuple(ordered)))

    def __iadd__(self, other: Verdict) -> Self:
        self.counts.update(other.counts)
        self.violations += other.violations
        return self
