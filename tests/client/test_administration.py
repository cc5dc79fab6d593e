"""Calls for schedules, redrives and queues."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest

from tests.client.script import LOST, UNSENT, answer, play, refusal, result_of
from tests.support.broker_process import RunningBroker
from tests.support.waiting import eventually
from wonderq.client import administration, topics
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.calls import Call
from wonderq.client.errors import Invalid, NotFound, Unreachable
from wonderq.client.requests import Answer, NoAnswer, Request
from wonderq.client.retries import Retries
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue

RETRIES = Retries(3, random=lambda: 1.0)


def test_schedules(client: Client, queue: Queue) -> None:
    queue.configure()
    name = queue.name[:60]
    made = client.put_schedule(
        name, cron="30 4 * * *", queue=queue.name, body={"n": 1}, attributes={"a": b"\x00"}, timezone="Europe/Vienna"
    )
    assert (made.name, made.queue, made.cron, made.timezone) == (name, queue.name, "30 4 * * *", "Europe/Vienna")
    assert made.body == {"n": 1}
    assert made.attributes == {"a": b"\x00"}
    assert made.next_at is not None
    paused = client.put_schedule(name, paused=True)
    assert paused.paused
    assert (paused.body, paused.attributes) == (made.body, made.attributes)
    assert client.get_schedule(name) == paused
    assert paused in client.schedules()
    assert client.put_schedule(name, body="text", attributes={}).body == "text"
    client.delete_schedule(name)
    for gone in (client.get_schedule, client.delete_schedule):
        with pytest.raises(NotFound):
            gone(name)
    with pytest.raises(Invalid):
        client.put_schedule(name, cron="never", queue=queue.name, body="x")


@pytest.mark.parametrize(
    "call",
    [
        administration.drop("q"),
        administration.delete_schedule("nightly"),
        topics.drop("orders"),
        topics.unsubscribe("orders", "mail"),
    ],
    ids=["queue", "schedule", "topic", "subscription"],
)
def test_what_a_repeated_deletion_does_not_find_is_deleted(call: Call[None]) -> None:
    gone = refusal(404, "not_found")
    for before, is_done in (([LOST], True), ([LOST, UNSENT], True), ([UNSENT], False), ([], False)):
        outcomes: list[Answer | NoAnswer] = [*before, gone]
        found = result_of(RETRIES.attempt(call.request), lambda _: outcomes.pop(0))  # noqa: B023
        with nullcontext() if is_done else pytest.raises(NotFound):
            call.read(found)


def requests_until_lost(call: Call[Any]) -> int:
    """Return how often a call is sent whose first answer is lost."""
    outcomes: Iterator[Answer | NoAnswer] = iter([LOST, answer(200, {})])
    sent: list[Request] = []

    def broker(request: Request) -> Answer | NoAnswer:
        sent.append(request)
        return next(outcomes)

    with suppress(Unreachable):
        play(RETRIES.attempt(call.request), broker)
    return len(sent)


@pytest.mark.parametrize(
    ("call", "is_repeated"),
    [
        (administration.purge("q"), False),
        (topics.subscribe("t", "s", None, {"endpoint": "https://a"}), False),
        (topics.subscribe("t", "s", None, {"style": "webhook"}), False),
        (topics.subscribe("t", "s", None, {"endpoint": "https://a", "secret": ""}), True),
        (topics.subscribe("t", "s", "q", {"paused": True}), True),
        (topics.drop("t"), True),
    ],
)
def test_a_call_whose_repetition_would_answer_something_else_is_not_repeated(
    call: Call[Any], is_repeated: bool
) -> None:
    """A second purge deletes what came since the first, and the secret of an endpoint is told only once."""
    assert requests_until_lost(call) == 1 + is_repeated


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST"])
def test_any_call_is_repeated_by_default_unless_it_is_a_post(method: str) -> None:
    async def ask(given: Any) -> None:
        async with AsyncClient("http://127.0.0.1:1", retries=1) as client:
            with patch.object(client, "do", AsyncMock()) as do:
                await client.call(method, "/queues/q", dict, **given)
            asked.append(do.call_args[0][0])

    for given, is_repeated in (({}, method != "POST"), ({"repeatable": True}, True), ({"repeatable": False}, False)):
        asked: list[Call[Any]] = []
        client = Client("http://127.0.0.1:1", retries=1)
        with patch.object(client, "do") as do:
            client.call(method, "/queues/q", dict, **given)
        asked.append(do.call_args[0][0])
        asyncio.run(ask(given))
        assert [requests_until_lost(each) for each in asked] == [1 + is_repeated] * 2


@pytest.mark.parametrize(
    "target", ["//elsewhere/queues", "http://elsewhere/queues", "queues", "/a b", "/\u00e4", "/\r\nX: y", ""]
)
def test_a_target_that_is_no_path_of_the_broker_is_refused(target: str) -> None:
    """With it, the key would go elsewhere."""

    async def ask() -> None:
        async with AsyncClient("http://127.0.0.1:1", key="secret", retries=0) as client:
            await client.call("GET", target, dict)

    with Client("http://127.0.0.1:1", key="secret", retries=0) as client:
        for call in (lambda: client.call("GET", target, dict), lambda: asyncio.run(ask())):
            with pytest.raises(ValueError, match="percent-encode"):
                call()


def test_redrives(client: Client, queue: Queue) -> None:
    target = client.queue(f"{queue.name[:70]}-to")
    target.configure()
    queue.send_together(["a", "b", "other"])
    dry = queue.redrive(target.name, dry_run=True)
    assert dry.dry_run
    assert eventually(lambda: queue.get_redrive(dry.id).status == "completed")
    moved = queue.redrive(target.name, limit=2, per_second=1000)
    assert (moved.destination, moved.queue) == (target.name, queue.name)
    assert eventually(lambda: queue.get_redrive(moved.id).status == "completed")
    assert queue.get_redrive(moved.id).moved == 2
    assert [each.text for each in target.look()] == ["a", "b"]
    assert [each.id for each in queue.redrives()] == [moved.id, dry.id]
    slow = target.redrive(queue.name, per_second=1)
    assert target.cancel_redrive(slow.id).status in ("cancelled", "completed")
    with pytest.raises(NotFound):
        queue.get_redrive("none")


def test_queues_are_listed_by_prefix(client: Client, queue: Queue) -> None:
    names = [f"{queue.name[:60]}-{number}" for number in range(3)]
    for name in names:
        client.queue(name).configure()
    assert [each.name for each in client.queues(queue.name[:60] + "-")] == names


def test_a_broker_is_ready_or_not(client: Client) -> None:
    assert client.ready()
    assert not Client("http://127.0.0.1:1", retries=0).ready()


def test_any_call_can_be_made(client: Client, queue: Queue) -> None:
    queue.configure()
    assert client.call("GET", f"/queues/{queue.name}", dict)["queue"] == queue.name
    with pytest.raises(NotFound):
        client.call("GET", "/nothing", dict)


def test_the_same_in_asyncio(broker: RunningBroker, queue: Queue) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker.url) as client:
            mail = client.queue(queue.name)
            await mail.configure()
            assert await client.ready()
            name = queue.name[:60]
            made = await client.put_schedule(name, cron="0 0 1 1 *", queue=queue.name, body="x")
            assert await client.get_schedule(name) == made
            assert made in await client.schedules()
            await client.delete_schedule(name)
            redrive = await mail.redrive("default", dry_run=True)
            assert (await mail.get_redrive(redrive.id)).id == redrive.id
            assert [each.id for each in await mail.redrives()] == [redrive.id]
            assert await mail.count("unprocessed") == 0
            assert (await client.call("GET", f"/queues/{queue.name}", dict))["queue"] == queue.name

    asyncio.run(scenario())
