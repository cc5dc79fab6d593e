"""A batch is there as a whole or not at all, also if its producer got no answer."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.promises.client import Client
from tests.promises.history import sendings
from tests.promises.journal import Journal
from tests.promises.load import Texts, listed
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "atomic-batches"
WHOLE, UNANSWERED = "batches", "batches without an answer"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def batches() -> Actor:
        texts = Texts(rng)

        def step(client: Client) -> None:
            client.produce(QUEUE, [{"message": texts.next(client)} for _ in range(rng.randint(2, 40))])
            client.pause(rng.uniform(0, 0.1))

        return step

    return [batches() for _ in range(3)]


def judge(journal: Journal) -> Verdict:
    """All messages of a batch are in the last listing, or none is."""
    verdict = Verdict()
    last = journal.of("listing", QUEUE)[-1]
    there = {shown["message"] for shown in last.answer}
    batches: dict[int, list[bool]] = {}
    exchanges = {}
    for sending in sendings(journal, QUEUE):
        batches.setdefault(sending.exchange.number, []).append(sending.text in there)
        exchanges[sending.exchange.number] = sending.exchange
    for number, found in batches.items():
        exchange = exchanges[number]
        verdict.saw(WHOLE)
        verdict.saw(UNANSWERED, exchange.is_unknown)
        if any(found) != all(found):
            verdict.report(f"{sum(found)} of {len(found)} messages of a batch are there", exchange)
        if exchange.is_done and not all(found):
            verdict.report("an acknowledged batch is not there", exchange)
        if not exchange.is_possible and any(found):
            verdict.report("a refused batch is there", exchange)
    return verdict


SCENARIO = Scenario(
    name="atomic_batches",
    promises=("Either all of its messages exist or none, also after a crash.",),
    set_up=_set_up,
    actors=_actors,
    settle=listed(QUEUE),
    judge=judge,
    required=(WHOLE, UNANSWERED),
)
