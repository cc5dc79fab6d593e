"""A produce with a remembered key adds nothing, and its answer names the first message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.conftest import Lasting
from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.errors import MessageNotFoundError, TooManyKeysError
from wonderq.model.limits import Limits
from wonderq.model.messages import NewMessage, SendResult, Target
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS, RANGES
from wonderq.state import record
from wonderq.state.dedup import DedupTable
from wonderq.state.replay import replay_log
from wonderq_storage import Position


def send(lasting: Lasting, *keys: str, queue: str = "q", group: str = "") -> list[SendResult]:
    return list(lasting.broker.send(queue, [NewMessage(f"body {key}", key=key, group=group) for key in keys]))


def bodies(lasting: Lasting, queue: str = "q") -> list[str]:
    return [message.body for message in lasting.broker.messages(queue)]


def test_the_same_key_again_adds_nothing(lasting: Lasting) -> None:
    (first,) = send(lasting, "k")
    lasting.clock.ms += DEDUPLICATION_WINDOW_MS - 1
    lasting.again()
    assert send(lasting, "k") == [first._replace(is_duplicate=True)]
    assert not first.is_duplicate
    assert bodies(lasting) == ["body k"]


def test_a_key_is_forgotten_at_the_end_of_its_window(lasting: Lasting) -> None:
    (first,) = send(lasting, "k")
    lasting.clock.ms += DEDUPLICATION_WINDOW_MS - 1
    assert send(lasting, "k")[0].is_duplicate, "and that it was asked for again makes it no younger"
    lasting.again()
    lasting.clock.ms += 1
    (second,) = send(lasting, "k")
    assert not second.is_duplicate
    assert second.id != first.id
    assert bodies(lasting) == ["body k", "body k"]


def test_a_key_is_remembered_when_its_message_is_gone(lasting: Lasting) -> None:
    (first,) = send(lasting, "k")
    lasting.broker.delete("q", Target(id=first.id))
    lasting.again()
    assert send(lasting, "k") == [first._replace(is_duplicate=True)]
    lasting.broker.purge("q")
    lasting.again()
    assert send(lasting, "k") == [first._replace(is_duplicate=True)]
    assert bodies(lasting) == []
    with pytest.raises(MessageNotFoundError):
        lasting.broker.get("q", first.id)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_purge_that_voids_keys(lasting: Lasting, deleted: bool) -> None:
    """`PurgeQueue` of SQS: the keys of the messages before it can be used again."""
    (first,) = send(lasting, "k")
    if deleted:
        lasting.broker.delete("q", Target(id=first.id))
    assert lasting.broker.purge("q", void_keys=True) == (not deleted)
    lasting.again()
    (second,) = send(lasting, "k")
    assert (second.is_duplicate, second.id == first.id) == (False, False)
    lasting.again()
    assert send(lasting, "k") == [second._replace(is_duplicate=True)], "a key used after the purge is remembered"
    assert bodies(lasting) == ["body k"]
    lasting.broker.purge("q", void_keys=True)
    assert not send(lasting, "k")[0].is_duplicate


def test_a_purge_voids_keys_with_the_longest_window(lasting: Lasting) -> None:
    longest_ms = RANGES["deduplication_window_ms"][1]
    lasting.broker.put_queue("q", deduplication_window_ms=longest_ms)
    send(lasting, "k")
    lasting.broker.put_queue("q", deduplication_window_ms=1000)
    lasting.broker.purge("q", void_keys=True)
    lasting.clock.ms += longest_ms - 1
    lasting.again()
    assert not send(lasting, "k")[0].is_duplicate


def test_a_purge_of_a_queue_without_keys_remembers_nothing(lasting: Lasting) -> None:
    lasting.broker.produce("q", ["x"])
    lasting.broker.purge("q", void_keys=True)
    assert lasting.broker.core.state.dedup_entries == 0


def test_the_same_key_twice_in_one_batch_is_one_message(lasting: Lasting) -> None:
    one, two, three, four = send(lasting, "k", "l", "k", "")
    assert [each.is_duplicate for each in (one, two, three, four)] == [False, False, True, False]
    assert three == one._replace(is_duplicate=True)
    lasting.again()
    assert bodies(lasting) == ["body k", "body l", "body "]
    assert [each.is_duplicate for each in send(lasting, "l", "m", "k")] == [True, False, True]
    assert bodies(lasting) == ["body k", "body l", "body ", "body m"]


def test_a_batch_of_duplicates_alone_adds_nothing(lasting: Lasting) -> None:
    send(lasting, "k", "l")
    written = lasting.again().log_bytes
    assert all(each.is_duplicate for each in send(lasting, "l", "k", "l"))
    assert lasting.broker.log_bytes == written


def test_a_full_queue_still_knows_its_keys(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_messages=1)
    send(lasting, "k")
    lasting.again()
    assert send(lasting, "k")[0].is_duplicate


def test_each_queue_has_keys_of_its_own(lasting: Lasting) -> None:
    send(lasting, "k")
    lasting.again()
    assert not send(lasting, "k", queue="r")[0].is_duplicate


def test_a_queue_of_the_same_name_knows_nothing_of_the_one_before(lasting: Lasting) -> None:
    send(lasting, "k")
    lasting.broker.drop_queue("q")
    lasting.again()
    assert not send(lasting, "k")[0].is_duplicate
    assert lasting.again().core.state.dedup_entries == 1


@pytest.mark.parametrize("per_group", [False, True])
def test_groups_have_keys_of_their_own_if_that_is_wanted(lasting: Lasting, per_group: bool) -> None:
    lasting.broker.put_queue("q.fifo", deduplication_per_group=per_group)
    send(lasting, "k", queue="q.fifo", group="g")
    lasting.again()
    assert send(lasting, "k", queue="q.fifo", group="g")[0].is_duplicate
    assert send(lasting, "k", queue="q.fifo", group="h")[0].is_duplicate != per_group


def test_contents_can_be_the_key(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", content_deduplication=True)
    first, again = lasting.broker.produce("q", ["same", "same"])
    assert first == again
    lasting.again()
    lasting.broker.produce("q", ["same", "other"])
    (keyed, same) = lasting.broker.send("q", [NewMessage("same", key="k"), NewMessage("same", priority=3)])
    assert not keyed.is_duplicate, "a key that is given comes before that of the contents"
    assert same == SendResult(first, 0, True)
    assert bodies(lasting) == ["same", "other", "same"]


def test_the_window_can_be_set(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", deduplication_window_ms=2_000)
    send(lasting, "k")
    lasting.again()
    lasting.clock.ms += 1_999
    assert send(lasting, "k")[0].is_duplicate
    lasting.clock.ms += 1
    assert not send(lasting, "k")[0].is_duplicate


def test_a_refused_batch_leaves_no_keys(lasting: Lasting) -> None:
    lasting.broker.put_queue("q", max_messages=1)
    with pytest.raises(Exception, match="max_messages"):
        send(lasting, "k", "l")
    lasting.again()
    assert not send(lasting, "k")[0].is_duplicate


def test_so_many_keys_and_no_more_and_room_again_when_they_are_forgotten(lasting: Lasting) -> None:
    lasting.limit(Limits(total_keys=3))
    send(lasting, "a", "b")
    send(lasting, "c", queue="r")
    lasting.again()
    with pytest.raises(TooManyKeysError):
        send(lasting, "d")
    assert send(lasting, "a")[0].is_duplicate, "what is known costs nothing more"
    assert not send(lasting, "")[0].is_duplicate, "nor does a message without a key"
    lasting.clock.ms += DEDUPLICATION_WINDOW_MS
    lasting.again()
    assert not send(lasting, "d", "a", "b")[0].is_duplicate
    assert lasting.broker.core.state.dedup_entries == 3


def test_keys_that_have_ended_take_no_memory_in_a_queue_that_nobody_uses_any_more(lasting: Lasting) -> None:
    send(lasting, "a", "b")
    lasting.clock.ms += 1_000
    send(lasting, "c", queue="r")
    lasting.again()
    lasting.clock.ms += DEDUPLICATION_WINDOW_MS - 1_000
    lasting.broker.upkeep()
    assert [len(lasting.broker.core.state.queues[queue].dedup) for queue in "qr"] == [0, 1]
    assert lasting.broker.core.state.dedup_entries == 1


def test_keys_that_are_renewed_leave_nothing_behind(lasting: Lasting) -> None:
    """The same holds for messages that compaction rewrites."""
    for n in range(3):
        send(lasting, *(f"{n}.{each}" for each in range(20)))
        for _ in range(4):
            lasting.again()
        lasting.clock.ms += DEDUPLICATION_WINDOW_MS
    send(lasting, "last")
    memory = lasting.broker.core.state.queues["q"].dedup
    assert len(memory) == len(memory._due) == lasting.broker.core.state.dedup_entries == 1


def test_thousands_of_keys_are_restated_a_little_at_a_time(lasting: Lasting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is let go in between, and what is asked then has its answer."""
    for n in range(3):
        send(lasting, *(f"{n}.{each}".ljust(100) for each in range(1_000)))
    broker, held = lasting.broker, []
    commit = broker.core.append_and_apply

    def noted(*records: record.Record, leave: int | None = None) -> Position:
        held.append(sum(len(each.rows) for each in records if isinstance(each, record.Dedup)))
        if lasting.way == "compacted" and len(held) == 3:
            broker.core.lock.release()
            try:
                assert send(lasting, "0.7".ljust(100))[0].is_duplicate
            finally:
                broker.core.lock.acquire()
        return commit(*records, leave=leave)

    monkeypatch.setattr(broker.core, "append_and_apply", noted)
    lasting.again()
    assert max(held, default=0) < 1_000
    for n in range(3):
        assert all(each.is_duplicate for each in send(lasting, *(f"{n}.{each}".ljust(100) for each in range(1_000))))
    assert lasting.broker.core.state.dedup_entries == 3_000


# Keys that look alike


def key_of(message: NewMessage, *, per_group: bool) -> tuple[object, ...]:
    """Return what two messages have to have in common to be duplicates."""
    return (message.key, message.key_of_batch, message.group if per_group else None)


#: Short texts of the characters that a separator could be, so that many of them look alike.
_texts = st.text(alphabet="\0/:01kgs", max_size=4) | st.text(max_size=4)
_keyed = st.tuples(_texts.filter(bool), _texts, st.booleans()).map(
    lambda parts: NewMessage("x", key=parts[0], group=parts[1], key_of_batch=parts[2])
)


@given(st.lists(st.tuples(_keyed, st.booleans()), min_size=2, max_size=6))
def test_only_equal_keys_are_duplicates(steps: list[tuple[NewMessage, bool]]) -> None:
    """Also after ``deduplication_per_group`` was changed in between."""
    broker = Broker(MemoryLog())
    seen: set[tuple[object, ...]] = set()
    for message, per_group in steps:
        broker.put_queue("q", deduplication_per_group=per_group)
        [sent] = broker.send("q", [message])
        assert sent.is_duplicate == (key_of(message, per_group=per_group) in seen)
        seen.add(key_of(message, per_group=per_group))
    broker.close()


@given(st.lists(_texts.filter(bool), min_size=3, max_size=3), st.sampled_from(["", "\0", "/", ":", "0:", "s"]))
def test_a_group_and_a_key_are_not_taken_for_others_that_join_to_the_same(parts: list[str], between: str) -> None:
    one, two, three = parts
    messages = [
        NewMessage("x", group=one, key=f"{two}{between}{three}"),
        NewMessage("x", group=f"{one}{between}{two}", key=three),
    ]
    broker = Broker(MemoryLog())
    broker.put_queue("q", deduplication_per_group=True)
    assert not any(each.is_duplicate for each in broker.send("q", messages))
    broker.put_queue("q", deduplication_per_group=False)
    single = NewMessage("x", key=f"{one}{between}{two}{between}{three}")
    assert not any(each.is_duplicate for each in broker.send("q", [single]))
    broker.close()


@pytest.mark.parametrize("per_group", [False, True])
def test_a_key_that_an_earlier_program_remembered_is_remembered_on(lasting: Lasting, per_group: bool) -> None:
    lasting.broker.put_queue("q", deduplication_per_group=per_group)
    number = lasting.broker.core.state.queues["q"].number
    key = "mg\0k" if per_group else "mk"
    with lasting.broker.locked() as (_, append_and_apply, now_ms):
        append_and_apply(record.Dedup(record.DEDUP, now_ms, number, [(key, 7, now_ms + 1_000)]))
    lasting.again()
    [again] = send(lasting, "k", group="g")
    assert (again.is_duplicate, again.sequence) == (True, 7)
    lasting.clock.ms += 1_000
    lasting.again()
    assert not send(lasting, "k", group="g")[0].is_duplicate


@pytest.mark.parametrize("per_group", [False, True])
def test_a_purge_voids_keys_that_an_earlier_program_remembered(lasting: Lasting, per_group: bool) -> None:
    lasting.broker.put_queue("q", deduplication_per_group=per_group)
    send(lasting, "another", group="g")
    number = lasting.broker.core.state.queues["q"].number
    key = "mg\0k" if per_group else "mk"
    with lasting.broker.locked() as (_, append_and_apply, now_ms):
        append_and_apply(record.Dedup(record.DEDUP, now_ms, number, [(key, 0, now_ms + 1_000)]))
    assert send(lasting, "k", group="g")[0].is_duplicate
    lasting.broker.purge("q", void_keys=True)
    lasting.again()
    assert not send(lasting, "k", group="g")[0].is_duplicate


# Replay


def test_a_process_that_reads_along_forgets_the_keys_that_expire() -> None:
    """A stand-by replays for weeks, and nobody else removes what has expired from its memory."""
    log, clock = MemoryLog(), FakeClock()
    broker = Broker(log, clock=clock)
    broker.put_queue("q", deduplication_window_ms=1000)
    for number in range(3000):
        broker.send("q", [NewMessage("x", key=f"key {number}")])
        clock.advance(0.1)
    broker.close()
    state, _ = replay_log(log.after_crash())
    assert 10 <= state.dedup_entries <= 3000 - 2048 + 10


def test_a_replay_looks_for_expired_keys_in_proportion_to_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start with many queues would otherwise look at each of them after every thousand records."""
    log, queues, records = MemoryLog(), 2000, 4000
    broker = Broker(log, clock=FakeClock())
    for number in range(queues):
        broker.put_queue(f"q{number}")
    for _ in range(records):
        broker.produce("q1", ["x"])
    broker.close()
    looked = 0

    def forget(_table: DedupTable, _now_ms: int, most: int) -> int:
        nonlocal looked
        looked += 1
        return most

    monkeypatch.setattr(DedupTable, "forget", forget)
    replay_log(log.after_crash())
    assert looked <= queues + records
