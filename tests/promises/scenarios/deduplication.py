"""A key adds one message within its window, also after deletions, purges and restarts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from tests.promises.client import Client
from tests.promises.history import TOLERANCE_S, Sending, deliveries, sendings
from tests.promises.journal import Journal
from tests.promises.load import Texts, consumer, drain
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

#: Window of each queue, in seconds.
QUEUES = {"deduplication-long": 300.0, "deduplication-short": 3.0}
IN_FORCE, RESTARTED = "keys repeated within their window", "keys repeated after a restart"
EXPIRED, PURGED = "keys used again after their window", "purges"


def _set_up(client: Client) -> None:
    for queue, window_s in QUEUES.items():
        client.configure(queue, deduplication_window=window_s)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def produce(queue: str) -> Actor:
        texts = Texts(rng)

        def step(client: Client) -> None:
            keys = [f"key-{rng.randrange(40)}" for _ in range(rng.choice((1, 1, 1, 5)))]
            client.produce(queue, [{"message": texts.next(client), "idempotency_key": key} for key in keys])
            client.pause(rng.uniform(0, 0.1))

        return step

    def finish(queue: str) -> Any:
        return lambda client, message: client.delete(queue, message)

    def purge(client: Client) -> None:
        client.pause(rng.uniform(0.5, 3))
        queue = rng.choice(list(QUEUES))
        client.call("purge", "POST", f"/queues/{queue}/purge", queue)

    consumers = [consumer(rng, queue, timeouts_s=(2,), most=10, finish=finish(queue)) for queue in QUEUES]
    return [*(produce(queue) for queue in QUEUES for _ in range(2)), *consumers, purge]


def _settle(client: Client) -> None:
    for queue in QUEUES:
        drain(client, queue)


def judge(journal: Journal) -> Verdict:
    """Judge each pair of produces with one key."""
    verdict = Verdict()
    verdict.saw(PURGED, sum(each.is_done for each in journal.of("purge")))
    for queue, window_s in QUEUES.items():
        by_key: dict[str, list[Sending]] = defaultdict(list)
        by_text: dict[str, Sending] = {}
        for sending in sendings(journal, queue):
            by_key[sending.fields["idempotency_key"]].append(sending)
            by_text[sending.text] = sending
        for key, group in by_key.items():
            _judge_key(verdict, key, group, window_s)
        for delivery in deliveries(journal, queue):
            sent = by_text[delivery.text]
            if sent.exchange.is_done and sent.is_duplicate:
                verdict.report("a message was added although its key was used before", sent.exchange, delivery.exchange)
    return verdict


def _judge_key(verdict: Verdict, key: str, group: Sequence[Sending], window_s: float) -> None:
    answered = [each for each in group if each.exchange.is_done]
    added = [each for each in answered if not each.is_duplicate]
    for first, second in combinations(added, 2):
        longest_s = max(
            second.exchange.ended_s - first.exchange.began_s, first.exchange.ended_s - second.exchange.began_s
        )
        verdict.saw(EXPIRED)
        if longest_s < window_s - TOLERANCE_S:
            verdict.report(f"{key} added two messages within {longest_s:.3f} s", first.exchange, second.exchange)
    for repeated in (each for each in answered if each.is_duplicate):
        _judge_duplicate(verdict, key, repeated, group, added, window_s)


def _judge_duplicate(
    verdict: Verdict, key: str, repeated: Sending, group: Sequence[Sending], added: Sequence[Sending], window_s: float
) -> None:
    verdict.saw(IN_FORCE)
    exchange = repeated.exchange
    origins = [each for each in added if each.id == repeated.id]
    for first in origins:
        verdict.saw(RESTARTED, first.exchange.life < exchange.life)
        if exchange.began_s - first.exchange.ended_s > window_s + TOLERANCE_S:
            verdict.report(f"{key} was in force after its window", first.exchange, exchange)
    if not origins and not any(
        each.exchange.is_unknown
        and each.exchange.began_s < exchange.ended_s
        and exchange.began_s - each.exchange.ended_s < window_s + TOLERANCE_S
        for each in group
    ):
        verdict.report(f"{key} is a duplicate of {repeated.id}, which no produce can have added", exchange)
    for first in added:
        is_before = first.exchange.ended_s < exchange.began_s
        if is_before and first.id != repeated.id and exchange.ended_s - first.exchange.began_s < window_s - TOLERANCE_S:
            verdict.report(f"{key} returned {repeated.id} instead of {first.id}", first.exchange, exchange)


SCENARIO = Scenario(
    name="deduplication",
    promises=(
        "A message with an `idempotency_key` is added only if its queue has not seen the key within its `deduplication_window`.",
        "The window starts when the first message is added, and a repetition does not prolong it.",
        "It stays in force if that message is deleted or purged, and across restarts.",
        "A repeated produce returns the first message's id, marked `duplicate`. The texts are not compared.",
        "In a batch, each message is checked individually, also against earlier messages of the batch.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=_settle,
    judge=judge,
    required=(IN_FORCE, RESTARTED, EXPIRED, PURGED),
)
