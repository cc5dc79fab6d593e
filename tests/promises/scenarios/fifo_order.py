"""FIFO queues keep the order of each group, whatever is killed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.promises.client import Client
from tests.promises.history import QueueHistory
from tests.promises.journal import Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.order import EARLIER_OF_GROUP, overtaken
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "fifo-order.fifo"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def groups(number: int) -> Actor:
        names = [f"group-{number}-{each}" for each in range(3)]
        return producer(rng, QUEUE, most=6, backlog=80, fields=lambda: {"group": rng.choice(names)})

    def finish(client: Client, message: object) -> None:
        assert isinstance(message, dict)
        client.delete(QUEUE, message)

    return [groups(1), groups(2), *(consumer(rng, QUEUE, timeouts_s=(2,), most=5, finish=finish) for _ in range(2))]


def judge(journal: Journal) -> Verdict:
    """No message is claimed before those of its group that were produced earlier."""
    return overtaken(QueueHistory(journal, QUEUE))


SCENARIO = Scenario(
    name="fifo_order",
    promises=("Each group strictly in order of produce.",),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(EARLIER_OF_GROUP,),
)
