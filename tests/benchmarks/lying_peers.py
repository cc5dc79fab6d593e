"""Peers that keep their messages in the client process, and lie about them."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Claimed, Connection


class Honest:
    name = "honest"
    durability = "none"
    share = 1

    def __init__(self) -> None:
        self.waiting = deque[str]()
        self.claimed = set[str]()

    def installed(self) -> str | None:
        return None

    def start(self, folder: Path) -> str:
        return str(folder)

    def stop(self) -> None:
        pass

    def connect(self, address: str) -> Connection:
        return self

    def produce(self, bodies: list[str]) -> None:
        self.waiting.extend(bodies)

    def consume(self, limit: int) -> Claimed:
        taken: list[str] = []
        while self.waiting and len(taken) < limit:
            taken.append(self.waiting.popleft())
        self.claimed.update(taken)
        return Claimed(taken, list(taken))

    def delete(self, handles: list[Any]) -> None:
        self.claimed.difference_update(handles)

    def left(self) -> int:
        return len(self.waiting) + len(self.claimed)

    def close(self) -> None:
        pass


class Loses(Honest):
    """Acknowledges every message, and keeps all but the first of a batch."""

    def produce(self, bodies: list[str]) -> None:
        super().produce(bodies[1:])


class LosesLater(Honest):
    """Counts every message, and never gives one of them out."""

    def consume(self, limit: int) -> Claimed:
        claimed = super().consume(limit)
        kept = [body for body in claimed.bodies if not str(body).startswith("0000000450")]
        return Claimed(kept, kept)


class Doubles(Honest):
    """Gives the message it gave out last once more."""

    last: str | None = None

    def consume(self, limit: int) -> Claimed:
        if self.last is not None:
            self.waiting.appendleft(self.last)
        claimed = super().consume(limit)
        self.last = str(claimed.bodies[-1]) if claimed.bodies else None
        return claimed


class Alters(Honest):
    def consume(self, limit: int) -> Claimed:
        claimed = super().consume(limit)
        return Claimed([str(body).upper() for body in claimed.bodies], claimed.handles)


class KeepsDeleted(Honest):
    def delete(self, handles: list[Any]) -> None:
        pass


class Hangs(Honest):
    def produce(self, bodies: list[str]) -> None:
        time.sleep(1000)


class Absent(Honest):
    def installed(self) -> str | None:
        return "no server: apt-get install it"
