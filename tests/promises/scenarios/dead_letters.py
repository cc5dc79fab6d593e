"""A message that is received too often, or declared dead, is in the dead-letter queue once, and nowhere else."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import Message, QueueHistory
from tests.promises.journal import Exchange, Journal
from tests.promises.load import consumer, drain, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE, DEAD = "dead-letters", "dead-letters-dead"
MAX_RECEIVES = 3
BY_RECEIVES, BY_REQUEST = "dead by receives", "dead on request"


def _set_up(client: Client) -> None:
    client.configure(DEAD)
    client.configure(QUEUE, max_receives=MAX_RECEIVES, dead_letter_queue=DEAD)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        match rng.randrange(8):
            case 0:
                client.delete(QUEUE, message)
            case 1:
                client.update(QUEUE, message, dead=True, error={"message": f"hopeless: {message['message'][:40]}"})
            case 2:
                client.update(QUEUE, message, delay=rng.uniform(0, 0.3))
            case 3:
                pass  # the claim times out
            case _:
                client.update(QUEUE, message, visibility_timeout=0, error={"message": "not yet"})

    def fields() -> Mapping[str, Any]:
        return {"priority": rng.randrange(10), "group": rng.choice("abc"), "attributes": {"colour": rng.choice("rgb")}}

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.5, 1), most=5, finish=finish) for _ in range(3)]
    return [producer(rng, QUEUE, most=4, backlog=40, fields=fields), *consumers]


def _settle(client: Client) -> None:
    client.listing(DEAD)  # for the judge of a queue that never gets empty
    drain(client, QUEUE)
    client.listing(DEAD)
    client.listing(QUEUE)


def judge(journal: Journal) -> Verdict:
    """Each acknowledged message is deleted or a dead letter, and each dead letter has a reason to be one."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    last = journal.of("listing", DEAD)[-1]
    dead: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for shown in last.answer:
        dead[shown["message"]].append(shown)
        if shown["message"] not in history.messages:
            verdict.report(f"nobody has sent the dead letter {shown['message'][:80]!r}", last)
    for delivery in history.deliveries:
        if delivery.receive_count > MAX_RECEIVES:
            verdict.report(f"{delivery.text!r} was received {delivery.receive_count} times", delivery.exchange)
    for text, message in history.messages.items():
        letters = dead[text]
        if len(letters) > 1:
            verdict.report(f"{text!r} is {len(letters)} times in the dead-letter queue", last, *message.evidence)
        elif letters:
            _judge_letter(verdict, message, letters[0], last)
        elif message.exists and not any(e.kind == "delete" and e.exchange.is_possible for e in message.endings):
            verdict.report(f"{text!r} is neither deleted nor a dead letter", *message.evidence)
    return verdict


def _judge_letter(verdict: Verdict, message: Message, letter: Mapping[str, Any], last: Exchange) -> None:
    origin = letter["dead_letter"]
    evidence = [last, *message.evidence]
    ids = {each.id for each in message.deliveries} | ({message.sending.id} if message.sending.id else set())
    if any(e.kind == "delete" and e.exchange.is_done for e in message.endings):
        verdict.report(f"{message.text!r} was deleted, and is a dead letter", *evidence)
    if origin["queue"] != QUEUE or origin["id"] not in ids or letter["id"] in ids or letter["receive_count"] != 0:
        verdict.report(f"the dead letter {message.text!r} has another origin, id or count: {origin}", *evidence)
    kept = {name: message.sending.fields[name] for name in ("priority", "group", "attributes")}
    if kept != {name: letter.get(name, 0 if name == "priority" else None) for name in kept}:
        verdict.report(f"the dead letter {message.text!r} lost a part: {letter}", *evidence)
    requests = [e.exchange for e in message.endings if e.kind == "dead" and e.exchange.is_possible]
    reasons = {exchange.sent["error"]["message"]: exchange for exchange in requests}
    if origin["reason"] in reasons:
        verdict.saw(BY_REQUEST)
        if letter.get("last_error", {}).get("message") != origin["reason"]:
            verdict.report(f"the dead letter {message.text!r} has another error", *evidence)
        return
    verdict.saw(BY_RECEIVES)
    if any(exchange.is_done for exchange in requests):
        verdict.report(f"{message.text!r} was declared dead, and has another reason: {origin}", *evidence)
    lost = sum(span.begin < last.began_s for span in message.unknown_claims)
    if origin["receive_count"] != MAX_RECEIVES or len(message.deliveries) + lost < MAX_RECEIVES:
        verdict.report(f"{message.text!r} is a dead letter after {origin['receive_count']} receives", *evidence)


SCENARIO = Scenario(
    name="dead_letters",
    promises=(
        "A queue with `max_receives` delivers a message that many times.",
        "Instead, the broker moves it to the `dead_letter_queue`: it is deleted here and added there in one write.",
        "`dead` moves a message at once, whatever its receive count.",
        "The reason is the consumer's error.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=_settle,
    judge=judge,
    required=(BY_RECEIVES, BY_REQUEST),
)
