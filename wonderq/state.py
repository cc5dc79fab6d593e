"""All that is known, as a function of the records so far: no clock, no chance, no I/O.

The same `State.apply` serves a request that was just decided and a record read back at the start; nothing else changes
a state. (`Columns.advance` only carries out what the deadlines in the records already say.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage import record
from wonderq.columns import Columns, MessageView


class UnreadableRecordError(Exception):
    """A record that this program does not understand, or that contradicts the ones before it."""


@dataclass(frozen=True)
class QueueSettings:
    """What can be set for a queue."""

    visibility_timeout_ms: int = 30_000
    """How long a claim lasts that does not say."""
    delay_ms: int = 0
    """How long a produced message that does not say stays hidden."""

    def to_record(self) -> dict[str, int]:
        return asdict(self)


class Queue:
    """One queue: its name and settings, and its messages."""

    def __init__(self, number: int, name: str, created_ms: int) -> None:
        self.number = number
        self.name = name
        self.created_ms = created_ms
        self.settings = QueueSettings()
        self.messages = Columns()


class State:
    """Everything that the records of a log add up to."""

    def __init__(self) -> None:
        self.key: bytes | None = None
        """The log's identity, from which ids are made."""
        self.queues: dict[str, Queue] = {}
        self.next_queue = 1
        """The number of the next new queue; numbers are never used twice."""
        self.last_ms = 0
        """The newest time in any record."""
        self._by_number: dict[int, Queue] = {}
        self._appliers: tuple[Callable[..., None], ...] = (
            self._identity,
            self._queue,
            self._produce,
            self._claim,
            self._delete,
            self._update,
            self._purge,
            self._drop,
        )

    def apply(self, fields: Sequence[Any], position: int, size: int) -> None:
        """Take in one record.

        ``fields`` are the record's (see `storage.record`), ``position`` is where its ``size`` bytes begin in the log.

        Raises:
            UnreadableRecordError: the record is of an unknown kind, or makes no sense after the ones before it.
        """
        try:
            at_ms = fields[1]
            self._appliers[fields[0]](position + size, *fields[1:])
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise UnreadableRecordError(
                f"the record at position {position:#x} is not one that fits here ({error!r})"
            ) from error
        if at_ms > self.last_ms:
            self.last_ms = at_ms

    def _identity(self, _end: int, _at_ms: int, key: bytes, next_queue: int) -> None:
        self.key = key
        self.next_queue = max(self.next_queue, next_queue)

    def _queue(
        self,
        _end: int,
        _at_ms: int,
        number: int,
        name: str,
        settings: dict[str, int],
        created_ms: int,
        next_sequence: int,
    ) -> None:
        queue = self._by_number.get(number)
        if queue is None:
            queue = self._by_number[number] = self.queues[name] = Queue(number, name, created_ms)
            queue.messages.next_sequence = next_sequence
            self.next_queue = max(self.next_queue, number + 1)
        queue.settings = QueueSettings(**settings)

    def _produce(
        self,
        end: int,
        at_ms: int,
        queue: int,
        first: int,
        due_ms: Sequence[int],
        lengths: Sequence[int],
        entries: bytes,
    ) -> None:
        messages = self._by_number[queue].messages
        if first != messages.next_sequence:
            raise ValueError(f"expected message {messages.next_sequence} of queue {queue}, found {first}")
        messages.produce(first, at_ms, end - len(entries), lengths, due_ms)

    def _claim(self, _end: int, at_ms: int, queue: int, runs: record.Runs, timeout_ms: int, token: int) -> None:
        self._by_number[queue].messages.claim(runs, at_ms + timeout_ms, timeout_ms, token)

    def _delete(self, _end: int, _at_ms: int, queue: int, runs: record.Runs) -> None:
        self._by_number[queue].messages.delete(runs)

    def _update(
        self,
        end: int,
        _at_ms: int,
        queue: int,
        changes: Sequence[Sequence[int]],
        restated: Sequence[Sequence[int]],
        entries: bytes,
    ) -> None:
        messages = self._by_number[queue].messages
        for change in changes:
            messages.change(*change)
        position = end - len(entries)
        for sequence, produced_ms, status, due_ms, timeout_ms, receives, token, length in restated:
            messages.restate(
                MessageView(sequence, status, position, length, produced_ms, receives, token, due_ms, timeout_ms)
            )
            position += length

    def _purge(self, _end: int, _at_ms: int, queue: int, end_sequence: int) -> None:
        self._by_number[queue].messages.purge(end_sequence)

    def _drop(self, _end: int, _at_ms: int, queue: int) -> None:
        del self.queues[self._by_number.pop(queue).name]
