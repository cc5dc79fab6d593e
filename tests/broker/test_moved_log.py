"""A replay of a log whose beginning another writer drops meanwhile begins again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.states import contents_of
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.state.replay import replay_log
from wonderq_storage import LogMovedError, Mark, Position


class MovingLog(MemoryLog):
    """A log that moves in the middle of some of its replays."""

    moves = 0
    replays = 0

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, bytes]]:
        self.replays += 1
        for count, pair in enumerate(super().replay(mark), 1):
            yield pair
            if count == 3 and self.moves:
                self.moves -= 1
                raise LogMovedError("the beginning of the log moved")


def log_with_messages() -> MemoryLog:
    log = MemoryLog()
    broker = Broker(log)
    for number in range(20):
        broker.produce("q", [f"{number}"])
    assert compact_oldest(broker, log)
    return log


@pytest.mark.parametrize("moves", [0, 1, 5])
def test_nothing_of_the_replay_before_counts(moves: int) -> None:
    written = log_with_messages()
    moving = MovingLog(written.records)
    moving.moves = moves
    state, size = replay_log(moving)
    assert moving.replays == moves + 1
    expected, expected_size = replay_log(MemoryLog(written.records))
    assert (contents_of(state, 0), size) == (contents_of(expected, 0), expected_size)


def test_a_log_that_always_moves_is_given_up() -> None:
    moving = MovingLog(log_with_messages().records)
    moving.moves = 1000
    with pytest.raises(LogMovedError):
        replay_log(moving)
    assert moving.replays <= 10
