"""Work that may be much is done in portions: no step holds the broker's lock for more than a bounded number of units."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from wonderq.broker import queues
from wonderq.broker.broker import Broker
from wonderq.broker.core import PORTION
from wonderq.model.errors import NotClaimedError
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.status import CLAIMED, DELAYED, WAITING
from wonderq.model.topics import Subscription
from wonderq.state import lanes, record
from wonderq.state.columns import Columns
from wonderq.state.dedup import DedupTable
from wonderq.state.disposal import free
from wonderq.state.lanes import Lanes
from wonderq.state.thinned_heap import ThinnedHeap

MANY = 5 * PORTION


class Holds:
    """A lock that notes how many units of work were done in the hold that did most of it, and how often it was held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lock = threading.Lock()
        self._units = 0
        self.most = 0
        self.count = 0
        self._count_calls(monkeypatch, Columns, "_set_status")
        self._count_calls(monkeypatch, Columns, "_remove")
        self._count_calls(monkeypatch, Lanes, "update_status")
        self._count_calls(monkeypatch, Lanes, "_offer")

    def _count_calls(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        method = getattr(owner, name)

        def counted(*args: Any) -> Any:
            self._units += 1
            return method(*args)

        monkeypatch.setattr(owner, name, counted)

    def reset(self) -> None:
        self.most = self.count = 0

    def acquire(self) -> bool:
        self._units = 0
        return self._lock.acquire()

    def release(self) -> None:
        self.most = max(self.most, self._units)
        self.count += 1
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Measured:
    """A broker whose holds of its lock are measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.broker = Broker(MemoryLog(), clock=self.clock)
        self.holds = Holds(monkeypatch)
        self.broker.core.lock = self.broker.core.transaction._lock = self.holds  # type: ignore[assignment]

    def messages(self, queue: str) -> Columns:
        return self.broker.core.state.queues[queue].messages

    def send_groups(self, queue: str, count: int = MANY, **fields: Any) -> None:
        for first in range(0, count, 200):
            self.broker.send(queue, [NewMessage("x", group=f"{first + n}", **fields) for n in range(200)])

    def claim_all(self, queue: str, timeout_ms: int) -> list[str]:
        """Claim all messages; return the receipts."""
        receipts: list[str] = []
        while claimed := self.broker.claim(queue, limit=200, visibility_timeout_ms=timeout_ms):
            receipts += [message.receipt for message in claimed if message.receipt]
        return receipts

    def check(self, step: Callable[[], object], units: int = 4 * PORTION) -> None:
        """Run a step; check that it was done in several portions, none of which was large.

        A unit of the broker is at most four of the calls that are counted.
        """
        self.holds.reset()
        step()
        assert self.holds.most <= units
        assert self.holds.count >= 3


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Measured]:
    measured = Measured(monkeypatch)
    yield measured
    measured.broker.close()


def test_a_claim_that_is_made_to_expire_ends_few_others_with_it(measured: Measured) -> None:
    measured.send_groups("q")
    measured.claim_all("q", 1000)
    measured.broker.send("q", ["last"])
    [last] = measured.broker.claim("q", visibility_timeout_ms=60_000)
    measured.clock.ms += 1000
    measured.holds.reset()
    measured.broker.update("q", Target(receipt=last.receipt), Change(expire=True))
    assert measured.holds.most <= 2 * 4 * PORTION


def test_deadlines_that_are_due_together_end_in_portions(measured: Measured) -> None:
    for first in range(0, MANY, 500):
        measured.broker.send("q", [NewMessage("x", delay_ms=first + n + 1) for n in range(500)])
    measured.clock.ms += MANY
    measured.holds.reset()
    assert len(measured.broker.claim("q", limit=1)) == 1
    assert measured.holds.most <= PORTION + 10
    measured.check(measured.broker.upkeep)
    assert measured.messages("q").counts[DELAYED] == 0


def test_claims_of_many_groups_end_in_portions(measured: Measured) -> None:
    measured.send_groups("q")
    measured.claim_all("q", 1000)
    measured.clock.ms += 1000
    measured.check(measured.broker.upkeep)
    assert measured.messages("q").counts == [0, MANY, 0, 0, 0]
    assert measured.broker.counters.of("q").claims_timed_out == MANY


def test_a_consume_is_not_empty_while_a_message_is_due(measured: Measured) -> None:
    """Before the message's deadline come more void ones than a portion has."""
    sent = measured.broker.send("q", [NewMessage("x", delay_ms=n + 1) for n in range(PORTION + 100)])
    measured.broker.update_batch("q", [(Target(id=each.id), Change(bury=True)) for each in sent])
    measured.broker.send("q", [NewMessage("due", delay_ms=5000)])
    measured.clock.ms += 5000
    assert [message.body for message in measured.broker.claim("q")] == ["due"]


def test_a_purge_is_done_in_portions(measured: Measured) -> None:
    measured.send_groups("q")
    measured.check(lambda: measured.broker.purge("q"))
    counters = measured.broker.counters.of("q")
    assert (counters.calls[record.PURGE], counters.messages[record.PURGE]) == (1, MANY)
    assert len(measured.messages("q")) == 0


def test_retention_is_enforced_in_portions(measured: Measured) -> None:
    measured.broker.put_queue("q", retention_ms=1000)
    measured.send_groups("q")
    measured.clock.ms += 1000
    measured.check(measured.broker.upkeep)
    assert measured.broker.counters.of("q").retention_expired == MANY


def test_what_is_too_old_is_not_given_out_while_there_is_more_of_it(measured: Measured) -> None:
    measured.broker.put_queue("q", retention_ms=1000)
    measured.send_groups("q")
    measured.clock.ms += 999
    measured.broker.send("q", [NewMessage("young", group="young")])
    measured.clock.ms += 1
    measured.check(lambda: measured.claim_all("q", 1000))
    assert measured.messages("q").counts == [0, 0, 1, 0, 0]


def test_a_limit_of_groups_is_changed_in_portions(measured: Measured) -> None:
    measured.broker.put_queue("q", max_in_flight_per_group=1)
    measured.send_groups("q")
    measured.send_groups("q")
    measured.claim_all("q", 100_000)
    measured.holds.reset()
    measured.broker.put_queue("q", max_in_flight_per_group=2)
    assert measured.holds.most <= PORTION
    measured.check(measured.broker.upkeep)
    assert len(measured.claim_all("q", 100_000)) == MANY


def test_a_consumer_is_woken_by_a_new_limit_of_groups(measured: Measured) -> None:
    measured.broker.put_queue("q", max_in_flight_per_group=1)
    measured.broker.send("q", [NewMessage("x", group="a"), NewMessage("x", group="a")])
    assert len(measured.broker.claim("q")) == 1
    measured.broker.put_queue("q", max_in_flight_per_group=0)
    assert len(measured.broker.claim("q")) == 1, "without waiting"


def test_a_deleted_queue_is_freed_in_portions(measured: Measured) -> None:
    measured.send_groups("q")
    columns = measured.messages("q")
    measured.holds.reset()
    measured.broker.drop_queue("q")
    assert measured.holds.most == 0
    assert len(columns.lanes.by_number) == MANY
    measured.holds.reset()
    measured.broker.upkeep()
    assert measured.holds.count >= 3
    assert not columns.lanes.by_number
    assert not measured.broker.core.state.dropped


@pytest.mark.parametrize("kind", [dict.fromkeys, list, set])
def test_a_unit_of_work_frees_sixteen_items(kind: Callable[[range], Any]) -> None:
    first, second = kind(range(40)), kind(range(40))
    assert free(2, first, second) == 0
    assert (len(first), len(second)) == (8, 40)
    assert free(10, first, second) == 6
    assert not first
    assert not second


def test_expired_keys_are_forgotten_in_portions(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in range(0, MANY, 200):
        measured.broker.send("q", [NewMessage("x", key=f"{first + n}") for n in range(200)])
    measured.clock.ms += 1_000_000
    forget, forgotten = DedupTable.forget, []

    def counted(table: DedupTable, now_ms: int, most: int) -> int:
        before = len(table)
        left = forget(table, now_ms, most)
        forgotten.append(before - len(table))
        return left

    monkeypatch.setattr(DedupTable, "forget", counted)
    measured.broker.upkeep()
    assert sum(forgotten) == MANY
    assert max(forgotten) <= PORTION
    assert measured.broker.core.state.dedup_entries == 0


def test_upkeep_rests_between_portions_and_can_be_stopped(measured: Measured) -> None:
    measured.send_groups("q")
    measured.claim_all("q", 1000)
    measured.clock.ms += 1000
    rests: list[bool] = []

    def rest() -> bool:
        assert not measured.holds._lock.locked()
        rests.append(True)
        return len(rests) == 3

    measured.broker.upkeep(rest)
    assert len(rests) == 3
    assert 0 < measured.messages("q").counts[CLAIMED] < MANY


def test_messages_that_are_produced_while_a_purge_runs_stay(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = MANY + PORTION // 2  # so that the last portion has room for the new messages
    measured.send_groups("q", count)
    monkeypatch.setattr(queues, "yield_to_others", lambda: measured.broker.send("q", [NewMessage("new")]))
    assert measured.broker.purge("q") == count
    assert {message.body for message in measured.broker.messages("q")} == {"new"}


def test_keys_are_void_from_the_first_portion_of_a_purge_on(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that repeats a message while the purge runs adds it once, and it stays."""
    fresh: list[bool] = []

    def repeat() -> None:
        (result,) = measured.broker.send("q", [NewMessage("again", key="k")])
        fresh.append(not result.is_duplicate)

    measured.broker.send("q", [NewMessage("first", key="k")])
    measured.send_groups("q")
    monkeypatch.setattr(queues, "yield_to_others", repeat)
    measured.broker.purge("q", void_keys=True)
    assert fresh[0]
    assert not any(fresh[1:])
    assert [message.body for message in measured.broker.messages("q")] == ["again"]


def test_a_queue_that_is_deleted_while_a_purge_runs(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_anew() -> None:
        if len(measured.messages("q")) > 1:
            measured.broker.drop_queue("q")
            measured.broker.send("q", [NewMessage("new")])

    measured.send_groups("q")
    monkeypatch.setattr(queues, "yield_to_others", make_anew)
    assert 0 < measured.broker.purge("q") < MANY
    assert [message.body for message in measured.broker.messages("q")] == ["new"]


def test_a_claim_cannot_be_renewed_after_its_deadline_that_has_yet_to_be_ended(measured: Measured) -> None:
    measured.send_groups("q")
    receipt = measured.claim_all("q", 1000)[-1]
    measured.clock.ms += 1000
    with pytest.raises(NotClaimedError):
        measured.broker.update("q", Target(receipt=receipt), Change(visibility_timeout_ms=60_000))
    assert measured.messages("q").counts[CLAIMED] > MANY // 2, "most claims have yet to be ended"


def test_an_attempt_is_void_after_its_deadline_that_has_yet_to_be_ended(measured: Measured) -> None:
    measured.send_groups("q")
    measured.broker.send("q", [NewMessage("x", group="last")])
    while measured.messages("q").counts[WAITING] > 1:
        measured.broker.claim("q", limit=200, visibility_timeout_ms=1000)
    [before] = measured.broker.claim("q", limit=200, visibility_timeout_ms=1000, attempt_id="a")
    measured.clock.ms += 1000
    after = measured.broker.claim("q", limit=1, attempt_id="a")
    assert after[0].receipt != before.receipt
    assert after[0].id != before.id


@pytest.mark.parametrize("read", ["queues", "queue_stats"])
def test_statistics_of_many_queues_do_one_portion_at_a_time(measured: Measured, read: str) -> None:
    for number in range(20):
        measured.broker.send(f"q{number}", [NewMessage("x", delay_ms=n + 1) for n in range(200)])
    measured.clock.ms += 1000
    measured.holds.reset()
    list(getattr(measured.broker, read)())
    assert 0 < measured.holds.most <= PORTION + 10
    measured.broker.upkeep()
    assert sum(info.counts["unprocessed"] for info in measured.broker.queues()) == 20 * 200


# Lanes that no search finds a message in


PASSED = 5


def purged(broker: Broker, name: str, groups: int) -> Broker:
    broker.send(name, [NewMessage("x", group=f"g{number}") for number in range(groups)])
    broker.purge(name)
    return broker


def claimed_before_a_start(broker: Broker, name: str, groups: int) -> Broker:
    broker.send(name, [NewMessage("x", group=f"g{number}") for number in range(groups)])
    assert len(broker.claim(name, limit=groups)) == groups
    assert isinstance(broker.core.log, MemoryLog)
    return Broker(broker.core.log.after_crash(), clock=broker.core.clock)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of closed lanes that each search has passed."""
    monkeypatch.setattr(lanes, "_MOST_PASSED", PASSED)
    counts: list[int] = []
    pick, pop = Lanes.pick, ThinnedHeap.pop

    def picked(*given: Any) -> Any:
        counts.append(0)
        return pick(*given)

    def popped(heap: ThinnedHeap[Any]) -> None:
        counts[-1] += 1
        pop(heap)

    monkeypatch.setattr(Lanes, "pick", picked)
    monkeypatch.setattr(ThinnedHeap, "pop", popped)
    return counts


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("close", [purged, claimed_before_a_start])
def test_a_search_passes_few_closed_lanes_at_a_time(
    passed: list[int], close: Callable[[Broker, str, int], Broker], name: str
) -> None:
    broker = close(Broker(MemoryLog(), clock=FakeClock()), name, 50)
    broker.send(name, [NewMessage("healthy", group="healthy")])
    passed.clear()
    assert [message.body for message in broker.claim(name)] == ["healthy"]
    assert max(passed) <= PASSED + 1, "those that are closed, and the one with the message"
    assert sum(passed) >= 50
    passed.clear()
    assert broker.claim(name) == []
    assert sum(passed) <= PASSED, "they are passed once"


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_dead_letters_behind_closed_lanes_leave_without_a_consumer(passed: list[int], name: str) -> None:
    clock = FakeClock()
    broker = Broker(MemoryLog(), clock=clock)
    broker.put_queue(name, max_receives=1, dead_letter_queue="dead")
    broker.send(name, [NewMessage("x", group=f"g{number}") for number in range(50)])
    assert len(broker.claim(name, limit=50, visibility_timeout_ms=10_000)) == 50
    broker.send(name, [NewMessage("poison", group="poison")])
    assert len(broker.claim(name, visibility_timeout_ms=50)) == 1
    broker = claimed_before_a_start(broker, "other", 1)
    clock.ms += 100
    passed.clear()
    while broker.remove_dead_letters():
        pass
    assert max(passed) <= PASSED + 1, "those that are closed, and the one with the dead letter"
    assert [message.body for message in broker.messages("dead")] == ["poison"]


# Topics


def subscribe_many(measured: Measured, count: int) -> None:
    measured.broker.topics.put("orders")
    for number in range(count):
        measured.broker.put_queue(f"q{number}")
        measured.broker.topics.subscribe("orders", f"s{number}", queue=f"q{number}", filter={"kind": ["paid"]})


def test_a_deleted_topic_is_freed_in_portions(measured: Measured) -> None:
    subscribe_many(measured, 2 * PORTION + 1)
    state = measured.broker.core.state
    measured.broker.topics.delete("orders")
    [topic] = state.dropped
    assert len(topic.subscriptions) == 2 * PORTION + 1  # type: ignore[union-attr]
    assert (state.subscriptions, state.subscription_bytes) == (0, 0)
    measured.holds.reset()
    measured.broker.upkeep()
    assert measured.holds.count >= 3
    assert not state.dropped


@pytest.mark.parametrize("listing", ["topics", "subscriptions"])
def test_a_listing_takes_the_lock_for_each_item(measured: Measured, listing: str) -> None:
    subscribe_many(measured, 20)
    for number in range(19):
        measured.broker.topics.put(f"topic-{number}")
    measured.holds.reset()
    topics = measured.broker.topics
    found = topics.list() if listing == "topics" else topics.subscriptions("orders")
    assert len(found) == 20
    assert measured.holds.count >= 20


def test_the_turn_of_a_topic_in_a_snapshot_renders_nothing(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe_many(measured, 20)
    rendered: list[str] = []
    render = Subscription.to_record

    def counted(self: Subscription) -> dict[str, Any]:
        rendered.append(self.name)
        return render(self)

    monkeypatch.setattr(Subscription, "to_record", counted)
    snapshot = measured.broker.core.state.freeze()
    assert rendered == []
    assert list(snapshot.chunks(0))
    assert len(rendered) == 20
    snapshot.release()
