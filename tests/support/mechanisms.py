"""Counts of the mechanisms that a proof run exercised: a run in which one never ran proves nothing about it.

A run names the mechanisms that it is for, adds to their counts, and ends with `Mechanisms.verdict`. Counts of a broker come
from its metrics (`scraped`) or from its counters, if it lives in this process (`counted`); both use the same names.
"""

from __future__ import annotations

import re
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.support.history.calls import Consume, Delete, History, Publish, Update
from tests.support.waiting import PATIENCE_S
from wonderq.broker.broker import Broker
from wonderq.state import record

#: Exit code of a run that broke no promise, and did not exercise everything that it is for.
NOT_WHOLE = 3

#: Metric of a process of a run, without its ending, that counts the groups that no thread waited for.
POSTED_METRIC = "wonderq_run_posted"

CHECKPOINTS = "checkpoints written"
CHECKPOINTS_FOUND = "starts with a checkpoint"
COMPACTIONS = "segments compacted away"
POSTED = "groups posted"
ROTATIONS = "rotations"
TORN_TAILS = "torn tails cut"
CLAIMS_EXPIRED = "claims expired"
RETENTION = "messages past retention"
MOVES = "messages moved to another queue"
DEAD_LETTERS = "dead letters"
FIRED = "schedules fired"
UPDATES = "updates"
DELETES = "deletes"
PURGES = "purges"

#: Ways in which consumers end claims and make others, by the answers that they got.
NEXTS, POLLS = "claims ended and made in one request", "messages of several queues in one answer"
DECLARED_DEAD, UNCOUNTED = "messages declared dead", "uncounted releases"
ERRORS, NAMED = "errors reported", "claims with a name"
ENDS = (NEXTS, POLLS, DECLARED_DEAD, UNCOUNTED, ERRORS, NAMED)

#: Calls that published to all queues of a topic, by the answers that they got; those that were made before, too.
PUBLISHES, REPEATED_PUBLISHES = "publishes", "repeated publishes"

#: Samples of `GET /metrics` by what they count.
_SAMPLES = {
    "wonderq_checkpoints_total": CHECKPOINTS,
    "wonderq_compaction_dropped_segments_total": COMPACTIONS,
    f"{POSTED_METRIC}_total": POSTED,
    'wonderq_messages_total operation="claim_timeout"': CLAIMS_EXPIRED,
    'wonderq_messages_total operation="retention"': RETENTION,
    'wonderq_messages_total operation="transfer"': MOVES,
    "wonderq_dead_letters_total": DEAD_LETTERS,
    "wonderq_schedules_fired_total": FIRED,
    'wonderq_operations_total operation="update"': UPDATES,
    'wonderq_operations_total operation="delete"': DELETES,
    'wonderq_operations_total operation="purge"': PURGES,
}

#: Requests that succeeded, in the same text.
_ANSWERED = re.compile(
    r'^wonderq_http_request_duration_seconds_count\{method="\w+",route="([^"]*)",status="2\d\d"\} ([0-9.e+]+)$',
    re.MULTILINE,
)

_SAMPLE = re.compile(r'^(\w+)(?:\{(?:[^}]*?(operation="\w+"))?[^}]*\})? ([0-9.e+]+)$', re.MULTILINE)


class Mechanisms:
    """Counts of one run."""

    def __init__(self, required: Iterable[str]) -> None:
        """Start with nothing counted. ``required`` are the mechanisms that a whole run has to exercise."""
        self.counts: Counter[str] = Counter(dict.fromkeys(required, 0))
        self._required = tuple(self.counts)

    def idle(self) -> list[str]:
        """Return the required mechanisms that did not run."""
        return [name for name in self._required if not self.counts[name]]

    def __str__(self) -> str:
        shown = {name: count for name, count in self.counts.items() if count or name in self._required}
        return "mechanisms: " + ", ".join(f"{name} {count:,}" for name, count in shown.items())

    def verdict(self, *, is_slice: bool = False) -> tuple[str, bool]:
        """Return the report of a run, and whether it passes. A slice passes though it is too short for some of them."""
        idle = self.idle()
        return (f"{self}\nNEVER RAN: {', '.join(idle)}", is_slice) if idle else (str(self), True)


def scraped(url: str) -> Counter[str]:
    """Return the counts of a running broker, from its metrics."""
    return of_metrics(_metrics(url))


def answered(url: str, ending: str) -> int:
    """Return how many requests a running broker has answered with success, of the routes with this ending."""
    return sum(int(float(value)) for route, value in _ANSWERED.findall(_metrics(url)) if route.endswith(ending))


def _metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE_S) as answer:
        text: str = answer.read().decode()
    return text


def of_metrics(text: str) -> Counter[str]:
    """Return the counts in the text of `GET /metrics`."""
    counts: Counter[str] = Counter()
    for name, operation, value in _SAMPLE.findall(text):
        mechanism = _SAMPLES.get(f"{name} {operation}".strip())
        if mechanism is not None:
            counts[mechanism] += int(float(value))
    return counts


def counted(broker: Broker) -> Counter[str]:
    """Return the counts of a broker in this process."""
    counters = broker.counters
    counts = Counter(
        {CHECKPOINTS: counters.checkpoints, COMPACTIONS: counters.dropped_segments, FIRED: counters.schedules_fired}
    )
    for _, queue in counters.named():
        counts[CLAIMS_EXPIRED] += queue.claims_timed_out
        counts[RETENTION] += queue.retention_expired
        counts[MOVES] += queue.moved
        counts[DEAD_LETTERS] += queue.dead_letters_moved + queue.buried
        counts[UPDATES] += queue.calls[record.UPDATE]
        counts[DELETES] += queue.calls[record.DELETE]
        counts[PURGES] += queue.calls[record.PURGE]
    return counts


def acknowledged(history: History) -> Counter[str]:
    """Return the counts of what clients did, by the answers that they got."""
    counts: Counter[str] = Counter()
    ending: set[int | None] = set()
    claiming: dict[int | None, set[str]] = defaultdict(set)
    published: dict[str, set[int | None]] = defaultdict(set)
    for call in history.calls:
        if not call.happened:
            continue
        if isinstance(call, Publish):
            published[call.key].add(call.request)
        if isinstance(call, Consume) and call.deliveries:
            claiming[call.request].add(call.queue)
            counts[NAMED] += len(call.deliveries) if call.consumer else 0
        elif isinstance(call, Delete | Update):
            ending.add(call.request)
        if isinstance(call, Update):
            counts[DECLARED_DEAD] += call.dead
            counts[UNCOUNTED] += call.uncounted
            counts[ERRORS] += call.error is not None
    requests = {each: queues for each, queues in claiming.items() if each is not None}
    counts[NEXTS] = sum(each in ending for each in requests)
    counts[PUBLISHES] = sum(map(len, published.values()))
    counts[REPEATED_PUBLISHES] = counts[PUBLISHES] - len(published)
    counts[POLLS] = sum(len(queues) > 1 for queues in requests.values())
    return counts


def rotations(data: Path) -> int:
    """Return the number of segments that were begun in a folder after the first."""
    return max((int(path.stem) for path in data.glob("*.wal")), default=1) - 1


def has_checkpoint(data: Path) -> bool:
    return any(data.glob("*.ckpt"))
