"""The state is a function of the records: what a running broker knows is what a replay of its log gives."""

from __future__ import annotations

import os
import random
import secrets
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.clock import FakeClock
from tests.support.random_life import live_a_random_life
from tests.support.states import contents_of, small_pages
from wonderq.broker.broker import Broker
from wonderq.model.limits import Limits
from wonderq.state import columns, record
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage import FileLog, SyncPolicy


def forbid_clock_and_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("apply asked for the time or for chance")

    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"):
        monkeypatch.setattr(time, name, refuse)
    for name in ("random", "randrange", "randint", "getrandbits", "choice"):
        monkeypatch.setattr(random, name, refuse)
    for name in ("randbelow", "token_bytes", "token_hex"):
        monkeypatch.setattr(secrets, name, refuse)
    monkeypatch.setattr(os, "urandom", refuse)


def replay(records: list[tuple[int, bytes]]) -> State:
    state = State()
    with pytest.MonkeyPatch.context() as monkeypatch:
        forbid_clock_and_chance(monkeypatch)
        for position, data in records:
            state.apply(record.decode(data), position, len(data))
    return state


@pytest.mark.parametrize("page_bits", [2, 12])
@pytest.mark.parametrize("seed", range(5))
def test_a_replay_gives_the_state_that_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, page_bits: int
) -> None:
    small_pages(monkeypatch, page_bits, min(columns._KEEP_BELOW, 1 << page_bits >> 1))
    clock = FakeClock()
    chance = random.Random(seed)
    limits = Limits(message_bytes=1000, batch_messages=40, batch_bytes=8000)
    live: dict[str, Any] = {}
    for _ in range(3):  # a restart goes on from a replay, so it must lead to the same as well
        broker = Broker(FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=16_384), clock=clock, limits=limits)
        if live:
            assert contents_of(broker.core.state, clock.ms) == live
        live_a_random_life(broker, clock, chance, 150)
        live = contents_of(broker.core.state, clock.ms)
        broker.close()
        log = FileLog(tmp_path)
        records = [(position, bytes(data)) for position, data in log.replay()]
        log.close()
        assert len(records) > 50
        assert contents_of(replay(records), clock.ms) == live


@pytest.mark.parametrize("portions", [False, True])
def test_applying_in_pieces_of_time_is_the_same_as_at_once(tmp_path: Path, portions: bool) -> None:
    """Also if only a part of what is due is done each time."""
    chance = random.Random(8)
    clock = FakeClock()
    broker = Broker(FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=1 << 20), clock=clock)
    live_a_random_life(broker, clock, random.Random(7), 300)
    broker.close()
    log = FileLog(tmp_path)
    records = [(position, bytes(data)) for position, data in log.replay()]
    log.close()
    eager = State()
    for position, data in records:
        fields = record.decode(data)
        for queue in eager.queues.values():
            most = chance.randrange(3) if portions else 1 << 60
            queue.messages.advance(fields[1], most)
            eager.forget(fields[1], most)
        eager.free_dropped(chance.randrange(3))
        eager.apply(fields, position, len(data))
    assert contents_of(eager, clock.ms) == contents_of(replay(records), clock.ms)


@pytest.mark.parametrize(
    "fields",
    [
        [99, 1],
        [record.IDENTITY, 1],
        [record.QUEUE, 1, 1, "q", {"no_such_setting": 1}, 1, 0],
        [record.CLAIM, 1, 1, [0, 1], "soon", 1],
        ["produce", 1],
        [None, None],
    ],
)
def test_a_record_that_makes_no_sense_is_refused(fields: list[Any]) -> None:
    state = State()
    state.apply([record.IDENTITY, 1, bytes(16), 1], 1, 10)
    state.apply([record.QUEUE, 1, 1, "q", {"delay_ms": 0}, 1, 0], 11, 10)
    with pytest.raises(UnreadableRecordError):
        state.apply(fields, 21, 10)
