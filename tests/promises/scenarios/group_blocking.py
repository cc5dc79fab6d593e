"""A group of a FIFO queue waits for its earlier messages, also while they are delayed, released or renewed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import Message, QueueHistory
from tests.promises.journal import Exchange, Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.order import EARLIER_OF_GROUP, overtaken
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "group-blocking.fifo"
DELAYED, RELEASED = "messages delayed by their consumer", "messages delivered again before later ones"


def _set_up(client: Client) -> None:
    client.configure(QUEUE)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        match rng.randrange(8):
            case 0:
                client.update(QUEUE, message, visibility_timeout=0)
            case 1:
                client.update(QUEUE, message, delay=rng.uniform(0.2, 1))
            case 2:
                client.update(QUEUE, message, visibility_timeout=rng.uniform(0.2, 1))
            case 3:
                pass  # the claim times out
            case _:
                client.delete(QUEUE, message)

    def fields() -> Mapping[str, Any]:
        delay = {"delay": rng.uniform(0.2, 1)} if rng.random() < 0.1 else {}
        return {"group": f"group-{rng.randrange(4)}", **delay}

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.5, 1), most=4, finish=finish) for _ in range(3)]
    return [producer(rng, QUEUE, most=3, backlog=30, fields=fields), *consumers]


def judge(journal: Journal) -> Verdict:
    """No message is claimed while an earlier one of its group is there, and an available first one is not left out."""
    history = QueueHistory(journal, QUEUE)
    verdict = overtaken(history)
    verdict.saw(DELAYED, sum(len(message.surely_delayed()) for message in history.messages.values()))
    for delivery in history.deliveries:
        mine = history.messages.get(delivery.text)
        if mine is not None and delivery.receive_count > 1 and _holds_later(history, mine, delivery.exchange):
            verdict.saw(RELEASED)
    for consume in history.consumes:
        if not consume.is_done or len(consume.answer) >= consume.sent["max"]:
            continue
        for message in history.available(consume.began_s, consume.ended_s):
            if _is_first(history, message, consume.began_s):
                verdict.report(
                    f"{message.text!r} is the first of its group and was available, and was not delivered",
                    consume,
                    *message.evidence,
                )
    return verdict


def _holds_later(history: QueueHistory, message: Message, exchange: Exchange) -> bool:
    """Whether a later message of the group surely was being processed all the time."""
    return any(
        message.sending.is_before(other.sending)
        and other.sending.fields["group"] == message.sending.fields["group"]
        and any(span.covers(exchange.began_s, exchange.ended_s) for span in other.surely_claimed())
        for other in history.messages.values()
    )


def _is_first(history: QueueHistory, message: Message, time_s: float) -> bool:
    """Whether all other messages of its group that are not surely later were surely deleted before a time."""
    group = message.sending.fields["group"]
    return all(
        other is message
        or other.sending.fields["group"] != group
        or message.sending.is_before(other.sending)
        or other.surely_gone_from() < time_s
        for other in history.messages.values()
    )


SCENARIO = Scenario(
    name="group_blocking",
    promises=(
        "A message is delivered only when no earlier message of its group is delayed, or being processed by an earlier claim.",
        (
            "A message that is released or times out is therefore delivered again at once, even while later ones of its group are"
            " being processed."
        ),
    ),
    set_up=_set_up,
    actors=_actors,
    settle=lambda client: drain(client, QUEUE),
    judge=judge,
    required=(EARLIER_OF_GROUP, DELAYED, RELEASED),
)
