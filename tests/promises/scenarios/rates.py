"""A queue delivers no faster than its rate, and a group no faster than that of groups."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import TOLERANCE_S, Delivery, deliveries
from tests.promises.journal import Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE, GROUPS = "rates", "rates-of-groups"
PER_SECOND, PER_SECOND_OF_GROUP = 12, 5
WINDOWS, FULL = "windows of a queue", "windows with half of what is allowed"
WINDOWS_OF_GROUPS = "windows of a group"


def _set_up(client: Client) -> None:
    client.configure(QUEUE, max_claims_per_second=PER_SECOND)
    client.configure(GROUPS, max_claims_per_second_per_group=PER_SECOND_OF_GROUP)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(queue: str) -> Callable[[Client, Mapping[str, Any]], object]:
        return lambda client, message: client.delete(queue, message) if rng.random() < 0.5 else None

    def group() -> Mapping[str, Any]:
        return {"group": rng.choice(("red", "green"))}

    return [
        producer(rng, QUEUE, most=30, backlog=60),
        producer(rng, GROUPS, most=30, backlog=60, fields=group),
        *(consumer(rng, QUEUE, timeouts_s=(2,), most=20, finish=finish(QUEUE), pause_s=0) for _ in range(2)),
        *(consumer(rng, GROUPS, timeouts_s=(2,), most=20, finish=finish(GROUPS), pause_s=0) for _ in range(2)),
    ]


def _settle(client: Client) -> None:
    for queue in (QUEUE, GROUPS):
        client.configure(queue, max_claims_per_second=0, max_claims_per_second_per_group=0)
        drain(client, queue)


def judge(journal: Journal) -> Verdict:
    """Count the deliveries in each window that begins and ends with an answer of the same life of the broker."""
    verdict = Verdict()
    _judge_stream(verdict, list(deliveries(_limited(journal, QUEUE), QUEUE)), PER_SECOND, WINDOWS)
    groups: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries(_limited(journal, GROUPS), GROUPS):
        groups[delivery.shown["group"]].append(delivery)
    for stream in groups.values():
        _judge_stream(verdict, stream, PER_SECOND_OF_GROUP, WINDOWS_OF_GROUPS)
    return verdict


def _limited(journal: Journal, queue: str) -> Journal:
    """Return the part of a journal before the limits were removed."""
    end_s = min((each.began_s for each in journal.of("configure", queue)[1:]), default=float("inf"))
    return Journal(journal.where(lambda each: each.began_s < end_s))


def _judge_stream(verdict: Verdict, stream: Sequence[Delivery], per_second: float, what: str) -> None:
    lives: dict[int, dict[int, list[Delivery]]] = defaultdict(lambda: defaultdict(list))
    for delivery in stream:
        lives[delivery.exchange.life][delivery.exchange.number].append(delivery)
    for answers in lives.values():
        ordered = sorted(answers.values(), key=lambda each: each[0].exchange.began_s)
        for place, first in enumerate(ordered):
            _judge_windows(verdict, ordered[place:], first[0].exchange.began_s, per_second, what)


def _judge_windows(
    verdict: Verdict, answers: Sequence[Sequence[Delivery]], began_s: float, per_second: float, what: str
) -> None:
    """Judge all windows that begin with the first of some answers."""
    number = 0
    for answer in sorted(answers, key=lambda each: each[0].exchange.ended_s):
        number += len(answer)
        verdict.saw(what)
        allowed = per_second + per_second * (answer[0].exchange.ended_s - began_s + TOLERANCE_S)
        verdict.saw(FULL, number > allowed / 2)
        if number > allowed:
            evidence = [each[0].exchange for each in answers if each[0].exchange.ended_s <= answer[0].exchange.ended_s]
            verdict.report(
                f"{number} deliveries in {answer[0].exchange.ended_s - began_s:.3f} s, at most {per_second} a second",
                *evidence,
            )
            return


SCENARIO = Scenario(
    name="rates",
    promises=(
        "In any period, at most the rate times its length is delivered, plus a burst of one second's worth",
        "the use of rates: after a start, a burst of one second's worth is allowed",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=_settle,
    judge=judge,
    required=(WINDOWS, WINDOWS_OF_GROUPS, FULL),
)
