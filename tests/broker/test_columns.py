"""The columns against a naive model, with pages so small that every border is crossed; and what they cost."""

from __future__ import annotations

import random
import subprocess
import sys
import tracemalloc
from array import array
from itertools import islice
from pathlib import Path

import pytest

from tests.broker.naive_columns import NaiveColumns
from tests.support.needs import needs_path
from tests.support.states import small_pages, thin
from tests.support.waiting import PATIENCE_S
from wonderq.model.status import BURIED, CLAIMED, DELAYED, GONE, WAITING
from wonderq.model.times import Period
from wonderq.state import columns
from wonderq.state.columns import Columns
from wonderq.state.lanes import NO_LANE
from wonderq.state.page import IN_LANE, NO_TOKEN, PAGE_MESSAGES, MessageView, Page
from wonderq.state.record import MessageState, to_runs

HOURS_12_MS = 43_200_000


def sequences_of(runs: list[int]) -> list[int]:
    return [first + index for first, count in zip(runs[::2], runs[1::2], strict=True) for index in range(count)]


def check(real: Columns, naive: NaiveColumns) -> None:
    messages = list(naive.messages.values())
    statuses = [message.status for message in messages]
    assert real.counts == [0, *(statuses.count(status) for status in (WAITING, CLAIMED, DELAYED, BURIED))]
    assert len(real) == len(messages)
    assert real.bytes == sum(message.length for message in messages)
    assert real.next_sequence == naive.next_sequence
    assert real.oldest_ms() == (messages[0].produced_ms if messages else None)
    views = real.after(-1, 1 << 30)
    assert [view._replace(lane=NO_LANE) for view in views] == messages
    assert [view for chunk in real.walk(3) for view in chunk] == views
    assert [real.lane_of(view) for view in views] == [naive.lanes[message.sequence] for message in messages]
    deadlines = [message.due_ms for message in messages if message.status in (CLAIMED, DELAYED)]
    next_due_ms = real.next_due_ms()
    assert not deadlines or (next_due_ms is not None and next_due_ms <= min(deadlines))
    check_pages(real)
    check_lanes(real)


def check_pages(real: Columns) -> None:
    assert list(real._pages) == sorted(real._pages)
    assert real._sparse == [number for number, page in real._pages.items() if page.sequences is not None]
    ends = [(page.end - 1) >> columns.PAGE_BITS for page in real._pages.values()]  # type: ignore[attr-defined]
    assert all(end < number for end, number in zip(ends, list(real._pages)[1:], strict=False)), "pages overlap"
    for number, page in real._pages.items():
        last = page.end == real.next_sequence
        assert page.live == len(page.status) - page.status.count(GONE)
        assert page.live or last, "a page without messages is kept"
        assert page.waiting == page.status.count(WAITING)
        assert page.first >> columns.PAGE_BITS == number  # type: ignore[attr-defined]
        if page.sequences is not None:
            assert list(page.sequences) == sorted({each for each in page.sequences if each >= page.first})
            assert len(page.sequences) == len(page.status)
        assert page.listed or not page.waiting, "nobody would find these messages"
        assert not page.listed or number in real._ready._heap
        assert len(page.position) == len(page.length) == len(page.produced_ms) == len(page.status)
        assert len(page.due_ms) == len(page.token) == len(page.receives) == len(page.timeout_ms)
        assert len(page.due_ms) == len(page.first_claimed_ms)
        for index in range(len(page.status)):
            assert not (page.lane_of(index) and page.status[index] in (GONE, WAITING)), "in a lane, and not there"
            assert page.lane_of(index) or page.status[index] != IN_LANE
    assert all(real._ready._heap[(at - 1) // 2] <= real._ready._heap[at] for at in range(1, len(real._ready._heap)))


def check_lanes(real: Columns) -> None:
    lanes = real.lanes
    views = [view for view in real.after(-1, 1 << 30) if view.lane]
    assert set(lanes.by_number) == {view.lane for view in views}, "a lane is there as long as its messages"
    for lane in lanes.by_number.values():
        mine = [view for view in views if view.lane == lane.number]
        assert lane.messages == len(mine)
        assert {view.sequence for view in mine if view.status == WAITING} <= set(lane.ready)
        assert {view.sequence for view in mine if view.status == DELAYED} <= set(lane.delayed)
        assert {view.sequence for view in mine if view.status == CLAIMED} <= set(lane.claimed)
        assert max(len(lane.ready), len(lane.delayed)) <= 2 * len(mine) + 64 + 1
        assert lanes._groups[lane.group.name] is lane.group
        assert lane in lane.group.lanes
    for group in lanes._groups.values():
        numbers = {lane.number for lane in group.lanes}
        assert group.in_flight == sum(view.status == CLAIMED for view in views if view.lane in numbers)
    assert lanes.in_flight == sum(group.in_flight for group in lanes._groups.values())
    assert sum(map(len, lanes._open.values())) <= 10 * (2 * len(lanes.by_number) + 64)


def advance(real: Columns, now_ms: int, chance: random.Random) -> None:
    """Do all that is due, in portions of random sizes."""
    while real.advance(now_ms, most := chance.choice([1, 3, 10, 1 << 60])) <= 0:
        assert most < 1 << 60
    due_ms = real.next_due_ms()
    assert due_ms is None or due_ms > now_ms


def purge(real: Columns, end: int, chance: random.Random) -> None:
    """Delete all messages below ``end``, in portions of random sizes."""
    purged_end = -1
    while (portion_end := real.oldest_end(chance.choice([1, 3, 10, 100]))) is not None:
        assert portion_end > purged_end, "the portion before was not deleted"
        purged_end = portion_end
        real.purge(min(portion_end, end))
        if portion_end >= end:
            return
    real.purge(end)


KINDS = {
    "plain": ([("", 0)], False, 0),
    "urgent": ([("", 0), ("", 0), ("", 9), ("", 2)], False, 0),
    "groups": ([("", 0), ("a", 0), ("b", 0), ("b", 5), ("c", 0)], False, 0),
    "limited": ([("", 0), ("a", 0), ("b", 0), ("b", 5)], False, 2),
    "fifo": ([("a", 0), ("b", 0), ("c", 0), ("\0", 0)], True, 0),
}
"""Groups and priorities of messages, whether they are in a FIFO queue, and how many of a group may be in flight."""


@pytest.mark.parametrize(("bits", "keep_below"), [(1, 1), (2, 2), (3, 2), (3, 8), (5, 4), (12, 256)])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_any_history_gives_the_same_as_the_naive_model(
    monkeypatch: pytest.MonkeyPatch, bits: int, keep_below: int, seed: int, kind: str
) -> None:
    small_pages(monkeypatch, bits, keep_below)
    chance = random.Random(f"{seed}/{bits}/{keep_below}/{kind}")
    choices, fifo, per_group = KINDS[kind]
    real, naive = Columns(), NaiveColumns(fifo, per_group)
    real.lanes.configure(fifo=fifo, in_flight_per_group=per_group)
    now_ms, position = 1_000_000, 7
    for step in range(400):
        match chance.choice(
            [
                "produce",
                "produce",
                "claim",
                "claim",
                "delete",
                "delete",
                "change",
                "restate",
                "time",
                "thin",
                "again",
                "rare",
            ]
        ):
            case "produce":
                first, count = naive.next_sequence, chance.choice([1, 1, 2, 5, 12])
                lengths = [chance.randrange(5, 60) for _ in range(count)]
                due_ms = [now_ms + chance.choice([0, 5, 50]) for _ in range(count)] if chance.random() < 0.3 else []
                lanes = [(priority, group) for group, priority in chance.choices(choices, k=count)]
                real.produce(first, now_ms, position, lengths, due_ms, lanes if any(map(any, lanes)) else ())
                for index, length in enumerate(lengths):
                    due = due_ms[index] if due_ms and due_ms[index] > now_ms else 0
                    status = DELAYED if due else WAITING
                    place = first + index, status, position, length
                    naive.add(MessageView(*place, now_ms, 0, NO_TOKEN, due, 0, 0, 0, 0), lanes[index])
                    position += length
                naive.next_sequence += count
            case "claim":
                limit, limit_bytes = chance.choice([1, 2, 7, 100]), chance.choice([1, 40, 200, 10_000])
                allowance = chance.choice([lambda _: 1 << 30, len, lambda group: 2 - (group == "b")])
                advance(real, now_ms, chance)
                naive.advance(now_ms)
                runs = real.pick(limit, limit_bytes, allowance)
                assert runs == real.pick(limit, limit_bytes, allowance), "picking changes nothing"
                chosen = sequences_of(runs)
                assert chosen == naive.pick(limit, limit_bytes, allowance)
                timeout_ms, token = chance.choice([0, 5, 20, 1000]), step + 1
                consumer = chance.choice(["", "worker-1", "worker-2"])
                real.claim(runs, now_ms, timeout_ms, token, consumer)
                naive.claim(chosen, now_ms, timeout_ms, token, consumer)
            case "delete":
                some = chance.sample(sorted(naive.messages), min(len(naive.messages), chance.choice([1, 3, 20])))
                real.delete(to_runs(sorted(some)))
                naive.remove(some)
            case "change" if naive.messages:
                sequence = chance.choice(list(naive.messages))
                status = chance.choice([WAITING, CLAIMED, DELAYED, BURIED])
                due, timeout_ms = (0, 9) if status in (WAITING, BURIED) else (now_ms + chance.choice([1, 20, 1000]), 9)
                anew = {"receives": 0, "first_claimed_ms": 0} if status == WAITING and chance.random() < 0.5 else {}
                real.change(sequence, status, due, timeout_ms, 0 if anew else None)
                token = naive.messages[sequence].token if status == CLAIMED else NO_TOKEN
                naive.set(sequence, status=status, due_ms=due, timeout_ms=timeout_ms, token=token, **anew)
            case "restate" if naive.messages:
                some = sorted(chance.sample(list(naive.messages), min(len(naive.messages), chance.choice([1, 1, 5]))))
                lengths = [chance.randrange(5, 60) for _ in some]
                updates = chance.choice([0, 0, 1])
                produced_ms, claims = real.rewrite_fields(to_runs(some))
                if updates:
                    views = map(real.find, some)
                    claims = [real.state_of(view._replace(updates=view.updates + 1)) for view in views if view]
                real.rewrite(to_runs(some), position, produced_ms, lengths)
                for claim in claims:
                    real.rewrite_state(MessageState(*claim))
                naive.restate(some, position, lengths, updates)
                position += sum(lengths)
            case "again" if len(naive.messages) < naive.next_sequence:  # only the replay does this
                deleted = sorted(set(range(naive.next_sequence)) - set(naive.messages))
                some = sorted(chance.sample(deleted, min(len(deleted), chance.choice([1, 2, 6]))))
                lengths = [chance.randrange(5, 60) for _ in some]
                real.rewrite(to_runs(some), position, [now_ms] * len(some), lengths)
                for sequence, length in zip(some, lengths, strict=True):
                    place = sequence, WAITING, position, length
                    naive.add(MessageView(*place, now_ms, 0, NO_TOKEN, 0, 0, 0, 0, 0), (0, ""))
                    position += length
                naive.messages = dict(sorted(naive.messages.items()))
            case "thin":
                thin(real, chance.choice([1, 3, 1000]))
            case "time":
                now_ms += chance.choice([1, 5, 30, 1000])
            case "rare" if chance.random() < 0.2:
                end = chance.choice([naive.next_sequence, naive.next_sequence // 2])
                purge(real, end, chance)
                naive.remove([sequence for sequence in naive.messages if sequence < end])
            case "rare" if chance.random() < 0.5 and kind == "limited":
                naive.in_flight_per_group = per_group = chance.choice([0, 1, 2, 5])
                real.lanes.configure(fifo=fifo, in_flight_per_group=per_group)
            case "rare" if chance.random() < 0.2:
                real = loaded(real, fifo, per_group)
                naive.start_anew()
        advance(real, now_ms, chance)
        naive.advance(now_ms)
        check(real, naive)
        claimed = [view for view in real.after(-1, 1 << 30) if real.consumer_of(view)]
        assert {view.sequence: real.consumer_of(view) for view in claimed} == naive.consumers
        assert {view.token for view in claimed} == set(real.claim_names.by_token), (
            "a name is there as long as its claim"
        )
    for sequence in range(-1, naive.next_sequence + 2):
        view = real.find(sequence)
        assert (view and view._replace(lane=NO_LANE)) == naive.messages.get(sequence)
    for asked in (None, WAITING, CLAIMED, DELAYED, BURIED):
        wanted = [message.sequence for message in naive.messages.values() if asked in (None, message.status)]
        for after in range(-1, naive.next_sequence, max(naive.next_sequence // 20, 1)):
            found = [view.sequence for view in real.after(after, 3, asked)]
            assert found == list(islice((sequence for sequence in wanted if sequence > after), 3))
            found = [view.sequence for view in real.before(after, 3, asked)]
            assert found == list(islice((sequence for sequence in reversed(wanted) if sequence < after), 3))
        assert [view.sequence for view in real.before(naive.next_sequence, 1 << 30, asked)] == wanted[::-1]


def loaded(real: Columns, fifo: bool, per_group: int) -> Columns:
    """Return the same messages, loaded from what a checkpoint would have of them."""
    again = Columns()
    again.lanes.configure(fifo=fifo, in_flight_per_group=per_group)
    again.load(
        [Page.load(page.dump()) for page in real._pages.values()],
        [lane.definition for lane in real.lanes.by_number.values()],
        real.claim_names.rows(),
    )
    again.next_sequence = real.next_sequence
    return again


def test_a_page_made_again_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch, 3, 2)
    real = Columns()
    for sequence in range(0, 6, 2):  # the page is freed and made again, and each time listed as ready
        real.produce(sequence, 1, 1, [10, 10], [])
        real.delete([sequence, 2])
        assert not real._pages
    real.produce(6, 1, 1, [10, 10, 10], [])
    for _ in range(3):
        assert sequences_of(real.pick(10, 1000)) == [6, 7, 8]
    real.claim([6, 1], 1, 9, 1)
    assert sequences_of(real.pick(10, 1000)) == [7, 8]
    assert sorted(real._ready._heap) == [0, 1], "duplicates go when they are met"
    check_pages(real)


def test_pages_of_deleted_messages_are_freed() -> None:
    real = Columns()
    sequence = 0
    for _ in range(100):
        real.produce(sequence, 1, 1, [10] * 1000, [])
        sequence += 1000
        runs = real.pick(1000, 1 << 20)
        real.claim(runs, 1 << 40, 9, 1)
        real.delete(runs)
        assert len(real._pages) <= 1
    assert real.counts == [0, 0, 0, 0, 0]
    assert real.bytes == 0


def test_a_queue_that_stays_nearly_empty_keeps_one_page() -> None:
    real = Columns()
    real.produce(0, 1, 1, [10], [])
    page = real._pages[0]
    real.delete([0, 1])
    for sequence in range(1, 200):
        real.produce(sequence, 1, 1, [10], [])
        real.delete([sequence, 1])
    assert real._pages == {0: page}


def test_what_is_never_claimed_leaves_no_trace_either() -> None:
    real = Columns()
    for round_ in range(2000):
        real.produce(round_ * 256, 1, 1, [10] * 256, [])
        real.purge(real.next_sequence)
    assert len(real._pages) <= 1
    assert len(real._ready._heap) <= 200


def deadlines_of(real: Columns) -> list[tuple[int, int, int]]:
    """All deadlines, with the first message and the number of messages of each; also void ones."""
    heaps = real._deadlines._by_page.values()
    return sorted((each >> 76, each >> 12 & (1 << 64) - 1, (each & 4095) + 1) for heap in heaps for each in heap)


@pytest.mark.parametrize("batch", [1, 10])
def test_deadlines_of_deleted_messages_do_not_pile_up(batch: int) -> None:
    real = Columns()
    for now_ms in range(50_000 // batch):
        first = real.next_sequence
        real.produce(first, now_ms, 1, [10] * batch, [])
        runs = real.pick(batch, 1 << 20)
        real.claim(runs, now_ms, HOURS_12_MS, 1)
        real.delete(runs)
        assert len(deadlines_of(real)) <= 20
        assert len(real._deadlines._pages) <= 100


@pytest.mark.parametrize("delete", [True, False])
def test_void_deadlines_are_rarely_cleared_away_and_of_one_page_at_a_time(
    monkeypatch: pytest.MonkeyPatch, delete: bool
) -> None:
    """Clearing reads a page, so there must have been work on many of its messages."""
    real = Columns()
    real.produce(0, 0, 1, [10] * (40 * columns.PAGE_MESSAGES), [])  # type: ignore[attr-defined]
    cleared: list[int] = []
    rebuild = real._deadlines.rebuild
    monkeypatch.setattr(real._deadlines, "rebuild", lambda page: (cleared.append(page.first), rebuild(page)))
    done = 0
    while done < 20 * columns.PAGE_MESSAGES:  # type: ignore[attr-defined]
        [first, count] = real.pick(1, 1 << 20)
        real.claim([first, count], 0, HOURS_12_MS, 1)
        if delete:
            real.delete([first, count])
        else:
            real.change(first, WAITING, 0, 0)
        done += 1
    assert 0 < len(cleared) < done / 150


def test_one_left_of_each_large_claim() -> None:
    real = Columns()
    left: list[int] = []
    for now_ms in range(300):
        first = real.next_sequence
        real.produce(first, now_ms, 1, [10] * 1000, [])
        runs = real.pick(1000, 1 << 20)
        assert runs[0] == first
        real.claim(runs, now_ms, HOURS_12_MS, now_ms + 1)
        keep = first + now_ms % 1000
        real.delete(to_runs(s for s in range(first, first + 1000) if s != keep))
        left.append(keep)
        assert len(deadlines_of(real)) <= 2 * len(left) + 8 * len(real._pages)
    for now_ms, sequence in enumerate(left):
        real.advance(now_ms + HOURS_12_MS)
        assert sequences_of(real.pick(1000, 1 << 20)) == left[: now_ms + 1], "the deadline of the one left still counts"
        assert sequence == left[now_ms]
    assert real.next_due_ms() is None


def test_renewing_again_and_again() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 3, [])
    real.claim([0, 3], 0, HOURS_12_MS, 1)
    for now_ms in range(1, 50_000):
        real.change(now_ms % 3, CLAIMED, now_ms + HOURS_12_MS, HOURS_12_MS)
        assert len(real._deadlines._by_page[0]) <= 512
        assert len(real._deadlines._pages) <= 100
    real.advance(49_997 + HOURS_12_MS - 1)
    assert real.counts[CLAIMED] == 3
    real.advance(49_998 + HOURS_12_MS)
    assert real.counts[CLAIMED] == 1
    real.advance(49_999 + HOURS_12_MS)
    assert real.counts == [0, 3, 0, 0, 0]


def test_pick_stays_within_its_bytes() -> None:
    real = Columns()
    real.produce(0, 1, 1, [500, 100, 100, 100, 100], [])
    assert real.pick(10, 499) == [0, 1], "the first comes alone, however large"
    assert real.pick(10, 500) == [0, 1]
    assert real.pick(10, 600) == [0, 2]
    assert real.pick(10, 799) == [0, 3]
    real.claim([0, 1, 2, 1], 1, 9, 1)
    assert real.pick(10, 250) == [1, 1, 3, 1]
    assert real.pick(10, 100) == [1, 1]
    assert real.pick(2, 1000) == [1, 1, 3, 1]


def test_what_comes_back_goes_before_younger_messages() -> None:
    real = Columns()
    real.produce(0, 1, 1, [10] * 9000, [])
    real.claim([0, 9000], 1, 49, 1)
    for sequence in (8500, 4100, 17):
        real.change(sequence, WAITING, 0, 49)
    assert sequences_of(real.pick(10, 1000)) == [17, 4100, 8500]
    real.advance(50)
    assert real.pick(10_000, 1 << 20) in ([0, 9000], [0, 4096, 4096, 4096, 8192, 808])


def test_a_waiting_message_costs_at_most_64_bytes() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        real = Columns()
        for first in range(0, 1_000_000, 1000):
            real.produce(first, 1_700_000_000_000, first * 100, [106] * 1000, [])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(real) == 1_000_000
    assert (after - before) / 1_000_000 <= 64


_GROWTH = """
import os, sys
from pathlib import Path
from wonderq_storage import FileLog, SyncPolicy
from wonderq.broker.broker import Broker

def rss_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

broker = Broker(FileLog(Path(sys.argv[1]), sync=SyncPolicy("os")))
batch = int(sys.argv[2])
broker.produce("default", ["x" * 100] * batch)
before = rss_bytes()
for _ in range(1_000_000 // batch):
    broker.produce("default", ["x" * 100] * batch)
print(rss_bytes() - before, broker.count("default", "unprocessed"))
broker.close()
"""


@pytest.mark.slow
@needs_path("/proc/self/statm")
def test_a_million_waiting_messages_take_at_most_64_mb(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _GROWTH, str(tmp_path), "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    growth, count = map(int, done.stdout.split())
    assert count == 1_001_000
    assert growth <= 64_000_000
    assert growth >= 10_000_000, "nothing was measured"


def test_a_delayed_batch_is_one_deadline() -> None:
    messages = Columns()
    messages.produce(0, 10, 100, [5] * 3000, [50] * 1000 + [0] * 1000 + [60] * 1000)
    assert deadlines_of(messages) == [(50, 0, 1000), (60, 2000, 1000)]
    assert messages.counts == [0, 1000, 0, 2000, 0]
    messages.advance(50)
    assert messages.counts == [0, 2000, 0, 1000, 0]
    assert messages.pick(5000, 1 << 20) == [0, 2000]


def portions(real: Columns, now_ms: int, most: int) -> list[int]:
    """Do all that is due in portions of ``most`` units; return the number of messages that each made available."""
    ended = []
    while True:
        before = real.counts[WAITING]
        left = real.advance(now_ms, most)
        ended.append(real.counts[WAITING] - before)
        if left > 0:
            return ended


def test_a_portion_ends_few_deadlines_however_many_are_due() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 20_000, list(range(1, 20_001)))
    ended = portions(real, 20_000, 400)
    assert sum(ended) == 20_000
    assert max(ended) <= 400


def test_a_run_of_grouped_messages_is_split() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 5000, [], [(0, f"group {number}") for number in range(5000)])
    real.claim([0, 5000], 0, 10, 1)
    ended = portions(real, 10, 400)
    assert sum(ended) == 5000
    assert max(ended) <= 400
    assert len(ended) <= 5000 // 390 + 1


def test_a_run_of_plain_messages_is_cheap() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 100_000, [10] * 100_000)
    ended = portions(real, 10, 400)
    assert sum(ended) == 100_000
    assert max(ended) <= 64 * 400 + columns.PAGE_MESSAGES  # type: ignore[attr-defined]


def test_void_deadlines_count_as_work() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 2000, list(range(1, 2001)))
    for sequence in range(2000):
        real.change(sequence, BURIED, 0, 0)
    due = len(deadlines_of(real))
    assert due > 500
    assert len(portions(real, 2000, 100)) >= due // 100
    assert real.next_due_ms() is None


@pytest.mark.parametrize("grouped", [True, False])
def test_a_purge_has_bounded_portions(grouped: bool) -> None:
    real = Columns()
    lanes = [(0, f"group {number}") for number in range(20_000)] if grouped else []
    real.produce(0, 0, 1, [10] * 20_000, [], lanes)
    while (end := real.oldest_end(50)) is not None:
        before = len(real)
        real.purge(end)
        assert 0 < before - len(real) <= (50 if grouped else 2 * columns.PAGE_MESSAGES)  # type: ignore[attr-defined]
    assert len(real) == 0


def test_a_new_limit_opens_groups_in_portions() -> None:
    real = Columns()
    real.lanes.configure(fifo=False, in_flight_per_group=1)
    real.produce(0, 0, 1, [10] * 2000, [], [(0, f"group {number // 2}") for number in range(2000)])
    real.claim([each for first in range(0, 2000, 2) for each in (first, 1)], 0, 1000, 1)
    assert real.pick(10, 1000) == []
    real.lanes.configure(fifo=False, in_flight_per_group=2)
    assert real.next_due_ms() == 0, "a consumer that waits must not sleep until the next deadline"
    assert real.advance(1, 100) == 0
    assert len(sequences_of(real.pick(10_000, 1 << 20))) == 100
    assert portions(real, 1, 100) == [0] * 10
    assert len(sequences_of(real.pick(10_000, 1 << 20))) == 1000
    assert real.next_due_ms() == 1000


def test_a_deleted_queue_is_freed_in_portions() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 5000, list(range(1, 5001)), [(0, f"group {number // 2}") for number in range(5000)])
    real.produce(5000, 0, 1, [10] * 5000, [])
    turns = 0
    while real.free(100) <= 0:
        turns += 1
    assert turns >= 25
    assert not real._pages
    assert not real.lanes.by_number
    assert not real.lanes._groups
    assert not real._deadlines._by_page


def test_pages_whose_deadlines_get_earlier_and_earlier_keep_them_all() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 3000, [])
    for sequence in range(3000):
        real.claim([sequence, 1], 0, 10_000 - sequence, 1)
    for now_ms in (7_001, 8_000, 10_000):
        assert len(portions(real, now_ms, 100)) < 100
        assert real.counts[WAITING] == now_ms - 7_000


@pytest.mark.parametrize("sparse", [False, True])
def test_messages_are_found_at_their_positions_on_all_pages(sparse: bool) -> None:
    """Compaction copies what is found: a message that is passed over would be lost with its segment."""
    real = Columns()
    count = 3 * PAGE_MESSAGES
    real.produce(0, 1, 0, [10] * count, [])
    left = range(0, count, 100) if sparse else range(count)
    if sparse:
        real.delete(to_runs(sequence for sequence in range(count) if sequence % 100))
        start: int | None = 0
        while start is not None:
            start, _ = real.thin(start, 1 << 20)
    found = list(real.find_at_positions([0, count], array("Q", range(0, 10 * count, 10))))
    assert [sequence for _, first, several in found for sequence in range(first, first + several)] == list(left)
    assert all(place == first for place, first, _ in found)


def test_deadlines_of_deleted_messages_do_not_gather() -> None:
    """A page with one message that stays does not keep the deadlines of all that it had."""
    real = Columns()
    real.produce(0, 0, 1, [10] * PAGE_MESSAGES, [10 * sequence for sequence in range(PAGE_MESSAGES)])
    for sequence in range(1, PAGE_MESSAGES):
        real.delete([sequence, 1])
    assert len(real._deadlines._by_page.get(0, ())) <= 10


def test_lanes_that_are_gone_leave_the_heap_of_open_lanes_in_portions() -> None:
    real = Columns()
    real.produce(0, 0, 1, [10] * 5000, [], [(0, f"group {number}") for number in range(5000)])
    real.delete([10, 4980])
    asked: list[int] = []
    heap = real.lanes._open[0]
    is_valid = heap._is_valid
    heap._is_valid = lambda entry: bool(asked.append(entry[1])) or is_valid(entry)
    for sequence in range(5000, 7000):
        before = len(asked)
        real.produce(sequence, 0, 1, [10], [], [(0, "another")])
        real.delete([sequence, 1])
        assert len(asked) - before <= 4
    assert len(heap) <= 200
    wanted = [*range(10), *range(4990, 5000)]
    assert sequences_of(real.pick(100, 10_000)) == wanted


@pytest.mark.parametrize(("since_ms", "until_ms"), [(300, 400), (None, 50), (900, None), (2000, None)])
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("bits", [1, 3])
def test_pages_of_other_times_are_passed_and_no_message_of_the_period(
    monkeypatch: pytest.MonkeyPatch, bits: int, newest_first: bool, since_ms: int | None, until_ms: int | None
) -> None:
    small_pages(monkeypatch, bits, 2)
    chance, real, period = random.Random(bits), Columns(), Period(since_ms, until_ms)
    times: list[int] = []
    for sequence in range(300):
        times.append(sequence * 3 + chance.randrange(40))  # they do not always ascend
        real.produce(sequence, times[-1], sequence, [10], [])
    gone = {sequence for sequence in range(300) if chance.random() < 0.6}
    real.delete(to_runs(sorted(gone)))
    thin(real)
    expected = [sequence for sequence in range(300) if sequence not in gone and period.has(times[sequence])]
    found: list[int] = []
    sequence, find = (real.next_sequence, real.before) if newest_first else (-1, real.after)
    while True:
        sequence = real.pass_pages(sequence, period, 3, newest_first=newest_first)
        views = find(sequence, 2)
        if not views:
            break
        found += [view.sequence for view in views if period.has(view.produced_ms)]
        sequence = views[-1].sequence
    assert found == (expected[::-1] if newest_first else expected)
    most = real.pass_pages(-1, Period(since_ms=2000), 1 << 30, newest_first=False)
    assert (most == real.next_sequence - 1) or not real.after(most, 1), "all pages are passed at once"
