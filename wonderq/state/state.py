"""All that is known, as a function of the records so far: no clock, no chance, no I/O.

The same `State.apply` serves a request that was just decided and a record read back at the start; nothing else changes
a state. (`Columns.advance` and `State.forget` only carry out what the deadlines in the records already say.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import msgpack

from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.state import record
from wonderq.state.columns import Columns
from wonderq.state.dedup import DedupEntry, DedupTable
from wonderq.state.lanes import UNGROUPED, Lane
from wonderq.state.page import Page

#: Of snapshots; one with another layout is not read.
_LAYOUT = 2


class UnreadableRecordError(Exception):
    """A record that this program does not understand, or that contradicts the ones before it."""


class Queue:
    """One queue: its name and settings, and its messages."""

    def __init__(self, number: int, name: str, created_ms: int) -> None:
        self.number = number
        self.name = name
        """Empty for a queue whose naming record is still to come, in a log whose old parts have been dropped."""
        self.created_ms = created_ms
        self.messages = Columns()
        self.dedup = DedupTable()
        self.configure(QueueSettings())
        self.record_position = 0
        """Position of the newest record that has its name and settings."""

    @property
    def is_fifo(self) -> bool:
        """Whether groups are kept in order, one message of each at a time."""
        return self.name.endswith(FIFO_SUFFIX)

    def lane_for(self, priority: int, group: str) -> tuple[int, str]:
        """Return the lane of a message here. In a FIFO queue there are no priorities, and those without a group are one."""
        return (0, group or UNGROUPED) if self.is_fifo else (priority, group)

    def configure(self, settings: QueueSettings) -> None:
        self.settings = settings
        # Worked out in advance, since they are asked for each message.
        self.is_plain = not (settings.restricts_sending or self.is_fifo)
        """Whether it takes any message as it is."""
        self.restricts_claims = settings.restricts_claims
        self.messages.lanes.configure(fifo=self.is_fifo, in_flight_per_group=settings.max_in_flight_per_group)


class Metadata(NamedTuple):
    """Value that is kept beside the queues; see `wonderq.state.record.Metadata`."""

    value: Mapping[str, Any]
    record_position: int
    """Position of the newest record that has it."""
    bytes: int
    """What its value takes there."""


def queue_record(queue: Queue, settings: QueueSettings, now_ms: int) -> record.DefineQueue:
    """Return the record of a queue with these settings."""
    next_sequence = queue.messages.next_sequence
    settings_map = settings.to_record()
    return record.DefineQueue(
        record.QUEUE, now_ms, queue.number, queue.name, settings_map, queue.created_ms, next_sequence
    )


def change_record(queue: Queue, changes: Sequence[Sequence[int]], now_ms: int) -> record.Update:
    """Return the UPDATE record that changes messages and rewrites none."""
    return record.Update(record.UPDATE, now_ms, queue.number, changes, (), (), (), (), b"")


class Snapshot:
    """A state as it was at one moment, while the state itself goes on."""

    def __init__(
        self,
        header: dict[str, Any],
        queues: list[tuple[tuple[Any, ...], list[Lane], dict[str, DedupEntry]]],
        frozen: list[tuple[Columns, list[Page]]],
    ) -> None:
        """``queues`` has of each one what is small, and its lanes and its memory, of which there may be many."""
        self._header = header
        self._queues = queues
        self._frozen = frozen

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from which `State.load` makes the state again. Needs no lock."""
        queues = [
            (*about, [lane.about for lane in lanes], list(memory.items())) for about, lanes, memory in self._queues
        ]
        yield msgpack.packb({**self._header, "queues": queues})
        for _, pages in self._frozen:
            for page in pages:
                yield page.dump()

    def release(self) -> None:
        """Let the state have its pages back. To be called under the lock that guards the state."""
        for columns, pages in self._frozen:
            columns.thaw(pages)


class State:
    """Everything that the records of a log add up to."""

    def __init__(self) -> None:
        self.key: bytes | None = None
        """The log's identity, from which ids are made."""
        self.identity_at = 0
        """Position of the newest record that has it."""
        self.queues: dict[str, Queue] = {}
        self.metadata: dict[str, dict[str, Metadata]] = {}
        """By space and name."""
        self.note_bytes = 0
        """Of all notes."""
        self.dedup_entries = 0
        """How many things all queues remember."""
        self.next_queue = 1
        """The number of the next new queue; numbers are never used twice."""
        self.last_ms = 0
        """The newest time in any record."""
        self.messages = 0
        """In all queues."""
        self.bytes = 0
        """Entry bytes of all messages."""
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
            self._send,
            self._remember,
            self._note,
        )

    # Snapshots

    def freeze(self) -> Snapshot:
        """Return a snapshot of this moment; quick, whatever the state's size. Only one may be there at a time."""
        queues = list(self._by_number.values())
        frozen = [(queue.messages, queue.messages.freeze()) for queue in queues]
        header = {
            "layout": _LAYOUT,
            "byte_order": sys.byteorder,
            "key": self.key,
            "identity_at": self.identity_at,
            "next_queue": self.next_queue,
            "last_ms": self.last_ms,
            "notes": [
                (space, name, note.value, note.record_position)
                for space, notes in self.metadata.items()
                for name, note in notes.items()
            ],
        }
        described = [
            (
                (
                    queue.number,
                    queue.name,
                    queue.settings.to_record(),
                    queue.created_ms,
                    queue.record_position,
                    queue.messages.next_sequence,
                    len(pages),
                ),
                list(queue.messages.lanes.by_number.values()),
                queue.dedup.copy(),
            )
            for queue, (_, pages) in zip(queues, frozen, strict=True)
        ]
        return Snapshot(header, described, frozen)

    @classmethod
    def load(cls, chunks: Iterator[bytes]) -> Self:
        """Make a state from a snapshot's chunks.

        Raises:
            ValueError: they were written by another version, or on another kind of machine, or are not a snapshot.
        """
        try:
            return cls._load(chunks)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"this is not a snapshot ({error!r})") from error

    @classmethod
    def _load(cls, chunks: Iterator[bytes]) -> Self:
        state = cls()
        header = msgpack.unpackb(next(chunks, b"\x80"))
        if header.get("layout") != _LAYOUT or header["byte_order"] != sys.byteorder:
            raise ValueError("the snapshot has another layout")
        state.key = header["key"]
        state.identity_at = header["identity_at"]
        state.next_queue = header["next_queue"]
        state.last_ms = header["last_ms"]
        for space, name, value, record_position in header["notes"]:
            state._note(record_position, 0, space, name, value)
        for number, name, settings, created_ms, record_position, next_sequence, pages, lanes, memory in header[
            "queues"
        ]:
            queue = state._by_number[number] = state.queues[name] = Queue(number, name, created_ms)
            queue.configure(QueueSettings.from_record(settings))
            queue.record_position = record_position
            queue.messages.load((Page.load(next(chunks, b"")) for _ in range(pages)), lanes)
            queue.messages.next_sequence = next_sequence
            for key, dedup_entries in memory:
                queue.dedup.put(key, *dedup_entries)
            state.dedup_entries += len(memory)
            state._count(queue.messages, 0, 0)
        return state

    def check_complete(self) -> None:
        """Check, after a whole log was applied, that nothing is still to come.

        Raises:
            UnreadableRecordError: the log misses records that name its queues or itself.
        """
        nameless = [queue.number for queue in self._by_number.values() if not queue.name]
        if nameless or (self._by_number and self.key is None):
            raise UnreadableRecordError(f"no record names the log or its queues {nameless}")

    # Records

    def apply(self, fields: Sequence[Any], position: int, size: int) -> None:
        """Take in one record.

        ``fields`` are the record's (see `wonderq.state.record`), ``position`` is where its ``size`` bytes begin in the log.

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

    def forget(self, now_ms: int) -> None:
        """Let go of what queues remember no longer. Nobody is told of that anyway, so it may happen at any time, or not."""
        for queue in self._by_number.values():
            before = len(queue.dedup)
            queue.dedup.forget(now_ms)
            self.dedup_entries += len(queue.dedup) - before

    def find(self, number: int) -> Queue | None:
        """Return a queue by its number."""
        return self._by_number.get(number)

    def _queue_with(self, number: int) -> Queue:
        queue = self._by_number.get(number)
        if queue is None:
            queue = self._by_number[number] = Queue(number, "", 0)
            self.next_queue = max(self.next_queue, number + 1)
        return queue

    def _identity(self, end: int, _at_ms: int, key: bytes, next_queue: int) -> None:
        self.key = key
        self.identity_at = end
        self.next_queue = max(self.next_queue, next_queue)

    def _queue(
        self,
        end: int,
        _at_ms: int,
        number: int,
        name: str,
        settings: dict[str, Any],
        created_ms: int,
        next_sequence: int,
    ) -> None:
        queue = self._queue_with(number)
        queue.name = name
        queue.configure(QueueSettings.from_record(settings))
        queue.created_ms = created_ms
        queue.record_position = end
        queue.messages.next_sequence = max(queue.messages.next_sequence, next_sequence)
        self.queues[name] = queue

    def _produce(
        self,
        end: int,
        at_ms: int,
        queue: int,
        first: int,
        due_ms: Sequence[int],
        lengths: Sequence[int],
        entries: bytes,
        lanes: Sequence[tuple[int, str]] = (),
    ) -> None:
        messages = self._queue_with(queue).messages
        if first < messages.next_sequence:
            raise ValueError(f"expected message {messages.next_sequence} of queue {queue}, found {first}")
        before = len(messages), messages.bytes
        messages.produce(first, at_ms, end - len(entries), lengths, due_ms, lanes)
        self._count(messages, *before)

    def _send(
        self,
        end: int,
        at_ms: int,
        queue: int,
        first: int,
        due_ms: Sequence[int],
        lengths: Sequence[int],
        lanes: Sequence[tuple[int, str]],
        entries: bytes,
    ) -> None:
        self._produce(end, at_ms, queue, first, due_ms, lengths, entries, lanes)

    def _claim(self, _end: int, at_ms: int, queue: int, runs: record.Runs, timeout_ms: int, token: int) -> None:
        self._queue_with(queue).messages.claim(runs, at_ms, timeout_ms, token)

    def _delete(self, _end: int, _at_ms: int, queue: int, runs: record.Runs) -> None:
        messages = self._queue_with(queue).messages
        before = len(messages), messages.bytes
        messages.delete(runs)
        self._count(messages, *before)

    def _update(
        self,
        end: int,
        _at_ms: int,
        queue: int,
        changes: Sequence[Sequence[int]],
        runs: record.Runs,
        produced_ms: Sequence[int],
        lengths: Sequence[int],
        claims: Sequence[Sequence[Any]],
        entries: bytes,
    ) -> None:
        messages = self._queue_with(queue).messages
        for change in changes:
            messages.change(*change)
        if runs:
            before = len(messages), messages.bytes
            messages.restate(runs, end - len(entries), produced_ms, lengths)
            for claim in claims:
                messages.restate_claim(*claim)
            self._count(messages, *before)

    def _purge(self, _end: int, _at_ms: int, queue: int, end_sequence: int) -> None:
        messages = self._queue_with(queue).messages
        before = len(messages), messages.bytes
        messages.purge(end_sequence)
        self._count(messages, *before)

    def _drop(self, _end: int, _at_ms: int, queue: int) -> None:
        dropped = self._by_number.pop(queue, None)
        if dropped is not None:
            self.messages -= len(dropped.messages)
            self.bytes -= dropped.messages.bytes
            self.dedup_entries -= len(dropped.dedup)
            dropped.messages = Columns()  # for whoever still holds the queue: nobody looks after its messages any more
            if dropped.name:
                del self.queues[dropped.name]

    def _remember(self, end: int, at_ms: int, queue: int, memories: Sequence[tuple[str, Any, int]]) -> None:
        memory = self._queue_with(queue).dedup
        before = len(memory)
        memory.forget(at_ms)
        for key, value, until_ms in memories:
            if until_ms > at_ms:
                memory.put(key, value, until_ms, end)
        self.dedup_entries += len(memory) - before

    def _note(self, end: int, _at_ms: int, space: str, name: str, value: Mapping[str, Any] | None) -> None:
        notes = self.metadata.setdefault(space, {})
        before = notes.pop(name, None) if value is None else notes.get(name)
        self.note_bytes -= before.bytes if before else 0
        if value is not None:
            notes[name] = Metadata(value, end, len(record.encode(value)))
            self.note_bytes += notes[name].bytes

    def _count(self, messages: Columns, count_before: int, bytes_before: int) -> None:
        """Carry what has become more or less in one queue over to the sums of all."""
        self.messages += len(messages) - count_before
        self.bytes += messages.bytes - bytes_before
