"""The thread that does the background work on messages: when it works, and what stops it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.disks import FaultyDisk
from tests.support.memory_log import MemoryLog
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.broker.housekeeping import Housekeeper
from wonderq.model.limits import UNLIMITED
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.status import WAITING
from wonderq.model.topics import Publication
from wonderq.state.columns import Columns
from wonderq_storage import FileLog, SyncPolicy

TICK_S = 0.003


class Kept:
    """A broker and its housekeeper, which is in a hurry."""

    def __init__(self, log: FileLog | MemoryLog | None = None) -> None:
        self.clock = FakeClock()
        self.log = log or MemoryLog()
        self.broker = Broker(self.log, clock=self.clock)
        self.housekeeper = Housekeeper(self.broker, tick_s=TICK_S)

    @property
    def running(self) -> bool:
        return self.housekeeper._thread.is_alive()

    def bodies(self, queue: str) -> list[str]:
        return [message.body for message in self.broker.messages(queue)]

    def close(self) -> None:
        self.housekeeper.stop()
        self.broker.close()


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept = Kept()
    kept.housekeeper.start()
    yield kept
    kept.close()


def test_old_messages_leave_a_queue_that_nobody_uses(kept: Kept) -> None:
    kept.broker.put_queue("short", retention_ms=5000)
    kept.broker.put_queue("long", retention_ms=50_000)
    for queue in ("short", "long", "default"):
        kept.broker.produce(queue, ["old"])
    kept.clock.ms += 3000
    kept.broker.produce("short", ["young"])
    kept.clock.ms += 2000
    eventually(lambda: kept.bodies("short") == ["young"])
    assert kept.bodies("long") == kept.bodies("default") == ["old"]
    assert kept.broker.counters.of("short").retention_expired == 1
    kept.clock.ms += 45_000
    eventually(lambda: kept.bodies("short") == kept.bodies("long") == [])
    assert kept.bodies("default") == ["old"]


def test_a_retention_that_is_set_later_counts_for_what_is_there(kept: Kept) -> None:
    kept.broker.produce("queue", ["old"])
    kept.clock.ms += 2000
    kept.broker.put_queue("queue", retention_ms=1000)
    eventually(lambda: kept.bodies("queue") == [])


@pytest.mark.usefixtures("woken_only")
def test_room_in_flight_that_comes_of_it_wakes_a_consumer(kept: Kept) -> None:
    kept.broker.put_queue("queue", retention_ms=5000, max_in_flight=1)
    kept.broker.produce("queue", ["old"])
    kept.broker.claim("queue")
    kept.clock.ms += 3000
    kept.broker.produce("queue", ["young"])
    waiting = Call(kept.broker.claim, "queue", wait_s=20)
    eventually(lambda: kept.broker.waiting_consumers)
    kept.clock.ms += 2000
    assert [message.body for message in waiting.result()] == ["young"]


def test_moves_go_on_and_schedules_fire(kept: Kept) -> None:
    kept.broker.put_queue("target")
    kept.broker.produce("source", [str(n) for n in range(500)])
    move_id = kept.broker.redrives.start("source", "target")
    kept.broker.schedules.put("often", cron="* * * * *", queue="jobs", body="go")
    eventually(lambda: kept.broker.redrives.get(move_id).status == "completed")
    assert len(kept.bodies("target")) == 500
    kept.clock.ms += 60_000
    eventually(lambda: "jobs" in {info.name for info in kept.broker.queues()})
    assert kept.bodies("jobs") == ["go"]


class TestIdle:
    """A turn inspects no queue if nothing is due and nothing was appended, however many queues there are."""

    @pytest.fixture
    def inspected(self, monkeypatch: pytest.MonkeyPatch) -> list[Columns]:
        """The queues that upkeep inspects."""
        found: list[Columns] = []
        next_due_ms = Columns.next_due_ms

        def noted(messages: Columns) -> int | None:
            found.append(messages)
            return next_due_ms(messages)

        monkeypatch.setattr(Columns, "next_due_ms", noted)
        return found

    @pytest.fixture
    def at_rest(self) -> Iterator[Kept]:
        """A broker whose housekeeper acts only when a test calls it."""
        kept = Kept()
        for number in range(50):
            kept.broker.put_queue(f"q{number}", max_receives=3, retention_ms=60_000)
            kept.broker.produce(f"q{number}", ["x"])
        kept.housekeeper.turn()
        kept.housekeeper.turn()
        yield kept
        kept.broker.close()

    def test_nothing_is_inspected(self, at_rest: Kept, inspected: list[Columns]) -> None:
        at_rest.housekeeper.turn()
        assert inspected == []
        at_rest.broker.produce("q7", ["y"])
        at_rest.housekeeper.turn()
        assert len(inspected) >= 51

    def test_the_end_of_a_claim_or_a_delay_is_not_missed(self, at_rest: Kept, inspected: list[Columns]) -> None:
        at_rest.broker.claim("q7", visibility_timeout_ms=5000)
        at_rest.broker.send("q8", [NewMessage("later", 7000)])
        at_rest.housekeeper.turn()
        at_rest.clock.ms += 4999
        inspected.clear()
        at_rest.housekeeper.turn()
        assert inspected == []
        at_rest.clock.ms += 1
        at_rest.housekeeper.turn()
        assert at_rest.broker.core.state.queues["q7"].messages.counts[WAITING] == 1
        at_rest.clock.ms += 2000
        at_rest.housekeeper.turn()
        assert at_rest.broker.core.state.queues["q8"].messages.counts[WAITING] == 2

    def test_the_end_of_a_retention_is_not_missed(self, at_rest: Kept) -> None:
        at_rest.clock.ms += 59_999
        at_rest.housekeeper.turn()
        assert at_rest.bodies("q7") == ["x"]
        at_rest.clock.ms += 1
        at_rest.housekeeper.turn()
        assert at_rest.bodies("q7") == []

    def test_the_end_of_a_key_is_not_missed(self, at_rest: Kept) -> None:
        at_rest.broker.send("q7", [NewMessage("once", key="k")])
        at_rest.housekeeper.turn()
        at_rest.housekeeper.turn()
        assert at_rest.broker.core.state.dedup_entries == 1
        at_rest.clock.ms += 300_000
        at_rest.housekeeper.turn()
        assert at_rest.broker.core.state.dedup_entries == 0

    def test_the_end_of_a_key_of_a_topic_is_not_missed(self, at_rest: Kept) -> None:
        topics = at_rest.broker.topics
        topics.put("orders")
        topics.publish("orders", [Publication(NewMessage("once", key="k"))])
        at_rest.housekeeper.turn()
        at_rest.housekeeper.turn()
        assert at_rest.broker.core.state.dedup_entries == 1
        at_rest.clock.ms += 300_000
        at_rest.housekeeper.turn()
        assert at_rest.broker.core.state.dedup_entries == 0

    def test_a_claim_that_ends_makes_a_dead_letter(self, at_rest: Kept) -> None:
        at_rest.broker.put_queue("q7", max_receives=1, retention_ms=0)
        at_rest.broker.claim("q7", visibility_timeout_ms=5000)
        at_rest.housekeeper.turn()
        at_rest.clock.ms += 5000
        at_rest.broker.queue("q7")  # which ends the claim, before the housekeeper comes to it
        at_rest.housekeeper.turn()
        assert at_rest.broker.count("q7", "buried") == 1

    def test_a_dead_letter_that_a_full_disk_refused_moves_once_there_is_room(self) -> None:
        kept = Kept(MemoryLog())
        kept.broker.put_queue("dead")
        kept.broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
        kept.broker.produce("q", ["x"])
        kept.broker.claim("q", visibility_timeout_ms=5000)
        kept.housekeeper.turn()
        kept.clock.ms += 5000
        kept.log.room_bytes = 0  # type: ignore[union-attr]
        kept.housekeeper.turn()
        assert kept.bodies("dead") == []
        kept.log.room_bytes = 1 << 40  # type: ignore[union-attr]
        kept.housekeeper.turn()
        assert kept.bodies("dead") == ["x"]
        kept.broker.close()

    def test_a_dead_letter_gets_its_turn_although_the_figures_are_as_before(self, at_rest: Kept) -> None:
        """One message in front of it is buried while another one comes back behind it."""
        broker, clock = at_rest.broker, at_rest.clock
        broker.put_queue("q", max_receives=1, dead_letter_queue="dead")
        first, _, third = broker.produce("q", ["first", "dead", "third"])
        broker.update("q", Target(id=first), Change(delay_ms=1000))
        broker.update("q", Target(id=third), Change(bury=True))
        broker.claim("q", visibility_timeout_ms=1000)
        clock.ms += 1000
        at_rest.housekeeper.turn()
        assert at_rest.bodies("q") == ["first", "dead", "third"], "the first one can still be claimed"
        broker.update("q", Target(id=first), Change(bury=True))
        broker.update("q", Target(id=third), Change(delay_ms=0))
        at_rest.housekeeper.turn()
        assert at_rest.bodies("q") == ["first", "third"]

    def test_many_that_are_set_aside_come_back_in_portions(self, at_rest: Kept) -> None:
        at_rest.broker.put_queue("q7", max_receives=1, retention_ms=0)
        at_rest.broker.produce("q7", [str(number) for number in range(1000)])
        at_rest.broker.claim("q7", limit=1000, visibility_timeout_ms=5000)
        at_rest.clock.ms += 5000
        messages = at_rest.broker.core.state.queues["q7"].messages
        with at_rest.broker.locked() as (_, _, now_ms):
            messages.advance(now_ms)
            messages.set_aside_next(1, lambda _: UNLIMITED, 1, 1000)
        assert messages.spent > 900
        at_rest.broker.put_queue("q7", max_receives=0)
        for _ in range(5):
            at_rest.housekeeper.turn()
        assert messages.spent == 0


def test_it_shows_whether_it_runs() -> None:
    kept = Kept()
    assert not kept.broker.counters.housekeeper_runs
    kept.housekeeper.start()
    assert kept.broker.counters.housekeeper_runs
    kept.housekeeper.stop()
    assert not kept.broker.counters.housekeeper_runs
    kept.broker.close()


def test_it_ends_when_the_log_is_closed() -> None:
    kept = Kept()
    kept.broker.put_queue("queue", retention_ms=1000)
    kept.broker.produce("queue", ["old"])
    kept.housekeeper.start()
    kept.broker.close()
    kept.clock.ms += 1000
    eventually(lambda: not kept.running)


def test_a_mistake_ends_it_and_is_loud(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> float:
        raise RuntimeError("a mistake")

    kept.broker.redrives.run = fail  # type: ignore[method-assign]
    eventually(lambda: not kept.running)
    assert not kept.broker.counters.housekeeper_runs
    [found] = [each for each in caplog.records if each.name == "wonderq.housekeeping"]
    assert found.levelno == logging.CRITICAL
    assert "restart" in found.message
    assert kept.broker.unready is None


def test_without_room_it_rests_and_goes_on_later(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    kept = Kept(log)
    kept.broker.put_queue("target")
    kept.broker.produce("source", ["a"])
    move_id = kept.broker.redrives.start("source", "target")
    log.room_bytes = 0
    kept.housekeeper.start()
    eventually(lambda: any("pauses" in each.message for each in caplog.records))
    log.room_bytes = 1 << 40
    eventually(lambda: kept.broker.redrives.get(move_id).status == "completed")
    assert kept.running
    kept.close()


def test_it_ends_with_a_log_that_has_failed(tmp_path: Path) -> None:
    disk = FaultyDisk()
    kept = Kept(FileLog(tmp_path, sync=SyncPolicy("always"), disk=disk))
    kept.broker.put_queue("queue", retention_ms=1000)
    kept.broker.produce("queue", ["old"])
    disk.fail("write", errno.EIO)
    kept.housekeeper.start()
    kept.clock.ms += 1000
    eventually(lambda: not kept.running)
    assert kept.broker.unready is not None
    kept.close()


def test_it_ends_with_a_log_that_is_damaged() -> None:
    kept = Kept()
    kept.broker.put_queue("queue", retention_ms=1000)
    kept.broker.produce("queue", ["old"])
    kept.broker.mark_damaged("memory", 0, "for a test")
    kept.clock.ms += 1000
    kept.housekeeper.start()
    eventually(lambda: not kept.running)
    assert kept.broker.is_damaged


@given(
    ages_ms=st.lists(st.integers(0, 20), min_size=1, max_size=30),
    gone=st.sets(st.integers(0, 29)),
    before_ms=st.integers(-1, 22),
)
def test_all_that_is_older_and_nothing_else(ages_ms: list[int], gone: set[int], before_ms: int) -> None:
    columns = Columns()
    produced_ms = sorted(ages_ms)
    for sequence, at_ms in enumerate(produced_ms):
        columns.produce(sequence, at_ms, 10 * sequence, [10], [])
    for sequence in gone:
        columns.delete([sequence, 1])
    young = [n for n, at_ms in enumerate(produced_ms) if n not in gone and at_ms >= before_ms]
    there = len(columns)
    end = columns.oldest_end(100, before_ms)
    if end is None:
        assert len(young) == there
    else:
        assert len(young) < there
        columns.purge(end)
    assert [view.sequence for view in columns.after(-1, 100)] == young


def test_whole_pages_that_are_older() -> None:
    columns = Columns()
    columns.produce(0, 5, 0, [1] * 10_000, [])
    columns.produce(10_000, 6, 0, [1] * 10_000, [])
    assert columns.oldest_end(1000, 5) is None
    assert columns.oldest_end(1000, 6) == 10_000
    assert columns.oldest_end(1000, 7) == 20_000


def test_a_dead_letter_that_is_moved_back_by_hand_or_buried_is_counted(kept: Kept) -> None:
    broker = kept.broker
    broker.put_queue("work", max_receives=1, dead_letter_queue="dead")
    broker.put_queue("alone", max_receives=1)
    for queue in ("work", "alone"):
        broker.produce(queue, ["a"])
        broker.claim(queue, visibility_timeout_ms=0)
        broker.claim(queue)
    assert (broker.counters.of("work").moved, broker.counters.of("alone").buried) == (1, 1)
    broker.redrives.start("dead")
    eventually(lambda: kept.bodies("work") == ["a"])
    assert broker.counters.of("dead").moved == 1


def test_a_queue_that_takes_no_message_does_not_end_it(kept: Kept) -> None:
    kept.broker.put_queue("jobs", draining=True)
    kept.broker.schedules.put("often", cron="* * * * *", queue="jobs", body="go")
    kept.clock.ms += 60_000
    eventually(lambda: kept.broker.schedules.get("often").failure)
    kept.broker.put_queue("jobs", draining=False)
    kept.clock.ms += 60_000
    eventually(lambda: kept.bodies("jobs") == ["go"])
