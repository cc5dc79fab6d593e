"""Policy of a handler: how its messages are claimed, and what happens to messages that fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Largest power of two in a backoff. A float holds its product with any sensible pause.
_MOST_DOUBLINGS = 62


@dataclass(frozen=True, slots=True)
class Policy:
    """Policy of a handler. All durations are in seconds."""

    retries: int = 5
    """Number of tries after the first one. Then the message is a dead letter."""
    backoff: tuple[float, float] = (1.0, 600.0)
    """Shortest and longest pause before a retry. The pause doubles with each try."""
    timeout: float | None = None
    """Longest time that the handler may take; None: any time."""
    lease: float = 30.0
    """Time of a claim. It is renewed while the handler runs, and ends so long after a worker was killed."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of range; the message names it.
            TypeError: a value is no number.
        """
        if not isinstance(self.retries, int):
            raise TypeError(f"retries must be a whole number, not {self.retries!r}")
        if not isinstance(self.backoff, tuple | list) or len(self.backoff) != 2:
            raise TypeError(f"backoff must be (shortest, longest) in seconds, not {self.backoff!r}")
        numbers = {"backoff": self.backoff, "timeout": (self.timeout or 0,), "lease": (self.lease,)}
        for name, values in numbers.items():
            if not all(isinstance(each, int | float) for each in values):
                raise TypeError(f"{name} must be in seconds, as a number, not {getattr(self, name)!r}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, not {self.retries}")
        shortest, longest = self.backoff
        if not 0 <= shortest <= longest:
            raise ValueError(f"backoff must be (shortest, longest) in seconds, not {self.backoff}")
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"timeout must be positive, or None, not {self.timeout}")
        if self.lease < 1:
            raise ValueError(f"lease must be at least one second, not {self.lease}")

    def backoff_s(self, tries: int, random: Callable[[], float]) -> float:
        """Return the pause after a number of tries: it doubles up to the longest, and its upper half is random.

        The random half spreads the retries of messages that failed together.
        """
        shortest, longest = self.backoff
        pause = min(longest, shortest * float(1 << min(max(tries - 1, 0), _MOST_DOUBLINGS)))
        return max(shortest, pause / 2 + pause / 2 * random())
