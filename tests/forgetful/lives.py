"""The lives of one run of a workload: a new folder, and then twice what a crash of the life before left of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

from tests.forgetful.choosing import by_chance
from tests.forgetful.explorer import Crash, Explorer, Figures, Violation
from tests.forgetful.life import STRANGERS, Life, Moment
from tests.forgetful.medium import Contents, Medium
from tests.forgetful.opening import warnings_kept
from tests.forgetful.reference import Records
from tests.forgetful.workloads import WORKLOADS
from wonderq_storage import frame

LIVES = 3

#: Start of the first life, in ms since the epoch.
_BEGIN_MS = 1_700_000_000_000


def lives(workload: str, seed: str) -> Iterator[Life]:
    """Lead one life after the other. The same workload and seed give the same lives."""
    theme = WORKLOADS[workload]
    chance = random.Random(f"{seed}/{workload}")
    sync = chance.choice(theme.policies)
    segment_bytes = chance.choice(theme.segment_bytes)
    files, moment = STRANGERS, Moment(Records(), 0, 0, _BEGIN_MS)
    for number in range(LIVES if theme.weights else 1):
        records = moment.records.first(moment.appended)
        life = Life(files, records, moment.acknowledged, sync=sync, segment_bytes=segment_bytes, now_ms=moment.now_ms)
        version = theme.first_version if number == 0 else frame.VERSION
        with randomness_from(chance), warnings_kept(), mock.patch.object(frame, "VERSION", version):
            theme.live(life, chance)
        yield life
        files, moment = _crash(life, chance)


def _crash(life: Life, chance: random.Random) -> tuple[dict[str, bytes], Moment]:
    contents = Contents()
    medium = Medium(life.base, contents)
    moments = [*life.disk.notes, life.moment()]
    at = chance.randrange(len(moments))
    for operation in life.disk.operations[:at]:
        medium.take(operation)
    moment = moments[at]
    assert isinstance(moment, Moment)
    fates = by_chance([change.fates for change in medium.pending], chance)
    return contents.folder(medium.key(fates)), moment


class Explored(NamedTuple):
    """Explore one life."""

    number: int
    figures: Figures
    violations: list[Violation]


def explore(workload: str, seed: str, budget: int) -> Iterator[Explored]:
    """Explore the lives of a workload one after the other, with ``budget`` states for each operation."""
    led = lives(workload, seed)
    for number in range(LIVES):
        try:
            life = next(led, None)
        except Exception as error:
            yield Explored(
                number, Figures(), [Violation((), f"the life itself failed: {type(error).__name__}: {error}")]
            )
            return
        if life is None:
            return
        explorer = Explorer(life, random.Random(f"{seed}/{workload}/{number}"), budget)
        with randomness_from(random.Random(0)), warnings_kept():
            explorer.explore()
        yield Explored(number, explorer.figures, explorer.violations)


def repeat(workload: str, seed: str, number: int, crashes: Sequence[Crash]) -> list[Violation]:
    """Lead the lives again up to one of them, and crash just once; returns what is wrong then."""
    for at, life in enumerate(lives(workload, seed)):
        if at == number:
            with randomness_from(random.Random(0)), warnings_kept():
                return Explorer(life, random.Random(0), 1).repeat(crashes)
    raise ValueError(f"{workload} has no life {number}")


@contextmanager
def randomness_from(chance: random.Random) -> Iterator[None]:
    """Take what the broker gets from the system's randomness from a seed."""
    with (
        mock.patch("os.urandom", chance.randbytes),
        mock.patch("wonderq.broker.claims.secrets.token_bytes", chance.randbytes),
    ):
        yield
