"""The calls of clients to a broker, with all that they know of the outcomes.

Times are `time.monotonic` seconds of one machine, so calls of all threads can be compared. A call whose connection
died is `UNKNOWN`: it may have happened at some moment between its start and its end, or not at all.
"""

from __future__ import annotations

import enum
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

#: The code of a call whose client hung up: it may go unanswered while the broker is up, and happen after that. It ends
#: when the broker it was sent to does.
ABANDONED = "abandoned"

#: The code of a call for which there was no room; it may come while the disk is full.
DISK_FULL = "disk_full"

#: The code of a call to a broker whose log another one has taken over. It may have happened, before that.
LOG_LOST = "log_lost"

#: The code of a call of which a node of a cluster does not know whether it was carried out.
OUTCOME_UNKNOWN = "outcome_unknown"

#: Codes of calls that a node of a cluster surely did not carry out, while shards move or NATS has no quorum.
NOT_CARRIED_OUT = frozenset({"shard_unavailable", "no_quorum"})

#: The dead-letter queue of all queues in which messages are declared dead. Nobody else produces there.
DEAD_LETTERS = "dead"


def dead_letters_of(queue: str) -> str:
    """Return the dead-letter queue of a queue: `DEAD_LETTERS`, with the same part before ``--`` if there is one."""
    family, mark, _ = queue.rpartition("--")
    return f"{family}{mark}{DEAD_LETTERS}"


class Outcome(enum.Enum):
    """Outcome of a call for the client: done, refused, or no answer."""

    OK = enum.auto()
    REFUSED = enum.auto()
    UNKNOWN = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call to one queue, with the times between which it took effect."""

    queue: str
    start_s: float
    end_s: float
    outcome: Outcome = Outcome.OK
    code: str | None = None
    """Reason of the refusal, or of the missing answer."""
    request: int | None = None
    """Number of the request, if it made several of these calls."""

    @property
    def happened(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def possible(self) -> bool:
        return self.outcome is not Outcome.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Produce(Call):
    """A call that sent messages."""

    bodies: tuple[str, ...]
    delay_s: float = 0
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish(Produce):
    """The share of one queue in a call that published messages to a topic. Its answer has no ids of messages.

    Each queue of the topic has such a share, with the same key. A call with a key that was used adds nothing.
    """

    key: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in the answer to a consume."""

    id: str
    body: str
    receipt: str
    receive_count: int
    claimed_until_ms: int
    consumer: str = ""
    error: str | None = None
    """Message of the last error that a consumer reported."""
    source: str | None = None
    """Former id of a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consume(Call):
    """A call that claimed messages."""

    limit: int
    visibility_timeout_s: float
    wait_s: float = 0
    consumer: str = ""
    deliveries: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Call):
    """A call that deleted a message, by id or by receipt."""

    id: str
    receipt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(Call):
    """A change of the claim or of the body, or (``delay_s``) the withdrawal of the message from its holder.

    A renewal that names no timeout is recorded with the one it goes by, that of its claim.
    """

    id: str
    receipt: str | None = None
    visibility_timeout_s: float | None = None
    delay_s: float | None = None
    body: str | None = None
    error: str | None = None
    """Message of the error that it reports."""
    dead: bool = False
    """Whether the message moves to the dead-letter queue."""
    uncounted: bool = False
    """Whether the claim that it releases counts as no receive."""

    @property
    def hold_s(self) -> float | None:
        """Time until another client may get the message, or None if that is unchanged."""
        return self.visibility_timeout_s if self.delay_s is None else self.delay_s


@dataclass(frozen=True, slots=True)
class Seen:
    """One message in a listing. ``due_ms`` is when its claim or delay ends."""

    id: str
    body: str
    status: str
    receive_count: int
    due_ms: int | None
    consumer: str = ""
    error: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Call):
    """All messages of a queue, in order."""

    messages: tuple[Seen, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Create(Call):
    """The queue is there from then on, if it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge(Call):
    """All messages of a queue are deleted. ``deleted`` is how many the answer says there were."""

    deleted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Call):
    """The queue is deleted, and its messages with it."""


@dataclass(frozen=True, slots=True)
class ClockChange:
    """Another broker, whose clock differs, took over at some moment between ``since_s`` and ``until_s``."""

    since_s: float
    until_s: float
    wall_offset_s: float
    """Difference between its clock and the monotonic clock."""


@dataclass(slots=True)
class History:
    """The calls of all clients, with the times at which the broker was down or its disk was full."""

    calls: list[Call] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    """Intervals from just before each kill or stop until the broker was ready: only then may a call go unanswered."""
    wall_offset_s: float = field(default_factory=lambda: time.time() - time.monotonic())
    """Difference between the broker's clock and the monotonic clock, until the first of ``clock_changes``."""
    disk_full: list[tuple[float, float]] = field(default_factory=list)
    """Intervals in which the disk may have been full: only then may a call be refused for that."""
    slow: list[tuple[float, float]] = field(default_factory=list)
    """Intervals in which the log may have been unable to write: a consumer that waits may be answered late then."""
    clock_changes: list[ClockChange] = field(default_factory=list)
    """The changes of the broker's clock, in their order."""
    shard_of: Callable[[str], int] = lambda _queue: 0
    """Shard of a queue. What a call sends to a queue of another shard arrives some time after the call."""
    crossed: list[tuple[float, float]] = field(default_factory=list)
    """Intervals: what was sent to another shard before the first moment had arrived at the second one."""

    def extend(self, calls: Iterable[Call]) -> None:
        self.calls.extend(calls)

    def arrival_s(self, sent_s: float) -> float:
        """Return when something had arrived in another shard that was sent by some moment; infinity if nobody knows."""
        return min((arrived_s for since_s, arrived_s in self.crossed if since_s >= sent_s), default=float("inf"))


@dataclass(frozen=True, slots=True)
class FinalQueue:
    """A queue at the end of a run."""

    queue: str
    counts: dict[str, int]
    live: tuple[Seen, ...]
    """The listing that the running broker gave at the moment of those counts."""
    replayed: tuple[Seen, ...]
    """The same from a fresh replay of the folder, after a clean stop."""
    replayed_ms: int
    """The wall clock after that."""
    drained: tuple[str, ...]
    """Ids of everything that was then consumed, until nothing came any more."""
    left: int
    """Messages still there after those were deleted."""


@dataclass(frozen=True, slots=True)
class FinalState:
    """The state of all queues at the end of a history."""

    queues: tuple[FinalQueue, ...]


def brief(body: str) -> str:
    """Stand in for a body: itself, or its beginning and digest, so that a history of large bodies stays small."""
    if len(body) <= 64:
        return body
    return f"{body[:24]}~{len(body)}~{hashlib.blake2b(body.encode(), digest_size=12).hexdigest()}"
