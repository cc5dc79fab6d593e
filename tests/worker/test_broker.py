"""Apps and workers with a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from tests.support.broker_process import RunningBroker
from tests.support.commands import run
from tests.support.waiting import PATIENCE_S, eventually
from tests.worker.running import running
from wonderq import App, Client, Context, Dead, Invalid, Message, NotFound, Retry, TooMany, Worker
from wonderq.worker.broker_source import BrokerSource
from wonderq.worker.outcomes import Ending, LeaseLost, Settlement


def status_of(client: Client, queue: str, message_id: str) -> str | None:
    try:
        return client.queue(queue).get(message_id).status
    except NotFound:
        return None


def test_a_worker_runs_what_was_sent(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    done: list[Any] = []

    @app.task()
    def resize(path: str, width: int = 200) -> None:
        done.append((path, width))

    @app.task()
    async def report(ctx: Context, day: str) -> None:
        await asyncio.sleep(0)
        done.append((day, ctx.tries, ctx.name))

    first = resize.send("cat.png", width=400)
    second = report.send("monday")
    assert first.id
    assert not first.duplicate
    with running(app.worker()):
        eventually(lambda: len(done) == 2)
        eventually(lambda: status_of(client, name, first.id) is None)
        eventually(lambda: status_of(client, name, second.id) is None)
    assert sorted(done, key=str) == [("cat.png", 400), ("monday", 1, "report")]


def test_one_connection_is_enough_to_send_during_a_long_poll(broker: RunningBroker, name: str) -> None:
    with Client(broker.url, pool=1, retries=0, read_timeout=10) as client:
        app = App(client=client, queue=name)
        goes_on, done = threading.Event(), threading.Event()

        @app.task(retries=0)
        def first() -> None:
            assert goes_on.wait(PATIENCE_S)
            second.send()

        @app.task()
        def second() -> None:
            done.set()

        first.send()
        worker = app.worker(concurrency=2)
        with running(worker):
            (engine,) = worker._engine._engines
            eventually(lambda: engine.running and engine._source._poll._interrupt is not None, "a long poll")  # type: ignore[attr-defined]
            goes_on.set()
            assert done.wait(PATIENCE_S)


def test_a_poll_tells_why_the_broker_gives_no_messages(client: Client, name: str) -> None:
    queue = client.queue(name)
    queue.send_together(["a", "b", "c"])
    source = BrokerSource(client, [name], 30, {}, lambda: None)
    source.prepare()
    first, _ = source.next((), 2, 0).messages
    queue.configure(max_in_flight=1)

    found = source.next([Settlement(first, Ending.DELETE)], 1, 0)
    assert (found.messages, found.refused) == ([], ())
    assert isinstance(found.claim_error, TooMany)
    assert status_of(client, name, first.id) is None


def test_options_of_a_message(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.task()
    def resize(path: str) -> None: ...

    sent = resize.options(delay=60, priority=9, group="tenant-7", key="cat@400").send("cat.png")
    again = resize.options(key="cat@400").send("cat.png")
    other = resize.options(queue=f"{name}-2").send("cat.png")
    found = client.queue(name).get(sent.id)

    assert (found.status, found.priority, found.group, found.key) == ("delayed", 9, "tenant-7", "cat@400")
    assert found.json() == {"task": "resize", "args": ["cat.png"]}
    assert found.content_type == "application/json"
    assert (again.id, again.duplicate) == (sent.id, True)
    assert client.queue(f"{name}-2").get(other.id).status == "unprocessed"
    with pytest.raises(Invalid, match="priority"):
        resize.options(priority=10).send("cat.png")


def test_tasks_are_sent_from_coroutines(broker: RunningBroker, client: Client, name: str) -> None:
    app = App(broker.url, queue=name)

    @app.task()
    def resize(path: str) -> None: ...

    async def send() -> list[str]:
        sent = await asyncio.gather(*(resize.asend(f"{n}.png") for n in range(20)))
        sent.append(await resize.options(priority=3).asend("x.png"))
        async with app.batch() as batch:
            await resize.asend("y.png")
        sent += batch.sent
        await app.aclose()
        return [each.id for each in sent]

    ids = [*asyncio.run(send()), *asyncio.run(send())]  # an event loop has a client of its own
    assert len(set(ids)) == 44
    assert client.queue(name).count("unprocessed") == 44
    app.close()


def test_an_app_keeps_no_client_of_an_event_loop_that_has_ended(broker: RunningBroker, name: str) -> None:
    app = App(broker.url, queue=name)

    @app.task()
    def resize(path: str) -> None: ...

    async def ask() -> None:
        client = app.async_client
        await client._engine._start()
        assert client.options == app.client.options
        assert len(app._async_clients) == 1

    async def end() -> None:
        await resize.asend("x.png")
        await app.aclose()

    for _ in range(3):
        asyncio.run(ask())
    asyncio.run(end())
    app.close()


def test_a_batch_is_sent_whole_or_not(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.task()
    def resize(path: str) -> None: ...

    @app.task(queue=f"{name}-2")
    def other() -> None: ...

    with app.batch() as batch:
        sent = [resize.send(f"{n}.png") for n in range(5)]
        assert [each.id for each in sent] == [""] * 5
    assert len({each.id for each in sent}) == 5
    assert all(each.id for each in batch.sent)
    assert client.queue(name).count("unprocessed") == 5

    def send(second: Callable[[], object]) -> None:
        with app.batch():
            resize.send("x.png")
            second()

    with pytest.raises(ZeroDivisionError):
        send(lambda: 1 / 0)
    with pytest.raises(ValueError, match="this batch is for the queue"):
        send(other.send)
    with pytest.raises(Invalid):
        send(lambda: resize.options(priority=10).send("x.png"))
    assert client.queue(name).count("unprocessed") == 5
    resize.send("outside.png")
    assert client.queue(name).count("unprocessed") == 6


def test_sends_of_tasks_and_threads_that_a_batch_starts_do_not_take_part(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.task()
    def resize(path: str) -> None: ...

    async def scenario() -> None:
        async def later() -> None:
            await is_over.wait()
            assert (await resize.asend("later.png")).id

        async def of_its_own() -> None:
            async with app.batch() as inner:
                await resize.asend("own.png")
            assert [bool(each.id) for each in inner.sent] == [True]

        is_over = asyncio.Event()
        async with app.batch() as batch:
            await resize.asend("batch.png")
            assert (await asyncio.to_thread(resize.send, "thread.png")).id
            assert (await asyncio.create_task(resize.asend("task.png"))).id
            await asyncio.create_task(of_its_own())
            task = asyncio.create_task(later())
        is_over.set()
        await task
        assert len(batch.sent) == 1
        await app.aclose()

    asyncio.run(scenario())
    assert client.queue(name).count("unprocessed") == 5


def test_a_batch_that_has_ended_takes_no_more(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.task()
    def resize(path: str) -> None: ...

    with app.batch() as batch:
        resize.send("first.png")
        context = copy_context()
    with pytest.raises(RuntimeError, match="has ended"):
        batch.add(name, "x", {})
    with pytest.raises(RuntimeError, match="has ended"), batch:
        resize.send("second.png")
    assert context.run(resize.send, "third.png").id, "the block is over, so this is a send of its own"
    assert client.queue(name).count("unprocessed") == 2


def test_claims_of_a_queue_that_is_gone_are_lost_and_those_of_others_are_not(client: Client, name: str) -> None:
    gone, other = client.queue(f"{name}-gone"), client.queue(f"{name}-other")
    for each in (gone, other):
        each.send("x")
    source = BrokerSource(client, [gone.name, other.name], 30, {}, lambda: None)
    [lost], [kept] = gone.receive(), other.receive()
    gone.drop()

    assert [type(each) for each in client.renew([lost, kept], 30)] == [NotFound, type(None)]
    assert source.renew([lost], 30) == [False]
    for ending in (Ending.DELETE, Ending.GIVE_BACK):
        [refusal] = source.settle([Settlement(lost, ending)])
        assert isinstance(refusal.error, NotFound)
    assert source.settle([Settlement(kept, Ending.DELETE)]) == []
    assert list(other.look()) == []


def test_the_error_of_a_failure_stays_with_the_message(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.task(retries=3, backoff=(600, 600))
    def fail(path: str) -> None:
        raise ValueError(f"no image: {path}")

    sent = fail.send("cat.png")
    with running(app.worker()):
        eventually(lambda: status_of(client, name, sent.id) == "delayed")
    found = client.queue(name).get(sent.id)
    assert found.tries == 1
    assert found.last_error is not None
    assert (found.last_error.type, found.last_error.message) == ("ValueError", "no image: cat.png")
    assert "in fail" in found.last_error.traceback


def test_retries_end_in_the_dead_letters(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    tries: list[int] = []

    @app.task(retries=2, backoff=(0, 0), dead_letters=f"{name}-dead")
    def fail(ctx: Context) -> None:
        tries.append(ctx.tries)
        raise ValueError("never")

    sent = fail.send()
    dead = client.queue(f"{name}-dead")
    with running(app.worker()):
        eventually(lambda: _count(dead) == 1)
    [letter] = dead.look()
    assert tries == [1, 2, 3]
    assert letter.dead_letter is not None
    assert (letter.dead_letter.id, letter.dead_letter.queue) == (sent.id, name)
    assert letter.last_error is not None
    assert letter.last_error.message == "never"


def test_dead_and_retry(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.task()
    def work(what: str) -> None:
        if what == "dead":
            raise Dead("no such day")
        raise Retry("busy", delay=600)

    dead, retried = work.send("dead"), work.send("retry")
    with running(app.worker()):
        eventually(lambda: status_of(client, name, dead.id) == "buried")  # the queue has no dead-letter queue
        eventually(lambda: status_of(client, name, retried.id) == "delayed")
    error = client.queue(name).get(dead.id).last_error
    assert error is not None
    assert error.message == "no such day"
    error = client.queue(name).get(retried.id).last_error
    assert error is not None
    assert error.message == "busy"


def test_schedules_follow_the_code(client: Client, name: str) -> None:
    def made(app_name: str, *crons: tuple[str, str]) -> App:
        app = App(client=client, queue=name, name=app_name)
        for task, cron in crons:

            @app.every(cron, timezone="Europe/Vienna", name=task, missed="once")
            def function() -> None: ...

        return app

    mine, others = f"{name[:20]}", f"{name[:20]}-x"
    client.put_schedule(f"{mine}-by-hand", cron="0 0 * * *", queue=name, body="hello")
    made(others, ("nightly", "1 1 * * *")).keep_schedules()
    made(mine, ("nightly", "30 4 * * *"), ("old", "0 5 * * *")).keep_schedules()
    found = {each.name: each for each in client.schedules() if each.name.startswith(mine)}
    assert set(found) == {f"{mine}-by-hand", f"{others}-nightly", f"{mine}-nightly", f"{mine}-old"}
    nightly = found[f"{mine}-nightly"]
    assert (nightly.cron, nightly.timezone, nightly.queue, nightly.missed) == (
        "30 4 * * *",
        "Europe/Vienna",
        name,
        "once",
    )

    client.put_schedule(f"{mine}-nightly", paused=True)
    made(mine, ("nightly", "45 4 * * *")).keep_schedules()
    found = {each.name: each for each in client.schedules() if each.name.startswith(mine)}
    assert set(found) == {f"{mine}-by-hand", f"{others}-nightly", f"{mine}-nightly"}
    assert found[f"{mine}-nightly"].cron == "45 4 * * *"
    assert found[f"{mine}-nightly"].paused
    for each in found:
        client.delete_schedule(each)


@pytest.mark.slow
def test_a_schedule_calls_its_task(client: Client, name: str) -> None:
    app = App(client=client, queue=name, name=name[:40])
    times: list[str] = []

    @app.every("* * * * * *")
    def tick(ctx: Context) -> None:
        times.append(str(ctx.message.attributes["scheduled_at"]))

    with running(app.worker()), running(app.worker()):
        eventually(lambda: len(times) >= 3)
    client.delete_schedule(f"{name[:40]}-tick")
    assert len(set(times)) == len(times)


def test_a_wrong_cron_expression_ends_the_worker_with_its_reason(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.every("not cron")
    def tick() -> None: ...

    with pytest.raises(Invalid, match="cron"):
        app.worker().run()


def test_plain_messages(client: Client, name: str) -> None:
    done: list[Any] = []

    def handle(message: Message) -> None:
        done.append(message.json())

    async def handle_async(message: Message, ctx: Context) -> None:
        done.append((message.body, ctx.name))

    client.queue(name).send({"to": "a@b"})
    client.queue(f"{name}-2").send("text")
    with running(Worker(client, {name: handle, f"{name}-2": handle_async}, concurrency=2, lease=30, retries=5)):
        eventually(lambda: len(done) == 2)
        eventually(lambda: not client.queue(name).count("processing"))
    assert sorted(done, key=str) == [("text", f"{name}-2"), {"to": "a@b"}]


@pytest.mark.parametrize("weighted", [False, True])
def test_several_queues_in_one_poll(client: Client, name: str, weighted: bool) -> None:
    app = App(client=client, queue=name)
    order: list[str] = []

    @app.task()
    def work(ctx: Context) -> None:
        order.append(ctx.message.queue)

    urgent, jobs = f"{name}-urgent", f"{name}-jobs"
    for _ in range(60):
        work.options(queue=jobs).send()
    for _ in range(60):
        work.options(queue=urgent).send()
    queues: Any = {urgent: 3, jobs: 1} if weighted else [urgent, jobs]
    with running(app.worker(queues=queues, concurrency=1)):
        eventually(lambda: len(order) == 120)
    if weighted:
        assert 25 <= order[:60].count(urgent) < 60, "45 are expected; by chance this fails once in ten million runs"
    else:
        assert order == [urgent] * 60 + [jobs] * 60


@pytest.mark.slow
def test_a_long_task_keeps_its_message(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    let_go = threading.Event()
    tries: list[int] = []

    @app.task(lease=2)
    def slow(ctx: Context) -> None:
        tries.append(ctx.tries)
        let_go.wait(120)

    sent = slow.send()
    with running(app.worker()), running(app.worker()):
        eventually(lambda: tries)
        first = client.queue(name).get(sent.id).claimed_until
        assert first is not None
        eventually(lambda: (until := client.queue(name).get(sent.id).claimed_until) and (until - first).seconds >= 4)
        let_go.set()
        eventually(lambda: status_of(client, name, sent.id) is None)
    assert tries == [1]


def test_a_handler_learns_that_its_message_is_lost(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    started = threading.Event()
    seen: list[BaseException] = []

    @app.task(lease=1)
    def slow(ctx: Context) -> None:
        started.set()
        try:
            while True:
                ctx.check()
                time.sleep(0.01)
        except BaseException as error:
            seen.append(error)
            raise

    slow.send()
    with running(app.worker()):
        eventually(started.is_set)
        client.queue(name).purge()
        eventually(lambda: seen)
    assert isinstance(seen[0], LeaseLost)


def test_a_stop_gives_back_without_counting(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    started = threading.Event()
    let_go = threading.Event()

    @app.task()
    def slow() -> None:
        started.set()
        let_go.wait(120)

    sent = slow.send()
    for _ in range(3):
        worker = app.worker(grace=0)
        with running(worker) as call:
            eventually(started.is_set)
            worker.stop()
            call.result()
        found = client.queue(name).get(sent.id)
        assert (found.status, found.tries) == ("unprocessed", 0)
        started.clear()
    let_go.set()


@pytest.mark.parametrize("own", [None, "me"])
def test_the_broker_shows_which_worker_has_a_message(broker: RunningBroker, name: str, own: str | None) -> None:
    shown = own or f"{socket.gethostname()[:50]}:{os.getpid()}"
    with Client(broker.url, consumer=own) as client:
        app = App(client=client, queue=name)
        goes_on = threading.Event()

        @app.task()
        def work() -> None:
            goes_on.wait(PATIENCE_S)

        sent = work.send()
        with running(app.worker()):
            eventually(lambda: status_of(client, name, sent.id) == "processing")
            assert client.queue(name).get(sent.id).consumer == shown
            goes_on.set()
            eventually(lambda: status_of(client, name, sent.id) is None)


@pytest.mark.parametrize("way", ["next", "settle"])
def test_a_message_that_is_given_back_does_not_count(client: Client, name: str, way: str) -> None:
    sent = client.queue(name).send("hello")
    source = BrokerSource(client, [name], 30, {}, lambda: None)
    [message] = source.next((), 1, 0).messages
    given_back = [Settlement(message, Ending.GIVE_BACK)]
    if way == "next":
        [again] = source.next(given_back, 1, 0).messages
        assert (again.id, again.tries) == (sent.id, 1)
    else:
        assert not source.settle(given_back)
        found = client.queue(name).get(sent.id)
        assert (found.status, found.tries) == ("unprocessed", 0)


def test_coroutines_send_with_the_key_of_the_app_s_client(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    key = run("key", "create", "tasks", "--role", "produce", "--data", str(data)).lines[0]
    with RunningBroker(data) as broker, Client(broker.url, key=key) as client:
        app = App(client=client, queue="jobs")

        @app.task()
        def work() -> None: ...

        async def send() -> str:
            sent = await work.asend()
            await app.aclose()
            return sent.id

        assert asyncio.run(send())


def test_an_idle_worker_stops_at_once(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    worker = app.worker()
    with running(worker) as call:
        eventually(lambda: _count(client.queue(name)) == 0 and any(each.name == name for each in client.queues()))
        worker.stop()
        call.result()


@pytest.mark.slow
def test_the_broker_may_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        RunningBroker(tmp_path_factory.mktemp("broker") / "data") as broker,
        Client(broker.url) as client,
        ExitStack() as after_the_worker,
    ):
        app = App(client=client, queue="jobs")
        done: list[int] = []

        @app.task()
        def work(number: int) -> None:
            done.append(number)

        with running(app.worker()):
            work.send(1)
            eventually(lambda: done == [1])
            after_the_worker.enter_context(broker.restarted(signal.SIGKILL, 0.5))
            work.send(2)
            eventually(lambda: done == [1, 2])


def test_run_until_empty_raises_what_a_task_raised(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    done: list[int] = []

    @app.task(backoff=(600, 600))
    async def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        if number == 1:
            await work.asend(4)
        done.append(number)

    @app.task()
    def plain() -> None:
        done.append(0)

    assert app.run_until_empty() == 0
    for number in (1, 2, 3):
        work.send(number)
    plain.send()
    with pytest.raises(ValueError, match="three"):
        app.run_until_empty()
    assert done == [1, 2]
    assert app.run_until_empty() == 2
    assert done == [1, 2, 0, 4]


def test_a_message_continues_the_trace_of_its_sender(client: Client, name: str) -> None:
    app = App(client=client, queue=name)

    @app.task()
    def work() -> None: ...

    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        sent = work.send()
        own = work.options(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").send()
    context = span.get_span_context()
    assert isinstance(context, trace.SpanContext)
    found = client.queue(name).get(sent.id).traceparent
    assert found == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert client.queue(name).get(own.id).traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_another_program_may_send_tasks(client: Client, name: str) -> None:
    app = App(client=client, queue=name)
    done: list[str] = []

    @app.task()
    def resize(path: str, width: int = 200) -> None:
        done.append(f"{path} {width}")

    client.call("POST", f"/queues/{name}/messages/produce", Any, {"message": '{"task": "resize", "args": ["a.png"]}'})
    with running(app.worker()):
        eventually(lambda: done == ["a.png 200"])


def _count(queue: Any) -> int:
    try:
        return int(queue.count("unprocessed"))
    except NotFound:
        return 0
