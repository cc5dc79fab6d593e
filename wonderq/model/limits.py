"""Limits on requests, and on everything that the broker holds. `wonderq.broker.admission` enforces them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from wonderq.model.bounds import MAX_MESSAGE_BYTES
from wonderq.model.errors import BatchTooLargeError, InvalidValueError

UNLIMITED = sys.maxsize
"""Value of a limit that nothing reaches."""


@dataclass(frozen=True)
class Limits:
    """Limits of one broker.

    The broker checks them before it writes a record, and never after: a log that exceeds them is used as it is.
    """

    message_bytes: int = 1 << 20
    """Size of one message: its body and its attributes."""
    batch_messages: int = 1000
    batch_bytes: int = 16 << 20
    """Size of all bodies in one batch, and of all that one claim delivers."""
    visibility_timeout_ms: int = 43_200_000
    delay_ms: int = 10 * 366 * 86_400_000
    wait_s: float = 20
    """Longest wait of a long poll."""
    waiting_consumers: int = 500
    """Long polls that may wait at once."""
    listings: int = 16
    """Listings that may be read at once."""
    queues: int = 10_000
    messages_per_queue: int = UNLIMITED
    bytes_per_queue: int = UNLIMITED
    in_flight_per_queue: int = UNLIMITED
    """Messages of one queue that may be claimed at once."""
    total_messages: int = 100_000_000
    total_bytes: int = UNLIMITED
    """Size of all messages as they are stored."""
    total_keys: int = 1_000_000
    """Dedup entries (idempotency keys and claim attempts) that are kept at once."""

    @classmethod
    def widest(cls) -> Limits:
        """Return limits that admit everything that any broker may have accepted."""
        return cls(
            message_bytes=MAX_MESSAGE_BYTES,
            batch_bytes=UNLIMITED,
            queues=UNLIMITED,
            total_messages=UNLIMITED,
            total_keys=UNLIMITED,
        )

    def check_entries(self, count: int) -> None:
        """Check the number of entries of a batch.

        Raises:
            BatchTooLargeError: there are too many.
        """
        if count > self.batch_messages:
            raise BatchTooLargeError(f"A batch may have {self.batch_messages} entries, and this has {count}.")

    def check_range(self, field: str, value_ms: int) -> None:
        """Check a duration; ``field`` is its name without the unit.

        Raises:
            InvalidValueError: it is out of range.
        """
        limit_ms: int = getattr(self, f"{field}_ms")
        if not 0 <= value_ms <= limit_ms:
            raise InvalidValueError(field, f"{field} must be from 0 to {limit_ms // 1000} seconds.")
