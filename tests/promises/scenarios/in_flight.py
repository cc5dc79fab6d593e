"""No more messages are being processed than the limits of a queue allow."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import Message, QueueHistory
from tests.promises.journal import Journal
from tests.promises.load import consumer, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict
from tests.support.waiting import eventually

QUEUE = "in-flight"
MOST, MOST_OF_GROUP = 7, 3
CLAIMS, AT_LIMIT, AT_LIMIT_OF_GROUP = "claims", "claims at the limit", "claims at the limit of a group"


def _set_up(client: Client) -> None:
    client.configure(QUEUE, max_in_flight=MOST, max_in_flight_per_group=MOST_OF_GROUP)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        match rng.randrange(4):
            case 0:
                client.update(QUEUE, message, visibility_timeout=rng.uniform(0.2, 2))
            case 1:
                client.update(QUEUE, message, visibility_timeout=0)
            case 2:
                client.delete(QUEUE, message)

    def group() -> Mapping[str, Any]:
        return {"group": rng.choice("abcd")}

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.7, 2), most=10, finish=finish) for _ in range(3)]
    return [producer(rng, QUEUE, most=6, backlog=60, fields=group), *consumers]


def _settle(client: Client) -> None:
    def is_empty() -> bool:
        answer = client.consume(QUEUE, visibility_timeout=5)
        for message in answer.answer if answer.is_done else ():
            client.delete(QUEUE, message)
        return client.total(QUEUE) == 0

    eventually(is_empty, "the queue to be empty")


def judge(journal: Journal) -> Verdict:
    """Count, at the end of each answer, the messages that surely were being processed."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    messages = list(history.messages.values())
    _judge(verdict, messages, MOST, AT_LIMIT, "the queue")
    for group in sorted({str(message.sending.fields["group"]) for message in messages}):
        mine = [message for message in messages if message.sending.fields["group"] == group]
        _judge(verdict, mine, MOST_OF_GROUP, AT_LIMIT_OF_GROUP, f"group {group}")
    verdict.saw(CLAIMS, len(history.deliveries))
    return verdict


def _judge(verdict: Verdict, messages: Sequence[Message], most: int, what: str, where: str) -> None:
    # A claim that ends at the same moment counts as ended.
    changes = sorted(
        change
        for number, message in enumerate(messages)
        for span in message.surely_claimed()
        for change in ((span.begin, 1, number), (span.end, 0, number))
    )
    held: set[int] = set()
    for _, begins, number in changes:
        if not begins:
            held.discard(number)
            continue
        held.add(number)
        verdict.saw(what, len(held) == most)
        if len(held) > most:
            evidence = [exchange for each in held for exchange in messages[each].evidence]
            verdict.report(f"{len(held)} messages of {where} were being processed, at most {most} may be", *evidence)


SCENARIO = Scenario(
    name="in_flight",
    promises=("bounds the messages being processed", "bounds those of each named group"),
    set_up=_set_up,
    actors=_actors,
    settle=_settle,
    judge=judge,
    required=(CLAIMS, AT_LIMIT, AT_LIMIT_OF_GROUP),
)
