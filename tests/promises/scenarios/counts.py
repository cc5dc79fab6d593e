"""The counts of a queue are exact at every moment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import Message, QueueHistory
from tests.promises.journal import Exchange, Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "counts"
STATUSES = ("unprocessed", "processing", "delayed")
READS, EXACT, LISTINGS = "counts read", "counts of which only one value is right", "listings read"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        match rng.randrange(5):
            case 0:
                client.update(QUEUE, message, delay=rng.uniform(0.2, 2))
            case 1:
                client.update(QUEUE, message, visibility_timeout=rng.uniform(0.5, 2))
            case 2:
                pass  # the claim times out
            case _:
                client.delete(QUEUE, message)

    def fields() -> Mapping[str, Any]:
        return {"delay": rng.uniform(0.5, 3)} if rng.random() < 0.4 else {}

    def count(client: Client) -> None:
        client.queue(QUEUE)
        client.listing(QUEUE)
        client.pause(0.05)

    consumers = [consumer(rng, QUEUE, timeouts_s=(1, 2), most=3, finish=finish, pause_s=0.2) for _ in range(2)]
    return [producer(rng, QUEUE, most=4, backlog=40, pause_s=0.3, fields=fields), *consumers, count]


def judge(journal: Journal) -> Verdict:
    """Compare counts and listings with the states in which each message may have been."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    for exchange in journal.of("queue", QUEUE):
        if exchange.is_done:
            verdict.saw(READS)
            least, most = _bounds(history, exchange)
            for status in STATUSES:
                verdict.saw(EXACT, least[status] == most[status] > 0)
                number = exchange.answer["counts"][status]
                if not least[status] <= number <= most[status]:
                    verdict.report(
                        f"{number} messages are {status}, between {least[status]} and {most[status]} are possible",
                        exchange,
                    )
    for exchange in journal.of("listing", QUEUE):
        if exchange.is_done:
            verdict.saw(LISTINGS)
            for shown in exchange.answer:
                message = history.messages.get(shown["message"])
                if message is None or shown["status"] not in _states(message, exchange):
                    verdict.report(f"{shown['message']!r} was listed as {shown['status']}", exchange)
    return verdict


def _states(message: Message, exchange: Exchange) -> set[str]:
    return message.states(exchange.began_s, exchange.ended_s)


def _bounds(history: QueueHistory, exchange: Exchange) -> tuple[Counter[str], Counter[str]]:
    least: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for message in history.messages.values():
        states = _states(message, exchange)
        most.update(states)
        if len(states) == 1:
            least.update(states)
    return least, most


SCENARIO = Scenario(
    name="counts",
    promises=(
        "A message is in exactly one state at each moment.",
        "No background task has to run for that: every read evaluates the deadlines.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(READS, EXACT, LISTINGS),
)
