"""Names that a queue can have."""

from __future__ import annotations

import re

from wonderq.model.errors import (
    InvalidQueueNameError,
)

_QUEUE_NAME = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9_-]+(\.fifo)?")


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
