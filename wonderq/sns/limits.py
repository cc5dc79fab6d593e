"""The limits of SNS, as documented in 2026-11, and the wider ones of a broker that need not match SNS.

https://docs.aws.amazon.com/general/latest/gr/sns.html
"""

from __future__ import annotations

from typing import NamedTuple

from wonderq.model.limits import Limits


class SnsLimits(NamedTuple):
    """Limits of requests."""

    batch_entries: int = 10
    message_bytes: int = 256 << 10
    """Size of one message: its body and its attributes."""
    batch_bytes: int = 256 << 10
    """Size of all messages of a batch."""


STRICT = SnsLimits()
"""The limits of SNS."""


def relaxed(limits: Limits) -> SnsLimits:
    """Return the broker's own limits."""
    return SnsLimits(
        batch_entries=limits.batch_messages, message_bytes=limits.message_bytes, batch_bytes=limits.batch_bytes
    )
