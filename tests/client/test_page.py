"""The examples of docs/PYTHON.md work."""

from __future__ import annotations

import asyncio

from tests.support.broker_process import RunningBroker
from tests.support.pages import run_section
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue


def test_several_messages_at_once(broker: RunningBroker, client: Client) -> None:
    mail = client.queue("mail")
    mail.configure()
    mail.purge()
    mail.send_together(["good"] * 6 + ["bad"])

    async def work(body: str) -> None:
        if body == "bad":
            raise ValueError(body)

    async def scenario() -> None:
        consume = run_section("PYTHON.md", "Several messages at once", work=work)["consume"]
        async with AsyncClient(broker.url) as client:
            consuming = asyncio.create_task(consume(client))
            while sum((await client.queue("mail").info()).counts.values()) > 1 or (
                await client.queue("mail").count("delayed") == 0
            ):
                assert not consuming.done()
            consuming.cancel()
            await asyncio.wait([consuming])

    asyncio.run(scenario())
    [left] = mail.look()
    assert left.last_error is not None
    assert (left.text, left.last_error.message) == ("bad", "bad")


def test_finishing_and_receiving_in_one_request(queue: Queue) -> None:
    queue.send_together(["1", "0", "2"])
    run_section("PYTHON.md", "Finishing and receiving in one request", mail=queue, work=lambda body: 1 // int(body))
    [left] = queue.look()
    assert (left.text, left.status, left.tries) == ("0", "delayed", 1)
