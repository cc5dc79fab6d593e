"""Fibers: calls that wait make way for others, and go on when what they wait for has come, or can no longer come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import groups_in, segment_files
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.broker.broker import Broker
from wonderq.runtime.durability import DurabilityWaiter
from wonderq.runtime.fibers import Event, Hub, begin_action, has_acted, note_action
from wonderq.runtime.offload import BlockingPool
from wonderq_storage import FileLog, LogClosedError, LogFailedError

#: Longer than any test waits: a wait that ends only when this is over is a failure.
LONG_S = 4 * PATIENCE_S


class Loop:
    """Event loop of a server for a hub: it runs the hub when it is due, and when it is interrupted."""

    def __init__(self) -> None:
        self.interrupts = threading.Semaphore(0)
        self.hub = Hub(self.interrupts.release)

    def until(self, condition: Callable[[], Any], *, look_after_s: float = 0.01) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end
            due_s = self.hub.run()
            if not condition():
                self.interrupts.acquire(timeout=look_after_s if due_s is None else min(due_s, look_after_s))


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def hub(loop: Loop) -> Hub:
    return loop.hub


def test_whoever_waits_makes_way_for_others(hub: Hub) -> None:
    seen, event = [], Event()

    def first() -> None:
        seen.append("first")
        event.wait(PATIENCE_S)
        seen.append("first again")

    hub.spawn(first)
    hub.spawn(lambda: seen.append("second"))
    hub.run()
    assert seen == ["first", "second"]
    hub.run()
    event.set()
    assert hub.run() is not None  # a timer is left
    assert seen == ["first", "second", "first again"]


def test_an_event_that_is_set_is_not_waited_for(hub: Hub) -> None:
    seen, event = [], Event()
    event.set()

    def wait() -> None:
        event.wait(PATIENCE_S)
        seen.append(event.is_set())
        event.clear()
        event.wait(0.001)
        seen.append(event.is_set())

    hub.spawn(wait)
    hub.run()
    assert seen == [True]
    time.sleep(0.002)
    hub.run()
    assert seen == [True, False]


def test_another_thread_wakes_the_loop(loop: Loop) -> None:
    seen, event = [], Event()

    def wait() -> None:
        event.wait(LONG_S)
        seen.append(event.is_set())

    loop.hub.spawn(wait)
    loop.hub.run()
    other = threading.Timer(0.05, event.set)
    other.start()
    # Without an interrupt the loop would sleep past its patience, and fail.
    loop.until(lambda: seen, look_after_s=LONG_S)
    other.join()
    assert seen == [True]


def test_a_thread_can_wait_for_an_event_too() -> None:
    event = Event()
    other = threading.Timer(0.05, event.set)
    other.start()
    event.wait(PATIENCE_S)
    other.join()
    assert event.is_set()


def test_a_wake_up_that_comes_too_late_means_nothing(hub: Hub) -> None:
    seen = []

    def sleep_twice() -> None:
        fiber = hub.current()
        assert fiber is not None
        seen.append((fiber, fiber.sleeps))
        fiber.sleep()
        seen.append((fiber, fiber.sleeps))
        fiber.sleep()
        seen.append((fiber, fiber.sleeps))

    hub.spawn(sleep_twice)
    hub.run()
    hub.wake(seen[0], seen[0])
    hub.run()
    hub.wake(seen[0])
    hub.run()
    assert len(seen) == 2
    hub.wake(seen[1])
    hub.run()
    assert len(seen) == 3


def test_a_wake_up_does_not_reach_the_next_work_of_a_fiber(hub: Hub) -> None:
    seen = []

    def remember() -> None:
        fiber = hub.current()
        assert fiber is not None
        seen.append((fiber, fiber.sleeps))

    hub.spawn(remember)
    hub.run()
    hub.spawn(remember)
    hub.wake(seen[0])
    hub.run()
    assert [fiber for fiber, _ in seen] == [seen[0][0]] * 2, "the fiber is used again"
    assert hub.run() is None


def test_only_who_waits_for_an_event_can_be_disturbed(hub: Hub) -> None:
    seen, fibers = [], []

    def work() -> None:
        fiber = hub.current()
        assert fiber is not None
        fibers.append(fiber)
        Event().wait(PATIENCE_S)
        seen.append("rechecks")
        fiber.sleep()
        seen.append("woken")

    hub.spawn(work)
    hub.run()
    hub.recheck(fibers[0])
    hub.run()
    hub.recheck(fibers[0])
    hub.run()
    assert seen == ["rechecks"]


def test_work_that_fails_harms_no_other(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    seen = []
    for _ in range(3):
        hub.spawn(lambda: 1 // 0)
        hub.spawn(lambda: seen.append(1))
        hub.run()
    assert seen == [1, 1, 1]
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "integer division or modulo by zero"
    ] * 3


def test_nobody_is_interrupted_once_the_hub_is_closed(loop: Loop) -> None:
    """The wake-up descriptor is closed too: its number may belong to another file by now."""
    event = Event()
    loop.hub.spawn(lambda: event.wait(PATIENCE_S))
    loop.hub.run()
    loop.hub.close()
    other = threading.Thread(target=event.set)
    other.start()
    other.join()
    assert not loop.interrupts.acquire(blocking=False)


def test_what_a_fiber_spawns_makes_way_for_all_as_well(hub: Hub) -> None:
    """The next request of a connection is spawned by the one before, which does other work by then, or none."""
    seen = []

    def first() -> None:
        hub.spawn(lambda: second(1))
        hub.spawn(lambda: second(2))

    def second(number: int) -> None:
        event = Event()
        event.wait(0)
        seen.append(number)

    hub.spawn(first)
    for _ in range(3):
        hub.run()
    assert seen == [1, 2]


def test_what_takes_long_takes_turns(hub: Hub) -> None:
    seen: list[str] = []

    def long(name: str) -> None:
        for step in range(3):
            seen.append(f"{name}{step}")
            fiber = hub.current()
            assert fiber is not None
            fiber.yield_to_others()

    for name in "abc":
        hub.spawn(partial(long, name))
    hub.run()
    assert seen == ["a0", "b0", "c0"]
    turns = []
    for _ in range(6):
        seen.clear()
        hub.spawn(lambda: seen.append("short"))
        assert hub.run() == 0
        turns.append(seen.copy())
    assert turns == [["short", each] for each in ("a1", "b1", "c1", "a2", "b2", "c2")]


class TestDurability:
    @pytest.fixture
    def log(self) -> MemoryLog:
        log = MemoryLog()
        assert list(log.replay()) == []
        log.start()
        return log

    @pytest.fixture
    def durability(self, log: MemoryLog) -> Iterator[DurabilityWaiter]:
        durability = DurabilityWaiter(log)
        yield durability
        log.release()
        durability.close()

    def test_nobody_goes_on_before_the_record_is_durable(
        self, loop: Loop, log: MemoryLog, durability: DurabilityWaiter
    ) -> None:
        done: list[int] = []

        def put(number: int) -> None:
            durability.wait(log.append(b"record"))
            done.append(number)

        log.hold()
        for number in range(3):
            loop.hub.spawn(partial(put, number))
        loop.until(lambda: log.blocked)
        loop.hub.spawn(lambda: put(3))
        loop.hub.spawn(lambda: (durability.wait(1), done.append(4)))  # somebody who has seen the first record
        time.sleep(0.05)
        loop.hub.run()
        assert done == []
        log.release()
        loop.until(lambda: len(done) == 5)
        assert done == [0, 1, 2, 3, 4]

    def test_those_who_come_during_a_sync_wait_for_the_next(self, tmp_path: Path, loop: Loop) -> None:
        class SlowLog(FileLog):
            waits = 0
            syncing, go_on = threading.Event(), threading.Event()

            def wait(self, position: int) -> None:
                self.waits += 1
                self.syncing.set()
                assert self.go_on.wait(PATIENCE_S)
                super().wait(position)
                if self.waits == 1:
                    self.go_on.clear()

        log = SlowLog(tmp_path)
        list(log.replay())
        log.start()
        durability = DurabilityWaiter(log)
        done: list[int] = []

        def put(number: int) -> None:
            durability.wait(log.append(b"record %d" % number))
            done.append(number)

        loop.hub.spawn(lambda: put(0))
        loop.until(log.syncing.is_set)
        loop.hub.spawn(lambda: put(1))
        loop.hub.run()
        log.go_on.set()
        loop.until(lambda: log.waits == 2 and done)
        assert done == [0]
        log.go_on.set()
        loop.until(lambda: len(done) == 2)
        durability.close()
        log.close()

    def test_what_is_durable_already_is_not_waited_for(
        self, loop: Loop, log: MemoryLog, durability: DurabilityWaiter
    ) -> None:
        done: list[int] = []

        def put() -> None:
            position = log.append(b"record")
            durability.wait(position)
            durability.wait(position)
            done.append(1)

        loop.hub.spawn(put)
        loop.until(lambda: done)
        log.hold()
        loop.hub.spawn(lambda: (durability.wait(1), done.append(2)))
        loop.hub.run()
        assert done == [1, 2]

    def test_who_comes_after_the_end_asks_the_log_itself(
        self, loop: Loop, log: MemoryLog, durability: DurabilityWaiter
    ) -> None:
        """A process that shares its log ends a broker while requests of it are still served."""
        done: list[int] = []

        def put(number: int) -> None:
            position = log.append(b"record")
            if number == 2:
                durability.close()  # in the same turn, so after the first has gathered and before anybody is handed over
            durability.wait(position)
            done.append(number)

        loop.hub.spawn(partial(put, 0))
        loop.until(lambda: done)
        for number in (1, 2):
            loop.hub.spawn(partial(put, number))
        loop.until(lambda: len(done) == 3)

    def test_a_failure_reaches_everybody(self, loop: Loop, log: MemoryLog, durability: DurabilityWaiter) -> None:
        failures: list[str] = []

        def fail(_position: int) -> None:
            raise LogFailedError("the disk")

        log.wait = fail  # type: ignore[method-assign, assignment]

        def put() -> None:
            try:
                durability.wait(log.append(b"record"))
            except LogFailedError as error:
                failures.append(str(error))

        for count in (3, 6):
            for _ in range(3):
                loop.hub.spawn(put)
            loop.until(lambda: len(failures) == count)  # noqa: B023
        assert failures == ["the disk"] * 6


class CallingLog(MemoryLog):
    """A log that calls when a record is durable: at once, or when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], None]] = []
        self.calls_at_once = False

    def call_when_durable(self, _position: int, callback: Callable[[], None]) -> bool:
        self.calls.append(callback)
        if self.calls_at_once:
            self.tell()
        return True

    def tell(self) -> None:
        """Make the calls."""
        with self._changed:
            self._commit()
        while self.calls:
            self.calls.pop(0)()


class TestDurabilityOfALogThatCalls:
    @pytest.fixture
    def log(self) -> CallingLog:
        log = CallingLog()
        assert list(log.replay()) == []
        log.start()
        return log

    @pytest.fixture
    def durability(self, log: CallingLog) -> Iterator[DurabilityWaiter]:
        threads = threading.active_count()
        durability = DurabilityWaiter(log)
        yield durability
        assert threading.active_count() == threads, "no thread has waited"
        durability.close()

    @pytest.mark.parametrize("from_thread", [False, True])
    def test_the_fibers_of_a_turn_go_on_with_one_call(
        self, loop: Loop, log: CallingLog, durability: DurabilityWaiter, from_thread: bool
    ) -> None:
        done: list[int] = []

        def put(number: int) -> None:
            durability.wait(log.append(b"record"))
            done.append(number)

        for number in range(3):
            loop.hub.spawn(partial(put, number))
        loop.hub.run()
        assert len(log.calls) == 1
        loop.hub.run()
        assert done == []
        if from_thread:
            thread = threading.Thread(target=log.tell)
            thread.start()
            thread.join()
        else:
            log.tell()
        loop.until(lambda: len(done) == 3)
        assert done == [0, 1, 2]

    def test_a_log_may_call_at_once(self, loop: Loop, log: CallingLog, durability: DurabilityWaiter) -> None:
        log.calls_at_once = True
        done: list[int] = []
        loop.hub.spawn(lambda: (durability.wait(log.append(b"record")), done.append(1)))
        assert loop.hub.run() == 0, "there is something to run"
        loop.hub.run()
        assert done == [1]

    def test_a_failure_reaches_everybody(self, loop: Loop, log: CallingLog, durability: DurabilityWaiter) -> None:
        failures: list[str] = []

        def put() -> None:
            try:
                durability.wait(log.append(b"record"))
            except LogFailedError as error:
                failures.append(str(error))

        for _ in range(3):
            loop.hub.spawn(put)
        loop.hub.run()
        log.is_broken = True
        log.tell()
        loop.until(lambda: len(failures) == 3)


def test_requests_of_one_turn_share_a_group(tmp_path: Path, loop: Loop) -> None:
    broker = Broker(FileLog(tmp_path))
    done: list[str] = []
    for _ in range(40):
        loop.hub.spawn(lambda: done.extend(broker.produce("default", ["x"])))
    loop.until(lambda: len(done) == 40)
    groups = [len(records) for path in segment_files(tmp_path) for _, records in groups_in(path) if records]
    assert groups[-1] == 40
    broker.close()


def test_fibers_and_threads_can_use_one_broker(tmp_path: Path, loop: Loop) -> None:
    broker = Broker(FileLog(tmp_path))
    got: list[str] = []

    def consume() -> None:
        while len(got) < 200:
            got.extend(message.body for message in broker.claim("default", limit=1, wait_s=1))

    for _ in range(4):
        loop.hub.spawn(consume)
    threads = [
        threading.Thread(target=lambda part=part: [broker.produce("default", [f"{part}.{n}"]) for n in range(50)])
        for part in range(4)
    ]
    for thread in threads:
        thread.start()
    loop.until(lambda: len(got) == 200)
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(f"{part}.{n}" for part in range(4) for n in range(50))
    broker.stop_claiming()
    broker.close()


def test_a_pool_whose_broker_has_ended_refuses_work() -> None:
    pool = BlockingPool(1)
    pool.close()
    with pytest.raises(LogClosedError):
        pool.run(lambda: 1)


def test_another_thread_can_have_work_done_on_a_fiber(loop: Loop) -> None:
    seen: list[bool] = []
    thread = threading.Thread(target=loop.hub.submit, args=(lambda: seen.append(Hub.current() is not None),))
    thread.start()
    loop.until(lambda: seen, look_after_s=PATIENCE_S)
    thread.join()
    assert seen == [True]


def test_each_piece_of_work_knows_whether_it_has_acted(loop: Loop) -> None:
    seen: dict[str, tuple[bool, bool]] = {}
    events = {name: Event() for name in ("actor", "other")}

    def work(name: str) -> None:
        before = has_acted()
        if name == "actor":
            note_action()
        events[name].wait(PATIENCE_S)  # others run meanwhile, on other fibers
        seen[name] = before, has_acted()

    for name in events:
        loop.hub.spawn(partial(work, name))
    loop.hub.run()
    for event in events.values():
        event.set()
    loop.until(lambda: len(seen) == 2)
    assert seen == {"actor": (False, True), "other": (False, False)}
    for _ in events:  # on the fibers of those that have ended
        loop.hub.spawn(lambda: seen.update(next=(has_acted(), seen.get("next", (False, False))[0])))
    loop.until(lambda: "next" in seen)
    assert seen["next"] == (False, False)


def test_a_thread_without_a_fiber_knows_whether_it_has_acted() -> None:
    begin_action()
    assert not has_acted()
    Broker(MemoryLog())
    assert has_acted(), "the broker has appended the record of its queue"
    begin_action()
    assert not has_acted()
