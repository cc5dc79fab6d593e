"""A call that waits can be ended from another thread or task, and loses no message."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from tests.client.script import refusal
from tests.client.slow_server import SlowServer, hang, slow_server
from tests.support.broker_process import RunningBroker
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.claims import Finished
from wonderq.client.endpoint import Endpoint
from wonderq.client.errors import Forbidden, StaleReceipt, Unreachable
from wonderq.client.gate import Gate
from wonderq.client.http_threads import HttpPool, _Cut
from wonderq.client.polls import Poll, PollCancelled
from wonderq.client.requests import Answer, NoAnswer, Request
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue

WAIT_S = 20.0


def is_under_way(poll: Poll) -> bool:
    return poll._interrupt is not None


def test_a_poll_is_cancelled_from_another_thread(queue: Queue) -> None:
    queue.configure()
    for waits in (queue.receive, lambda **options: queue.next(**options).messages):
        poll = Poll()
        call = Call(waits, wait=WAIT_S, poll=poll)
        eventually(lambda poll=poll: is_under_way(poll))  # type: ignore[misc]
        for _ in range(2):
            poll.cancel()
        assert call.result() == []
        assert poll.is_cancelled


def test_a_poll_that_was_cancelled_before_does_not_wait(queue: Queue) -> None:
    poll = Poll()
    poll.cancel()
    queue.configure()
    assert Call(queue.receive, wait=WAIT_S, poll=poll).result() == []
    queue.send("a")
    assert [each.text for each in queue.receive(wait=WAIT_S, poll=poll)] == ["a"]


def test_a_poll_that_was_cancelled_before_makes_no_repetition(broker: RunningBroker, queue: Queue) -> None:
    """A claim that had ended before is not taken for one that this call has ended."""

    async def finish(**options: Any) -> Finished:
        async with AsyncClient(broker.url) as client:
            return (await client.queue(queue.name).next(**options)).results

    queue.send("a")
    [message] = queue.receive()
    message.release()
    poll = Poll()
    poll.cancel()
    for results in (
        queue.next(delete=[message.claim_receipt], wait=WAIT_S, poll=poll, limit=1).results,
        asyncio.run(finish(delete=[message.claim_receipt], wait=WAIT_S, poll=poll, limit=1)),
    ):
        [error] = results.delete
        assert isinstance(error, StaleReceipt)


def test_what_a_cancelled_next_finished_stays_finished(queue: Queue) -> None:
    queue.send("a")
    messages = queue.receive()
    poll = Poll()
    call = Call(lambda: queue.next(delete=messages, wait=WAIT_S, poll=poll))
    eventually(lambda: queue.count("processing") == 0)
    poll.cancel()
    found = call.result()
    assert found.results.delete == [None]
    assert found.messages == []


def test_messages_that_race_with_a_cancel_are_returned(queue: Queue) -> None:
    queue.configure()
    for round_ in range(30):
        poll = Poll()
        call = Call(queue.receive, wait=WAIT_S, poll=poll)
        sending = Call(queue.send, str(round_))
        eventually(lambda poll=poll, call=call: is_under_way(poll) or call.done)  # type: ignore[misc]
        poll.cancel()
        sending.result()
        for message in call.result() or queue.receive():
            message.delete()
    assert queue.info().counts == {"unprocessed": 0, "processing": 0, "delayed": 0, "buried": 0}


def test_other_calls_of_the_client_go_on(client: Client, queue: Queue) -> None:
    queue.configure()
    polls = [Poll() for _ in range(4)]
    calls = [Call(queue.receive, wait=WAIT_S, poll=poll) for poll in polls]
    eventually(lambda: all(map(is_under_way, polls)))
    for poll in polls[1:]:
        poll.cancel()
    for call in calls[1:]:
        assert call.result() == []
    sent = queue.send("a")
    assert [each.id for each in calls[0].result()] == [sent.id]


def test_a_call_that_waits_leaves_the_connections_to_others() -> None:
    with slow_server(hang) as server, Client(server.url, pool=1, retries=0, read_timeout=600, timeout=600) as client:
        waiting = Call(client.queue().receive, wait=WAIT_S)
        eventually(lambda: server.requests == 1)
        sending = Call(client.queue().send, "a")
        eventually(lambda: server.requests == 2, "the send to arrive beside the poll")
        server.close()
        for call in (waiting, sending):
            with pytest.raises(Unreachable):
                call.result()


def test_a_task_that_waits_leaves_the_connections_to_others() -> None:
    async def scenario(server: SlowServer) -> None:
        async with AsyncClient(server.url, pool=1, retries=0, read_timeout=600, timeout=600) as client:
            waiting = asyncio.create_task(client.queue().receive(wait=WAIT_S))
            await asyncio.to_thread(eventually, lambda: server.requests == 1)
            sending = asyncio.create_task(client.queue().send("a"))
            await asyncio.to_thread(eventually, lambda: server.requests == 2, "the send to arrive beside the poll")
            await asyncio.to_thread(server.close)
            for task in (waiting, sending):
                with pytest.raises(Unreachable):
                    await task

    with slow_server(hang) as server:
        asyncio.run(scenario(server))


def test_a_poll_that_waits_for_a_connection_is_cancelled(broker: RunningBroker, queue: Queue) -> None:
    queue.configure()
    with Client(broker.url, pool=1) as client:
        polls = [Poll(), Poll()]
        waits = client.queue(queue.name).receive
        first = Call(waits, wait=WAIT_S, poll=polls[0])
        [pool] = client._engine._http.pools
        eventually(lambda: is_under_way(polls[0]) and pool._waiting_pool._free == 0)
        second = Call(waits, wait=WAIT_S, poll=polls[1])
        eventually(lambda: len(pool._waiting_pool._gates) == 1)
        polls[1].cancel()
        assert second.result() == []
        assert not first.done, "the only connection was not given back"
        polls[0].cancel()
        assert first.result() == []
        assert pool._waiting_pool._free == 1


def test_a_signal_handler_may_cancel_a_poll_that_is_about_to_wait_for_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poll = Poll()
    original = Gate.wait

    def wait(gate: Gate, timeout_s: float) -> bool:
        poll.cancel()
        return original(gate, timeout_s)

    monkeypatch.setattr(Gate, "wait", wait)
    pool = HttpPool(Endpoint.of("http://127.0.0.1:1", None), 1, 5)
    assert pool._waiting_pool.enter(0, _Cut())
    request = msgspec.structs.replace(Request.of("POST", "/messages/consume", {}, wait_s=WAIT_S), timeout_s=1000)
    with pytest.raises(PollCancelled):
        Call(pool.exchange, request, poll).result()


def test_a_poll_of_a_task_that_waits_for_a_connection_is_cancelled(broker: RunningBroker, queue: Queue) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker.url, pool=1) as client:
            polls = [Poll(), Poll()]
            tasks = []
            for poll in polls:
                tasks.append(asyncio.create_task(client.queue(queue.name).receive(wait=WAIT_S, poll=poll)))
                while not is_under_way(poll):
                    await asyncio.sleep(0)
            polls[1].cancel()
            assert await tasks[1] == []
            assert not tasks[0].done(), "the only connection was not given back"
            polls[0].cancel()
            assert await tasks[0] == []

    queue.configure()
    asyncio.run(scenario())


def test_a_pause_between_attempts_ends_too() -> None:
    """A worker that waits for a broker to come back stops at once."""
    client = Client("http://127.0.0.1:1", retries=1000, timeout=1000)
    asked = threading.Event()

    class Busy:
        def exchange(self, _request: Request, _poll: Poll | None = None) -> Answer | NoAnswer:
            if asked.is_set():
                return refusal(403, "forbidden")  # only the repetition after the cancel comes so soon
            asked.set()
            return refusal(429, "too_many_in_flight", retry_after_s=900.0)

    client._engine._http = Busy()  # type: ignore[assignment]
    poll = Poll()
    call = Call(client.queue().receive, wait=WAIT_S, poll=poll)
    assert asked.wait(WAIT_S)
    poll.cancel()
    with pytest.raises(Forbidden):
        call.result()


def test_a_poll_of_a_broker_that_hangs_is_cancelled() -> None:
    with slow_server(hang) as server, Client(server.url, read_timeout=0.2, retries=0) as client:
        poll = Poll()
        call = Call(client.queue().receive, wait=WAIT_S, poll=poll)
        eventually(lambda: server.requests)
        poll.cancel()
        with pytest.raises(Unreachable):
            call.result()


def test_a_task_and_a_thread_cancel_a_poll_of_a_task(broker: RunningBroker, queue: Queue) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker.url) as client:
            mail = client.queue(queue.name)
            await mail.configure()
            for from_thread in (False, True):
                poll = Poll()
                task = asyncio.create_task(mail.receive(wait=WAIT_S, poll=poll))
                while not is_under_way(poll):
                    await asyncio.sleep(0)
                if from_thread:
                    await asyncio.to_thread(poll.cancel)
                else:
                    poll.cancel()
                assert await task == []
            await mail.send("a")
            assert [each.text for each in await mail.receive(wait=WAIT_S, poll=poll)] == ["a"]

    asyncio.run(scenario())


def test_cancelling_a_task_that_polls_cancels_it(broker: RunningBroker, queue: Queue) -> None:
    """The cancellation is the caller's, which no poll may swallow."""

    async def scenario() -> None:
        async with AsyncClient(broker.url) as client:
            mail = client.queue(queue.name)
            await mail.configure()
            poll = Poll()
            task = asyncio.create_task(mail.receive(wait=WAIT_S, poll=poll))
            while not is_under_way(poll):
                await asyncio.sleep(0)
            poll.cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await mail.receive() == []

    asyncio.run(scenario())
