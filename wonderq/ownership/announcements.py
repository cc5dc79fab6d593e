"""Announcements of the processes of one log to each other, five times a second."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple, get_args

Role = Literal["owner", "standing_by", "released", "unable"]
"""``released``: it was the owner, and has ended in order. ``unable``: it cannot read the log."""

ROLES: tuple[Role, ...] = get_args(Role)

#: Longest name of a process, and its longest token or log id, that are accepted.
_MAX_CHARACTERS = 128
_MAX_NUMBER = 1 << 63


class Announcement(NamedTuple):
    """The state of one process."""

    node: str
    """Name for people."""
    token: str
    """Random text, the same for the life of the process."""
    role: Role
    epoch: int
    """Number of the newest ownership that it knows of: its own, if it is or was the owner; 0 without one."""
    log_id: str
    """Identity of the log that ``sequence`` belongs to, in hexadecimal; empty if it is not known."""
    sequence: int
    """Sequence of the newest message that is known to be acknowledged, to whichever process."""
    time_ms: int
    """Its wall clock, in ms since 1970."""

    def encode(self) -> bytes:
        return json.dumps(self._asdict()).encode()


def decode(data: bytes) -> Announcement | None:
    """Return an announcement, or None for bytes that are none."""
    try:
        # A newer version may tell more. If nobody heard its owner, an older process would take the log from it.
        fields = {name: value for name, value in json.loads(data).items() if name in Announcement._fields}
        found = Announcement(**fields)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    texts, numbers = (found.node, found.token, found.role, found.log_id), (found.epoch, found.sequence, found.time_ms)
    is_valid = all(isinstance(each, str) and len(each) <= _MAX_CHARACTERS for each in texts) and all(
        type(each) is int and 0 <= each < _MAX_NUMBER for each in numbers
    )
    if not is_valid:
        return None
    return found if found.role in ROLES else found._replace(role="unable")  # a role of a newer version
