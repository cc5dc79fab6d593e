"""An acknowledged message is there until it is deleted, and a deleted one does not come back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import QueueHistory
from tests.promises.journal import Journal
from tests.promises.load import consumer, listed, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "acknowledged"
KEPT, DELETED, LOST_ANSWERS = "messages acknowledged and kept", "messages deleted", "produces without an answer"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        if rng.random() < 0.7:
            client.delete(QUEUE, message)

    def in_turn(number: int) -> Actor:
        return producer(rng, QUEUE, most=1 + 4 * number, backlog=3000, pause_s=0.02)

    # Claims outlast a round, so a part of the messages stays.
    return [in_turn(0), in_turn(1), in_turn(2), consumer(rng, QUEUE, timeouts_s=(600,), most=10, finish=finish)]


def judge(journal: Journal) -> Verdict:
    """Compare the last listing with the acknowledged requests."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    last = journal.of("listing", QUEUE)[-1]
    there = Counter(shown["message"] for shown in last.answer)
    verdict.saw(LOST_ANSWERS, sum(each.is_unknown for each in journal.of("produce", QUEUE)))
    for text, number in there.items():
        if text not in history.messages:
            verdict.report(f"nobody has sent {text[:80]!r}", last)
        elif number > 1:
            verdict.report(f"{text!r} is there {number} times", *history.messages[text].evidence)
    for text, message in history.messages.items():
        if message.surely_gone_from() < last.began_s:
            verdict.saw(DELETED)
            if text in there:
                verdict.report(f"{text!r} was deleted and is there again", *message.evidence)
        elif message.exists and message.maybe_gone_from() > last.ended_s:
            verdict.saw(KEPT)
            if text not in there:
                verdict.report(f"{text!r} was acknowledged and is lost", *message.evidence)
    return verdict


SCENARIO = Scenario(
    name="acknowledged",
    promises=(
        "The guarantees on this page survive a SIGKILL and a power cut.",
        "A request without a response was carried out completely or not at all.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=listed(QUEUE),
    judge=judge,
    required=(KEPT, DELETED, LOST_ANSWERS),
)
