"""Interface of a peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

BATCH_MESSAGES = 100
CONNECTIONS = 4

# Longest time of one call to a server; a longer call means that the server hangs.
CALL_TIMEOUT_S = 60


class Claimed(NamedTuple):
    """Claimed messages: their bodies, and the handles that delete them, in the same order."""

    bodies: Sequence[str | bytes]
    handles: list[Any]


class Connection(Protocol):
    """One connection of the client process, used by one thread at a time."""

    def produce(self, bodies: list[str]) -> None:
        """Add messages; return once the server has acknowledged all of them."""

    def consume(self, limit: int) -> Claimed:
        """Claim up to ``limit`` messages, without waiting."""

    def delete(self, handles: list[Any]) -> None:
        """Delete claimed messages; return once the server has acknowledged it."""

    def left(self) -> int:
        """Return the number of messages in the queue, including claimed ones."""

    def close(self) -> None: ...


class Peer(Protocol):
    """A server, started on a new folder for each round."""

    name: str
    durability: str  # short description, for the table
    share: int  # the peer gets one message in ``share``: 1 for all of them, 200 for 1/200

    def installed(self) -> str | None:
        """Return None, or a text that names the missing part and the command that installs it."""

    def start(self, folder: Path) -> str:
        """Start the server in a process of its own and create the queue; return the address for `connect`."""

    def stop(self) -> None:
        """End the server, if it was started."""

    def connect(self, address: str) -> Connection: ...
