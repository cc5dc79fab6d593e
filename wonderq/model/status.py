"""The states of a message, as records, memory and clients name them."""

from __future__ import annotations

#: Message states, as they stand in records and in memory.
GONE = 0
WAITING = 1
CLAIMED = 2
DELAYED = 3
BURIED = 4

#: How many states there are.
STATUS_COUNT = 5

STATUS_NAMES = {WAITING: "unprocessed", CLAIMED: "processing", DELAYED: "delayed", BURIED: "buried"}
STATUS_BY_NAME = {name: status for status, name in STATUS_NAMES.items()}
