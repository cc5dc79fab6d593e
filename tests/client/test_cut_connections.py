"""Messages are added once although connections are cut at any byte and the broker is killed."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.cutting_proxy import CuttingProxy
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.errors import Unreachable
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue

SEED = 17


class Senders:
    """Threads that send messages until they are stopped, and know of which an answer came."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        """Ids by texts."""
        self.unknown: set[str] = set()
        self.unsent: set[str] = set()
        self._done = threading.Event()
        self._calls: list[Call[None]] = []

    def start(self, queue: Queue) -> None:
        self._calls.append(Call(self._send, queue, f"sender {len(self._calls)}"))

    def _send(self, queue: Queue, name: str) -> None:
        number = 0
        while not self._done.is_set():
            number += 1
            text = f"{name} {number}"
            try:
                self.acknowledged[text] = queue.send(text).id
            except Unreachable as error:
                (self.unknown if error.outcome_unknown else self.unsent).add(text)

    def stop(self) -> None:
        self._done.set()
        for call in self._calls:
            call.result()

    def check(self, queue: Queue) -> None:
        """Check that what was acknowledged is there once, and nothing else twice."""
        found = list(queue.look())
        assert {each.text: each.id for each in found if each.text in self.acknowledged} == self.acknowledged
        counts = Counter(each.text for each in found)
        assert [text for text, count in counts.items() if count != 1] == []
        assert counts.keys() <= self.acknowledged.keys() | self.unknown


@pytest.mark.slow
def test_sends_over_connections_that_are_cut(broker: RunningBroker, queue: Queue) -> None:
    queue.configure()
    senders = Senders()
    with CuttingProxy(broker.port, SEED) as proxy, Client(proxy.url, retries=1000, timeout=PATIENCE_S) as client:
        for _ in range(4):
            senders.start(client.queue(queue.name))
        eventually(lambda: proxy.connections >= 30)
        senders.stop()
    assert senders.unknown == senders.unsent == set()
    senders.check(queue)


def test_receives_over_connections_that_are_cut(broker: RunningBroker, queue: Queue) -> None:
    """Nothing that a receive claimed gets lost with its answer, and each delete is reported as done."""
    queue.send_together([str(number) for number in range(100)])
    received: list[str] = []
    with CuttingProxy(broker.port, SEED) as proxy, Client(proxy.url, retries=1000, timeout=PATIENCE_S) as client:
        mail = client.queue(queue.name)
        messages = mail.receive(3)
        while messages:
            received += [each.text for each in messages]
            found = mail.next(delete=messages, limit=3)
            assert found.results.errors == []
            messages = found.messages
        assert proxy.connections > 5
    assert sorted(received, key=int) == [str(number) for number in range(100)]
    assert queue.info().counts == {"unprocessed": 0, "processing": 0, "delayed": 0, "buried": 0}


@pytest.mark.slow
def test_tasks_send_over_connections_that_are_cut(broker: RunningBroker, queue: Queue) -> None:
    async def scenario(url: str) -> dict[str, str]:
        async with AsyncClient(url, retries=1000, timeout=PATIENCE_S) as client:
            mail = client.queue(queue.name)

            async def send(task: int) -> dict[str, str]:
                return {text: (await mail.send(text)).id for text in (f"{task} {number}" for number in range(20))}

            found = await asyncio.gather(*map(send, range(8)))
        return {text: message_id for each in found for text, message_id in each.items()}

    queue.configure()
    with CuttingProxy(broker.port, SEED, most_bytes=1500) as proxy:
        sent = asyncio.run(scenario(proxy.url))
        assert proxy.connections > 3
    assert [(each.text, each.id) for each in sorted(queue.look(), key=lambda each: each.text)] == sorted(sent.items())


@pytest.mark.slow
def test_sends_while_the_broker_is_killed(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path / "data")
    try:
        with (
            CuttingProxy(broker.port, SEED) as proxy,
            Client(proxy.url, retries=1000, timeout=PATIENCE_S) as patient,
            Client(proxy.url, retries=0) as impatient,
        ):
            senders = Senders()
            for client in (patient, impatient):
                for _ in range(4):
                    senders.start(client.queue("jobs"))
            for _ in range(3):
                before = len(senders.acknowledged)
                eventually(lambda before=before: len(senders.acknowledged) > before + 300)  # type: ignore[misc]
                broker = broker.restarted(signal.SIGKILL, outage_s=0.1)
            before = len(senders.acknowledged)
            eventually(lambda: len(senders.acknowledged) > before + 100)
            senders.stop()
        assert senders.unknown
        with Client(broker.url) as client:
            senders.check(client.queue("jobs"))
    finally:
        broker.kill()
