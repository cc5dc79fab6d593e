"""A consume that returns fewer messages than it may has left none out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import QueueHistory
from tests.promises.journal import Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "full-answers"
DELIVERED, EMPTY = "available messages that an answer had room for", "empty answers"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def fields() -> Mapping[str, Any]:
        return {
            **({"delay": rng.uniform(0.1, 0.8)} if rng.random() < 0.3 else {}),
            **({"group": rng.choice("abc")} if rng.random() < 0.5 else {}),
            **({"priority": rng.randrange(10)} if rng.random() < 0.5 else {}),
        }

    def finish(client: Client, message: Mapping[str, Any]) -> None:
        match rng.randrange(5):
            case 0:
                client.update(QUEUE, message, delay=rng.uniform(0, 0.5))
            case 1:
                pass  # the claim times out
            case _:
                client.delete(QUEUE, message)

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.3, 0.6), most=8, finish=finish, pause_s=0.2) for _ in range(2)]
    return [producer(rng, QUEUE, most=3, backlog=20, pause_s=0.3, fields=fields), *consumers]


def judge(journal: Journal) -> Verdict:
    """An answer that is not full has every message that was available all the time."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    for consume in history.consumes:
        if not consume.is_done or len(consume.answer) >= consume.sent["max"]:
            continue
        verdict.saw(EMPTY, not consume.answer)
        returned = {shown["message"] for shown in consume.answer}
        for message in history.available(consume.began_s, consume.ended_s):
            verdict.report(
                f"{message.text!r} was available, and the answer had room for it", consume, *message.evidence
            )
        for text in returned & history.messages.keys():
            verdict.saw(DELIVERED, history.messages[text].exists)
    return verdict


SCENARIO = Scenario(
    name="full_answers",
    promises=(
        (
            "A consume returns as many messages as it may: fewer than `max` only if no other message is available, or if a"
            " [limit](#limits-of-a-queue) or the size of the response does not allow more."
        ),
        "A consume still finds a message: it is not answered as empty while a message of the queue is due.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(DELIVERED, EMPTY),
)
