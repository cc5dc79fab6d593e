"""What a broker counts of its work, as plain numbers: counting is on the way of every request, so it has to cost nothing.

`wonderq.metrics` shows them. They begin at zero with each start of the broker.
"""

from __future__ import annotations

from collections.abc import Sequence

from wonderq.runtime.histogram import Histogram
from wonderq.state import record

#: So many queues are counted by name, each takes some dozens of time series. The others are counted together.
NAMED_QUEUES = 100
#: Under this name, which no queue can have.
OTHER_QUEUES = "(others)"

#: Bounds of histograms, each the largest value that counts. From how long a sync takes to how long messages lie around.
_AGES_MS = (5, 25, 100, 250, 500, *(1000 * s for s in (1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43_200, 86_400)))


class QueueCounters:
    """Counts of one queue, or of all that are not counted by name. Changed under the broker's lock alone."""

    __slots__ = (
        "buried",
        "calls",
        "claims_timed_out",
        "lifetime_ms",
        "messages",
        "moved",
        "retention_expired",
        "time_to_claim_ms",
    )

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
