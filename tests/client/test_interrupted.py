"""A caller that stops waiting for messages leaves none behind: nobody would have them until the end of their lease."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

from tests.client.slow_server import hang, slow_server
from tests.support.broker_process import RunningBroker
from tests.support.stalling_proxy import StallingProxy
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.client import claims
from wonderq.client.async_message import AsyncMessage
from wonderq.client.async_queue import AsyncQueue
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.claims import Claim
from wonderq.client.messages import ReceivedContents
from wonderq.client.polls import Poll
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue

WAIT_S = 20.0
SEED = 17

#: So long that no claim of a test ends by itself.
LEASE_S = 3600


@pytest.fixture
def proxy(broker: RunningBroker) -> Iterator[StallingProxy]:
    with StallingProxy(broker.port) as proxy:
        yield proxy


def waiting(client: Client, queue: Queue) -> int:
    return int(client.call("GET", f"/queues/{queue.name}?figures=true", dict[str, Any])["figures"]["consumers"])


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that takes a request, while the event loop goes on."""
    await asyncio.to_thread(eventually, condition)


def test_a_cancelled_poll_claims_nothing_later_though_the_broker_does_not_notice(
    client: Client, queue: Queue, proxy: StallingProxy
) -> None:
    queue.configure(visibility_timeout=LEASE_S)
    with Client(proxy.url) as other:
        for waits in (other.queue(queue.name).receive, lambda **options: other.next([queue.name], **options).messages):
            poll = Poll()
            call = Call(waits, wait=WAIT_S, poll=poll)
            eventually(lambda: waiting(client, queue) == 1)
            poll.cancel()
            assert call.result() == []
            queue.send("a")
            [message] = queue.receive()
            message.delete()


def test_a_cancelled_task_claims_nothing_later_though_the_broker_does_not_notice(
    client: Client, queue: Queue, proxy: StallingProxy
) -> None:
    async def scenario() -> None:
        async with AsyncClient(proxy.url) as other:
            task = asyncio.create_task(other.queue(queue.name).receive(wait=WAIT_S))
            await until(lambda: waiting(client, queue) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    queue.configure(visibility_timeout=LEASE_S)
    asyncio.run(scenario())
    queue.send("a")
    assert [each.tries for each in queue.receive()] == [1]


def receive(queue: AsyncQueue, wait_s: float) -> Awaitable[object]:
    return queue.receive(wait=wait_s)


def next_(queue: AsyncQueue, wait_s: float) -> Awaitable[object]:
    return queue.next(wait=wait_s)


async def iterate(queue: AsyncQueue, _: float) -> None:
    async for _message in queue.messages():
        raise AssertionError("no answer arrived")


@pytest.mark.parametrize(("wait_s", "call"), [(0, receive), (WAIT_S, receive), (WAIT_S, next_), (WAIT_S, iterate)])
def test_a_cancelled_task_gives_back_the_messages_of_an_answer_under_way(
    queue: Queue, proxy: StallingProxy, wait_s: float, call: Callable[[AsyncQueue, float], Awaitable[object]]
) -> None:
    async def scenario() -> None:
        async with AsyncClient(proxy.url) as other:
            proxy.hold_answers()
            task = asyncio.ensure_future(call(other.queue(queue.name), wait_s))
            await until(lambda: queue.count("processing") == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.pass_answers()

    queue.configure(visibility_timeout=LEASE_S)
    queue.send("a")
    asyncio.run(scenario())
    assert [each.tries for each in queue.receive()] == [1]


class InterruptError(BaseException):
    """Raised by the handler of a signal."""


@contextmanager
def interrupted_when(
    condition: Callable[[], object], then: Callable[[], None], error: type[BaseException] = InterruptError
) -> Iterator[None]:
    """Interrupt the main thread by a signal as soon as a condition is met."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        then()
        raise error

    def watch() -> None:
        eventually(condition)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    call = Call(watch)
    try:
        yield
    finally:
        call.result()
        signal.signal(signal.SIGUSR1, before)


def receive_json(client: Client, queue: str) -> object:
    """Receive as the command line does."""
    return client.do(claims.receive(queue, ReceivedContents, Claim(wait_s=WAIT_S)).as_json())


def receive_messages(client: Client, queue: str) -> object:
    return client.queue(queue).receive(wait=WAIT_S)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (receive_messages, InterruptError),
        (receive_json, InterruptError),
        (receive_messages, RuntimeError),
        (receive_messages, ValueError),
    ],
)
def test_an_interrupted_thread_gives_back_the_messages_of_an_answer_under_way(
    queue: Queue, proxy: StallingProxy, call: Callable[[Client, str], object], error: type[BaseException]
) -> None:
    queue.configure(visibility_timeout=LEASE_S)
    queue.send("a")
    with Client(proxy.url) as other:
        proxy.hold_answers()
        with (
            pytest.raises(error),
            interrupted_when(lambda: queue.count("processing") == 1, proxy.pass_answers, error),
        ):
            call(other, queue.name)
    assert [each.tries for each in queue.receive()] == [1]


def test_an_interrupted_call_that_claims_nothing_asks_for_nothing() -> None:
    with slow_server(hang) as server, Client(server.url) as client:
        with pytest.raises(InterruptError), interrupted_when(lambda: server.requests == 1, lambda: None):
            client.queue().count("processing")
        assert server.requests == 1


class Crowd:
    """Tasks that receive, some of which are cancelled, while others send."""

    def __init__(self, queue: AsyncQueue, chance: random.Random) -> None:
        self._queue = queue
        self._random = chance
        self.received: list[str] = []
        self.cancelled = 0

    async def run(self, tasks: int) -> None:
        await asyncio.gather(*(self._interrupt(each) for each in range(tasks)))

    async def _interrupt(self, number: int) -> None:
        """Begin a receive, send a message, and cancel the receive, after a random number of turns of the loop each."""
        poll = Poll()
        task = asyncio.create_task(self._queue.receive(self._random.randint(1, 3), wait=WAIT_S, poll=poll))
        await self._turns()
        await self._queue.send(str(number))
        await self._turns()
        if self._random.random() < 0.5:
            task.cancel()
        else:
            poll.cancel()
        with suppress(asyncio.CancelledError):
            await self._finish(await task)
            return
        self.cancelled += 1

    async def _turns(self) -> None:
        for _ in range(self._random.randrange(60)):
            await asyncio.sleep(0)

    async def _finish(self, messages: Sequence[AsyncMessage]) -> None:
        for message in messages:
            assert message.tries == 1
            self.received.append(message.text)
            await message.delete()


def test_whenever_a_receive_is_cancelled_no_message_is_left_behind(broker: RunningBroker, queue: Queue) -> None:
    async def scenario() -> list[str]:
        async with AsyncClient(broker.url) as client:
            crowd = Crowd(client.queue(queue.name), random.Random(SEED))
            await crowd.run(100)
        assert crowd.cancelled
        assert crowd.received
        return crowd.received

    queue.configure(visibility_timeout=LEASE_S)
    received = asyncio.run(scenario())
    left = list(queue.look())
    assert {(each.status, each.tries) for each in left} <= {("unprocessed", 0)}
    assert sorted([*received, *(each.text for each in left)], key=int) == [str(number) for number in range(100)]
