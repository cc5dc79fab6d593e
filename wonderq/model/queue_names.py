"""Names that a queue can have."""

from __future__ import annotations

import re

from wonderq.model.errors import (
    InvalidQueueNameError,
)

QUEUE_NAME_PATTERN = r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo"
"""Regular expression for a whole queue name, in the syntax that Python and JSON Schema share."""

_QUEUE_NAME = re.compile(QUEUE_NAME_PATTERN)


def check_queue_name(name: str, field: str) -> None:
    """Check the name of a queue.

    Raises:
        InvalidQueueNameError: no queue can have it.
    """
    if not _QUEUE_NAME.fullmatch(name):
        raise InvalidQueueNameError(
            field, "A queue's name is 1 to 80 of A-Z a-z 0-9 _ and -, with .fifo allowed at the end."
        )


DEFAULT_QUEUE = "default"
