"""What goes into the broker and comes out of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerFullError,
    InvalidValueError,
    MessageTooLargeError,
    QueueFullError,
    TooManyKeysError,
    TooManyQueuesError,
)
from wonderq.model.messages import size_of
from wonderq.state import record
from wonderq.state.state import Queue, State

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
