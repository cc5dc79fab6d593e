"""Queue names."""

from __future__ import annotations

import re

from wonderq.model.errors import InvalidQueueNameError

#: Name of the queue that always exists.
DEFAULT_QUEUE = "default"

QUEUE_NAME_PATTERN = r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo"
"""Regular expression for a whole queue name, in the syntax that Python and JSON Schema share."""

_QUEUE_NAME = re.compile(QUEUE_NAME_PATTERN)


def check_queue_name(name: str, field: str) -> None:
    """Check the name of a queue. ``field`` is the field of the request that has it.

    Raises:
        InvalidQueueNameError: the name is malformed.
    """
    if not _QUEUE_NAME.fullmatch(name):
        raise InvalidQueueNameError(
            field, "The queue name is invalid. Use 1 to 80 of A-Z a-z 0-9 _ and -, with .fifo allowed at the end."
        )
