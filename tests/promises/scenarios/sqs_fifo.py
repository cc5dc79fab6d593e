"""FIFO queues of the SQS endpoint: order, and sends that a client repeats until it gets an answer."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from tests.promises.client import Client
from tests.promises.history import QueueHistory, sendings
from tests.promises.journal import Journal
from tests.promises.load import Texts, drain
from tests.promises.order import EARLIER_OF_GROUP, overtaken
from tests.promises.scenario import Actor, Scenario
from tests.promises.sqs_client import SqsClient
from tests.promises.verdict import Verdict

QUEUE = "sqs-fifo.fifo"
REPEATED, RECEIVED = "sends repeated after a lost answer", "messages received"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def sender(number: int) -> Actor:
        texts = Texts(rng)
        sqs: list[SqsClient] = []

        def step(client: Client) -> None:
            sqs[:] = sqs or [SqsClient(client)]
            group = f"group-{number}-{rng.randrange(2)}"
            batch = []
            for _ in range(rng.choice((1, 1, 4))):
                text = texts.next(client)
                batch.append({"message": text, "group": group, "idempotency_key": text.rpartition(":")[0]})
            while sqs[0].send(QUEUE, batch).is_unknown or rng.random() < 0.1:
                pass
            client.pause(rng.uniform(0, 0.3))

        return step

    def receiver() -> Actor:
        sqs: list[SqsClient] = []
        count = 0

        def step(client: Client) -> None:
            nonlocal count
            sqs[:] = sqs or [SqsClient(client)]
            count += 1
            answer = sqs[0].receive(QUEUE, most=5, visibility_timeout=2, attempt_id=f"{client.actor}-{count}")
            for message in answer.answer if answer.is_done else ():
                if rng.random() < 0.9:
                    sqs[0].delete(QUEUE, message)
            client.pause(rng.uniform(0, 0.1))

        return step

    return [sender(1), sender(2), receiver(), receiver()]


def judge(journal: Journal) -> Verdict:
    """A message has one id and one place in its group, however often it was sent."""
    history = QueueHistory(journal, QUEUE)
    verdict = overtaken(history)
    ids: dict[str, set[str]] = defaultdict(set)
    exchanges = defaultdict(list)
    for sending in sendings(journal, QUEUE):
        exchanges[sending.text].append(sending.exchange)
        if sending.id is not None:
            ids[sending.text].add(sending.id)
    for delivery in history.deliveries:
        verdict.saw(RECEIVED)
        exchanges[delivery.text].append(delivery.exchange)
        ids[delivery.text].add(delivery.id)
    for text, mine in ids.items():
        verdict.saw(REPEATED, any(each.kind == "produce" and each.is_unknown for each in exchanges[text]))
        if len(mine) > 1:
            verdict.report(f"{text!r} was added {len(mine)} times", *exchanges[text])
    return verdict


SCENARIO = Scenario(
    name="sqs_fifo",
    promises=(
        "Each group strictly in order of produce.",
        "It stays in force if that message is deleted or purged, and across restarts.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(EARLIER_OF_GROUP, REPEATED, RECEIVED),
)
