"""All scenarios."""

from __future__ import annotations

from tests.promises.scenario import Scenario
from tests.promises.scenarios import (
    acknowledged,
    atomic_batches,
    attempts,
    counts,
    dead_letters,
    deduplication,
    delays,
    exclusive_claims,
    fairness,
    fifo_order,
    full_answers,
    group_blocking,
    hand_over,
    in_flight,
    next_request,
    oldest_first,
    priorities,
    rates,
    redrive,
    retention,
    schedules,
    sqs_fifo,
)

SCENARIOS: dict[str, Scenario] = {
    module.SCENARIO.name: module.SCENARIO
    for module in (
        *(acknowledged, atomic_batches, attempts, counts, dead_letters, deduplication, delays, exclusive_claims),
        *(fairness, fifo_order, full_answers, group_blocking, hand_over, in_flight, next_request, oldest_first),
        *(priorities, rates, redrive, retention, schedules, sqs_fifo),
    )
}
