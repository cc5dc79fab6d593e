"""Records that verify and yet cannot be what a broker wrote: the start is refused, and says where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.state import record
from wonderq.state.replay import replay_log
from wonderq.state.state import UnreadableRecordError
from wonderq_storage import FileCheckpoints, Mark

NOW_MS = 1_700_000_000_000
ENTRY = record.encode_entry("body")
IDENTITY = (record.IDENTITY, NOW_MS, bytes(range(16)), 1)
QUEUE = (record.QUEUE, NOW_MS, 1, "default", {"visibility_timeout_ms": 1, "delay_ms": 0}, NOW_MS, 0)
PRODUCE: tuple[Any, ...] = (record.PRODUCE, NOW_MS, 1, 0, [], [len(ENTRY)], ENTRY)


def log_of(*records: Sequence[Any] | bytes) -> MemoryLog:
    return MemoryLog([each if isinstance(each, bytes) else record.encode(each) for each in records])


def test_a_log_like_these_that_can_be_read() -> None:
    state, _ = replay_log(log_of(IDENTITY, QUEUE, PRODUCE))
    assert len(state.queues["default"].messages) == 1


NO_RECORDS = {
    "nothing": b"",
    "half of one": record.encode(PRODUCE)[:-1],
    "two": record.encode(QUEUE) * 2,
    "not msgpack": b"\xc1",
    "a map": record.encode([{}])[1:],
    "a number": b"\x07",
    "nested without end": b"\x91" * 100_000,
    "an array of nothing": b"\x90",
    "an array of a kind alone": b"\x91\x00",
}


@pytest.mark.parametrize("data", NO_RECORDS.values(), ids=NO_RECORDS.keys())
def test_what_is_no_record_is_refused(data: bytes) -> None:
    log = log_of(IDENTITY, QUEUE, data)
    with pytest.raises(UnreadableRecordError, match=f"record at position {log.positions[2]:#x}"):
        replay_log(log)
    with pytest.raises(UnreadableRecordError):
        Broker(log)


def test_messages_that_are_produced_twice_are_refused() -> None:
    """Otherwise deleted messages would reappear."""
    delete = (record.DELETE, NOW_MS, 1, [0, 1])
    log = log_of(IDENTITY, QUEUE, PRODUCE, delete, PRODUCE)
    with pytest.raises(UnreadableRecordError, match="expected message 1 of queue 1, found 0"):
        replay_log(log)


def test_a_log_without_its_names_is_refused() -> None:
    """Otherwise queues would disappear with all their messages."""
    for records in ([IDENTITY, PRODUCE], [QUEUE, PRODUCE], [PRODUCE]):
        with pytest.raises(UnreadableRecordError, match="no IDENTITY record, or no QUEUE or TOPIC record"):
            replay_log(log_of(*records))


def test_a_queue_that_was_dropped_needs_no_name() -> None:
    state, _ = replay_log(log_of(IDENTITY, PRODUCE, (record.DROP, NOW_MS, 1)))
    assert state.queues == {}
    assert state.next_queue == 2, "and its number is never used again"
    state, _ = replay_log(log_of((record.DROP, NOW_MS, 1), (record.IDENTITY, NOW_MS, bytes(16), 2)))
    assert (state.queues, state.next_queue) == ({}, 2), "nor if nothing but its end is left of it"


class OneCheckpoint(FileCheckpoints):
    def __init__(self, mark: Mark, chunks: list[bytes]) -> None:
        super().__init__(Path())
        self._found = mark, chunks

    def newest_first(self) -> Iterator[tuple[Mark, Iterator[bytes]]]:
        mark, chunks = self._found
        yield mark, iter(chunks)


def test_a_checkpoint_with_more_in_it_than_it_says_is_passed_over() -> None:
    log = log_of(IDENTITY, QUEUE, PRODUCE)
    state, size = replay_log(log)
    snapshot = state.freeze()
    chunks = list(snapshot.chunks(0))
    snapshot.release()
    assert replay_log(log, OneCheckpoint(log.mark(), chunks))[1] == 0
    again, read = replay_log(log, OneCheckpoint(log.mark(), [*chunks, chunks[-1]]))
    assert read == size, "all of the log was read instead"
    assert len(again.queues["default"].messages) == 1


def test_the_newest_time_counts_wherever_it_stands() -> None:
    """Not the last one: a broker goes on from there."""
    later: tuple[Any, ...] = (record.PRODUCE, NOW_MS + 5000, 1, 1, [], [len(ENTRY)], ENTRY)
    earlier: tuple[Any, ...] = (record.PRODUCE, NOW_MS + 10, 1, 2, [], [len(ENTRY)], ENTRY)
    state, _ = replay_log(log_of(IDENTITY, QUEUE, PRODUCE, later, earlier))
    assert state.last_ms == NOW_MS + 5000
