"""A redrive moves each dead letter back once, whatever is killed meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.history import QueueHistory
from tests.promises.journal import Exchange, Journal
from tests.promises.load import consumer, producer
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict
from tests.support.waiting import eventually

QUEUE, DEAD = "redrive", "redrive-dead"
COMPLETED, CONTINUED, MOVED = "redrives completed", "redrives that went on after a restart", "messages moved back"
AFRESH = "claims"


def _set_up(client: Client) -> None:
    client.configure(DEAD)
    client.configure(QUEUE, max_receives=1, dead_letter_queue=DEAD)


def _redrives(client: Client) -> Exchange:
    return client.call("redrives", "GET", f"/queues/{DEAD}/redrive", DEAD)


def _start(client: Client, per_second: float) -> Exchange:
    return client.call("redrive", "POST", f"/queues/{DEAD}/redrive", DEAD, {"per_second": per_second})


def _is_idle(client: Client) -> bool:
    answer = _redrives(client)
    return answer.is_done and all(each["status"] != "running" for each in answer.answer)


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        if rng.random() < 0.1:
            client.delete(QUEUE, message)
        else:
            client.update(QUEUE, message, visibility_timeout=0, error={"message": "failed"})

    def administer(client: Client) -> None:
        if client.listing(DEAD).is_done and _start(client, rng.choice((20, 60))).is_done:
            eventually(lambda: client.pause(0.1) or _is_idle(client), "the redrive to end")
            client.listing(DEAD)
        client.pause(rng.uniform(0, 0.5))

    consumers = [consumer(rng, QUEUE, timeouts_s=(0.5,), most=10, finish=finish) for _ in range(2)]
    return [producer(rng, QUEUE, most=5, backlog=60, pause_s=0.2), *consumers, administer]


def _settle(client: Client) -> None:
    eventually(lambda: client.pause(0.1) or _is_idle(client), "the last redrive to end")
    eventually(lambda: client.pause(0.1) or _all_still(client), "all claims to end")
    client.listing(QUEUE)
    client.listing(DEAD)


def _all_still(client: Client) -> bool:
    """Whether no message can move any more: none is claimed, and none waits to become a dead letter."""
    listing = client.listing(QUEUE)
    return all(each["status"] == "unprocessed" and each["receive_count"] == 0 for each in listing.answer)


def judge(journal: Journal) -> Verdict:
    """Each message is in one of the two queues or deleted, and a completed redrive left none that it had to move."""
    verdict = Verdict()
    history = QueueHistory(journal, QUEUE)
    for delivery in history.deliveries:
        verdict.saw(AFRESH)
        if delivery.receive_count != 1 or "dead_letter" in delivery.shown or "last_error" in delivery.shown:
            verdict.report(f"{delivery.text!r} was not delivered as a new message", delivery.exchange)
    work, dead = journal.of("listing", QUEUE)[-1], journal.of("listing", DEAD)[-1]
    there = Counter(shown["message"] for listing in (work, dead) for shown in listing.answer)
    for text, message in history.messages.items():
        verdict.saw(MOVED, len({each.id for each in message.deliveries}) > 1)
        is_gone = any(each.kind == "delete" and each.exchange.is_done for each in message.endings)
        may_be_gone = any(each.kind == "delete" and each.exchange.is_possible for each in message.endings)
        if there[text] > 1 or (there[text] and is_gone) or (not there[text] and not may_be_gone and message.exists):
            verdict.report(f"{text!r} is there {there[text]} times", work, dead, *message.evidence)
    _judge_redrives(verdict, journal)
    return verdict


def _judge_redrives(verdict: Verdict, journal: Journal) -> None:
    listings = journal.of("listing", DEAD)
    statuses = {
        shown["id"]: (exchange, shown)
        for exchange in reversed(journal.of("redrives", DEAD))
        if exchange.is_done
        for shown in exchange.answer
        if shown["status"] == "completed"
    }
    for start in journal.of("redrive", DEAD):
        if not start.is_done or start.answer["id"] not in statuses:
            continue
        seen, shown = statuses[start.answer["id"]]
        verdict.saw(COMPLETED)
        verdict.saw(CONTINUED, seen.life > start.life)
        if shown["moved"] + shown["skipped"] != shown["total"]:
            verdict.report("a completed redrive did not examine all of its messages", start, seen)
        before = [each for each in listings if each.is_done and each.ended_s < start.began_s][-1:]
        after = [each for each in listings if each.is_done and each.began_s > seen.ended_s][:1]
        if before and after:
            left = {each["id"] for each in before[0].answer} & {each["id"] for each in after[0].answer}
            if left:
                verdict.report(f"a redrive left {sorted(left)}", *before, start, seen, *after)


SCENARIO = Scenario(
    name="redrive",
    promises=(
        (
            "Each message is deleted in one queue and added to the other in one write. The task's progress is written with each"
            " portion, so a restart neither repeats nor skips a message."
        ),
        "A redrive removes it: the message starts afresh.",
    ),
    set_up=_set_up,
    actors=_actors,
    settle=_settle,
    judge=judge,
    required=(COMPLETED, CONTINUED, MOVED, AFRESH),
)
