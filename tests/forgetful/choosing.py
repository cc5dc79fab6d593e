"""Selection of crash states: all of them where they are few, else some of each kind."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import product

from tests.forgetful.fates import LOST, WHOLE

Fates = tuple[int, ...]

#: Probabilities that a randomly chosen fate is lost, and lost or whole; else it is torn, if possible.
_LOST, _LOST_OR_WHOLE = 0.42, 0.84


def ways(counts: Sequence[int]) -> int:
    """Return the number of combined fates in which at most one change is torn."""
    subsets = 1 << len(counts)
    return subsets + sum(count - 2 for count in counts) * subsets // 2


def choose(counts: Sequence[int], budget: int, chance: random.Random) -> Iterator[Fates]:
    """Yield different fates of changes: for each of ``counts`` a number below it; at most ``budget``.

    If all with at most one torn change are within the budget, these are what comes, and nothing else. Otherwise first every
    prefix and every suffix of the order in which the changes were made, each lost alone and each surviving alone, then
    tears at the end of a prefix, then chance.
    """
    if ways(counts) <= budget:
        yield from _all(counts)
        return
    seen: set[Fates] = set()
    attempts = 0
    candidates = _orders(counts, chance)
    while len(seen) < budget and attempts < 3 * budget:
        attempts += 1
        fates = next(candidates, None) or by_chance(counts, chance)
        if fates not in seen:
            seen.add(fates)
            yield fates


def _all(counts: Sequence[int]) -> Iterator[Fates]:
    yield from product((LOST, WHOLE), repeat=len(counts))
    for at, count in enumerate(counts):
        for torn in range(2, count):
            for others in product((LOST, WHOLE), repeat=len(counts) - 1):
                yield (*others[:at], torn, *others[at:])


def _orders(counts: Sequence[int], chance: random.Random) -> Iterator[Fates]:
    total = len(counts)
    for done in range(total + 1):
        yield (WHOLE,) * done + (LOST,) * (total - done)
        yield (LOST,) * done + (WHOLE,) * (total - done)
    for at in range(total):
        yield (WHOLE,) * at + (LOST,) + (WHOLE,) * (total - at - 1)
        yield (LOST,) * at + (WHOLE,) + (LOST,) * (total - at - 1)
    for _ in range(4):
        for at, count in enumerate(counts):
            if count > 2:
                yield (WHOLE,) * at + (chance.randrange(2, count),) + (LOST,) * (total - at - 1)


def by_chance(counts: Sequence[int], chance: random.Random) -> Fates:
    return tuple(_fate(count, chance) for count in counts)


def _fate(count: int, chance: random.Random) -> int:
    drawn = chance.random()
    if drawn < _LOST:
        return LOST
    if drawn < _LOST_OR_WHOLE or count == 2:
        return WHOLE
    return 2 + int(chance.random() * (count - 2))
