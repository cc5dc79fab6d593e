"""A delayed message is not delivered early, by the client's clock and by the broker's own times."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import TOLERANCE_S, Delivery, Message, QueueHistory
from tests.promises.journal import Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "delays"
PRODUCED, RELEASED, AT = "delays of a produce", "delays of a release", "times of delivery"
RESTARTED = "delays that a restart interrupted"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        if rng.random() < 0.4:
            client.update(QUEUE, message, delay=rng.uniform(0.1, 3))
        else:
            client.delete(QUEUE, message)

    def fields() -> Mapping[str, Any]:
        if rng.random() < 0.5:
            return {"delay": rng.uniform(0.1, 4)}
        at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=rng.uniform(-0.5, 3))
        return {"deliver_at": at.isoformat(timespec="milliseconds")}

    consumers = [consumer(rng, QUEUE, timeouts_s=(1,), most=5, finish=finish, pause_s=0.02) for _ in range(2)]
    return [producer(rng, QUEUE, most=3, backlog=50, fields=fields), *consumers]


def claimed_at(delivery: Delivery) -> dt.datetime:
    """Return the time at which a message was claimed, as the broker states it."""
    until = dt.datetime.fromisoformat(delivery.shown["claimed_until"])
    return until - dt.timedelta(seconds=delivery.timeout_s)


def produced_at(delivery: Delivery) -> dt.datetime:
    """Return the time at which a message was produced, as the broker states it."""
    return dt.datetime.fromisoformat(delivery.shown["produced_at"])


def judge(journal: Journal) -> Verdict:
    """Compare each delivery with all delays of its message."""
    verdict = Verdict()
    for message in QueueHistory(journal, QUEUE).messages.values():
        for delivery in message.deliveries:
            _judge_delivery(verdict, message, delivery)
    return verdict


def _judge_delivery(verdict: Verdict, message: Message, delivery: Delivery) -> None:
    sending, exchange = message.sending, delivery.exchange
    verdict.saw(RESTARTED, sending.exchange.life < exchange.life)
    if "deliver_at" in sending.fields:
        verdict.saw(AT)
        if claimed_at(delivery) < dt.datetime.fromisoformat(sending.fields["deliver_at"]):
            verdict.report(f"{message.text!r} was claimed before {sending.fields['deliver_at']}", *message.evidence)
    else:
        verdict.saw(PRODUCED)
        waited_s = (claimed_at(delivery) - produced_at(delivery)).total_seconds()
        # The broker may round a delay to its milliseconds.
        if (
            waited_s < sending.delay_s - 0.001
            or exchange.ended_s < sending.exchange.began_s + sending.delay_s - TOLERANCE_S
        ):
            verdict.report(f"{message.text!r} was claimed {waited_s} s after its produce", *message.evidence)
    for release in message.endings:
        if release.kind == "release" and release.exchange.is_done and release.began_s < exchange.began_s:
            verdict.saw(RELEASED)
            if exchange.ended_s < release.began_s + release.seconds - TOLERANCE_S:
                verdict.report(f"{message.text!r} was claimed before the delay of its release ended", *message.evidence)


SCENARIO = Scenario(
    name="delays",
    promises=(
        "`delayed` and `processing` end at their deadline, to the millisecond and for all clients alike.",
        "messages, claims and their deadlines, receive counts, receipts, delays",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(PRODUCED, RELEASED, AT, RESTARTED),
)
