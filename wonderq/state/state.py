"""The state of a broker as a pure function of the records in its log: no clock, no randomness, no I/O.

`State.apply` is the only way to change a state, for a request that was just decided and for a record that is replayed.
`Columns.advance` and `State.forget` are no exceptions: their effects follow from the deadlines in the records.
"""

from __future__ import annotations

import sys
import weakref
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from functools import cached_property
from itertools import chain, islice
from operator import mul
from typing import Any, NamedTuple, Self

import msgpack

from wonderq.model.settings import FIFO_SUFFIX, QueueSettings
from wonderq.model.topics import TopicSettings
from wonderq.state import record
from wonderq.state.arrivals import Arrivals, ArrivingParts, ArrivingTargets, PublishedMessages, RestatedMessages
from wonderq.state.columns import Columns
from wonderq.state.dedup import DedupEntry, DedupTable
from wonderq.state.lanes import UNGROUPED, Lane, LaneCount
from wonderq.state.page import Page
from wonderq.state.places import shared_places
from wonderq.state.shared_entries import Block, SharedEntries, dump
from wonderq.state.topics import FrozenTopic, Subscribers, Topic, load

#: Layout of snapshots. A snapshot with another layout is not loaded.
LAYOUT = 5

#: Work of one turn of a snapshot, which takes about a millisecond: a unit for each queue, and for each
#: `_ITEMS_OF_A_UNIT` pages, lanes and dedup entries.
_TURN_WORK = 500
_ITEMS_OF_A_UNIT = 64

#: Metadata entries, lanes or dedup entries in one chunk of a snapshot.
_ROWS_OF_A_CHUNK = 512

#: Expired entries that a DEDUP record removes, and two more per entry that it has.
_FORGET_MORE = 100


class UnreadableRecordError(Exception):
    """A record is of an unknown kind, lacks fields, or contradicts the records before it."""


class Queue:
    """One queue: its name, settings, messages and dedup table."""

    def __init__(
        self,
        number: int,
        name: str,
        created_ms: int,
        shared: SharedEntries | None = None,
        lane_count: LaneCount | None = None,
    ) -> None:
        """``shared`` and ``lane_count`` are those of all queues; see `Columns`."""
        self.number = number
        self.name = name
        """Name. During replay of a log whose old parts were dropped, it may be empty until the QUEUE record follows."""
        self.created_ms = created_ms
        self.messages = Columns(shared, lane_count)
        self.dedup = DedupTable()
        self.configure(QueueSettings())
        self.record_position = 0
        """Position after the newest QUEUE record of this queue."""
        self._expected: tuple[Arrivals[Any], Columns] | None = None  # while `messages` is not set

    @cached_property
    def messages(self) -> Columns:
        """Messages. It is an attribute as any other, except while the queue expects some (`expect`)."""
        assert self._expected is not None
        arrivals, messages = self._expected
        self.messages = messages
        self._expected = None
        arrivals.settle(self.number, messages)
        return messages

    def expect(self, arrivals: Arrivals[Any]) -> None:
        """Call `Arrivals.settle` before anybody next uses the messages."""
        if self._expected is None or self._expected[0] is not arrivals:
            self._expected = arrivals, self.messages
            del self.messages

    def expects_other(self, arrivals: Arrivals[Any]) -> bool:
        """Whether the queue expects messages of others, to whom a use of it matters."""
        return self._expected is not None and self._expected[0] is not arrivals

    def settle(self) -> None:
        """Add the messages that the queue expects now."""
        if self._expected is not None:
            _ = self.messages

    @property
    def is_fifo(self) -> bool:
        """Whether the queue delivers each group in order, one message at a time."""
        return self.name.endswith(FIFO_SUFFIX)

    def lane_for(self, priority: int, group: str) -> tuple[int, str]:
        """Return the priority and the group that a message has in this queue.

        A FIFO queue has no priorities, and its messages without a group form a group of their own.
        """
        return (0, group or UNGROUPED) if self.is_fifo else (priority, group)

    def configure(self, settings: QueueSettings) -> None:
        """Set the settings. The name must be set before, since it makes a queue FIFO."""
        self.settings = settings
        # Computed here because they are read for each message.
        self.is_plain = not (settings.restricts_sending or self.is_fifo)
        """Whether the queue accepts any message unchanged."""
        self.limits_size = settings.limits_size
        """Whether the settings limit the messages that the queue may hold, or their bytes."""
        self.restricts_claims = settings.restricts_claims
        """Whether the settings can keep a waiting message from being claimed."""
        self.messages.lanes.configure(fifo=self.is_fifo, in_flight_per_group=settings.max_in_flight_per_group)


class MetadataEntry(NamedTuple):
    """Newest METADATA record of one namespace and name, such as a redrive or a schedule."""

    value: Mapping[str, Any]
    record_position: int
    """Position after the record."""
    bytes: int
    """Bytes of the value in the record."""


def queue_record(queue: Queue, settings: QueueSettings, now_ms: int) -> record.DefineQueue:
    """Return the QUEUE record that gives a queue these settings."""
    next_sequence = queue.messages.next_sequence
    settings_map = settings.to_record()
    return record.DefineQueue(
        record.QUEUE, now_ms, queue.number, queue.name, settings_map, queue.created_ms, next_sequence
    )


def change_record(queue: Queue, changes: Sequence[Sequence[int]], now_ms: int) -> record.Update:
    """Return the UPDATE record that changes messages and rewrites none."""
    return record.Update(record.UPDATE, now_ms, queue.number, changes, (), (), (), (), b"")


class _FrozenQueue(NamedTuple):
    """A queue at the moment of a snapshot."""

    number: int
    name: str
    settings: QueueSettings
    created_ms: int
    record_position: int
    next_sequence: int
    pages: list[Page]
    lanes: list[Lane]
    names: list[tuple[int, str, int]]
    dedup: list[DedupEntry]


class Snapshot:
    """A state at one moment. The state itself may change meanwhile.

    It takes the queues in turns (`freeze_more`). A record that changes a queue before its turn takes that queue first,
    so all queues are those of the same moment.
    """

    def __init__(
        self,
        header: dict[str, Any],
        metadata: dict[str, dict[str, MetadataEntry]],
        unfrozen: dict[int, Queue | Topic],
        blocks: list[Block],
        unreleased: list[Page],
    ) -> None:
        """``unfrozen`` has the queues and topics of the moment, by number, which leave it as they are frozen.

        ``blocks`` has the shared entries, and ``unreleased`` the pages of deleted queues that still count in them.
        """
        self._header = header
        self._metadata = metadata
        self._unfrozen = unfrozen
        self._frozen: list[_FrozenQueue] = []
        self._topics: list[FrozenTopic] = []
        self._blocks = blocks
        self._unreleased = unreleased

    def freeze(self, number: int) -> None:
        """Freeze the queue or topic with a number before it changes, if it is not frozen yet."""
        queue = self._unfrozen.pop(number, None)
        if queue is not None:
            self._freeze(queue)

    def _freeze(self, queue: Queue | Topic) -> int:
        """Freeze a queue or a topic; return the work that it took."""
        if isinstance(queue, Topic):
            self._topics.append(FrozenTopic.of(queue))
            return 1 + self._topics[-1].row_count // _ITEMS_OF_A_UNIT
        messages = queue.messages
        pages = messages.freeze()
        lanes = list(messages.lanes.by_number.values())
        names = messages.claim_names.rows()
        dedup = queue.dedup.entries() if len(queue.dedup) else []
        fields = (
            queue.number,
            queue.name,
            queue.settings,
            queue.created_ms,
            queue.record_position,
            messages.next_sequence,
        )
        self._frozen.append(_FrozenQueue(*fields, pages, lanes, names, dedup))
        return 1 + (len(pages) + len(lanes) + len(names) + len(dedup)) // _ITEMS_OF_A_UNIT

    def freeze_more(self) -> bool:
        """Freeze a bounded number of queues and topics; return whether more are left.

        The caller must hold the lock that guards the state. It may release the lock between two calls.
        """
        work = _TURN_WORK
        while self._unfrozen and work > 0:
            _, queue = self._unfrozen.popitem()
            work -= self._freeze(queue)
        return bool(self._unfrozen)

    def chunks(self, now_ms: int) -> Iterator[bytes]:
        """Yield the bytes from which `State.load` restores the state. Needs no lock, once all queues are frozen.

        ``now_ms`` is a time after they were. Claims, delays and keys that had ended by then may not be in the queues
        any more, although no record is as new. A clock that began before it would give messages out early.

        Each chunk is small, so that other threads run between two of them.
        """
        assert not self._unfrozen
        notes = [
            (namespace, name, entry.value, entry.record_position)
            for namespace, entries in self._metadata.items()
            for name, entry in entries.items()
        ]
        topics = sorted(self._topics, key=lambda topic: topic.number)
        topic_rows = sum(topic.row_count for topic in topics)
        header = {**self._header, "notes": len(notes), "queues": len(self._frozen), "topics": len(self._topics)}
        header["last_ms"] = max(header["last_ms"], now_ms)
        yield msgpack.packb(
            {**header, "topic_rows": topic_rows, "blocks": len(self._blocks), "gone": len(self._unreleased)}
        )
        yield from _packed(notes)
        yield from _packed(chain.from_iterable(topic.rows() for topic in topics))
        for block in self._blocks:
            yield msgpack.packb(dump(block))
        for page in self._unreleased:
            yield page.dump()
        for queue in sorted(self._frozen, key=lambda queue: queue.number):
            fixed = queue.number, queue.name, queue.settings.to_record(), queue.created_ms, queue.record_position
            counts = len(queue.pages), len(queue.lanes), len(queue.names), len(queue.dedup)
            yield msgpack.packb((*fixed, queue.next_sequence, *counts))
            yield from _packed(lane.definition for lane in queue.lanes)
            yield from _packed(queue.names)
            yield from _packed(queue.dedup)
            for page in queue.pages:
                yield page.dump()

    def thaw_more(self) -> bool:
        """Free a bounded part of the snapshot, and stop sharing its pages with the state; return whether more is left.

        The caller must hold the lock that guards the state. It may release the lock between two calls. After the first
        one, the snapshot is of no use any more.
        """
        self._unfrozen.clear()
        SharedEntries.thaw(self._blocks)
        self._blocks.clear()
        self._unreleased.clear()
        self._topics.clear()
        work = _TURN_WORK
        while self._frozen and work > 0:
            queue, most = self._frozen[-1], work * _ITEMS_OF_A_UNIT
            Columns.thaw(queue.pages[-most:])
            for part in (queue.pages, queue.lanes, queue.names, queue.dedup):
                work -= len(part[-most:]) // _ITEMS_OF_A_UNIT
                del part[-most:]
            if not (queue.pages or queue.lanes or queue.names or queue.dedup):
                self._frozen.pop()
            work -= 1
        return bool(self._frozen)

    def release(self) -> None:
        """Stop sharing pages with the state, in one turn. The caller must hold the lock that guards the state."""
        while self.thaw_more():
            pass


def _packed(rows: Iterable[Any]) -> Iterator[bytes]:
    """Yield rows as msgpack arrays of some rows each."""
    remaining = iter(rows)
    while portion := list(islice(remaining, _ROWS_OF_A_CHUNK)):
        yield msgpack.packb(portion)


def _unpacked(chunks: Iterator[bytes], count: int) -> Iterator[Any]:
    """Yield ``count`` rows that `_packed` wrote."""
    while count > 0:
        portion = msgpack.unpackb(next(chunks, b"\x90"))
        if not 0 < len(portion) <= count:
            raise ValueError("a snapshot has another number of rows than it counts")
        count -= len(portion)
        yield from portion


class State:
    """All queues, their messages, topics, and metadata."""

    def __init__(self) -> None:
        self.key: bytes | None = None
        """Identity of the log, from which message ids are derived. None before the first record."""
        self.identity_at = 0
        """Position after the newest IDENTITY record."""
        self.queues: dict[str, Queue] = {}
        """Queues by name."""
        self.names: list[str] = []
        """Names of the queues, ascending."""
        self.topics: dict[str, Topic] = {}
        """Topics by name."""
        self.subscriptions = 0
        """Number of subscriptions of all topics."""
        self.subscription_bytes = 0
        """Bytes of their values in the log."""
        self.subscribers = Subscribers()
        """Topics to which each queue has subscribed."""
        self.shared = SharedEntries()
        """Entries that messages of several queues share."""
        self.lane_count = LaneCount()
        """Number of lanes of all queues."""
        self.metadata: dict[str, dict[str, MetadataEntry]] = {}
        """Metadata by namespace and name."""
        self.metadata_bytes = 0
        """Bytes of all metadata values."""
        self.dedup_entries = 0
        """Number of dedup entries of all queues."""
        self.next_queue = 1
        """Number of the next new queue. Numbers are never reused."""
        self.last_ms = 0
        """Newest time that the state has seen: in any record, or that of the snapshot from which it was loaded."""
        self.messages = 0
        """Number of messages in all queues."""
        self.bytes = 0
        """Entry bytes of all messages."""
        self.dropped: list[Columns | DedupTable | Topic] = []
        """Contents of deleted queues and topics, for `free_dropped`."""
        self._by_number: dict[int, Queue] = {}
        self._snapshot: Callable[[], Snapshot | None] = lambda: None  # the newest one, as long as somebody holds it
        self._topics_by_number: dict[int, Topic] = {}
        self._unfrozen: dict[int, Queue | Topic] = {}  # the queues and topics that it has yet to freeze
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
            self._dedup,
            self._set_metadata,
            self._claim,
            self._topic,
            self._subscribe,
            self._publish,
            self._restate,
        )

    # Snapshots

    def begin_snapshot(self) -> Snapshot:
        """Return a snapshot of this moment, whose `Snapshot.freeze_more` the caller must call until it is complete.

        No message is copied. The snapshot must be thawed before the next one begins.
        """
        header = {
            "layout": LAYOUT,
            "byte_order": sys.byteorder,
            "key": self.key,
            "identity_at": self.identity_at,
            "next_queue": self.next_queue,
            "last_ms": self.last_ms,
        }
        metadata = {namespace: entries.copy() for namespace, entries in self.metadata.items()}
        self._unfrozen = {**self._by_number, **self._topics_by_number}
        unreleased = [page for each in self.dropped if isinstance(each, Columns) for page in each.unreleased()]
        snapshot = Snapshot(header, metadata, self._unfrozen, self.shared.freeze(), unreleased)
        self._snapshot = weakref.ref(snapshot)
        return snapshot

    @property
    def is_freezing(self) -> bool:
        """Whether a snapshot has yet to freeze queues or topics."""
        return bool(self._unfrozen) and self._snapshot() is not None

    def freeze_more(self) -> None:
        """Do a bounded part of the work of a snapshot that is being made, if there is one."""
        snapshot = self._snapshot()
        if self._unfrozen and snapshot is not None:
            snapshot.freeze_more()

    def freeze(self) -> Snapshot:
        """Return a complete snapshot of this moment, for a caller that nobody waits for."""
        snapshot = self.begin_snapshot()
        while snapshot.freeze_more():
            pass
        return snapshot

    @classmethod
    def load(cls, chunks: Iterator[bytes]) -> Self:
        """Restore the state of a snapshot from its chunks.

        Raises:
            ValueError: the chunks are not a snapshot, or one of another layout or byte order.
        """
        try:
            return cls._load(chunks)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"this is not a snapshot ({error!r})") from error

    @classmethod
    def _load(cls, chunks: Iterator[bytes]) -> Self:
        state = cls()
        header = msgpack.unpackb(next(chunks, b"\x80"))
        if header.get("layout") != LAYOUT or header["byte_order"] != sys.byteorder:
            raise ValueError("the snapshot has another layout")
        state.key = header["key"]
        state.identity_at = header["identity_at"]
        state.next_queue = header["next_queue"]
        state.last_ms = header["last_ms"]
        for namespace, name, value, record_position in _unpacked(chunks, header["notes"]):
            state._set_metadata(record_position, 0, namespace, name, value)
        rows = _unpacked(chunks, header["topic_rows"])
        for _ in range(header["topics"]):
            topic = load(rows, state.subscribers)
            state._topics_by_number[topic.number] = state.topics[topic.name] = topic
            state.dedup_entries += len(topic.dedup)
            state.subscriptions += len(topic.stored)
            state.subscription_bytes += topic.stored_bytes
        for _ in rows:
            raise ValueError("a snapshot has more rows of topics than it counts")
        for _ in range(header["blocks"]):
            state.shared.load(*msgpack.unpackb(next(chunks, b"\x90")))
        for _ in range(header["gone"]):
            page = Page.load(next(chunks, b""))
            state.shared.release(page.ends(0, len(page.status)))
        for _ in range(header["queues"]):
            fields = msgpack.unpackb(next(chunks, b"\x90"))
            number, name, settings, created_ms, record_position, next_sequence, pages, lanes, names, dedup = fields
            queue = Queue(number, name, created_ms, state.shared, state.lane_count)
            state._by_number[number] = state.queues[name] = queue
            queue.configure(QueueSettings.from_record(settings))
            queue.record_position = record_position
            definitions, holders = list(_unpacked(chunks, lanes)), list(_unpacked(chunks, names))
            entries = list(_unpacked(chunks, dedup))
            queue.messages.load((Page.load(next(chunks, b"")) for _ in range(pages)), definitions, holders)
            queue.messages.next_sequence = next_sequence
            for entry in entries:
                queue.dedup.put(*entry)
            state.dedup_entries += len(queue.dedup)
            state._count(queue.messages, 0, 0)
        state.names = sorted(state.queues)
        return state

    def check_complete(self) -> None:
        """Check that the log and every queue have a name, after the whole log was applied.

        Raises:
            UnreadableRecordError: the IDENTITY record or a QUEUE record is missing.
        """
        nameless = [each.number for each in self._holders() if not each.name]
        if nameless or (self._by_number and self.key is None):
            raise UnreadableRecordError(
                f"the log has no IDENTITY record, or no QUEUE or TOPIC record for the numbers {nameless}"
            )

    # Records

    def apply(self, fields: Sequence[Any], position: int, size: int) -> None:
        """Apply one record.

        ``fields`` are those of the record (see `wonderq.state.record`). ``position`` is the position in the log at
        which its ``size`` bytes begin.

        Raises:
            UnreadableRecordError: the record is of an unknown kind, lacks fields, or contradicts the records before it.
        """
        try:
            if self._unfrozen and (snapshot := self._snapshot()) is not None:
                snapshot.freeze(fields[2])  # the number of the queue or topic; records about neither have text there
            at_ms = fields[1]
            self._appliers[fields[0]](position + size, *fields[1:])
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise UnreadableRecordError(
                f"the record at position {position:#x} does not fit the records before it ({error!r})"
            ) from error
        if at_ms > self.last_ms:
            self.last_ms = at_ms

    def forget(self, now_ms: int, most: int = sys.maxsize, holder: Queue | Topic | None = None) -> int:
        """Remove expired dedup entries, of one queue or topic or of all, with at most ``most`` units of work.

        Returns the units that are left. Expired entries have no effect any more, so this may be called at any time, or
        not at all.
        """
        holders: Iterable[Queue | Topic] = (holder,) if holder is not None else self._holders()
        for table in (each.dedup for each in holders):
            if most <= 0:
                break
            before = len(table)
            most = table.forget(now_ms, most)
            self.dedup_entries += len(table) - before
        return most

    def free_dropped(self, most: int = sys.maxsize) -> int:
        """Free what deleted queues and topics had, with at most ``most`` units of work; return the units left."""
        while self.dropped and most > 0:
            most = self.dropped[-1].free(most)
            if most > 0:
                self.dropped.pop()
        return most

    def _holders(self) -> Iterator[Queue | Topic]:
        """Yield all queues and topics, also those without a name: what has a dedup table."""
        return chain(self._by_number.values(), self._topics_by_number.values())

    def queue_numbers(self) -> list[int]:
        """Return the numbers of all queues."""
        return list(self._by_number)

    def find(self, number: int) -> Queue | None:
        """Return the queue with a number, or None."""
        return self._by_number.get(number)

    def _queue_for(self, number: int) -> Queue:
        """Return the queue with a number. It is created if a later record names it."""
        queue = self._by_number.get(number)
        if queue is None:
            queue = self._by_number[number] = Queue(number, "", 0, self.shared, self.lane_count)
            self.next_queue = max(self.next_queue, number + 1)
        return queue

    def _queue_to_extend(self, number: int, first: int) -> Queue:
        """Return the queue with a number, to which a record adds messages from ``first`` on."""
        queue = self._queue_for(number)
        messages = queue.messages
        if first < messages.next_sequence:
            raise ValueError(f"expected message {messages.next_sequence} of queue {number}, found {first}")
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
        queue = self._queue_for(number)
        queue.name = name
        queue.configure(QueueSettings.from_record(settings))
        queue.created_ms = created_ms
        queue.record_position = end
        queue.messages.next_sequence = max(queue.messages.next_sequence, next_sequence)
        if name not in self.queues:
            insort(self.names, name)
        self.queues[name] = queue

    def _produce(
        self,
        end: int,
        at_ms: int,
        queue: int,
        first: int,
        due_ms: Sequence[int],
        lengths: Sequence[int],
        entries: Sized,
        lanes: Sequence[tuple[int, str]] = (),
    ) -> None:
        messages = self._queue_to_extend(queue, first).messages
        bytes_before = messages.bytes
        messages.produce(first, at_ms, end - len(entries), lengths, due_ms, lanes)
        self.messages += len(lengths)
        self.bytes += messages.bytes - bytes_before

    def _send(
        self,
        end: int,
        at_ms: int,
        queue: int,
        first: int,
        due_ms: Sequence[int],
        lengths: Sequence[int],
        lanes: Sequence[tuple[int, str]],
        entries: Sized,
    ) -> None:
        self._produce(end, at_ms, queue, first, due_ms, lengths, entries, lanes)

    def _claim(
        self, _end: int, at_ms: int, queue: int, runs: record.Runs, timeout_ms: int, token: int, consumer: str = ""
    ) -> None:
        self._queue_for(queue).messages.claim(runs, at_ms, timeout_ms, token, consumer)

    def _delete(self, _end: int, _at_ms: int, queue: int, runs: record.Runs) -> None:
        messages = self._queue_for(queue).messages
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
        entries: Sized,
    ) -> None:
        messages = self._queue_for(queue).messages
        for change in changes:
            messages.change(*change)
        if runs:
            before = len(messages), messages.bytes
            messages.rewrite(runs, end - len(entries), produced_ms, lengths)
            for state in claims:
                messages.rewrite_state(record.MessageState(*state))
            self._count(messages, *before)

    def _purge(self, _end: int, _at_ms: int, queue: int, end_sequence: int) -> None:
        messages = self._queue_for(queue).messages
        before = len(messages), messages.bytes
        messages.purge(end_sequence)
        self._count(messages, *before)

    def _drop(self, _end: int, _at_ms: int, queue: int) -> None:
        topic = self._topics_by_number.pop(queue, None)
        if topic is not None:
            self.dedup_entries -= len(topic.dedup)
            self.subscriptions -= len(topic.stored)
            self.subscription_bytes -= topic.stored_bytes
            self.dropped.append(topic.take_all())  # a caller may still hold the topic
            if topic.name:
                del self.topics[topic.name]
        dropped = self._by_number.pop(queue, None)
        if dropped is not None:
            self.messages -= len(dropped.messages)
            self.bytes -= dropped.messages.bytes
            self.dedup_entries -= len(dropped.dedup)
            self.dropped += (dropped.messages, dropped.dedup)
            # For a caller that still holds the queue.
            dropped.messages, dropped.dedup = Columns(), DedupTable()
            if dropped.name:
                del self.queues[dropped.name]
                del self.names[bisect_left(self.names, dropped.name)]

    def _dedup(self, end: int, at_ms: int, queue: int, rows: Sequence[tuple[str, Any, int]]) -> None:
        self._put_rows(self._queue_for(queue).dedup, end, at_ms, rows)

    def _put_rows(self, table: DedupTable, end: int, at_ms: int, rows: Sequence[tuple[str, Any, int]]) -> None:
        before = len(table)
        table.forget(at_ms, 2 * len(rows) + _FORGET_MORE)
        for key, value, until_ms in rows:
            if until_ms > at_ms:
                table.put(key, value, until_ms, end)
        self.dedup_entries += len(table) - before

    def _set_metadata(self, end: int, _at_ms: int, namespace: str, name: str, value: Mapping[str, Any] | None) -> None:
        entries = self.metadata.setdefault(namespace, {})
        before = entries.pop(name, None) if value is None else entries.get(name)
        self.metadata_bytes -= before.bytes if before else 0
        if value is not None:
            entries[name] = MetadataEntry(value, end, len(record.encode(value)))
            self.metadata_bytes += entries[name].bytes
        elif not entries:
            del self.metadata[namespace]

    # Topics

    def find_topic(self, number: int) -> Topic | None:
        """Return the topic with a number, or None."""
        return self._topics_by_number.get(number)

    def all_topics(self) -> list[Topic]:
        """Return all topics, also those without a name."""
        return list(self._topics_by_number.values())

    def _topic_for(self, number: int) -> Topic:
        """Return the topic with a number. It is created if a later record names it."""
        topic = self._topics_by_number.get(number)
        if topic is None:
            if number in self._by_number:
                raise ValueError(f"{number} is the number of a queue, and not of a topic")
            topic = self._topics_by_number[number] = Topic(number, "", 0, self.subscribers)
            self.next_queue = max(self.next_queue, number + 1)
        return topic

    def _topic(
        self,
        end: int,
        _at_ms: int,
        number: int,
        name: str,
        settings: dict[str, Any],
        created_ms: int,
        next_sequence: int,
    ) -> None:
        topic = self._topic_for(number)
        topic.name = name
        topic.settings = TopicSettings.from_record(settings)
        topic.created_ms = created_ms
        topic.record_position = end
        topic.next_sequence = max(topic.next_sequence, next_sequence)
        self.topics[name] = topic

    def _subscribe(self, end: int, _at_ms: int, topic: int, name: str, value: Mapping[str, Any] | None) -> None:
        found = self._topic_for(topic)
        before = found.stored.get(name)
        found.subscribe(name, value, end)
        after = found.stored.get(name)
        self.subscriptions += (after is not None) - (before is not None)
        self.subscription_bytes += (after.bytes if after else 0) - (before.bytes if before else 0)

    def _publish(
        self,
        end: int,
        at_ms: int,
        topic: int,
        next_sequence: int,
        rows: Sequence[tuple[str, Any, int]],
        targets: Sequence[Sequence[Any]],
        due_ms: Sequence[int],
        lanes: Sequence[tuple[int, str]],
        heads: Sequence[int],
        lengths: Sequence[int],
        entries: Sized,
    ) -> None:
        found = self._topic_for(topic)
        found.next_sequence = max(found.next_sequence, next_sequence)
        if rows:
            self._put_rows(found.dedup, end, at_ms, rows)
        if not targets:
            return
        places = shared_places(end - len(entries), heads, lengths)
        published = PublishedMessages(at_ms, places, due_ms, lanes)
        if isinstance(targets, ArrivingTargets):
            assert not self.is_freezing
            copies = targets.copies
            self.messages += sum(copies)
            self.bytes += sum(map(mul, copies, lengths)) + sum(map(mul, targets.headed, heads))
            targets.arrivals.begin(published.add_arrivals_to)
        else:
            copies = self._add_to_all(targets, published, len(lengths))
        self.shared.add(places.ends, lengths, copies)

    def _add_to_all(self, targets: Sequence[Sequence[Any]], published: PublishedMessages, count: int) -> Sequence[int]:
        """Add messages to all targets at once; return how many queues got each of the ``count`` messages."""
        copies, of_all = [0] * count, 0
        for target in targets:
            self._freeze_before(target[0])
            messages = self._queue_for(target[0]).messages
            before = len(messages), messages.bytes
            indexes = published.add_to(messages, target)
            self._count(messages, *before)
            if indexes is None:
                of_all += 1
            else:
                for index in indexes:
                    copies[index] += 1
        return [each + of_all for each in copies]

    def _restate(
        self,
        end: int,
        _at_ms: int,
        _topic: int,
        parts: Sequence[Sequence[Any]],
        heads: Sequence[int],
        lengths: Sequence[int],
        entries: Sized,
    ) -> None:
        places = shared_places(end - len(entries), heads, lengths)
        restated = RestatedMessages(places)
        if isinstance(parts, ArrivingParts):
            assert not self.is_freezing
            parts.arrivals.begin(restated.add_parts_to)
            self.shared.add(places.ends, lengths, parts.copies)
            return
        copies = [0] * len(lengths)
        for part in parts:
            self._freeze_before(part[0])
            messages = self._queue_for(part[0]).messages
            before = len(messages), messages.bytes
            for index in restated.add_to(messages, part):
                copies[index] += 1
            self._count(messages, *before)
        self.shared.add(places.ends, lengths, copies)

    def _freeze_before(self, queue: int) -> None:
        """Let a snapshot that is being made freeze a queue that is about to change."""
        if self._unfrozen and (snapshot := self._snapshot()) is not None:
            snapshot.freeze(queue)

    def _count(self, messages: Columns, count_before: int, bytes_before: int) -> None:
        """Update the sums over all queues after the messages of one queue changed."""
        self.messages += len(messages) - count_before
        self.bytes += messages.bytes - bytes_before
