"""Snapshots of a state: exactly one moment of it while it goes on, and all of it when they are loaded."""

from __future__ import annotations

import logging
import random
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.random_life import live_a_random_life
from tests.support.states import contents_of, small_pages, state_view, thin
from wonderq.broker import maintenance
from wonderq.broker.broker import Broker
from wonderq.broker.maintenance import checkpoint
from wonderq.model.limits import Limits
from wonderq.model.status import CLAIMED, DELAYED, WAITING
from wonderq.state import columns, record
from wonderq.state import state as state_module
from wonderq.state.page import Page
from wonderq.state.replay import replay_log
from wonderq.state.state import State
from wonderq.state.thinning import Thinning
from wonderq_storage import FileCheckpoints, FileLog

PAGE = 8
NOW_MS = 1_000


@pytest.fixture(autouse=True)
def pages_of_8(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch, bits=3, keep_below=3)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first sequence number of each page that is copied from now on."""
    copied: list[int] = []
    copy = Page.copy

    def counted(page: Page) -> Page:
        copied.append(page.first)
        return copy(page)

    monkeypatch.setattr(Page, "copy", counted)
    return copied


class Known:
    """A state of one queue, and the records that made it."""

    def __init__(self) -> None:
        self.state = State()
        self.end = 0
        self.apply(record.IDENTITY, 1, bytes(16), 1)
        self.apply(record.QUEUE, 1, 1, "q", {"delay_ms": 5}, 1, 0)
        self.apply(record.PRODUCE, 2, 1, 0, [], [10] * 20, b"x" * 200)  # pages of 8, 8 and 4
        self.apply(record.CLAIM, 3, 1, [1, 2], 50, 7)
        self.apply(record.UPDATE, 3, 1, [[9, DELAYED, 40, 0]], [], [], [], [], b"")

    def apply(self, *fields: Any) -> None:
        data = record.encode(fields)
        self.state.apply(fields, self.end, len(data))
        self.end += len(data)

    @property
    def messages(self) -> columns.Columns:
        return self.state.queues["q"].messages


def thinned(known: Known) -> Known:
    """Leave a few messages, in sparse pages."""
    known.apply(record.DELETE, 8, 1, [0, 1, 3, 6, 10, 7, 18, 1])
    thin(known.messages)
    thin(known.messages)
    assert known.messages._sparse
    return known


def restated(*sequences: int, status: int = CLAIMED) -> list[list[Any]]:
    """The fields from the runs of an UPDATE on to its claims, for entries of 4 bytes."""
    count = len(sequences)
    claims = [[sequence, status, 90, 60, 3, 8] for sequence in sequences]
    return [record.to_runs(sequences), [2] * count, [4] * count, claims]


STEPS: dict[str, tuple[Callable[[Known], object], list[int]]] = {
    "produce one": (lambda it: it.apply(record.PRODUCE, 9, 1, 20, [], [3], b"abc"), [16]),
    "produce into the next page": (lambda it: it.apply(record.PRODUCE, 9, 1, 20, [], [3] * 6, b"abc" * 6), [16]),
    "produce delayed": (lambda it: it.apply(record.PRODUCE, 9, 1, 20, [99], [3], b"abc"), [16]),
    "claim": (lambda it: it.apply(record.CLAIM, 9, 1, [0, 1, 3, 6], 50, 9), [0, 8]),
    "release": (lambda it: it.apply(record.UPDATE, 9, 1, [[1, WAITING, 0, 50]], [], [], [], [], b""), [0]),
    "renew": (lambda it: it.apply(record.UPDATE, 9, 1, [[2, CLAIMED, 80, 70]], [], [], [], [], b""), [0]),
    "delay": (lambda it: it.apply(record.UPDATE, 9, 1, [[17, DELAYED, 80, 0]], [], [], [], [], b""), [16]),
    "restate": (lambda it: it.apply(record.UPDATE, 9, 1, [], *restated(2, 10), b"y" * 8), [0, 8]),
    "restate a new one": (
        lambda it: it.apply(record.UPDATE, 9, 1, [], *restated(23, status=WAITING), b"y" * 4),
        [16],
    ),
    "delete": (lambda it: it.apply(record.DELETE, 9, 1, [0, 1, 9, 1]), [0, 8]),
    "delete a page": (lambda it: it.apply(record.DELETE, 9, 1, [8, 8]), [8]),
    "purge": (lambda it: it.apply(record.PURGE, 9, 1, 20), [0, 8, 16]),
    "drop": (lambda it: it.apply(record.DROP, 9, 1), []),
    "settings": (lambda it: it.apply(record.QUEUE, 9, 1, "q", {"delay_ms": 6}, 1, 99), []),
    "a new queue": (lambda it: it.apply(record.QUEUE, 9, 2, "r", {}, 9, 0), []),
    "a new key": (lambda it: it.apply(record.IDENTITY, 9, bytes(range(16)), 77), []),
    "advance to a delay's end": (lambda it: it.messages.advance(40), [8]),
    "advance to all ends": (lambda it: it.messages.advance(60), [0, 8]),
    "nothing to do": (lambda it: it.apply(record.DELETE, 9, 1, [70, 5]), []),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_snapshot_stays_what_it_was_and_only_what_changes_is_copied(step: str, copies: list[int]) -> None:
    known, change = Known(), STEPS[step]
    twin = Known()
    before = contents_of(Known().state, 0)
    snapshot = known.state.freeze()
    chunks = list(snapshot.chunks(0))
    change[0](known)
    change[0](twin)
    assert sorted(copies) == change[1]
    assert list(snapshot.chunks(0)) == chunks
    loaded = State.load(iter(chunks))
    assert contents_of(loaded, 0) == before
    snapshot.release()
    assert state_view(known.state, 45) == state_view(twin.state, 45), "the state does not go on as if nobody had looked"


def test_a_page_is_copied_once_and_not_at_all_after_the_release(copies: list[int]) -> None:
    known = Known()
    snapshot = known.state.freeze()
    for sequence in (0, 3, 4):
        known.apply(record.DELETE, 9, 1, [sequence, 1])
    assert copies == [0]
    snapshot.release()
    for sequence in (5, 11, 17):
        known.apply(record.DELETE, 9, 1, [sequence, 1])
    known.messages.advance(NOW_MS)
    assert copies == [0]
    known.state.freeze().release()
    known.apply(record.DELETE, 9, 1, [12, 1])
    assert copies == [0]


def test_a_page_freed_and_made_again_is_not_the_snapshot_s(copies: list[int]) -> None:
    known = Known()
    snapshot = known.state.freeze()
    chunks = list(snapshot.chunks(0))
    known.apply(record.DELETE, 9, 1, [8, 8])
    assert list(known.messages._pages) == [0, 2]
    known.apply(record.UPDATE, 9, 1, [], *restated(12), b"yyyy")
    known.apply(record.UPDATE, 9, 1, [], *restated(9), b"yyyy")
    known.apply(record.CLAIM, 9, 1, [9, 1], 50, 9)
    assert copies == [8]
    assert list(snapshot.chunks(0)) == chunks
    again = list(known.state.freeze().chunks(0))
    assert state_view(State.load(iter(again)), 0) == state_view(known.state, 0)
    assert state_view(State.load(iter(chunks)), 0) == state_view(Known().state, 0)


def test_taking_one_copies_nothing(copies: list[int]) -> None:
    known = Known()
    snapshot = known.state.freeze()
    for _ in snapshot.chunks(0):
        pass
    known.messages.pick(100, 1 << 30)
    known.messages.after(-1, 100)
    assert copies == []


@pytest.mark.parametrize("seed", range(12))
def test_any_moment_of_any_life(seed: int) -> None:
    chance, clock, log = random.Random(seed), FakeClock(), MemoryLog()
    limits = Limits(message_bytes=1000, batch_messages=40, batch_bytes=8000)
    broker = Broker(log, clock=clock, limits=limits)
    for _ in range(4):
        live_a_random_life(broker, clock, chance, 60)
        state = broker.core.state
        places = (state.identity_at, {name: queue.record_position for name, queue in state.queues.items()})
        snapshot = state.freeze()
        at_ms = clock.ms
        chunks = list(snapshot.chunks(0))
        contents = contents_of(state, at_ms)  # advances, so the pages with ended claims are copied
        live_a_random_life(broker, clock, chance, 60)
        assert list(snapshot.chunks(0)) == chunks
        snapshot.release()
        assert not any(page.frozen for queue in state.queues.values() for page in queue.messages._pages.values())
        loaded = State.load(iter(chunks))
        assert (loaded.identity_at, {name: queue.record_position for name, queue in loaded.queues.items()}) == places
        assert contents_of(loaded, at_ms) == contents
        assert state_view(state, clock.ms) == state_view(replay_log(log)[0], clock.ms)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_loaded_lives_on_as_the_original_would(seed: int) -> None:
    """A snapshot holds all remembered state: the same records then lead to the same result."""
    chance, clock, log = random.Random(seed), FakeClock(), MemoryLog()
    broker = Broker(log, clock=clock, limits=Limits(message_bytes=1000, batch_messages=40, batch_bytes=8000))
    live_a_random_life(broker, clock, chance, 200)
    loaded = State.load(broker.core.state.freeze().chunks(0))
    seen = len(log.records)
    due_ms = [queue.messages.next_due_ms() for queue in broker.core.state.queues.values()]
    for queue, early_ms in zip(loaded.queues.values(), due_ms, strict=True):
        loaded_ms = queue.messages.next_due_ms()
        assert loaded_ms is None or (early_ms is not None and loaded_ms >= early_ms)
    live_a_random_life(broker, clock, chance, 200)
    for position, data in zip(log.positions[seen:], log.records[seen:], strict=True):
        fields = record.decode(data)
        for queue in loaded.queues.values():
            queue.messages.advance(fields[1])
        loaded.apply(fields, position, len(data))
    for later_ms in (0, 300, 700, 800, 3_000, 5_000, 30_000):
        assert state_view(loaded, clock.ms + later_ms) == state_view(broker.core.state, clock.ms + later_ms)


# Snapshots that are taken in turns


@pytest.mark.parametrize("seed", range(8))
def test_one_that_is_taken_while_the_state_changes_is_of_the_moment_it_began(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_TURN_WORK", 1)
    chance, clock, log = random.Random(f"turns {seed}"), FakeClock(), MemoryLog()
    limits = Limits(message_bytes=1000, batch_messages=40, batch_bytes=8000)
    broker = Broker(log, clock=clock, limits=limits)
    state, thinning = broker.core.state, Thinning(broker.core.state)
    for _ in range(4):
        live_a_random_life(broker, clock, chance, 60)
        count, identity_at = len(log.records), state.identity_at
        snapshot = state.begin_snapshot()
        while snapshot.freeze_more():
            live_a_random_life(broker, clock, chance, chance.choice([0, 1, 10]))
            thinning.step()
        chunks = list(snapshot.chunks(0))
        live_a_random_life(broker, clock, chance, 20)
        thinning.step()
        assert list(snapshot.chunks(0)) == chunks
        while snapshot.thaw_more():
            live_a_random_life(broker, clock, chance, 1)
        assert not any(page.frozen for queue in state.queues.values() for page in queue.messages._pages.values())
        expected = State()
        for position, data in zip(log.positions[:count], log.records[:count], strict=True):
            expected.apply(record.decode(data), position, len(data))
        loaded = State.load(iter(chunks))
        assert loaded.identity_at == identity_at
        assert state_view(loaded, clock.ms) == state_view(expected, clock.ms)
        assert state_view(state, clock.ms) == state_view(replay_log(log)[0], clock.ms)


@pytest.mark.parametrize("step", STEPS)
def test_a_record_between_two_turns_freezes_its_queue_first(step: str) -> None:
    known, change = Known(), STEPS[step]
    before = state_view(Known().state, 0)
    snapshot = known.state.begin_snapshot()
    change[0](known)
    assert not snapshot.freeze_more()
    loaded = State.load(snapshot.chunks(0))
    now_ms = 60 if "advance" in step else 0
    assert state_view(loaded, now_ms) == (before if not now_ms else state_view(Known().state, now_ms))
    snapshot.release()


def test_a_turn_is_bounded_however_many_queues_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_TURN_WORK", 10)
    known = Known()
    for number in range(2, 100):
        known.apply(record.QUEUE, 1, number, f"queue-{number}", {}, 1, 0)
        known.apply(record.PRODUCE, 2, number, 0, [], [10] * 3, b"x" * 30)
    snapshot = known.state.begin_snapshot()
    counts: list[int] = []

    def frozen() -> int:
        pages = [page for queue in known.state.queues.values() for page in queue.messages._pages.values()]
        return sum(page.frozen for page in pages)

    more = True
    while more:
        before = frozen()
        more = snapshot.freeze_more()
        counts.append(frozen() - before)
    assert max(counts) <= 12
    assert sum(counts) == 101, "and all are frozen in the end"
    assert len(State.load(snapshot.chunks(0)).queues) == 99
    more, counts = True, []
    while more:
        before = frozen()
        more = snapshot.thaw_more()
        counts.append(before - frozen())
    assert max(counts) <= 12
    assert sum(counts) == 101


#: Records that give a queue six items of a kind.
SIX_OF: dict[str, Callable[[Known, int], object]] = {
    "pages": lambda it, queue: [it.apply(record.PRODUCE, 9, queue, PAGE * n, [], [1], b"x") for n in range(6)],
    "lanes": lambda it, queue: it.apply(
        record.SEND, 9, queue, 0, [], [1] * 6, [[0, f"g{n}"] for n in range(6)], b"xxxxxx"
    ),
    "names of consumers": lambda it, queue: (
        it.apply(record.PRODUCE, 9, queue, 0, [], [1] * 6, b"xxxxxx"),
        [it.apply(record.NAMED_CLAIM, 9, queue, [n, 1], 50, 1 + n, f"worker {n}") for n in range(6)],
    ),
    "keys": lambda it, queue: it.apply(record.DEDUP, 9, queue, [[f"key {n}", n, 99] for n in range(6)]),
}


@pytest.mark.parametrize("kind", SIX_OF)
def test_a_turn_is_bounded_by_what_the_queues_have(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_TURN_WORK", 10)
    monkeypatch.setattr(state_module, "_ITEMS_OF_A_UNIT", 1)
    known = Known()
    for number in range(2, 30):
        known.apply(record.QUEUE, 1, number, f"queue-{number}", {}, 1, 0)
        SIX_OF[kind](known, number)
    snapshot = known.state.begin_snapshot()
    counts, more = [0], True
    while more:
        more = snapshot.freeze_more()
        counts.append(len(snapshot._frozen))
    turns = [after - before for before, after in pairwise(counts)]
    assert max(turns) <= 2, "seven units of work a queue, of ten"
    assert sum(turns) == 29


def test_chunks_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing a million rows at once would hold all other threads."""
    monkeypatch.setattr(state_module, "_ROWS_OF_A_CHUNK", 3)
    known = Known()
    known.apply(record.SEND, 9, 1, 20, [], [3] * 7, [[0, f"group {index}"] for index in range(7)], b"abc" * 7)
    known.apply(record.DEDUP, 9, 1, [[f"key {index}", index, 99] for index in range(10)])
    for index in range(8):
        known.apply(record.METADATA, 9, "schedule", f"name {index}", {"x": index})
    chunks = chunks_of(known)
    rows = [msgpack.unpackb(chunk) for chunk in chunks[1 : 4 + 1 + 3 + 4] if chunk[0] & 0xF0 == 0x90]
    assert [len(each) for each in rows] == [3, 3, 2, 10, 3, 3, 1, 3, 3, 3, 1]
    assert contents_of(State.load(iter(chunks)), 0) == contents_of(known.state, 0)


def test_a_snapshot_that_was_given_up_leaves_nothing_behind(copies: list[int]) -> None:
    known = Known()
    snapshot = known.state.begin_snapshot()
    snapshot.release()
    known.apply(record.DELETE, 9, 1, [0, 1])
    assert copies == []
    assert state_view(State.load(known.state.freeze().chunks(0)), 0) == state_view(known.state, 0)


def test_others_work_between_the_turns_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_TURN_WORK", 1)
    log = FileLog(tmp_path, segment_bytes=65_536)
    broker = Broker(log, clock=FakeClock())
    for number in range(5):
        broker.produce(f"queue-{number}", ["before"])
    turns = 0

    def work(_: float) -> None:
        nonlocal turns
        turns += 1
        for queue in list(broker.core.state.queues):
            broker.produce(queue, [f"turn {turns}"])

    monkeypatch.setattr(maintenance, "time", SimpleNamespace(sleep=work))
    checkpoints = FileCheckpoints(tmp_path)
    assert checkpoint(broker, log, checkpoints) > 0
    assert turns == 1 + 5, "the first time all queues are frozen by their records, and then they are thawed in turns"
    expected = state_view(broker.core.state, 0)
    broker.close()
    again = Broker(FileLog(tmp_path), checkpoints=checkpoints, clock=FakeClock())
    assert state_view(again.core.state, 0) == expected
    assert again.log_bytes < log.used_bytes()
    again.close()


def test_a_sparse_page_is_in_a_snapshot_as_it_is() -> None:
    known = thinned(Known())
    before = contents_of(known.state, 0)
    snapshot = known.state.freeze()
    chunks = list(snapshot.chunks(0))
    known.apply(record.CLAIM, 9, 1, [19, 1], 50, 9)
    known.apply(record.PRODUCE, 9, 1, 20, [], [3], b"abc")
    assert contents_of(State.load(iter(chunks)), 0) == before
    assert list(snapshot.chunks(0)) == chunks
    snapshot.release()


def test_thinning_replaces_a_page_that_a_snapshot_has(copies: list[int]) -> None:
    known = thinned(Known())
    snapshot = known.state.freeze()
    chunks = list(snapshot.chunks(0))
    known.apply(record.PRODUCE, 9, 1, 24, [], [3], b"abc")
    thin(known.messages)
    thin(known.messages)
    assert [page.live for page in known.messages._pages.values()] == [6]
    assert copies == [0]
    assert list(snapshot.chunks(0)) == chunks
    snapshot.release()


# Snapshots that cannot be loaded


def chunks_of(known: Known) -> list[bytes]:
    return list(known.state.freeze().chunks(0))


def with_header(chunks: list[bytes], **changed: Any) -> Iterator[bytes]:
    return iter([msgpack.packb({**msgpack.unpackb(chunks[0]), **changed}), *chunks[1:]])


OTHER_MACHINES = [
    {"layout": 1},
    {"layout": None},
    {"byte_order": "big" if sys.byteorder == "little" else "little"},
]


@pytest.mark.parametrize("changed", OTHER_MACHINES)
def test_another_layout_or_byte_order_is_refused(changed: dict[str, Any]) -> None:
    chunks = chunks_of(Known())
    State.load(with_header(chunks))
    with pytest.raises(ValueError, match="layout"):
        State.load(with_header(chunks, **changed))


@pytest.mark.parametrize("broken", [{"queues": None}, {"queues": "1"}, {"queues": 2}, {"notes": 1}, {"notes": [1]}])
def test_a_header_that_makes_no_sense_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        State.load(with_header(chunks_of(Known()), **broken))


@pytest.mark.parametrize(
    "fields",
    [
        1,
        [1, "q", {"no_such_setting": 1}, 1, 1, 20, 3, 0, 0, 0],
        [1, "q", {}, 1, 1, 20, 3, 0, 0],
        [1, "q", {}, 1, 1, 20, "3", 0, 0, 0],
        [1, "q", {}, 1, 1, 20, 4, 0, 0, 0],
        [1, "q", {}, 1, 1, 20, 3, 1, 0, 0],
        [1, "q", {}, 1, 1, 20, 3, 0, 1, 0],
        [1, "q", {}, 1, 1, 20, 3, 0, 0, 1],
    ],
)
def test_a_queue_that_makes_no_sense_is_refused(fields: Any) -> None:
    chunks = chunks_of(Known())
    State.load(iter([chunks[0], msgpack.packb([1, "q", {}, 1, 1, 20, 3, 0, 0, 0]), *chunks[2:]]))
    with pytest.raises(ValueError):
        State.load(iter([chunks[0], msgpack.packb(fields), *chunks[2:]]))


def test_rows_of_lanes_names_and_keys_that_are_not_as_many_as_counted_are_refused() -> None:
    known = Known()
    known.apply(record.SEND, 9, 1, 20, [], [3, 3], [[0, "a"], [0, "b"]], b"abcabc")
    for sequence in (20, 21):
        known.apply(record.NAMED_CLAIM, 9, 1, [sequence, 1], 9, sequence, "worker")
    known.apply(record.DEDUP, 9, 1, [["x", 1, 99], ["y", 2, 99]])
    chunks = chunks_of(known)
    assert contents_of(State.load(iter(chunks)), 0) == contents_of(known.state, 0)
    for at in (2, 3, 4):
        rows = msgpack.unpackb(chunks[at])
        assert len(rows) == 2
        for wrong in ([], rows[:1], [*rows, rows[0]]):
            with pytest.raises(ValueError):
                State.load(iter([*chunks[:at], msgpack.packb(wrong), *chunks[at + 1 :]]))
        State.load(iter([*chunks[:at], msgpack.packb(rows[:1]), msgpack.packb(rows[1:]), *chunks[at + 1 :]]))


@pytest.mark.parametrize("key", ["byte_order", "key", "identity_at", "next_queue", "last_ms", "queues"])
def test_a_header_without_something_is_refused(key: str) -> None:
    chunks = chunks_of(Known())
    header = msgpack.unpackb(chunks[0])
    del header[key]
    with pytest.raises(ValueError):
        State.load(iter([msgpack.packb(header), *chunks[1:]]))


@pytest.mark.parametrize("first", [b"", b"\xc1", b"\x90", b"\xc0", b"\x01", b"\x80", b"\x81\xc0"])
def test_what_is_no_header_is_refused(first: bytes) -> None:
    with pytest.raises(ValueError):
        State.load(iter([first, *chunks_of(Known())[1:]]))


def test_a_cut_snapshot_is_refused() -> None:
    chunks = chunks_of(Known())
    for count in range(len(chunks)):
        with pytest.raises(ValueError):
            State.load(iter(chunks[:count]))
    header = chunks[0]
    for length in range(len(header)):
        with pytest.raises(ValueError):
            State.load(iter([header[:length], *chunks[1:]]))


def test_a_page_cut_anywhere_is_refused() -> None:
    sparse = thinned(Known())
    for whole in [*chunks_of(Known())[2:], *chunks_of(sparse)[2:]]:
        Page.load(whole)
        for length in range(len(whole)):
            with pytest.raises(ValueError):
                Page.load(whole[:length])
        with pytest.raises(ValueError):
            Page.load(whole + b"\0")


@settings(deadline=None, max_examples=300)
@given(
    page=st.integers(2, 4),
    count=st.integers(0, 40) | st.integers(0, 2**32 - 1),
    claims=st.integers(0, 40) | st.integers(0, 2**32 - 1),
)
def test_a_page_that_says_another_length_is_refused(page: int, count: int, claims: int) -> None:
    whole = chunks_of(Known())[page]
    said = (int.from_bytes(whole[8:12], "little"), int.from_bytes(whole[12:16], "little"))
    if (count, claims) == said:
        return
    with pytest.raises(ValueError):
        Page.load(whole[:8] + count.to_bytes(4, "little") + claims.to_bytes(4, "little") + whole[16:])


def dump(first: int, count: int, claims: int, status: bytes, sequences: Sequence[int] = ()) -> bytes:
    header = struct.pack("<QIIIII", first, count, claims, 0, 0, len(sequences))
    return header + status + bytes(20 * count) + bytes(28 * claims) + array("Q", sequences).tobytes()


def test_pages_that_overlap_are_refused() -> None:
    waiting = bytes([WAITING])
    pages = [dump(0, 2, 0, waiting * 2, [0, 9]), dump(8, 2, 0, waiting * 2)]
    for wrong in (pages, pages[::-1], [pages[1], pages[1]]):
        with pytest.raises(ValueError):
            columns.Columns().load([Page.load(each) for each in wrong])
    columns.Columns().load([Page.load(dump(0, 2, 0, waiting * 2, [0, 7])), Page.load(pages[1])])


def test_a_page_that_contradicts_itself_is_refused() -> None:
    waiting, claimed, delayed = (bytes([each]) for each in (WAITING, CLAIMED, DELAYED))
    Page.load(dump(0, 4096, 4096, claimed * 4096))
    Page.load(dump(4090, 6, 2, claimed + delayed + waiting * 4))
    Page.load(dump(3, 2, 0, waiting * 2, [3, 50_000]))
    for wrong in (
        dump(0, 4097, 0, waiting * 4097),  # more than a page has
        dump(4090, 7, 0, waiting * 7),  # over the end of its page
        dump(0, 2, 3, waiting * 2),  # deadlines of messages that it does not have
        dump(0, 2, 1, waiting + claimed),  # a claim without its deadline
        dump(0, 2, 0, delayed + waiting),
        dump(0, 2, 2, waiting + b"\6"),  # no such status
        dump(0, 2, 0, waiting * 2, [1]),  # a row without a sequence number
        dump(0, 2, 0, waiting * 2, [5, 5]),
        dump(0, 2, 0, waiting * 2, [6, 5]),
        dump(3, 2, 0, waiting * 2, [2, 5]),  # before the page begins
        dump(0, 2, 2, waiting + b"\5"),  # in a lane, and the page has none
        dump(0, 2, 2, b"\xff" + waiting),
    ):
        with pytest.raises(ValueError):
            Page.load(wrong)


@pytest.mark.parametrize("changed", [*OTHER_MACHINES, {"queues": None}])
def test_a_start_passes_over_a_checkpoint_it_cannot_load(
    tmp_path: Path, changed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    log = FileLog(tmp_path, segment_bytes=16_384)
    broker = Broker(log, clock=FakeClock())
    ids = broker.produce("default", ["a", "b", "c"])
    checkpoints = FileCheckpoints(tmp_path)
    checkpoint(broker, log, checkpoints)
    with broker.locked() as (state, _, _):
        snapshot, mark = state.freeze(), log.mark()
    broker.close()
    checkpoints.write(mark, with_header(list(snapshot.chunks(0)), **changed))
    with caplog.at_level(logging.WARNING):
        again = Broker(FileLog(tmp_path), checkpoints=checkpoints, clock=FakeClock())
    assert "ignoring a checkpoint" in caplog.text
    assert again.log_bytes > 0
    assert [message.id for message in again.messages("default")] == ids
    again.close()
