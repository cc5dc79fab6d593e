"""A claim is exclusive until its deadline, and its receipt is good for as long as it says."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.promises.client import Client
from tests.promises.history import TOLERANCE_S, Delivery, Ending, Message, QueueHistory, earliest_deadline
from tests.promises.journal import Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "exclusive-claims"
AGAIN, LATE_RENEWALS, STALE, VALID = (
    "claims after another claim",
    "renewals after the deadline",
    "stale receipts used",
    "valid receipts used",
)
AFTER_DELETE, RECEIVES = "messages deleted", "receive counts"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    old: list[Mapping[str, Any]] = []

    def finish(client: Client, message: Mapping[str, Any]) -> None:
        old.append(message)
        match rng.randrange(8):
            case 0:
                client.update(QUEUE, message, visibility_timeout=0)
            case 1 | 2:
                client.update(QUEUE, message, visibility_timeout=rng.uniform(0.3, 1.5))
            case 3:
                client.pause(rng.uniform(0, 0.8))
                client.delete(QUEUE, message)
            case 4:
                pass  # the claim times out
            case _:
                client.delete(QUEUE, message)

    def late(client: Client) -> None:
        if old:
            message = old.pop(rng.randrange(len(old)))
            if rng.random() < 0.5:
                client.update(QUEUE, message, visibility_timeout=0.5)
            else:
                client.delete(QUEUE, message)
        client.pause(rng.uniform(0, 0.3))

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.4, 0.8, 1.5), most=4, finish=finish) for _ in range(3)]
    return [producer(rng, QUEUE), *consumers, late]


def judge(journal: Journal) -> Verdict:
    """Judge each pair of successive claims of a message, and each use of a receipt."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    for stranger in history.strangers:
        verdict.report(f"nobody has sent {stranger.text[:80]!r}", stranger.exchange)
    for message in history.messages.values():
        claims = sorted(message.deliveries, key=lambda each: (each.receive_count, each.exchange.began_s))
        for first, second in pairwise(claims):
            _judge_pair(verdict, message, first, second)
        for number, claim in enumerate(claims):
            later = claims[number + 1] if number + 1 < len(claims) else None
            for ending in message.of_claim(claim):
                _judge_ending(verdict, message, claim, later, ending)
        _judge_deletion(verdict, message)
        for number, claim in enumerate(claims):
            verdict.saw(RECEIVES)
            lost = sum(span.begin < claim.exchange.ended_s for span in history.unknown_claims)
            if not number < claim.receive_count <= number + 1 + lost:
                verdict.report(
                    f"receive_count {claim.receive_count} of claim {number + 1}; {lost} answers were lost before",
                    *message.evidence,
                )
    return verdict


def _judge_pair(verdict: Verdict, message: Message, first: Delivery, second: Delivery) -> None:
    verdict.saw(AGAIN)
    if first.receive_count == second.receive_count or first.receipt == second.receipt:
        verdict.report(f"{message.text!r} was delivered twice by one claim", first.exchange, second.exchange)
    elif second.exchange.ended_s < message.earliest_end(first):
        verdict.report(f"{message.text!r} was claimed again before its deadline", *message.evidence)


def _judge_ending(verdict: Verdict, message: Message, claim: Delivery, later: Delivery | None, ending: Ending) -> None:
    others = [each for each in message.of_claim(claim) if each is not ending]
    ended = [
        each for each in others if each.kind != "renew" and each.exchange.is_done and each.ended_s < ending.began_s
    ]
    is_claimed_again = later is not None and later.exchange.ended_s < ending.began_s
    if ended or is_claimed_again:
        verdict.saw(STALE)
        if ending.exchange.is_done:
            verdict.report(f"a receipt acted after its claim of {message.text!r} had ended", *message.evidence)
        return
    if ending.kind == "renew" and ending.began_s > _deadline_before(message, claim, ending):
        verdict.saw(LATE_RENEWALS)
        if ending.exchange.is_done:
            verdict.report(f"a claim of {message.text!r} was renewed after its deadline", *message.evidence)
        return
    is_disturbed = any(each.kind != "renew" or each.exchange.is_unknown for each in others)
    if not is_disturbed and ending.ended_s < _earliest_before(message, claim, ending):
        verdict.saw(VALID)
        if not ending.exchange.is_possible:
            verdict.report(f"a valid receipt of {message.text!r} was refused", *message.evidence)


def _deadline_before(message: Message, claim: Delivery, ending: Ending) -> float:
    """Return the latest deadline that a claim may have had when a request was carried out."""
    renewed = [
        each.ended_s + each.seconds
        for each in message.of_claim(claim)
        if each.kind == "renew" and each is not ending and each.exchange.is_possible
    ]
    return max([claim.exchange.ended_s + claim.timeout_s, *renewed]) + TOLERANCE_S


def _earliest_before(message: Message, claim: Delivery, ending: Ending) -> float:
    """Return the earliest deadline that a claim may have had when a request was carried out."""
    renewals = [each for each in message.of_claim(claim) if each.kind == "renew" and each is not ending]
    before = [each for each in renewals if each.began_s < ending.began_s]
    if any(each.ended_s > ending.began_s and each.began_s < ending.ended_s for each in renewals):
        return float("-inf")  # the other one may have come first
    return earliest_deadline(claim, before)


def _judge_deletion(verdict: Verdict, message: Message) -> None:
    deleted_s = message.surely_gone_from()
    if deleted_s < float("inf"):
        verdict.saw(AFTER_DELETE)
        for delivery in message.deliveries:
            if delivery.exchange.began_s > deleted_s:
                verdict.report(f"{message.text!r} was delivered after its deletion", *message.evidence)


SCENARIO = Scenario(
    name="exclusive_claims",
    promises=(
        (
            "No other consumer receives the message until the deadline, unless the claim ends early (release, delay, bury, or an"
            " admin)."
        ),
        "The receipt can delete until then, and after the deadline until the next claim; it cannot renew after the deadline.",
        "Once the claim has ended early or the message has been claimed again, the receipt changes nothing.",
        "`receive_count` shows them. A claim whose response was lost counts too.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(AGAIN, LATE_RENEWALS, STALE, VALID, AFTER_DELETE, RECEIVES),
)
