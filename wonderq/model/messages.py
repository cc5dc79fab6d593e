"""Messages as clients send, receive and change them.

The optional fields of a message are stored as a map of headers beside its body (`wonderq.state.record`). Its keys are
``attributes``, ``system``, ``group``, ``priority``, ``key``, ``origin`` in a dead letter, and ``failure`` once a
consumer has reported an error; a field with its default is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple, overload

from wonderq.model.attributes import Attribute, check_attributes
from wonderq.model.envelope import Envelope
from wonderq.model.errors import InvalidValueError
from wonderq.model.failures import ReportedError
from wonderq.model.settings import QueueSettings

#: Highest priority of a message. The lowest is 0.
MAX_PRIORITY = 9

MAX_NAME_CHARACTERS = 128
_SYSTEM_NAMES = frozenset(("traceparent", "tracestate", "AWSTraceHeader"))
_MAX_SYSTEM_CHARACTERS = 1024

#: Makes a named tuple in a third of the time that a call of its class takes.
new_tuple = tuple.__new__


class NewMessage(NamedTuple):
    """A message to be produced."""

    body: str
    delay_ms: int | None = None
    """Delay before the message becomes available; None for the delay of the queue."""
    deliver_at_ms: int | None = None
    """Time at which the message becomes available, instead of a delay."""
    attributes: Mapping[str, Attribute] | None = None
    system: Mapping[str, str] | None = None
    """Trace context: ``traceparent`` and ``tracestate`` (W3C Trace Context), ``AWSTraceHeader``."""
    group: str = ""
    """Message group. A FIFO queue delivers each group in order; other queues share deliveries fairly among groups."""
    priority: int = 0
    """Priority from 0 to 9; messages with 9 are delivered first."""
    key: str = ""
    """Idempotency key. A second message with the same key in the deduplication window of the queue is a duplicate."""
    key_of_batch: bool = False
    """Whether ``key`` was made from the key of a batch and the index in it. It differs from all keys of messages."""

    def check(self, *, is_fifo: bool) -> None:
        """Check all fields except the size.

        Raises:
            InvalidValueError: a field is out of range or malformed.
        """
        if not 0 <= self.priority <= MAX_PRIORITY:
            raise InvalidValueError(
                "priority",
                f"priority is {self.priority}. It must be from 0 to {MAX_PRIORITY}.",
            )
        if is_fifo and self.priority:
            raise InvalidValueError(
                "priority",
                "A FIFO queue has no priorities. Send the message without one.",
            )
        for field, name in (("group", self.group), ("idempotency_key", self.key)):
            if len(name) > MAX_NAME_CHARACTERS:
                raise InvalidValueError(
                    field,
                    f"{field} has {len(name)} characters, and at most {MAX_NAME_CHARACTERS} are allowed. Shorten it.",
                )
        if self.attributes:
            check_attributes(self.attributes)
        for name, value in self.system.items() if self.system else ():
            if name not in _SYSTEM_NAMES:
                raise InvalidValueError(
                    name, f"{name[:100]} is not a system attribute. Use one of {', '.join(sorted(_SYSTEM_NAMES))}."
                )
            if len(value) > _MAX_SYSTEM_CHARACTERS:
                raise InvalidValueError(
                    name,
                    f"{name} has {len(value)} characters. At most {_MAX_SYSTEM_CHARACTERS} are allowed.",
                )

    def headers(self) -> dict[str, Any]:
        """Return the headers to store beside the body."""
        headers: dict[str, Any] = {}
        if self.attributes:
            headers["attributes"] = dict(self.attributes)
        if self.system:
            headers["system"] = dict(self.system)
        if self.group:
            headers["group"] = self.group
        if self.priority:
            headers["priority"] = self.priority
        if self.key:
            headers["key"] = self.key
        return headers


def size_of(body: str, attributes: Mapping[str, Attribute] | None) -> int:
    """Return the size of a message in bytes, counted as SQS does: body, attribute names, types and values."""
    size = len(body.encode())
    for name, (kind, value) in (attributes or {}).items():
        size += len(name.encode()) + len(kind.encode()) + len(value if isinstance(value, bytes) else value.encode())
    return size


class Message(NamedTuple):
    """A message as a client receives it."""

    id: str
    body: str
    status: str
    """``unprocessed``, ``processing``, ``delayed`` or ``buried``."""
    receipt: str | None
    """Receipt of the claim; None unless the message was claimed by this call."""
    receives: int
    """Receive count: number of claims so far."""
    produced_ms: int
    due_ms: int | None
    """Deadline of the claim or delay, or None."""
    queue: str
    sequence: int
    """Position of the message in the order in which the messages of its queue were produced."""
    first_claimed_ms: int
    """Time of the first claim; 0 if there was none, or if it is not known."""
    envelope: Envelope | None
    """Optional fields; None if all have their defaults."""
    consumer: str = ""
    """Name of the consumer that holds the message; empty if it gave none, or if nobody holds it."""


class SendResult(NamedTuple):
    """Result of producing one message."""

    id: str
    sequence: int
    is_duplicate: bool
    """Whether the idempotency key was used before. The id is then that of the first message, which may be deleted."""


class RequestNumber(NamedTuple):
    """Identity of a request of a producer that numbers its requests, so that a repeated one is carried out once."""

    producer_id: str
    number: int


class SendResults(Sequence[SendResult]):
    """Results of producing a batch, in its order. Kept as columns: a large batch creates no object per message."""

    __slots__ = ("duplicates", "ids", "sequences")

    def __init__(self, ids: list[str], sequences: Sequence[int], duplicates: frozenset[int] = frozenset()) -> None:
        """``duplicates`` holds the indexes of the messages that were not added."""
        self.ids = ids
        self.sequences = sequences
        self.duplicates = duplicates

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> SendResult: ...

    @overload
    def __getitem__(self, index: slice) -> list[SendResult]: ...

    def __getitem__(self, index: int | slice) -> SendResult | list[SendResult]:
        indexes = range(len(self))[index]
        if isinstance(indexes, range):
            return [self[each] for each in indexes]
        return SendResult(self.ids[indexes], self.sequences[indexes], indexes in self.duplicates)


class QueueInfo(NamedTuple):
    """Settings and statistics of a queue at one moment."""

    name: str
    settings: QueueSettings
    created_ms: int
    counts: dict[str, int]
    """Number of messages by status."""
    bytes: int
    """Bytes of all messages as stored."""
    oldest_ms: int | None
    """Time at which the oldest message was produced, or None in an empty queue."""
    waiting_since_ms: int | None
    """Time since when the oldest waiting message could be claimed, or None if no message waits."""
    newest_id: str | None
    """Id of the newest message, which may be deleted. A listing that starts after it returns later messages only."""
    now_ms: int


class Target(NamedTuple):
    """The message that a delete or update applies to.

    An id selects the message whether it is claimed or not. A receipt selects it only while its claim is valid.
    """

    id: str | None = None
    receipt: str | None = None

    @classmethod
    def each(cls, named: Iterable[tuple[str | None, str | None]]) -> list[Target]:
        """Return the targets of pairs of id and receipt."""
        return list(map(new_tuple, repeat(cls), named))


@dataclass(frozen=True)
class Change:
    """Fields of an update. With none set, the update renews the claim for its visibility timeout."""

    visibility_timeout_ms: int | None = None
    """Time from now until the renewed claim expires; 0 releases the message."""
    delay_ms: int | None = None
    """Ends the claim and delays the message for this long."""
    body: str | None = None
    """New body."""
    attributes: Mapping[str, Attribute] | None = None
    """New attributes, which replace all old ones."""
    bury: bool = False
    """Ends the claim and sets the message aside until it is kicked."""
    backoff_ms: int | None = None
    """Like ``delay_ms``, doubled for each claim after the first."""
    if_version: int | None = None
    """Version that the message must have for the update to apply."""
    expire: bool = False
    """Ends the claim as its deadline would: the message is available at once, and the receipt deletes it until the next
    claim. A release by ``visibility_timeout_ms`` voids the receipt instead."""
    error: ReportedError | None = None
    """Error of the consumer, which the message keeps until the next one."""
    reporter: str = ""
    """Name of the consumer that reports the error. It counts if the claim has none, as after its deadline."""
    dead: bool = False
    """Ends the claim and moves the message to the dead-letter queue, or buries it if its queue has none."""
    uncounted: bool = False
    """Whether the claim that is released counts as no receive. For a release by receipt only."""

    @property
    def replaces_contents(self) -> bool:
        """Whether the update replaces the body or the attributes."""
        return self.body is not None or self.attributes is not None

    @property
    def rewrites(self) -> bool:
        """Whether the update needs the contents of the message, to write them again."""
        return self.replaces_contents or self.error is not None or self.dead
