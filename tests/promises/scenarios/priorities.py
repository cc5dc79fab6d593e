"""Urgent messages come first, and the oldest ones of each priority."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import Message, QueueHistory
from tests.promises.journal import Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.order import AVAILABLE_BESIDE, NEIGHBOURS, chosen
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "priorities"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def fields() -> Mapping[str, Any]:
        return {"priority": rng.choice((0, 1, 5, 9))} if rng.random() < 0.8 else {}

    def finish(client: Client, message: Mapping[str, Any]) -> None:
        if rng.random() < 0.2:
            client.update(QUEUE, message, visibility_timeout=0)
        elif rng.random() < 0.9:
            client.delete(QUEUE, message)

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.4, 0.8), most=4, finish=finish) for _ in range(2)]
    return [*(producer(rng, QUEUE, fields=fields) for _ in range(2)), *consumers]


def _comes_first(first: Message, second: Message) -> bool:
    mine, theirs = (each.sending.fields.get("priority", 0) for each in (first, second))
    return bool(mine > theirs or (mine == theirs and first.sending.is_before(second.sending)))


def judge(journal: Journal) -> Verdict:
    """No message is delivered while a more urgent one, or an older one that is as urgent, is available."""
    return chosen(QueueHistory(journal, QUEUE), _comes_first)


SCENARIO = Scenario(
    name="priorities",
    promises=("9 first, then 8, down to 0, which is the default. Within one priority, oldest first.",),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(AVAILABLE_BESIDE, NEIGHBOURS),
)
