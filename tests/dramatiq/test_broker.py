"""Tasks of dramatiq, run by its workers in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import ConnectionClosed, QueueJoinTimeout, QueueNotFound

from tests.dramatiq.conftest import LEASE_S
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client import retries
from wonderq.client.errors import Invalid
from wonderq.client.sync_queue import Queue
from wonderq.dramatiq import WonderQBroker
from wonderq.testing import Broker

PATIENCE_MS = round(PATIENCE_S * 1000)


@contextmanager
def working(tasks: WonderQBroker, threads: int = 2, queues: set[str] | None = None) -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(tasks, worker_timeout=50, worker_threads=threads, queues=queues)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def statuses(queue: Queue) -> dict[str, int]:
    return {status: count for status, count in queue.info().counts.items() if count}


def test_tasks_run(tasks: WonderQBroker, queue: Queue) -> None:
    done: list[int] = []

    @dramatiq.actor
    def square(number: int, *, plus: int = 0) -> None:
        done.append(number * number + plus)

    for number in range(20):
        square.send(number, plus=1)
    with working(tasks):
        tasks.join("default", timeout=PATIENCE_MS)
    assert sorted(done) == [number * number + 1 for number in range(20)]
    assert statuses(queue) == {}


def test_a_worker_starts_before_the_first_message_of_its_queue(tasks: WonderQBroker) -> None:
    done = threading.Event()

    @dramatiq.actor(queue_name="new")
    def finish() -> None:
        done.set()

    with working(tasks):
        finish.send()
        assert done.wait(PATIENCE_S)


def test_a_delayed_task_waits_in_the_broker(tasks: WonderQBroker, running: Broker, queue: Queue) -> None:
    done = threading.Event()

    @dramatiq.actor
    def finish() -> None:
        done.set()

    finish.send_with_options(delay=3_600_000)
    with working(tasks):
        assert statuses(queue) == {"delayed": 1}
        running.advance(3600)
        assert done.wait(PATIENCE_S)
    assert tasks.get_declared_queues() == {"default"}
    assert tasks.get_declared_delay_queues() == set()


def test_a_failing_task_is_tried_again_after_its_backoff_and_then_a_dead_letter(
    tasks: WonderQBroker, running: Broker, queue: Queue
) -> None:
    tries: list[int] = []

    @dramatiq.actor(max_retries=2, min_backoff=3_600_000, max_backoff=3_600_000)
    def fail() -> None:
        tries.append(len(tries) + 1)
        raise RuntimeError("no luck")

    fail.send()
    with working(tasks):
        for number in (1, 2):
            eventually(lambda number=number: len(tries) == number and statuses(queue) == {"delayed": 1})  # type: ignore[misc]
            running.advance(2 * 3600)
        tasks.join("default", timeout=PATIENCE_MS)
    assert tries == [1, 2, 3]
    [dead] = queue.look(status="buried")
    assert dead.last_error is not None
    assert (dead.last_error.type, dead.last_error.message) == ("RuntimeError", "no luck")
    assert "in fail\n" in dead.last_error.traceback


def test_a_dead_letter_goes_to_the_dead_letter_queue_if_there_is_one(tasks: WonderQBroker, queue: Queue) -> None:
    queue.configure(max_receives=100, dead_letter_queue="dead")

    @dramatiq.actor(max_retries=0)
    def fail() -> None:
        raise RuntimeError("no luck")

    fail.send()
    with working(tasks):
        tasks.join("default", timeout=PATIENCE_MS)
    [dead] = tasks.client.queue("dead").look()
    assert dead.dead_letter is not None
    assert dead.dead_letter.reason == "no luck"
    assert statuses(queue) == {}


def test_a_dead_letter_runs_again_when_it_is_kicked(tasks: WonderQBroker, queue: Queue) -> None:
    tries: list[str] = []

    @dramatiq.actor(max_retries=0)
    def fail_once() -> None:
        tries.append("try")
        if len(tries) == 1:
            raise RuntimeError

    fail_once.send()
    with working(tasks):
        eventually(lambda: statuses(queue) == {"buried": 1})
        queue.kick()
        tasks.join("default", timeout=PATIENCE_MS)
    assert tries == ["try", "try"]
    assert statuses(queue) == {}


@pytest.mark.slow
def test_a_long_task_keeps_its_claim_and_so_do_those_behind_it(running: Broker, queue: Queue) -> None:
    tasks = WonderQBroker(running.url, lease=6)  # a busy machine may keep a heartbeat waiting for seconds
    dramatiq.set_broker(tasks)
    go = threading.Event()
    begun: list[int] = []

    @dramatiq.actor
    def hold(number: int) -> None:
        begun.append(number)
        go.wait(PATIENCE_S)

    for number in range(4):
        hold.send(number)
    with working(tasks, threads=2):
        eventually(lambda: statuses(queue) == {"processing": 4})
        first = {each.id: each.claimed_until for each in queue.look()}
        eventually(
            lambda: all(later(each.claimed_until, first[each.id]) for each in queue.look()), "all claims are renewed"
        )
        assert statuses(queue) == {"processing": 4}
        go.set()
        tasks.join("default", timeout=PATIENCE_MS)
    tasks.close()
    assert sorted(begun) == [0, 1, 2, 3], "each ran once"


def later(one: Any, other: Any) -> bool:
    return one is not None and (one - other).total_seconds() > 1


def test_a_worker_has_no_more_in_hand_than_its_prefetch(tasks: WonderQBroker, queue: Queue) -> None:
    go = threading.Event()

    @dramatiq.actor
    def hold() -> None:
        go.wait(PATIENCE_S)

    for _ in range(10):
        hold.send()
    with working(tasks, threads=2):
        eventually(lambda: statuses(queue) == {"processing": 4, "unprocessed": 6}, "twice the threads are in hand")
        go.set()
        tasks.join("default", timeout=PATIENCE_MS)


def test_a_worker_that_stops_gives_back_what_it_has_not_begun(tasks: WonderQBroker, queue: Queue) -> None:
    began, go = threading.Event(), threading.Event()

    @dramatiq.actor
    def hold() -> None:
        began.set()
        go.wait(PATIENCE_S)

    for _ in range(4):
        hold.send()
    with working(tasks, threads=1) as worker:
        assert began.wait(PATIENCE_S)
        eventually(lambda: statuses(queue) == {"processing": 2, "unprocessed": 2})
        for each in worker.workers:
            each.stop()
        go.set()
    assert statuses(queue) == {"unprocessed": 3}
    assert {each.tries for each in queue.look()} == {0}, "and it was no try"


def test_urgent_tasks_run_first(tasks: WonderQBroker) -> None:
    ran: list[str] = []

    @dramatiq.actor
    def usual(name: str) -> None:
        ran.append(name)

    @dramatiq.actor(broker_priority=5)
    def important(name: str) -> None:
        ran.append(name)

    usual.send("usual")
    important.send("important")
    usual.send_with_options(args=("urgent",), broker_priority=9)
    with working(tasks, threads=1):
        tasks.join("default", timeout=PATIENCE_MS)
    assert ran == ["urgent", "important", "usual"]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(Broker.stop, marks=pytest.mark.slow),  # it asks clients to wait for 5 s
        Broker.kill,
    ],
)
def test_workers_go_on_after_a_restart_of_the_broker(tasks: WonderQBroker, running: Broker, end: Any) -> None:
    done: list[str] = []
    began, go = threading.Event(), threading.Event()

    @dramatiq.actor
    def note(word: str) -> None:
        began.set()
        go.wait(PATIENCE_S)
        done.append(word)

    note.send("before")
    with working(tasks):
        assert began.wait(PATIENCE_S)
        end(running)
        running.restart()
        note.send("after")
        go.set()
        tasks.join("default", timeout=PATIENCE_MS)
    assert sorted(done) == ["after", "before"]


def test_a_task_that_could_not_be_sent_again_is_not_lost(tasks: WonderQBroker, queue: Queue) -> None:
    """dramatiq acknowledges a failed task also if the message for the next attempt was not sent."""
    tries: list[str] = []

    @dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=1)
    def fail_once() -> None:
        tries.append("try")
        if len(tries) == 1:
            queue.configure(draining=True)
            raise RuntimeError

    fail_once.send()
    with working(tasks):
        eventually(lambda: len(tries) == 2, "the task runs again")
        tasks.join("default", timeout=PATIENCE_MS)
    assert statuses(queue) == {}


def test_a_lost_claim_is_not_acknowledged(
    tasks: WonderQBroker,
    running: Broker,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(dramatiq.worker, "CONSUMER_RESTART_DELAY_SECS", 0.05)  # it passes before a consumer pauses
    began, go = threading.Event(), threading.Event()

    @dramatiq.actor
    def hold() -> None:
        began.set()
        go.wait(PATIENCE_S)

    hold.send()
    with working(tasks, threads=1) as worker:
        assert began.wait(PATIENCE_S)
        worker.consumers["default"].pause()  # or it would get the message again itself
        assert worker.consumers["default"].paused_event.wait(PATIENCE_S)
        running.advance(LEASE_S)
        with queue.one(wait=20, lease=LEASE_S) as other:
            assert other is not None
            go.set()
            eventually(lambda: not tasks._claims._messages, "the worker has finished")
            assert statuses(queue) == {"processing": 1}, "it is the other consumer's"
    assert "hold() had lost its claim" in caplog.text


def test_what_is_no_task_is_set_aside(tasks: WonderQBroker, queue: Queue) -> None:
    done = threading.Event()

    @dramatiq.actor
    def finish() -> None:
        done.set()

    queue.send("not of dramatiq")
    queue.send(b"\xff\xfe")
    finish.send()
    with working(tasks):
        assert done.wait(PATIENCE_S)
        tasks.join("default", timeout=PATIENCE_MS)
    assert statuses(queue) == {"buried": 2}


def test_an_encoder_may_write_bytes(tasks: WonderQBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[bytes] = []
    monkeypatch.setattr(dramatiq.message, "global_encoder", dramatiq.PickleEncoder())

    @dramatiq.actor
    def take(data: bytes) -> None:
        done.append(data)

    take.send(b"\x00\xff")
    with working(tasks):
        tasks.join("default", timeout=PATIENCE_MS)
    assert done == [b"\x00\xff"]


def test_flush_and_join(tasks: WonderQBroker, queue: Queue) -> None:
    @dramatiq.actor
    def wait() -> None: ...

    tasks.declare_queue("other")
    tasks.flush("other")  # which has had no message yet
    tasks.join("other")
    wait.send()
    wait.send_with_options(delay=1000_000)
    with pytest.raises(QueueJoinTimeout):
        tasks.join("default", timeout=10)
    tasks.flush_all()
    tasks.join("default", timeout=PATIENCE_MS)
    assert statuses(queue) == {}


def test_queues_must_be_declared(tasks: WonderQBroker) -> None:
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name="missing", actor_name="none", args=(), kwargs={}, options={}
    )
    for call in (
        lambda: tasks.enqueue(message),
        lambda: tasks.consume("missing"),
        lambda: tasks.flush("missing"),
        lambda: tasks.join("missing"),
    ):
        with pytest.raises(QueueNotFound):
            call()


def test_a_message_that_the_broker_refuses_is_not_sent(tasks: WonderQBroker) -> None:
    @dramatiq.actor(queue_name="no.such.name")
    def wait() -> None: ...

    with pytest.raises(Invalid, match="queue name is invalid"):
        wait.send()


def test_a_broker_that_does_not_answer_is_an_error_of_dramatiq(
    tasks: WonderQBroker, running: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_LONGEST_PAUSE_S", 0.01)
    running.stop()

    @dramatiq.actor
    def wait() -> None: ...

    with pytest.raises(ConnectionClosed):
        wait.send()
