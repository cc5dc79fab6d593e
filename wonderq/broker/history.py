"""History: figures of queues over the last hour and the last day, in memory. It begins anew with each start.

Housekeeping (`wonderq.broker.housekeeping`) takes a sample every ten seconds. A queue has a history if it has counters
of its own, and there is one of all queues together. A history takes at most 13 KB.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from wonderq.broker.core import Core
from wonderq.broker.counters import NAMED_QUEUES, QueueCounters
from wonderq.broker.rates import Samples
from wonderq.broker.topic_history import TopicHistory
from wonderq.model.status import CLAIMED, WAITING
from wonderq.runtime.histogram import Histogram
from wonderq.state import record

#: Time between two samples.
SAMPLE_MS = 10_000

#: Queues to inspect under the lock at a time.
_QUEUES_PER_STEP = 100

_LARGEST = (1 << 32) - 1


class Window(NamedTuple):
    """A period that is kept, as points of equal length."""

    step_ms: int
    points: int


WINDOWS = {"1h": Window(SAMPLE_MS, 360), "24h": Window(300_000, 288)}

#: Samples that make one point of the long window.
_SAMPLES_PER_LONG_POINT = WINDOWS["24h"].step_ms // SAMPLE_MS


class Flows(NamedTuple):
    """Messages that came, went or were claimed: in all, in a period, or per second."""

    produced: float
    claimed: float
    deleted: float
    expired: float
    dead: float


#: Flows of which the points are kept.
KEPT_FLOWS = ("produced", "deleted", "dead")
NO_FLOWS = Flows(0, 0, 0, 0, 0)


def flows_of(counters: QueueCounters) -> Flows:
    """Return what a queue's counters say, since the start of the broker."""
    messages = counters.messages
    return Flows(
        messages[record.PRODUCE],
        messages[record.CLAIM],
        messages[record.DELETE],
        counters.retention_expired,
        counters.dead_letters_moved + counters.buried,
    )


def total(flows: Sequence[Flows]) -> Flows:
    """Return the sum of flows."""
    return Flows(*map(sum, zip(*flows, strict=True))) if flows else NO_FLOWS


class Ages(NamedTuple):
    """How old messages were at an event."""

    bounds_ms: Sequence[float]
    counts: Sequence[int]
    """For each bound, the number of messages up to this age and above the previous bound; last, those above all."""
    total_ms: float
    """Sum of all ages."""
    p50_ms: float | None
    """The bound that half of the ages did not exceed; None without messages, or above all bounds."""
    p90_ms: float | None
    p99_ms: float | None


def _ages_of(histograms: Sequence[Histogram]) -> Ages:
    together = Histogram.sum(histograms)
    quantiles = map(together.quantile, (0.5, 0.9, 0.99))
    return Ages(together.bounds, together.counts, together.total, *quantiles)


class Points(NamedTuple):
    """Points of a window, the oldest first: messages at the end of each point, or during it."""

    waiting: array[int]
    in_flight: array[int]
    produced: array[int]
    deleted: array[int]
    dead: array[int]

    @classmethod
    def none(cls) -> Points:
        return cls(*(array("I") for _ in cls._fields))

    def add(self, values: Sequence[float], most: int) -> None:
        for series, value in zip(self, values, strict=True):
            series.append(min(int(value), _LARGEST))
            del series[:-most]


class Track:
    """The history of one queue, or of all queues together."""

    def __init__(self, now_ms: int, flows: Flows) -> None:
        self.points = {name: Points.none() for name in WINDOWS}
        self._samples = Samples(now_ms, flows)
        self._count = 0

    def sample(self, now_ms: int, waiting: int, in_flight: int, flows: Flows, missed: int) -> None:
        """Add a point, after repeating the last one for ``missed`` samples that were not taken."""
        before = Flows(*self._samples.last)
        passed = [max(getattr(flows, name) - getattr(before, name), 0) for name in KEPT_FLOWS]
        for _ in range(missed):
            self._add(waiting, in_flight, 0, 0, 0)
        self._add(waiting, in_flight, *passed)
        self._samples.add(now_ms, flows)

    def _add(self, *values: float) -> None:
        short = self.points["1h"]
        short.add(values, WINDOWS["1h"].points)
        self._count += 1
        if self._count == _SAMPLES_PER_LONG_POINT:
            self._count = 0
            last = [series[-_SAMPLES_PER_LONG_POINT:] for series in short]
            peaks, sums = [max(each) for each in last[:2]], [sum(each) for each in last[2:]]
            self.points["24h"].add((*peaks, *sums), WINDOWS["24h"].points)

    def unfinished_ms(self, window: str) -> int:
        """Return the time of the samples that do not make a point of a window yet."""
        return 0 if window == "1h" else self._count * SAMPLE_MS

    def per_second(self, now_ms: int, flows: Flows, period_ms: int) -> Flows:
        """Return the rates since the newest sample that is at least ``period_ms`` old, or else the oldest sample."""
        return Flows(*self._samples.per_second(now_ms, flows, period_ms))


class History:
    """The history of each queue that has counters of its own, and of all queues. Only `run` changes it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        now_ms = core.clock.now_ms()
        self.began_ms = now_ms
        self._sampled_ms = now_ms
        self._tracks: dict[str, tuple[QueueCounters, Track]] = {}
        self._all = Track(now_ms, self._all_flows())
        self.topics = TopicHistory(core)
        """The history of topics."""
        self._find_queues()

    @property
    def sampled_ms(self) -> int:
        """Time of the last sample."""
        return self._sampled_ms

    def of(self, queue: str | None) -> Track | None:
        """Return the history of a queue, or for None of all queues; None if the queue has none."""
        if queue is None:
            return self._all
        found = self._tracks.get(queue)
        return None if found is None else found[1]

    def ages(self, queue: str | None) -> tuple[Ages, Ages] | None:
        """Return the ages of a queue's messages at their claims, and at their deletions, since the start.

        For None, those of all queues; None if the queue has no history.
        """
        with self._core.lock:
            if queue is None:
                # With the set for further queues, although it may be empty: a broker may have no queue at all.
                every = [*self._core.counters.by_queue.values(), self._core.counters.others]
            elif queue in self._tracks:
                every = [self._tracks[queue][0]]
            else:
                return None
            histograms = [each.time_to_claim_ms for each in every], [each.lifetime_ms for each in every]
            return _ages_of(histograms[0]), _ages_of(histograms[1])

    def dead_in_last_hour(self, queues: Sequence[str] | None) -> int:
        """Return the number of messages of some queues, or for None of all, that became dead letters."""
        tracks = [self._all] if queues is None else [found for each in queues if (found := self.of(each)) is not None]
        return sum(sum(each.points["1h"].dead) for each in tracks)

    def per_second(self, queue: str | None, period_ms: int) -> Flows | None:
        """Return the present rates of a queue, or for None of all queues; None if the queue has no history."""
        now_ms = self._core.clock.now_ms()
        if queue is None:
            return self._all.per_second(now_ms, self._all_flows(), period_ms)
        found = self._tracks.get(queue)
        return None if found is None else found[1].per_second(now_ms, flows_of(found[0]), period_ms)

    def run(self) -> float:
        """Take a sample if it is due; return the seconds until the next one is."""
        now_ms = self._core.clock.now_ms()
        due = (now_ms - self._sampled_ms) // SAMPLE_MS
        if due > 0:
            # After a suspended machine or a long pause, the points before cannot be known.
            self._sample(now_ms, min(due - 1, WINDOWS["1h"].points))
            self._sampled_ms += due * SAMPLE_MS
        return (self._sampled_ms + SAMPLE_MS - now_ms) / 1000

    def _sample(self, now_ms: int, missed: int) -> None:
        self._find_queues()
        queues = self._core.own_queues()
        all_waiting = all_in_flight = 0
        for at in range(0, len(queues), _QUEUES_PER_STEP):
            with self._core.lock:
                for queue in queues[at : at + _QUEUES_PER_STEP]:
                    counts = queue.messages.counts
                    waiting, in_flight = counts[WAITING], counts[CLAIMED]
                    all_waiting += waiting
                    all_in_flight += in_flight
                    found = self._tracks.get(queue.name)
                    if found is not None:
                        counters, track = found
                        track.sample(now_ms, waiting, in_flight, flows_of(counters), missed)
        self._all.sample(now_ms, all_waiting, all_in_flight, self._all_flows(), missed)
        self.topics.sample(now_ms)

    def _find_queues(self) -> None:
        """Begin the history of new queues, and forget that of deleted ones."""
        with self._core.lock:
            counters = self._core.counters.by_queue
            for name in self._core.state.queues:
                if len(counters) >= NAMED_QUEUES:
                    break
                self._core.counters.of(name)  # also of a queue that only gets dead letters
            counters = dict(counters)
        for name in [name for name, (each, _) in self._tracks.items() if counters.get(name) is not each]:
            del self._tracks[name]
        for name, each in counters.items():
            if name not in self._tracks:
                self._tracks[name] = each, Track(self._sampled_ms, NO_FLOWS)

    def _all_flows(self) -> Flows:
        counters = self._core.counters
        return total([flows_of(each) for _, each in counters.named()])
