"""What a broker counts of its work, as plain numbers: counting is on the way of every request, so it has to cost nothing.

`wonderq.metrics` shows them. They begin at zero with each start of the broker.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from storage import Observer, record

access_log = logging.getLogger("wonderq.access")
access_log.setLevel(logging.INFO)  # whoever asks for it gets it, whatever else is logged

#: So many queues are counted by name, each takes some dozens of time series. The others are counted together.
NAMED_QUEUES = 100
#: Under this name, which no queue can have.
OTHER_QUEUES = "(others)"

#: Bounds of histograms, each the largest value that counts. From how long a sync takes to how long messages lie around.
_AGES_MS = (5, 25, 100, 250, 500, *(1000 * s for s in (1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43_200, 86_400)))
_REQUEST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
_SYNC_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_GROUP_RECORDS = tuple(1 << bits for bits in range(11))
_GROUP_BYTES = tuple(256 << bits for bits in range(0, 18, 2))

#: Methods that requests are counted under. Whoever invents one is counted under another name.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "UPDATE", "OPTIONS"))
NO_ROUTE = "none"

refusals: Counter[str] = Counter()
"""Requests and connections that were refused, by code, of all brokers in this process."""


class Histogram:
    """How many values lie in which range."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By the first bound that is not below the value; the last is of those above all bounds."""
        self.total: float = 0
        """The sum of all values."""

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_ages(self, now_ms: int, since_ms: Sequence[int]) -> None:
        """Observe for how long each has been there, given from when on, earliest first.

        The messages of a batch are mostly of one moment, and if not, then of few ranges: what is done for each message is to
        add it up.
        """
        count = len(since_ms)
        first_ms = since_ms[0]
        oldest = bisect_left(self.bounds, now_ms - first_ms)
        if since_ms[-1] == first_ms:
            self.counts[oldest] += count
            self.total += (now_ms - first_ms) * count
            return
        newest = bisect_left(self.bounds, now_ms - since_ms[-1])
        done = 0
        for index in range(oldest, newest, -1):
            stop = bisect_left(since_ms, now_ms - self.bounds[index - 1], done)
            self.counts[index] += stop - done
            done = stop
        self.counts[newest] += count - done
        self.total += now_ms * count - sum(since_ms)


class QueueCounters:
    """Counts of one queue, or of all that are not counted by name. Changed under the broker's lock alone."""

    __slots__ = ("buried", "calls", "time_to_claim_ms", "claims_timed_out", "lifetime_ms", "messages", "moved", "retention_expired")

    def __init__(self) -> None:
        self.calls = [0] * (record.DROP + 1)
        """Operations that changed something, by the kind of their record."""
        self.messages = [0] * (record.DROP + 1)
        """The messages that they were about."""
        self.claims_timed_out = 0
        """Claims that ended by their deadline."""
        self.retention_expired = 0
        """Messages that became older than their queue keeps them."""
        self.moved = 0
        """Messages that went to another queue: dead letters, or on their way back."""
        self.buried = 0
        """Dead letters that stayed, buried."""
        self.time_to_claim_ms = Histogram(_AGES_MS)
        """From produced to claimed, for each claim."""
        self.lifetime_ms = Histogram(_AGES_MS)
        """From produced to deleted."""

    def count(self, kind: int, messages: int) -> None:
        self.calls[kind] += 1
        self.messages[kind] += messages

    def claimed(self, now_ms: int, produced_ms: Sequence[int]) -> None:
        self.count(record.CLAIM, len(produced_ms))
        self.time_to_claim_ms.observe_ages(now_ms, produced_ms)

    def deleted(self, now_ms: int, produced_ms: Sequence[int]) -> None:
        self.count(record.DELETE, len(produced_ms))
        self.lifetime_ms.observe_ages(now_ms, produced_ms)


class BrokerCounters:
    """Counts of a broker."""

    def __init__(self) -> None:
        self.by_queue: dict[str, QueueCounters] = {}
        self.others = QueueCounters()
        self._any_others = False
        self.checkpoints = 0
        self.checkpoint_bytes = 0
        """Of the last one."""
        self.checkpoint_s = 0.0
        """What the last one took."""
        self.checkpoint_at_s: float | None = None
        """When the last one was done, in seconds since 1970."""
        self.checkpointed_bytes = 0
        """`Broker.log_bytes` as of the last one."""
        self.housekeeper_runs = False
        """Whether there is a keeper, and it has not ended."""
        self.schedules_fired = 0
        """Times of schedules at which a message was produced."""
        self.schedules_missed = 0
        """Times of schedules that passed without one."""
        self.dropped_segments = 0
        self.copied_bytes = 0
        """By compaction."""

    def of(self, queue: str) -> QueueCounters:
        """Return where a queue is counted: by itself, as long as there are few enough."""
        found = self.by_queue.get(queue)
        if found is None:
            if len(self.by_queue) >= NAMED_QUEUES:
                self._any_others = True
                return self.others
            found = self.by_queue[queue] = QueueCounters()
        return found

    def named(self) -> list[tuple[str, QueueCounters]]:
        """Return all counts of queues, under the names that they are shown by."""
        return [*self.by_queue.items(), *([(OTHER_QUEUES, self.others)] if self._any_others else [])]

    def name_of(self, queue: str) -> str:
        return OTHER_QUEUES if self.of(queue) is self.others else queue

    def forget(self, queue: str) -> None:
        """Leave its place to another queue."""
        self.by_queue.pop(queue, None)


class LogCounters(Observer):
    """Counts of a log. Changed by whoever leads a group, one at a time."""

    def __init__(self) -> None:
        self.sync_s = Histogram(_SYNC_S)
        self.group_records = Histogram(_GROUP_RECORDS)
        self.group_bytes = Histogram(_GROUP_BYTES)

    def group(self, records: int, size: int) -> None:
        self.group_records.observe(records)
        self.group_bytes.observe(size)

    def sync(self, seconds: float) -> None:
        self.sync_s.observe(seconds)


class RequestCounters:
    """Counts of a server, changed by its one thread."""

    def __init__(self) -> None:
        self.by_kind: dict[tuple[str, str, str], Histogram] = {}
        """Seconds until requests were answered, by method, route and status. A request without a route has `NO_ROUTE`."""
        self.accepted = 0
        """Connections."""
        self.refused = 0
        self.log_requests = False
        self._kinds: dict[tuple[str, str | None, str], Histogram] = {}  # the same, as they come

    def answered(self, method: str, route: str | None, status: str, seconds: float, address: str) -> None:
        """Count a request, and log it if requests are logged.

        ``route`` is the template of its path: paths have ids in them.
        """
        found = self._kinds.get((method, route, status)) or self._first(method, route, status)
        found.counts[bisect_left(_REQUEST_S, seconds)] += 1
        if seconds > 0:  # the clock may have been set back
            found.total += seconds
        if self.log_requests:
            _log(_method(method), route or NO_ROUTE, int(status[:3]), seconds * 1000, address)

    def _first(self, method: str, route: str | None, status: str) -> Histogram:
        kind = (_method(method), route or NO_ROUTE, status[:3])
        found = self.by_kind.setdefault(kind, Histogram(_REQUEST_S))
        if method in _METHODS:
            self._kinds[method, route, status] = found
        return found


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def _log(method: str, route: str, status: int, took_ms: float, address: str) -> None:
    fields = {"method": method, "route": route, "status": status, "duration_ms": round(took_ms, 3), "address": address}
    access_log.info("%s %s %d in %.1f ms for %s", method, route, status, took_ms, address, extra={"fields": fields})
