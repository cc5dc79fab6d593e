"""Ordinary queues deliver the oldest message first, and a message that comes back before younger ones."""

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

QUEUE = "oldest-first"


def _set_up(client: Client) -> None:
    """Leave a few messages with many deleted ones between them: memory is organised by thousands of messages."""
    client.configure(QUEUE)
    for number in range(30):
        filler = client.call(
            "fill", "POST", f"/queues/{QUEUE}/messages/produce", QUEUE, {"messages": [str(number)] * 299}
        )
        client.produce(QUEUE, [{"message": f"{client.actor}:{number}"}])
        client.call("thin out", "POST", f"/queues/{QUEUE}/messages/delete", QUEUE, {"ids": filler.answer["ids"]})


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        match rng.randrange(6):
            case 0:
                client.update(QUEUE, message, visibility_timeout=0)
            case 1:
                pass  # the claim times out
            case _:
                client.delete(QUEUE, message)

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.4, 0.8), most=4, finish=finish) for _ in range(2)]
    return [*(producer(rng, QUEUE) for _ in range(2)), *consumers]


def _is_older(first: Message, second: Message) -> bool:
    return first.sending.is_before(second.sending)


def judge(journal: Journal) -> Verdict:
    """No message is delivered while an older one is available."""
    return chosen(QueueHistory(journal, QUEUE), _is_older)


SCENARIO = Scenario(
    name="oldest_first",
    promises=(
        "Oldest first, by time of produce. A message that becomes available again keeps its place before younger ones.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(AVAILABLE_BESIDE, NEIGHBOURS),
)
