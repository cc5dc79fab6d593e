"""Problems: what somebody should look at, found in the figures of queues, their history, redrives and schedules."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple

from wonderq.broker.core import Core
from wonderq.broker.history import Flows, History
from wonderq.runtime.fibers import in_turns, sorted_in_turns
from wonderq.state.state import MetadataEntry

#: Age of the oldest waiting message from which on a queue counts as late.
LATE_MS = 300_000

#: The same for a queue that nobody consumes.
UNCONSUMED_MS = 60_000

#: Time for which a failed redrive is a problem.
_FAILED_MS = 86_400_000

_MINUTE_MS = 60_000

#: Queues, schedules or redrives to look at before other requests have their turn.
_PER_TURN = 200

Severity = Literal["error", "warning", "notice"]


class QueueFigures(NamedTuple):
    """Figures of a queue at one moment. Claims and delays past their deadline may count as such for a second."""

    name: str
    waiting: int
    in_flight: int
    delayed: int
    buried: int
    bytes: int
    waiting_since_ms: int | None
    consumers: int
    paused: bool
    draining: bool
    dead_letter_queue: str
    flows: Flows
    """Rates per second over about ten seconds; zeros for a queue without a history."""


class Problem(NamedTuple):
    """Something that somebody should look at."""

    code: str
    severity: Severity
    message: str
    queue: str | None = None
    """The queue that it concerns, or None if it concerns all of them."""
    schedule: str | None = None
    topic: str | None = None


def of_broker(core: Core) -> Iterator[Problem]:
    """Yield the problems of the broker as a whole."""
    if core.transaction.damage is not None:
        yield Problem("damaged", "error", f"The log is damaged: {core.transaction.damage}.")
    elif core.unready is not None:
        yield Problem("not_ready", "error", f"The broker takes no work: {core.unready}.")
    if core.clock.problem is not None:
        yield Problem("clock", "error", core.clock.problem)


def of_queues(
    figures: Sequence[QueueFigures], dead_letter_queues: Container[str], history: History, now_ms: int
) -> Iterator[Problem]:
    """Yield the queues that nobody consumes, those that are late, and those with dead letters; the worst first.

    A dead-letter queue needs no consumer, so ``dead_letter_queues`` are left out.
    """
    found = list(_found(figures, dead_letter_queues, history, now_ms))
    yield from (problem for _, _, problem in in_turns(sorted_in_turns(found, itemgetter(0, 1)), _PER_TURN))


def _found(
    figures: Sequence[QueueFigures], dead_letter_queues: Container[str], history: History, now_ms: int
) -> Iterator[tuple[int, int, Problem]]:
    """Yield each problem of `of_queues` with two sort keys: its kind and its rank. Lower keys are worse."""
    for each in in_turns(figures, _PER_TURN):
        if each.name in dead_letter_queues or each.paused:
            continue
        waited_ms = 0 if each.waiting_since_ms is None else now_ms - each.waiting_since_ms
        if waited_ms >= UNCONSUMED_MS and _is_unconsumed(each, history):
            text = f"Nobody consumes {each.name}. Its oldest of {each.waiting:,} has waited for {_duration(waited_ms)}."
            yield 0, -waited_ms, Problem("no_consumer", "error", text, each.name)
        elif waited_ms >= LATE_MS:
            text = f"{each.name} is late: the oldest of {each.waiting:,} has waited for {_duration(waited_ms)}."
            yield 1, -waited_ms, Problem("late", "warning", text, each.name)
    for each in in_turns(figures, _PER_TURN):
        track = history.of(each.name)
        dead = sum(track.points["1h"].dead) if track is not None else 0
        if dead:
            where = f"moved to {each.dead_letter_queue}" if each.dead_letter_queue else "buried in it"
            letters = f"{dead:,} dead {'letter' if dead == 1 else 'letters'}"
            text = f"{each.name} had {letters} in the last hour, {where}."
            yield 2, -dead, Problem("dead_letters", "warning", text, each.name)


def of_stopped_queues(figures: Sequence[QueueFigures]) -> Iterator[Problem]:
    """Yield the queues that somebody has paused, or lets drain."""
    for each in in_turns(figures, _PER_TURN):
        if each.paused:
            yield Problem("paused", "notice", f"{each.name} is paused: consumers get nothing.", each.name)
        if each.draining:
            yield Problem("draining", "notice", f"{each.name} is draining: it takes no new messages.", each.name)


Tasks = Mapping[str, MetadataEntry]
"""METADATA records of a namespace, by name."""


def of_schedules(tasks: Tasks) -> Iterator[Problem]:
    """Yield the schedules whose last due time has no message, by name."""
    entries = in_turns(tasks.items(), _PER_TURN)
    failed = [name for name, each in entries if each.value["failure"] is not None]
    for name in in_turns(sorted_in_turns(failed, str), _PER_TURN):
        value = tasks[name].value
        text = f"The schedule {name} produced nothing at its last time: {value['failure']}"
        yield Problem("schedule_failed", "error", text, value["queue"], name)


def of_redrives(tasks: Tasks, now_ms: int) -> Iterator[Problem]:
    """Yield the redrives that failed in the last day."""
    for each in in_turns(tasks.values(), _PER_TURN):
        value = each.value
        if value["status"] == "failed" and now_ms - value["ended_ms"] < _FAILED_MS:
            text = f"A redrive of {value['source']} failed: {value['failure']}"
            yield Problem("redrive_failed", "error", text, value["source"])


def _is_unconsumed(queue: QueueFigures, history: History) -> bool:
    """Return whether nobody holds, awaits or lately claimed a message of a queue. Without a history, nobody knows."""
    if queue.in_flight or queue.consumers:
        return False
    rates = history.per_second(queue.name, _MINUTE_MS)
    return rates is not None and not rates.claimed


def _duration(ms: int) -> str:
    """Return a duration for people, in its largest unit."""
    for unit, size_ms in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        if ms >= size_ms:
            count = ms // size_ms
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{ms // 1000} seconds"
