"""A consume with an `attempt_id` can be repeated: no claim is lost with its answer."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence

from tests.promises.client import Client
from tests.promises.history import Delivery, QueueHistory
from tests.promises.journal import Exchange, Journal
from tests.promises.load import listed, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "attempts"
ON_PURPOSE, AFTER_LOSS, VOID = "repeated attempts", "attempts repeated after a lost answer", "void attempts repeated"
CLAIMS, HELD = "claims", "messages held at the end"

#: Duration of claims in seconds: longer than a round.
_TIMEOUT_S = 600


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    count = 0

    def consume(client: Client, attempt: str) -> Exchange:
        while not (answer := client.consume(QUEUE, visibility_timeout=_TIMEOUT_S, most=5, attempt_id=attempt)).is_done:
            client.pause(0.02)
        return answer

    def step(client: Client) -> None:
        nonlocal count
        count += 1
        answer = consume(client, f"attempt-{count}").answer
        if rng.random() < 0.3:
            consume(client, f"attempt-{count}")
        for message in answer[:3]:
            while client.delete(QUEUE, message).is_unknown:
                pass
        if answer and rng.random() < 0.3:
            consume(client, f"attempt-{count}")

    return [producer(rng, QUEUE, most=8, backlog=4000, pause_s=0.05), step]


def judge(journal: Journal) -> Verdict:
    """The only consumer never loses an answer for good, so it gets each message by one claim."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    for delivery in history.deliveries:
        verdict.saw(CLAIMS)
        if delivery.receive_count != 1:
            verdict.report(f"{delivery.text!r} was claimed by an answer that nobody got", delivery.exchange)
    answers: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in history.deliveries:
        answers[delivery.exchange.sent["attempt_id"]].append(delivery)
    attempts: dict[str, list[Exchange]] = defaultdict(list)
    for consume in history.consumes:
        attempts[consume.sent["attempt_id"]].append(consume)
    for attempt, consumes in attempts.items():
        _judge_attempt(verdict, history, consumes, answers[attempt])
    last = journal.of("listing", QUEUE)[-1]
    delivered = {delivery.text for delivery in history.deliveries}
    for shown in last.answer:
        if shown["status"] == "processing":
            verdict.saw(HELD)
            if shown["message"] not in delivered:
                verdict.report(f"{shown['message']!r} is held by nobody", last)
    return verdict


def _judge_attempt(
    verdict: Verdict, history: QueueHistory, consumes: Sequence[Exchange], deliveries: Sequence[Delivery]
) -> None:
    verdict.saw(AFTER_LOSS, any(each.is_unknown for each in consumes))
    answered = [each for each in consumes if each.is_done]
    for first, second in itertools.pairwise(answered):
        mine = {each.receipt: each.text for each in deliveries if each.exchange is first}
        again = {each.receipt: each.text for each in deliveries if each.exchange is second}
        if not mine:
            continue
        began_s = [history.messages[text].maybe_gone_from() for text in mine.values()]
        if min(began_s) > second.ended_s:
            verdict.saw(ON_PURPOSE)
            if mine != again:
                verdict.report("a repeated attempt got another answer", first, second)
        else:
            verdict.saw(VOID)
            if mine.keys() & again.keys():
                verdict.report("an attempt was repeated after one of its messages was deleted", first, second)


SCENARIO = Scenario(
    name="attempts",
    promises=(
        (
            "The same `attempt_id` within five minutes of its last use returns the same messages with the same receipts, and their"
            " timeout starts again. That is no further receive. An attempt that got no message is not remembered."
        ),
        (
            "The attempt is void once one of its messages was deleted, renewed, released or claimed by another consumer, or once the"
            " claim timed out."
        ),
    ),
    set_up=_set_up,
    actors=_actors,
    settle=listed(QUEUE),
    judge=judge,
    required=(ON_PURPOSE, AFTER_LOSS, VOID, CLAIMS),
)
