"""Publishes with keys into several queues while the broker is killed: never in some of the queues, never twice."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.errors import Unreachable
from wonderq.client.sync import Client

TOPIC, LITTER = "events", "litter"
QUEUES = ("a", "b", "line.fifo", "wrapped", "some")
KILLS = 6
PUBLISHES_OF_A_LIFE = 25


class Publisher:
    """Publishes batches of two, each with a key of its own, until its broker is killed."""

    def __init__(self) -> None:
        self.answered: set[int] = set()
        self.asked = 0

    def live(self, url: str, chance: random.Random, done: threading.Event) -> None:
        with Client(url, retries=0) as client:
            try:
                while not done.is_set():
                    number, self.asked = self.asked, self.asked + 1
                    self.publish(client, number)
                    if number and chance.random() < 0.3:
                        self.publish(client, chance.randrange(number))  # again, whether it was answered or not
                    litter = client.queue(LITTER)
                    litter.send_together(["x" * 2000] * 10)
                    litter.purge()
            except Unreachable:
                pass

    def publish(self, client: Client, number: int) -> None:
        body = f"{number}:".ljust(600, "x")
        batch: list[Any] = [body + "|1", (body + "|2", {"attributes": {"kind": "some"}})]
        client.topic(TOPIC).publish_together(batch, key=f"key {number}")
        self.answered.add(number)


def set_up(client: Client) -> None:
    client.topic(TOPIC).configure(deduplication_window=3600)
    for queue in QUEUES:
        client.queue(queue).configure()
        fields: dict[str, Any] = {"raw": queue != "wrapped", "filter": {"kind": ["some"]} if queue == "some" else None}
        client.topic(TOPIC).subscribe(queue.removesuffix(".fifo"), queue, **fields)


def judge(client: Client, publisher: Publisher) -> None:
    """Check that each publish is in all queues or in none, once, and that those that were answered are there."""
    found: dict[str, Counter[str]] = {}
    for queue in QUEUES:
        texts = [message.text for message in client.queue(queue).look()]
        numbers = [json.loads(text)["Message"] if queue == "wrapped" else text for text in texts]
        found[queue] = Counter(f"{text.partition(':')[0]}|{text.partition('|')[2][:1]}" for text in numbers)
        assert set(found[queue].values()) <= {1}, f"{queue} has a message twice"
    whole = set(found["a"])
    for queue in ("b", "line.fifo", "wrapped"):
        assert set(found[queue]) == whole, f"{queue} has other messages than a"
    assert set(found["some"]) == {name for name in whole if name.endswith("|2")}
    assert {name.partition("|")[0] for name in whole if name.endswith("|1")} == {
        name.partition("|")[0] for name in whole if name.endswith("|2")
    }, "a batch is there in part"
    assert {str(number) for number in publisher.answered} <= {name.partition("|")[0] for name in whole}


def live_until_killed(broker: BrokerProcess, publisher: Publisher, chance: random.Random, *, is_new: bool) -> None:
    url = broker.ready()
    with Client(url) as client:
        if is_new:
            set_up(client)
        judge(client, publisher)
        for number in range(publisher.asked):  # what was not answered is published now, what was is a duplicate
            publisher.publish(client, number)
        judge(client, publisher)
        assert len(publisher.answered) == publisher.asked
    done, asked = threading.Event(), publisher.asked
    thread = threading.Thread(target=publisher.live, args=(url, chance, done))
    thread.start()
    try:
        eventually(lambda: publisher.asked > asked + PUBLISHES_OF_A_LIFE)
    finally:
        broker.kill()
        done.set()
        thread.join(PATIENCE_S)


@pytest.mark.slow
def test_a_publish_is_in_all_queues_or_in_none_and_never_twice(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance, publisher = random.Random(seed), Publisher()
    for life in range(KILLS + 1):
        with BrokerProcess(tmp_path / "data", segment_bytes=1 << 20) as broker:
            live_until_killed(broker, publisher, chance, is_new=life == 0)
    assert publisher.asked > KILLS * PUBLISHES_OF_A_LIFE
