"""`AsyncQueue.messages`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.waiting import PATIENCE_S
from wonderq.client.async_message import AsyncMessage
from wonderq.client.async_queue import AsyncQueue
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.claims import Release, ToDeadLetters
from wonderq.client.errors import StaleReceipt
from wonderq.client.operations import MOST_ENTRIES
from wonderq.client.sync_queue import Queue

Scenario = Callable[[AsyncQueue], Awaitable[None]]


@pytest.fixture
def run(broker: RunningBroker, queue: Queue) -> Callable[[Scenario], None]:
    """Runs a coroutine with the test's queue."""

    async def with_queue(scenario: Scenario) -> None:
        async with AsyncClient(broker.url) as client:
            await scenario(client.queue(queue.name))

    queue.configure()
    return lambda scenario: asyncio.run(with_queue(scenario))


def test_a_loop_gets_all_messages_once(run: Callable[[Scenario], None], queue: Queue) -> None:
    queue.send_together(list(map(str, range(20))))

    async def scenario(mail: AsyncQueue) -> None:
        seen = []
        async for message in mail.messages(concurrency=4):
            seen.append(message.text)
            await message.delete()
            if len(seen) == 20:
                break
        assert seen == list(map(str, range(20)))

    run(scenario)
    assert list(queue.look()) == []


def test_no_more_messages_are_held_than_tasks_may_run(run: Callable[[Scenario], None], queue: Queue) -> None:
    queue.send_together(list(map(str, range(12))))

    async def scenario(mail: AsyncQueue) -> None:
        running: set[str] = set()
        most = ended = 0
        free = asyncio.Semaphore(0)

        async def work(message: AsyncMessage) -> None:
            nonlocal most, ended
            running.add(message.id)
            most = max(most, len(running))
            assert await mail.count("processing") <= 3
            if len(running) == 3:  # all slots are taken: let them go on
                free.release()
            await free.acquire()
            running.remove(message.id)
            free.release()
            ended += 1
            await (message.delete() if ended % 2 else message.bury())

        async with asyncio.TaskGroup() as tasks, aclosing(mail.messages(concurrency=3)) as messages:
            started = 0
            async for message in messages:
                tasks.create_task(work(message))
                started += 1
                if started == 12:
                    break
        assert most == 3
        assert ended == 12

    run(scenario)
    assert queue.info().counts == {"unprocessed": 0, "processing": 0, "delayed": 0, "buried": 6}


def test_claims_are_renewed_while_messages_are_held(run: Callable[[Scenario], None], queue: Queue) -> None:
    queue.send_together(["a", "b"])

    async def scenario(mail: AsyncQueue) -> None:
        async with aclosing(mail.messages(concurrency=2, lease=1)) as messages:
            message = await anext(messages)
            ends = {each.id: each.claimed_until async for each in mail.look()}
            while True:  # also that of the one which the loop has not taken yet
                now = {each.id: each.claimed_until async for each in mail.look()}
                assert None not in now.values()
                if all(now[each] != ends[each] for each in ends):
                    break
            await message.delete()

    run(scenario)
    assert [(each.text, each.status, each.tries) for each in queue.look()] == [("b", "unprocessed", 0)]


def test_a_claim_that_has_ended_is_held_no_longer(run: Callable[[Scenario], None], queue: Queue) -> None:
    queue.send_together(["a", "b"])

    async def scenario(mail: AsyncQueue) -> None:
        async with aclosing(mail.messages(concurrency=1, lease=600)) as messages:
            first = await anext(messages)
            assert await mail.release([first]) == [None]  # not by the message itself
            with pytest.raises(StaleReceipt):
                await first.delete()
            second = await anext(messages)
            assert second.id == first.id
            await second.delete()
            assert (await anext(messages)).text == "b"

    run(scenario)


def test_a_message_is_finished_by_any_call(broker: RunningBroker, queue: Queue) -> None:
    queue.send_together(list("abcdef"))

    async def scenario() -> None:
        async with AsyncClient(broker.url) as client:
            mail, other = client.queue(queue.name), client.queue(f"{queue.name}-2")
            await other.configure()
            ways: list[Callable[[AsyncMessage], Awaitable[object]]] = [
                lambda message: mail.delete([message]),
                lambda message: mail.release([Release(message, delay=600)]),
                lambda message: mail.hand_over([message], [(other.name, "x")]),
                lambda message: client.next([other.name], delete=[message.claim_receipt]),
                lambda message: client.next([other.name], release=[Release(message, delay=600)]),
                lambda message: client.next([other.name], dead=[ToDeadLetters(message, "no")]),
            ]
            async with aclosing(mail.messages(concurrency=1, lease=600)) as messages:
                for way in ways:
                    await way(await asyncio.wait_for(anext(messages), PATIENCE_S))

    asyncio.run(scenario())
    assert queue.info().counts == {"unprocessed": 0, "processing": 0, "delayed": 2, "buried": 1}


def test_a_loop_may_hold_more_messages_than_a_request_may_have(run: Callable[[Scenario], None], queue: Queue) -> None:
    for count in (MOST_ENTRIES, 2):
        queue.send_together(list(map(str, range(count))))

    async def scenario(mail: AsyncQueue) -> None:
        async with aclosing(mail.messages(concurrency=MOST_ENTRIES + 1, lease=1)) as messages:
            held = [await anext(messages) for _ in range(MOST_ENTRIES + 1)]
            ends = {each.id: each.claimed_until for each in held}
            while True:
                now = {each.id: each.claimed_until async for each in mail.look(status="processing")}
                assert now.keys() == ends.keys()
                if all(now[each] != ends[each] for each in ends):
                    break

    run(scenario)


def test_messages_that_a_loop_did_not_take_are_given_back_uncounted(
    run: Callable[[Scenario], None], queue: Queue
) -> None:
    queue.send_together(["a", "b", "c"])

    async def scenario(mail: AsyncQueue) -> None:
        async with aclosing(mail.messages(concurrency=3)) as messages:
            async for _ in messages:
                assert await mail.count("processing") == 3
                break
        assert await mail.count("processing") == 1

    run(scenario)
    assert [(each.text, each.tries) for each in queue.look(status="unprocessed")] == [("b", 0), ("c", 0)]


def test_a_loop_of_no_messages_is_refused(run: Callable[[Scenario], None]) -> None:
    async def scenario(mail: AsyncQueue) -> None:
        with pytest.raises(ValueError, match="concurrency"):
            mail.messages(concurrency=0)

    run(scenario)
