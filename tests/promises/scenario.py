"""A scenario: the sentences of a promise, a load, and the judge of its journal."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.promises.client import Client
from tests.promises.journal import Journal
from tests.promises.verdict import Verdict

#: One step of an actor. It is repeated until the load ends, so it must not take long.
Actor = Callable[[Client], None]


@dataclass(frozen=True)
class Scenario:
    """One promise. Its queues bear its name, so all scenarios can run on one broker at once."""

    name: str
    promises: tuple[str, ...]
    """Sentences of docs/SEMANTICS.md, word for word."""
    set_up: Callable[[Client], None]
    """Create the queues. No broker is killed meanwhile."""
    actors: Callable[[random.Random], Sequence[Actor]]
    """Return the producers, consumers and administrators, each for a thread of its own."""
    settle: Callable[[Client], None]
    """Bring the queues to an end that the judge can use, after the last kill."""
    judge: Callable[[Journal], Verdict]
    required: tuple[str, ...]
    """Counts of the judge that a whole run must have. A judge that saw nothing proves nothing."""
