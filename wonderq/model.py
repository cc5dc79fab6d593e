"""What goes into the broker and comes out of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Literal, NamedTuple, get_args

from storage import record
from storage.record import BURIED, CLAIMED, DELAYED, WAITING
from wonderq.contents import Attribute, Envelope
from wonderq.errors import (
    BatchTooLargeError,
    BrokerFullError,
    InvalidValueError,
    MessageTooLargeError,
    QueueFullError,
    TooManyKeysError,
    TooManyQueuesError,
)
from wonderq.page import new_tuple
from wonderq.settings import QueueSettings
from wonderq.state import Queue, State

DEFAULT_QUEUE = "default"

STATUS_NAMES = {WAITING: "unprocessed", CLAIMED: "processing", DELAYED: "delayed", BURIED: "buried"}
STATUS_BY_NAME = {name: status for status, name in STATUS_NAMES.items()}

Role = Literal["produce", "consume", "inspect", "metrics", "admin"]
"""What an API key is for."""
ROLES: tuple[Role, ...] = get_args(Role)
MAX_REQUESTS_PER_SECOND = 1_000_000
"""What a key may be limited to; a thousand times what there is to be had."""


UNLIMITED = sys.maxsize
"""Stands for a limit that nothing reaches."""

MAX_MESSAGE_BYTES = 16 << 20
"""What `message_bytes` may be set to: compaction has to be able to restate a message in a segment of any size."""


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may ask for, and what there may be.

    They are looked at before a record is written, and never after: a log that has more than they allow is used as it is.
    """

    message_bytes: int = 1 << 20
    batch_messages: int = 1000
    batch_bytes: int = 16 << 20
    """Of the bodies in one batch, and of those given out in one claim."""
    visibility_timeout_ms: int = 43_200_000
    delay_ms: int = 10 * 366 * 86_400_000
    wait_s: float = 20
    waiting_consumers: int = 500
    listings: int = 16
    queues: int = 10_000
    messages_per_queue: int = UNLIMITED
    bytes_per_queue: int = UNLIMITED
    in_flight_per_queue: int = UNLIMITED
    """Claims that may be under way at once."""
    total_messages: int = 100_000_000
    total_bytes: int = UNLIMITED
    """Bytes are those of the messages as they are stored."""
    total_keys: int = 1_000_000
    """Keys of messages, and attempts to claim, that are remembered at once."""

    @classmethod
    def widest(cls) -> Limits:
        """Return those under which everything fits that any broker may have taken."""
        return cls(message_bytes=MAX_MESSAGE_BYTES, queues=UNLIMITED, total_messages=UNLIMITED, total_keys=UNLIMITED)

    def encode(self, bodies: Sequence[str], headers: Sequence[Mapping[str, Any]] | None = None) -> list[bytes]:
        """Return the entries of new messages, with what each carries besides its body.

        Raises:
            InvalidValueError, MessageTooLargeError, BatchTooLargeError: they are not text, or not within the limits.
        """
        if not bodies:
            raise InvalidValueError("messages", "A batch needs at least one message.")
        if len(bodies) > self.batch_messages:
            raise BatchTooLargeError(f"A batch may have {self.batch_messages} messages, and this has {len(bodies)}.")
        try:
            if headers is None:
                entries = [record.encode_entry(body) for body in bodies]
            else:
                entries = list(map(record.encode_entry, bodies, headers))
        except UnicodeEncodeError as error:
            raise InvalidValueError("message", "A message must be text: it holds a lone surrogate.") from error
        if max(map(len, entries)) > self.message_bytes:  # an entry is a few bytes longer than what it holds
            for body, more in zip(bodies, headers or repeat({}), strict=False):
                size = size_of(body, more.get("attributes"))
                if size > self.message_bytes:
                    raise MessageTooLargeError(size, self.message_bytes)
        self.check_batch_bytes(sum(map(len, entries)), len(entries))
        return entries

    def check_batch_bytes(self, size: int, count: int) -> None:
        """Raise if so many messages, whose entries have so many bytes, are too much for one batch."""
        if size > self.batch_bytes + 16 * count:
            raise BatchTooLargeError(f"A batch may have {self.batch_bytes} bytes, and this has about {size}.")

    def check_batch(self, count: int) -> None:
        """Raise for a batch of deletes or updates that is empty or too large."""
        if not count:
            raise InvalidValueError("entries", "A batch needs at least one entry.")
        if count > self.batch_messages:
            raise BatchTooLargeError(f"A batch may have {self.batch_messages} entries, and this has {count}.")

    def check_queues(self, state: State, before: int = 0) -> None:
        """Raise if there may be no more queues, with ``before`` made before."""
        if len(state.queues) + before >= self.queues:
            raise TooManyQueuesError(self.queues)

    def check_keys(self, state: State, count: int, now_ms: int) -> None:
        """Raise if so many keys more may not be remembered."""
        if count and state.dedup_entries + count > self.total_keys:
            state.forget(now_ms)
            if state.dedup_entries + count > self.total_keys:
                raise TooManyKeysError(self.total_keys)

    def check_room(self, state: State, queue: Queue, count: int, size: int) -> None:
        """Raise if there is no room for so many messages more in a queue, and so many bytes of them."""
        there, settings = queue.messages, queue.settings
        if count:
            messages = len(there) + count
            if messages > self.messages_per_queue:
                raise QueueFullError(_full(_the(queue), self.messages_per_queue, "--messages-per-queue"))
            if settings.max_messages and messages > settings.max_messages:
                raise QueueFullError(_full(_the(queue), settings.max_messages, "its max_messages"))
        if there.bytes + size > self.bytes_per_queue:
            raise QueueFullError(_full(_the(queue), self.bytes_per_queue, "--bytes-per-queue"))
        if settings.max_bytes and there.bytes + size > settings.max_bytes:
            raise QueueFullError(_full(_the(queue), settings.max_bytes, "its max_bytes"))
        if count and state.messages + count > self.total_messages:
            raise BrokerFullError(_full("The broker", self.total_messages, "--total-messages"))
        if state.bytes + size > self.total_bytes:
            raise BrokerFullError(_full("The broker", self.total_bytes, "--total-bytes"))

    def check_range(self, field: str, value_ms: int) -> None:
        """Raise for a time that is out of range; ``field`` is its name without the unit."""
        limit_ms: int = getattr(self, f"{field}_ms")
        if not 0 <= value_ms <= limit_ms:
            raise InvalidValueError(field, f"{field} must be from 0 to {limit_ms // 1000} seconds.")


def _the(queue: Queue) -> str:
    return f"The queue {queue.name}"


def _full(whose: str, limit: int, setting: str) -> str:
    what = "bytes of messages" if "bytes" in setting else "messages"
    return f"{whose} may hold {limit} {what}, and this would be more. Try again when some were deleted, or raise {setting}."


def size_of(body: str, attributes: Mapping[str, Attribute] | None) -> int:
    """Return a message's size in bytes: its body, and the names, types and values of its attributes, as SQS counts them."""
    size = len(body.encode())
    for name, (kind, value) in (attributes or {}).items():
        size += len(name) + len(kind.encode()) + len(value if isinstance(value, bytes) else value.encode())
    return size


class Message(NamedTuple):
    """A message as a client sees it."""

    id: str
    body: str
    status: str
    """``unprocessed``, ``processing``, ``delayed`` or ``buried``."""
    receipt: str | None
    """Only for the consumer that just claimed it."""
    receives: int
    produced_ms: int
    due_ms: int | None
    """When its claim or delay ends, or None."""
    queue: str
    sequence: int
    """Its place in the order in which the queue's messages were produced."""
    first_claimed_ms: int
    """0 if it never was, or if that is not known."""
    envelope: Envelope | None


class SendResult(NamedTuple):
    """What became of one new message."""

    id: str
    sequence: int
    is_duplicate: bool
    """Its key was used before: this is the message that was added then, which may be gone."""


class QueueInfo(NamedTuple):
    """A queue's settings and figures, all of one moment."""

    name: str
    settings: QueueSettings
    created_ms: int
    counts: dict[str, int]
    """Messages by status."""
    bytes: int
    """Of all messages as they are stored."""
    oldest_ms: int | None
    """When the oldest message was produced."""
    newest_id: str | None
    """Of the message produced last, which may be gone; a listing after it shows what comes from now on."""
    now_ms: int


class Target(NamedTuple):
    """Which message a delete or update means: by id, whoever holds it, or by receipt, if that claim still counts."""

    id: str | None = None
    receipt: str | None = None

    @classmethod
    def each(cls, ids: Iterable[str], receipts: Iterable[str]) -> list[Target]:
        """Return a target for each id and for each receipt."""
        fields = chain(zip(ids, repeat(None), strict=False), zip(repeat(None), receipts, strict=False))
        return list(map(new_tuple, repeat(cls), fields))


@dataclass(frozen=True)
class Change:
    """What an update changes; with nothing set it renews the claim by the timeout it was claimed with."""

    visibility_timeout_ms: int | None = None
    """Renews the claim for this long from now; 0 releases the message."""
    delay_ms: int | None = None
    """Takes the message from whoever holds it and hides it for this long."""
    body: str | None = None
    attributes: Mapping[str, Attribute] | None = None
    """Replace those that it has."""
    bury: bool = False
    """Takes the message from whoever holds it, and keeps it aside until it is kicked."""
    backoff_ms: int | None = None
    """As ``delay_ms``, doubled with each time it was received after the first."""
    if_version: int | None = None
    """Change it only if this is its version."""

    @property
    def rewrites(self) -> bool:
        """Whether it replaces something of what the message carries."""
        return self.body is not None or self.attributes is not None
