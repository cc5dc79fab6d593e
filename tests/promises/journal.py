"""The journal of a scenario: each request with its answer, and with the interval in which the broker carried it out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: Codes of a refusal that leaves open whether the request was carried out (docs/API.md, Errors).
OPEN_CODES = ("log_failed", "log_lost", "outcome_unknown")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer.

    The broker carried it out between ``began_s`` and ``ended_s``, which are of the client's monotonic clock. If the connection
    was cut, ``status`` is None, and ``ended_s`` is a time at which the process was dead: the request was carried out by
    then, or never.
    """

    number: int
    actor: str
    life: int  # of the broker, from 1
    kind: str  # of the call: "produce", "consume", "delete", "update" and others
    queue: str
    sent: Mapping[str, Any]
    began_s: float
    ended_s: float
    status: int | None
    answer: Any

    @property
    def is_done(self) -> bool:
        """Whether the broker acknowledged it."""
        return self.status is not None and self.status < 300

    @property
    def is_unknown(self) -> bool:
        """Whether the client cannot know if it was carried out."""
        return self.status is None or (self.status == 503 and self.code in OPEN_CODES)

    @property
    def is_possible(self) -> bool:
        """Whether it may have been carried out."""
        return self.is_done or self.is_unknown

    @property
    def code(self) -> str:
        """The code of a refusal, or an empty text."""
        error = self.answer.get("error") if isinstance(self.answer, dict) else None
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    def line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self), default=str)


class Journal:
    """Exchanges, in the order in which they began."""

    def __init__(self, exchanges: list[Exchange] | None = None) -> None:
        self._exchanges = exchanges or []
        self._lock = threading.Lock()
        self._count = 0

    def number(self) -> int:
        """Return the number of the next exchange."""
        with self._lock:
            self._count += 1
            return self._count

    def add(self, exchange: Exchange) -> None:
        """Add an exchange; threads may call this."""
        with self._lock:
            self._exchanges.append(exchange)

    def __len__(self) -> int:
        return len(self._exchanges)

    def __iter__(self) -> Iterator[Exchange]:
        with self._lock:
            return iter(sorted(self._exchanges, key=lambda each: (each.began_s, each.number)))

    def of(self, kind: str, queue: str | None = None) -> list[Exchange]:
        """Return the exchanges of one kind, and of one queue if it is given."""
        return [each for each in self if each.kind == kind and queue in (None, each.queue)]

    def where(self, condition: Callable[[Exchange], bool]) -> list[Exchange]:
        """Return the exchanges that meet a condition."""
        return [each for each in self if condition(each)]
