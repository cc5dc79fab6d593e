"""Message statuses."""

from __future__ import annotations

#: Statuses as stored in records and checkpoints. GONE stands for a deleted message and is in checkpoints only.
GONE = 0
WAITING = 1
CLAIMED = 2
DELAYED = 3
BURIED = 4

#: Number of stored statuses.
STATUS_COUNT = 5

#: Statuses as clients see them.
STATUS_NAMES = {WAITING: "unprocessed", CLAIMED: "processing", DELAYED: "delayed", BURIED: "buried"}
STATUS_BY_NAME = {name: status for status, name in STATUS_NAMES.items()}
