"""What the benchmark asks of each peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

BATCH_MESSAGES = 100
CONNECTIONS = 4

# No single call to a server takes longer, unless it hangs.
CALL_TIMEOUT_S = 60


class Claimed(NamedTuple):
    """Messages that are claimed: bodies and what deletes them, in the same order."""

    bodies: Sequence[str | bytes]
    handles: list[Any]


class Connection(Protocol):
    """One connection of the client process, used by one thread at a time."""

    def produce(self, bodies: list[str]) -> None:
        """Add messages; returns once the server has acknowledged all of them."""

    def consume(self, limit: int) -> Claimed:
        """Claim up to ``limit`` messages; none if there are none right now."""

    def delete(self, handles: list[Any]) -> None:
        """Delete what was claimed; returns once the server has acknowledged it."""

    def left(self) -> int:
        """How many messages the queue holds, claimed ones too."""

    def close(self) -> None: ...


class Peer(Protocol):
    """A server, started on a new folder for each round."""

    name: str
    durability: str  # in one phrase
    share: int  # it gets so small a share of the messages: 1 for all, 200 for a two-hundredth

    def installed(self) -> str | None:
        """Return None, or what is missing and how to install it."""

    def start(self, folder: Path) -> str:
        """Start the server in a process of its own and make the queue; returns the address for `connect`."""

    def stop(self) -> None:
        """End the server, if it was started."""

    def connect(self, address: str) -> Connection: ...
