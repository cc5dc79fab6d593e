"""A hand-over deletes its inputs and adds its outputs in one write, in whichever queues they are."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from tests.promises.client import Client
from tests.promises.history import NEVER, QueueHistory
from tests.promises.journal import Exchange, Journal
from tests.promises.load import listed, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "hand-over"
OUTPUTS = ("hand-over-invoices", "hand-over-mails")
DONE, REFUSED, UNANSWERED, HAPPENED = (
    "hand-overs",
    "refused hand-overs",
    "hand-overs without an answer",
    "of them carried out",
)
INPUTS = "inputs"


def _set_up(client: Client) -> None:
    for queue in (QUEUE, *OUTPUTS):
        client.configure(queue)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def step_of(number: int) -> Actor:
        count = 0

        def step(client: Client) -> None:
            nonlocal count
            answer = client.consume(QUEUE, visibility_timeout=rng.choice((0.6, 3)), most=rng.randint(1, 4))
            messages = answer.answer if answer.is_done else []
            client.pause(rng.choice((0.02, 0.05, 0.7)))
            if messages:
                count += 1
                outputs = [
                    {"queue": queue, "message": f"{number}/{count} {message['message']}"}
                    for message in messages
                    for queue in OUTPUTS
                ]
                client.hand_over(QUEUE, [message["receipt"] for message in messages], outputs)

        return step

    return [producer(rng, QUEUE, most=6, backlog=60), *(step_of(number) for number in range(3))]


def judge(journal: Journal) -> Verdict:
    """Each input is in its queue, or each of its outputs is there once."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    last = {queue: journal.of("listing", queue)[-1] for queue in (QUEUE, *OUTPUTS)}
    waiting = {shown["message"] for shown in last[QUEUE].answer}
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for queue in OUTPUTS:
        for shown in last[queue].answer:
            step, _, text = shown["message"].partition(" ")
            found[text].append((step, queue))
    for text, message in history.messages.items():
        verdict.saw(INPUTS)
        evidence = [last[QUEUE], *message.evidence]
        steps = {step for step, _ in found[text]}
        if found[text] and (len(steps) > 1 or sorted(queue for _, queue in found[text]) != sorted(OUTPUTS)):
            verdict.report(f"{text!r} has the outputs {found[text]}", *evidence)
        if found[text] and text in waiting:
            verdict.report(f"{text!r} was handed over and is still there", *evidence)
        if not found[text] and text not in waiting and message.exists:
            verdict.report(f"{text!r} is deleted and was not handed over", *evidence)
        done_s = min((e.ended_s for e in message.endings if e.exchange.is_done), default=NEVER)
        for delivery in message.deliveries:
            if delivery.exchange.began_s > done_s:
                verdict.report(f"{text!r} was delivered after its hand-over", *evidence)
    for exchange in journal.of("hand-over"):
        _judge_hand_over(verdict, exchange, found)
    return verdict


def _judge_hand_over(verdict: Verdict, exchange: Exchange, found: dict[str, list[tuple[str, str]]]) -> None:
    outputs = [(*output["message"].partition(" ")[::2], output["queue"]) for output in exchange.sent["produce"]]
    there = [(step, queue) in found[text] for step, text, queue in outputs]
    verdict.saw(DONE, exchange.is_done)
    verdict.saw(REFUSED, not exchange.is_possible)
    verdict.saw(UNANSWERED, exchange.is_unknown)
    verdict.saw(HAPPENED, exchange.is_unknown and all(there))
    if any(there) != all(there):
        verdict.report(f"{sum(there)} of {len(there)} outputs of a hand-over are there", exchange)
    elif exchange.is_done and not all(there):
        verdict.report("the outputs of an acknowledged hand-over are not there", exchange)
    elif not exchange.is_possible and any(there):
        verdict.report("the outputs of a refused hand-over are there", exchange)


SCENARIO = Scenario(
    name="hand_over",
    promises=(
        (
            "`POST /messages/hand-over` deletes messages of the queue in its path, by their receipts, and adds its outputs, in any"
            " queues, in one write."
            " Either all of it happens or nothing."
        ),
    ),
    set_up=_set_up,
    actors=_actors,
    settle=listed(QUEUE, *OUTPUTS),
    judge=judge,
    required=(DONE, REFUSED, UNANSWERED, INPUTS),
)
