"""A `next` finishes all its messages in one write, even if nobody got its answer."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.promises.client import Client
from tests.promises.history import Delivery, deliveries, earliest_deadline
from tests.promises.journal import Journal
from tests.promises.load import listed, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUES = ("next-request-mails", "next-request-invoices")
#: Duration of claims in seconds.
_TIMEOUT_S = 3

FINISHED, UNANSWERED = "messages finished", "requests without an answer that finish several"


def _set_up(client: Client) -> None:
    for queue in QUEUES:
        client.configure(queue)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def worker() -> Actor:
        held: list[str] = []

        def step(client: Client) -> None:
            body = {
                "delete": list(held),
                "max": rng.randint(2, 6),
                "visibility_timeout": _TIMEOUT_S,
                "queues": [{"queue": queue, "weight": 1} for queue in QUEUES],
            }
            answer = client.call("next", "POST", "/messages/next", body=body)
            held[:] = [message["receipt"] for message in answer.answer["messages"]] if answer.is_done else []
            client.pause(rng.uniform(0, 0.1))

        return step

    producers = [producer(rng, queue, most=10, backlog=50, pause_s=0.02) for queue in QUEUES]
    return [*producers, *(worker() for _ in range(3))]


def judge(journal: Journal) -> Verdict:
    """After a `next` all of its messages are deleted, or all are delivered again or still there."""
    verdict = Verdict()
    listings = [journal.of("listing", queue)[-1] for queue in QUEUES]
    there = {shown["message"] for last in listings for shown in last.answer}
    by_receipt: dict[str, Delivery] = {}
    last_claim_s: dict[str, float] = {}
    for queue in QUEUES:
        for delivery in deliveries(journal, queue):
            by_receipt[delivery.receipt] = delivery
            last_claim_s[delivery.text] = delivery.exchange.began_s

    for exchange in journal.of("next"):
        failed = (exchange.answer or {}).get("results", {}).get("delete", ())
        refused = {each["receipt"] for each in failed if not each["success"]}
        claims = [by_receipt[receipt] for receipt in exchange.sent["delete"] if receipt not in refused]
        again = [each.text in there or last_claim_s[each.text] > exchange.ended_s for each in claims]
        are_valid = all(earliest_deadline(each, ()) > exchange.ended_s for each in claims)
        if exchange.is_done:
            verdict.saw(FINISHED, len(claims))
            if any(again):
                verdict.report("a message came back after a `next` had deleted it", exchange, *listings)
        elif exchange.is_unknown and are_valid and len(claims) > 1:
            verdict.saw(UNANSWERED)
            if any(again) != all(again):
                verdict.report(f"{sum(again)} of {len(again)} messages of a `next` came back", exchange, *listings)
    return verdict


SCENARIO = Scenario(
    name="next_request",
    promises=(
        (
            "`POST /messages/next` deletes, releases and dead-letters messages of any queues, each entry that it can, in one write;"
            " then it claims."
        ),
    ),
    set_up=_set_up,
    actors=_actors,
    settle=listed(*QUEUES),
    judge=judge,
    required=(FINISHED, UNANSWERED),
)
