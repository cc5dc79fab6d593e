"""A message is not delivered once it is older than the retention of its queue, and is not lost before."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import TOLERANCE_S, QueueHistory
from tests.promises.journal import Journal
from tests.promises.load import Texts, consumer
from tests.promises.scenario import Actor, Scenario
from tests.promises.scenarios.delays import claimed_at, produced_at
from tests.promises.verdict import Verdict
from tests.support.waiting import eventually

QUEUE = "retention"
RETENTION_S = 3.0
DELIVERED, YOUNG, EXPIRED = "deliveries", "young messages that were read", "messages that were never delivered"


def _set_up(client: Client) -> None:
    client.configure(QUEUE, retention=RETENTION_S)


def _actors(rng: random.Random) -> Sequence[Actor]:
    texts = Texts(rng)
    ids: list[str] = []

    def produce(client: Client) -> None:
        delay = {"delay": rng.uniform(0.5, 2 * RETENTION_S)} if rng.random() < 0.3 else {}
        answer = client.produce(QUEUE, [{"message": texts.next(client), **delay} for _ in range(rng.randint(2, 5))])
        if answer.is_done:
            ids[:] = [*ids, *answer.answer["ids"]][-20:]
        client.pause(rng.uniform(0, 0.2))

    def read(client: Client) -> None:
        for id_ in ids[-20:]:
            client.call("get", "GET", f"/queues/{QUEUE}/messages/{id_}", QUEUE, id=id_)
            client.pause(0.05)
        client.pause(0.1)

    def finish(client: Client, message: Mapping[str, Any]) -> None:
        if rng.random() < 0.3:
            client.update(QUEUE, message, visibility_timeout=0)

    return [produce, read, consumer(rng, QUEUE, timeouts_s=(0.3, 5), most=5, finish=finish, pause_s=0.3)]


def _settle(client: Client) -> None:
    eventually(lambda: client.pause(0.2) or client.total(QUEUE) == 0, "all messages to expire")


def judge(journal: Journal) -> Verdict:
    """Compare the age of each message with the retention, at each delivery and each read."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    by_id = {message.sending.id: message for message in history.messages.values() if message.sending.id}
    for delivery in history.deliveries:
        verdict.saw(DELIVERED)
        sent = history.messages[delivery.text].sending.exchange
        age_s = (claimed_at(delivery) - produced_at(delivery)).total_seconds()
        if age_s > RETENTION_S or delivery.exchange.began_s > sent.ended_s + RETENTION_S + TOLERANCE_S:
            verdict.report(f"{delivery.text!r} was delivered at an age of {age_s} s", sent, delivery.exchange)
    for read in journal.of("get", QUEUE):
        sent = by_id[read.sent["id"]].sending.exchange
        if read.status is not None and read.ended_s < sent.began_s + RETENTION_S - TOLERANCE_S:
            verdict.saw(YOUNG)
            if not read.is_done:
                verdict.report("a message was not there although it was younger than the retention", sent, read)
    # The queue is empty at the end, and nobody deletes.
    verdict.saw(EXPIRED, sum(message.exists and not message.deliveries for message in history.messages.values()))
    return verdict


SCENARIO = Scenario(
    name="retention",
    promises=(
        "From the moment it exceeds its queue's `retention`, the message is not delivered.",
        "This includes delayed messages: a delay longer than the retention means that the message is never delivered.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=_settle,
    judge=judge,
    required=(DELIVERED, YOUNG, EXPIRED),
)
