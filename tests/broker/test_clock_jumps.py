"""While the system's clock jumps about, no claim or delay ends early, and no deadline changes, also across restarts.

One case cannot be told from time that passed while the broker was down, and is not covered: at a start the system's
clock stands further ahead than at the start before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.system_clock import HOUR_MS, START_MS, YEAR_MS, System
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.model.messages import Change, Message, Target
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy

JUMPS_MS = [-YEAR_MS, -HOUR_MS, -30_000, -1, 1, 30_000, HOUR_MS, YEAR_MS]


class Life:
    """A broker, its folder, and the system's clocks below it."""

    def __init__(self, folder: Path, system: System) -> None:
        self.folder = folder
        self.system = system
        self.open()

    def open(self) -> None:
        self.log = FileLog(self.folder, sync=SyncPolicy("os"), segment_bytes=4096)
        self.checkpoints = FileCheckpoints(self.folder)
        self.broker = Broker(self.log, checkpoints=self.checkpoints)

    def restart(self, *, wall_ms: int) -> None:
        """Stop and start while the system's clock shows ``wall_ms``."""
        self.broker.close()
        self.system.wall_ms = wall_ms
        self.system.reboots()
        self.open()

    def deadlines(self) -> dict[str, int | None]:
        return {message.id: message.due_ms for message in self.broker.messages("default")}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


@pytest.fixture
def life(tmp_path: Path, system: System) -> Iterator[Life]:
    life = Life(tmp_path, system)
    yield life
    life.broker.close()


def renewed(broker: Broker) -> None:
    broker.produce("default", ["a"])
    [message] = broker.claim("default", visibility_timeout_ms=1000)
    broker.update("default", Target(receipt=message.receipt), Change(visibility_timeout_ms=30_000))


def claimed(broker: Broker) -> None:
    broker.produce("default", ["a"])
    broker.claim("default", visibility_timeout_ms=30_000)


def delayed(broker: Broker) -> None:
    broker.produce("default", ["a"], [30_000])


def delayed_again(broker: Broker) -> None:
    [message_id] = broker.produce("default", ["a"])
    broker.update("default", Target(id=message_id), Change(delay_ms=30_000))


HIDDEN_FOR_30_S = pytest.mark.parametrize("hide", [claimed, renewed, delayed, delayed_again])


@HIDDEN_FOR_30_S
@pytest.mark.parametrize("jump_ms", JUMPS_MS)
def test_within_a_run_nothing_ends_early_or_late(
    life: Life, system: System, hide: Callable[[Broker], None], jump_ms: int
) -> None:
    hide(life.broker)
    deadlines = life.deadlines()
    system.wall_ms += jump_ms
    system.passes(29_999)
    system.wall_ms -= 2 * jump_ms
    assert life.deadlines() == deadlines
    assert life.broker.claim("default") == []
    system.passes(1)
    assert len(life.broker.claim("default")) == 1


def test_deadlines_are_exact_to_the_millisecond(life: Life, system: System) -> None:
    """Also where neither the time nor the timeout is one of whole seconds."""
    system.passes(123)
    life.broker.produce("default", ["a", "b"], [None, 457])
    [message] = life.broker.claim("default", visibility_timeout_ms=1)
    expected = {START_MS + 124, START_MS + 580}
    assert set(life.deadlines().values()) == expected
    life.restart(wall_ms=START_MS + 123)
    assert set(life.deadlines().values()) == expected
    life.broker.update("default", Target(receipt=message.receipt), Change(visibility_timeout_ms=1001))
    assert START_MS + 1124 in life.deadlines().values()
    system.passes(456)
    assert life.broker.claim("default") == []
    system.passes(1)
    assert [each.body for each in life.broker.claim("default", visibility_timeout_ms=60_000)] == ["b"]
    system.passes(543)
    assert life.broker.claim("default") == []
    system.passes(1)
    assert [each.body for each in life.broker.claim("default")] == ["a"]


def by_the_log_alone(life: Life) -> None:
    pass


def by_a_checkpoint(life: Life) -> None:
    checkpoint(life.broker, life.log, life.checkpoints)


def by_a_compacted_log(life: Life) -> None:
    life.log.rotate()
    life.log.sync()
    while compact_oldest(life.broker, life.log):
        pass


@HIDDEN_FOR_30_S
@pytest.mark.parametrize("kept", [by_the_log_alone, by_a_checkpoint, by_a_compacted_log])
@pytest.mark.parametrize("back_ms", [1, HOUR_MS])
def test_a_clock_set_back_at_a_restart_ends_nothing_early(
    life: Life, system: System, hide: Callable[[Broker], None], kept: Callable[[Life], None], back_ms: int
) -> None:
    hide(life.broker)
    deadlines = life.deadlines()
    system.passes(5_000)
    life.broker.produce("other", ["something that says what time it is"])
    kept(life)
    life.restart(wall_ms=START_MS + 5_000 - back_ms)
    assert life.broker.queue("default").now_ms == START_MS + 5_000
    assert life.deadlines() == deadlines
    system.passes(24_999)
    assert life.broker.claim("default") == []
    system.passes(1)
    assert len(life.broker.claim("default")) == 1


@pytest.mark.parametrize("jump_ms", JUMPS_MS)
def test_a_clock_that_is_right_again_at_the_restart_changes_nothing(life: Life, system: System, jump_ms: int) -> None:
    """The clock jumped within the run, was not read, and jumped back."""
    claimed(life.broker)
    deadlines = life.deadlines()
    system.wall_ms += jump_ms
    system.passes(10_000)
    life.broker.produce("other", ["b"])
    life.restart(wall_ms=START_MS + 10_000)
    assert life.deadlines() == deadlines
    system.passes(19_999)
    assert life.broker.claim("default") == []
    system.passes(1)
    assert len(life.broker.claim("default")) == 1


@pytest.mark.parametrize("seed", range(3))
def test_any_life_with_a_wrong_clock(life: Life, system: System, seed: int) -> None:
    """The real time since a claim is at least its timeout before anybody else gets the message."""
    chance = random.Random(seed)
    real_ms = 0
    held: dict[str, tuple[int, int | None]] = {}  # by id: when its claim may end in real time, and its deadline

    def passes(ms: int) -> None:
        nonlocal real_ms
        real_ms += ms
        system.passes(ms)

    def given_out(messages: list[Message], timeout_ms: int) -> None:
        for message in messages:
            free_ms, _ = held.get(message.id, (0, None))
            assert real_ms >= free_ms, f"claimed {free_ms - real_ms} ms early"
            held[message.id] = real_ms + timeout_ms, message.due_ms

    for _ in range(150):
        match chance.randrange(8):
            case 0 | 1:
                life.broker.produce("default", ["x"] * chance.randrange(1, 4))
            case 2 | 3:
                timeout_ms = chance.choice([1, 700, 5_000, 60_000])
                given_out(life.broker.claim("default", limit=3, visibility_timeout_ms=timeout_ms), timeout_ms)
            case 4:
                passes(chance.choice([1, 500, 4_999, 20_000]))
            case 5:
                system.wall_ms += chance.choice(JUMPS_MS)
            case 6:
                down_ms, back_ms = chance.choice([0, 300, 10_000]), chance.choice([0, 0, 1, 3_000, HOUR_MS, YEAR_MS])
                goes_on_ms = life.broker.queue("default").now_ms + down_ms
                passes(down_ms)
                life.restart(wall_ms=goes_on_ms - back_ms)
            case 7 if chance.random() < 0.5:
                checkpoint(life.broker, life.log, life.checkpoints)
            case _:
                compact_oldest(life.broker, life.log)
        for message in life.broker.messages("default", status="processing"):
            assert message.due_ms == held[message.id][1], "the deadline is the one that was given out"
