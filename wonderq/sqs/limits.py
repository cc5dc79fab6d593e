"""The limits of SQS, as documented in 2026-11, and the wider ones of a broker that need not match SQS."""

from __future__ import annotations

from typing import NamedTuple

from wonderq.model.limits import Limits
from wonderq.model.settings import RANGES


class SqsLimits(NamedTuple):
    """Limits of requests."""

    batch_entries: int = 10
    batch_bytes: int = 1 << 20
    least_message_bytes: int = 1
    message_bytes: int = 1 << 20
    least_max_message_bytes: int = 1024
    """Lowest value of the attribute ``MaximumMessageSize``."""
    received_messages: int = 10
    delay_s: int = 900
    visibility_timeout_s: int = 43_200
    wait_s: int = 20
    attributes: int = 10
    least_retention_s: int = 60
    most_retention_s: int = 1_209_600
    receives: int = 1000
    """Highest ``maxReceiveCount``."""
    in_flight: int = 120_000
    """Claimed messages of a queue that SQS clients create; 0: the broker's limit."""
    page: int = 1000
    """Queues per response of a list."""
    wait_after_deletion_s: float = 60
    """Time before a queue of the same name can be created."""
    wait_after_purge_s: float = 60
    """Time before a queue can be purged again."""


STRICT = SqsLimits()
"""The limits of SQS."""


def relaxed(limits: Limits) -> SqsLimits:
    """Return the broker's own limits."""
    return SqsLimits(
        batch_entries=limits.batch_messages,
        batch_bytes=limits.batch_bytes,
        message_bytes=limits.message_bytes,
        received_messages=limits.batch_messages,
        delay_s=limits.delay_ms // 1000,
        visibility_timeout_s=limits.visibility_timeout_ms // 1000,
        wait_s=int(limits.wait_s),
        least_message_bytes=0,
        least_max_message_bytes=1,
        attributes=64,
        least_retention_s=0,
        most_retention_s=RANGES["retention_ms"][1] // 1000,
        receives=RANGES["max_receives"][1],
        in_flight=0,
        page=limits.queues,
        wait_after_deletion_s=0,
        wait_after_purge_s=0,
    )
