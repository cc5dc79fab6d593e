"""Goes through the crashes of one life, and opens every folder that they can leave."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.forgetful.choosing import Fates, choose
from tests.forgetful.life import Life, Moment
from tests.forgetful.medium import Contents, FolderKey, Medium
from tests.forgetful.opening import OWN_RECORDS, Opened, check_claims, is_aside
from tests.forgetful.reference import Records
from tests.support.forgetful_disk import Operation
from tests.support.mechanisms import CHECKPOINTS_FOUND, TORN_TAILS

#: Share of opened folders whose recoveries are crashed too, and the most crashes of each.
_CRASHED_AGAIN = 0.1
_CRASHES_OF_RECOVERY = 60

#: Share of recovered folders that get one more message.
_GROWN = 0.1

#: Number of violations after which a life is not explored any further.
ENOUGH = 10

_CHECKPOINT = ".ckpt"

_UNKNOWN = Records()


class Crash(NamedTuple):
    """A power cut: its place, as a number of operations, and the fates of the pending changes."""

    operations: int
    fates: Fates


@dataclass
class Violation:
    """A crash after which a promise does not hold."""

    crashes: tuple[Crash, ...]
    """The crash of the broker, and perhaps one of the recovery after it."""
    what: str
    how: list[str] = field(default_factory=list)
    """The fate of each pending change."""


@dataclass
class Figures:
    """Counts of the exploration."""

    states: int = 0
    """Crash states: different fates of what was pending at some operation. States during recoveries are among them."""
    recovery_states: int = 0
    """Crash states that came from crashed recoveries."""
    folders: int = 0
    """Different folders among them that were opened, with and without their checkpoints."""
    recoveries: int = 0
    """Recoveries that were crashed again."""
    appended: int = 0
    """Recovered folders that took one more message and were opened twice again."""
    boundaries: int = 0
    """Operations before which the power was cut."""
    exhausted: int = 0
    """Operations at which every subset was tried, with every tear of one change in each."""
    mechanisms: Counter[str] = field(default_factory=Counter)
    """Counts of the steps of the lives, and of the mechanisms that the starts on the folders met."""

    def __add__(self, other: Figures) -> Figures:
        return Figures(**{name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__})


class _Outcome(NamedTuple):
    prefix: int
    problems: Sequence[str]
    aside: Sequence[tuple[str, bytes]] = ()
    opened: Opened | None = None


class Explorer:
    """One exploration. ``budget`` is the number of states to try at each operation."""

    def __init__(self, life: Life, chance: random.Random, budget: int) -> None:
        self.figures = Figures()
        self.violations: list[Violation] = []
        self._life = life
        self._chance = chance
        self._budget = budget
        self._contents = Contents()
        self._outcomes: dict[tuple[FolderKey, int, int], _Outcome] = {}
        self._grown: set[tuple[FolderKey, FolderKey, int, int]] = set()

    def explore(self) -> None:
        """Cut the power before every operation of the life, and at its end."""
        life = self._life
        moments = [*life.disk.notes, life.moment()]
        medium = Medium(life.base, self._contents)
        self.figures.mechanisms.update(life.done)
        for at, moment in enumerate(moments):
            assert isinstance(moment, Moment)
            if len(self.violations) >= ENOUGH:
                return
            self._cut(medium, at, moment)
            if at < len(life.disk.operations):
                medium.take(life.disk.operations[at])

    def repeat(self, crashes: Sequence[Crash]) -> list[Violation]:
        """Try just one crash, and perhaps one of its recovery."""
        life = self._life
        medium = _after(life.base, life.disk.operations[: crashes[0].operations], self._contents)
        moment = [*life.disk.notes, life.moment()][crashes[0].operations]
        assert isinstance(moment, Moment)
        key = medium.key(crashes[0].fates)
        outcome = self._try(medium, crashes[0], moment)
        if len(crashes) > 1 and outcome.opened is not None:
            recovery = outcome.opened
            again = _after(
                self._contents.folder(key), recovery.disk.operations[: crashes[1].operations], self._contents
            )
            self._try_again(again, tuple(crashes[:2]), recovery, moment)
        return self.violations

    def _cut(self, medium: Medium, at: int, moment: Moment) -> None:
        counts = [change.fates for change in medium.pending]
        self.figures.boundaries += 1
        tried = 0
        for fates in choose(counts, self._budget, self._chance):
            tried += 1
            outcome = self._try(medium, Crash(at, fates), moment)
            # The other folders were opened before, with the same outcome.
            if outcome.opened is not None and self._chance.random() < _CRASHED_AGAIN:
                self._crash_recovery(medium.key(fates), Crash(at, fates), outcome.opened, moment)
        self.figures.exhausted += tried < self._budget

    def _try(self, medium: Medium, crash: Crash, moment: Moment) -> _Outcome:
        self.figures.states += 1
        outcome = self._outcome(medium.key(crash.fates), moment)
        problems = [*outcome.problems, *_owed(outcome.prefix, moment.acknowledged, moment.appended)]
        if problems:
            self._report((crash,), problems[0], medium)
        return outcome

    def _report(self, crashes: tuple[Crash, ...], what: str, medium: Medium) -> None:
        how = [change.describe(fate) for change, fate in zip(medium.pending, crashes[-1].fates, strict=True)]
        self.violations.append(Violation(crashes, what, how))

    def _outcome(self, key: FolderKey, moment: Moment) -> _Outcome:
        """Open a folder, unless that was done before: then what came of it is known, without the `Opened`."""
        known_as = key, moment.now_ms, id(moment.records)
        known = self._outcomes.get(known_as)
        if known is not None:
            return known
        opened = self._open(key, moment)
        problems = opened.problems
        if not problems:
            if opened.tail is not None and not is_aside(opened.tail, opened.aside()):
                problems.append(f"{len(opened.tail[1])} torn bytes were not set aside")
            problems += self._without_checkpoints(key, moment, opened.prefix)
        outcome = self._outcomes[known_as] = _Outcome(opened.prefix, problems, opened.aside())
        if not problems and self._chance.random() < _GROWN:
            problems += self._grow(key, opened, moment)
        return outcome._replace(opened=opened)

    def _open(self, key: FolderKey, moment: Moment) -> Opened:
        self.figures.folders += 1
        opened = Opened(self._contents.folder(key), moment.records, moment.now_ms, self._life.segment_bytes)
        self.figures.mechanisms[TORN_TAILS] += opened.tail is not None
        self.figures.mechanisms[CHECKPOINTS_FOUND] += any(name.endswith(_CHECKPOINT) for name, _ in key)
        return opened

    def _without_checkpoints(self, key: FolderKey, moment: Moment, prefix: int) -> Iterable[str]:
        bare = frozenset(each for each in key if not each[0].endswith(_CHECKPOINT))
        if len(bare) == len(key):
            return ()
        outcome = self._outcome(bare, moment)
        if outcome.prefix != prefix and not outcome.problems:
            return [f"without checkpoints {outcome.prefix} records, and {prefix} with them"]
        return [f"without checkpoints: {each}" for each in outcome.problems]

    def _grow(self, key: FolderKey, opened: Opened, moment: Moment) -> Iterable[str]:
        """Add one more message to a recovered folder, cut the power, and see that all is there, and can be claimed."""
        files = self._contents.folder(key)
        medium = _after(files, opened.disk.operations, self._contents)
        nothing = (0,) * len(medium.pending)
        known_as = (medium.key(nothing), self._contents.key(opened.disk.files()), moment.now_ms, id(moment.records))
        if known_as in self._grown:
            return ()
        self._grown.add(known_as)
        self.figures.appended += 1
        recovery = len(opened.disk.operations)
        opened.broker.put_queue("default", draining=False, max_messages=0, content_deduplication=False)
        opened.broker.produce("default", ["one more"])
        expected = opened.state()
        medium = _after(files, opened.disk.operations, self._contents)
        problems = []
        for fate in (0, 1):
            left = self._contents.folder(medium.key((fate,) * len(medium.pending)))
            again = Opened(left, moment.records, moment.now_ms, self._life.segment_bytes)
            # Its records are others than the life's, so only the state counts.
            refused = [each for each in again.problems if "start failed" in each]
            if refused:
                problems.append(f"after one more message: {refused[0]}")
            elif again.state() != expected:
                problems.append("one more message, acknowledged after the recovery, changed or lost something")
            elif wrong := check_claims(again):
                problems.append(f"after one more message: {wrong}")
        del opened.disk.operations[recovery:]
        return problems

    def _crash_recovery(self, key: FolderKey, crash: Crash, opened: Opened, moment: Moment) -> None:
        """Cut the power again during a recovery, before each of its operations."""
        operations = opened.disk.operations
        files = self._contents.folder(key)
        medium = Medium(files, self._contents)
        cuts = []
        for at, operation in enumerate(operations):
            medium.take(operation)
            if medium.pending and operation.kind != "sync":
                cuts.append(at + 1)
        if not cuts:
            return
        self.figures.recoveries += 1
        budget = max(_CRASHES_OF_RECOVERY // len(cuts), 2)
        medium, done = Medium(files, self._contents), 0
        for cut in cuts:
            for operation in operations[done:cut]:
                medium.take(operation)
            done = cut
            for fates in choose([change.fates for change in medium.pending], budget, self._chance):
                self._try_again(medium, (crash, Crash(cut, fates)), opened, moment)

    def _try_again(self, medium: Medium, crashes: tuple[Crash, ...], first: Opened, moment: Moment) -> None:
        self.figures.states += 1
        self.figures.recovery_states += 1
        if first.prefix < OWN_RECORDS:
            moment = moment._replace(records=_UNKNOWN)  # the recovery makes others in their place
        outcome = self._outcome(medium.key(crashes[-1].fates), moment)
        problems = [*outcome.problems]
        if outcome.prefix != first.prefix and first.prefix >= OWN_RECORDS:
            problems.append(f"{first.prefix} records after the first recovery, {outcome.prefix} after a crash of it")
        if first.tail is not None and not is_aside(first.tail, outcome.aside):
            problems.append(f"{len(first.tail[1])} torn bytes of the first crash are gone")
        if problems:
            self._report(crashes, problems[0], medium)


def _owed(prefix: int, acknowledged: int, appended: int) -> Iterable[str]:
    if prefix < acknowledged:
        return [f"{acknowledged} records were acknowledged, {prefix} are left"]
    if prefix > appended:
        return [f"{appended} records were appended, {prefix} are there"]
    return ()


def _after(files: Mapping[str, bytes], operations: Iterable[Operation], contents: Contents) -> Medium:
    medium = Medium(files, contents)
    for operation in operations:
        medium.take(operation)
    return medium
