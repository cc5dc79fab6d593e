"""A schedule produces each of its times once, also if the broker is killed at that moment."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.promises.client import Client
from tests.promises.journal import Exchange, Journal
from tests.promises.load import consumer, drain
from tests.promises.scenario import Actor, Scenario
from tests.promises.verdict import Verdict

QUEUE = "schedules"

#: Expression, policy for missed times, and seconds between two times of each schedule.
SCHEDULES = {
    "each-second": ("* * * * * *", "all", 1),
    "every-other-second": ("*/2 * * * * *", "all", 2),
    "each-second-or-never": ("* * * * * *", "skip", 1),
}
TIMES, GAPS, RESTARTED, ENDS = (
    "times",
    "times next to each other",
    "times that a restart separates",
    "schedules at the end",
)


def _set_up(client: Client) -> None:
    client.configure(QUEUE)
    for name, (cron, missed, _) in SCHEDULES.items():
        body = {"cron": cron, "queue": QUEUE, "message": name, "missed": missed}
        exchange = client.call("schedule", "PUT", f"/schedules/{name}", QUEUE, body)
        assert exchange.is_done, exchange.line()


def _actors(rng: random.Random) -> Sequence[Actor]:
    def finish(client: Client, message: Mapping[str, Any]) -> None:
        if rng.random() < 0.8:
            client.delete(QUEUE, message)

    return [consumer(rng, QUEUE, timeouts_s=(0.5, 1), most=10, finish=finish) for _ in range(2)]


def _settle(client: Client) -> None:
    for name in SCHEDULES:
        client.call("read schedule", "GET", f"/schedules/{name}", QUEUE, name=name)
        client.call("unschedule", "DELETE", f"/schedules/{name}", QUEUE)
    client.listing(QUEUE)
    drain(client, QUEUE)


def judge(journal: Journal) -> Verdict:
    """No time has two messages, none is early, and with the policy ``all`` none is left out."""
    verdict = Verdict()
    seen: dict[str, dict[dt.datetime, dict[str, Exchange]]] = {name: defaultdict(dict) for name in SCHEDULES}
    for exchange in journal:
        if exchange.queue == QUEUE and exchange.is_done and exchange.kind in ("consume", "listing"):
            for shown in exchange.answer:
                attributes = shown["attributes"]
                due = dt.datetime.fromisoformat(attributes["scheduled_at"])
                seen[attributes["schedule"]][due].setdefault(shown["id"], exchange)
                if dt.datetime.fromisoformat(shown["produced_at"]) < due:
                    verdict.report(f"{attributes} was produced before its time", exchange)
    for name, times in seen.items():
        for due, ids in times.items():
            verdict.saw(TIMES)
            if len(ids) > 1:
                verdict.report(f"{name} produced {len(ids)} messages for {due}", *ids.values())
        _, missed, step_s = SCHEDULES[name]
        for first, second in pairwise(sorted(times)):
            evidence = [*times[first].values(), *times[second].values()]
            verdict.saw(GAPS)
            verdict.saw(RESTARTED, evidence[0].life < evidence[-1].life)
            if missed == "all" and (second - first).total_seconds() != step_s:
                verdict.report(f"{name} produced nothing between {first} and {second}", *evidence)
    for exchange in journal.of("read schedule"):
        verdict.saw(ENDS)
        name, last_at = exchange.sent["name"], exchange.answer.get("last_at")
        if not exchange.is_done:
            verdict.report(f"the schedule {name} is lost", exchange)
        elif last_at is not None and dt.datetime.fromisoformat(last_at) not in seen[name]:
            verdict.report(f"nobody has seen the last message of {name}", exchange)
    return verdict


SCENARIO = Scenario(
    name="schedules",
    promises=(
        "So no time produces its message twice, no matter when the broker is killed.",
        (
            "The schedule's `missed` policy governs times that the broker could not meet within a minute, usually because it was not"
            " running: no message, one message for all, or one for each. It meets a time of a shorter outage as soon as it runs"
            " again."
        ),
    ),
    set_up=_set_up,
    actors=_actors,
    settle=_settle,
    judge=judge,
    required=(TIMES, GAPS, RESTARTED, ENDS),
)
