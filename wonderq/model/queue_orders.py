"""Orders of a list of queues."""

from __future__ import annotations

from typing import Literal, get_args

QueueOrder = Literal[
    "name", "unprocessed", "processing", "delayed", "buried", "bytes", "oldest_waiting", "produced", "deleted"
]
QUEUE_ORDERS: tuple[QueueOrder, ...] = get_args(QueueOrder)
