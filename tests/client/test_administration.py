"""Calls for schedules, redrives and queues."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.waiting import eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import Invalid, NotFound
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue


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
