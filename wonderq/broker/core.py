"""What all of the broker's operations stand on: how something is decided and written down, and when it may be answered.

    decide -> record -> Log.append -> State.apply       under one short lock
    wait until durable, read bodies, answer             outside it

Applying before the sync is safe because no later record can be durable without all earlier ones; only the answer has
to wait. That holds for refusals as well: what a 404 is based on must not vanish in a crash, so it waits too.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

from wonderq.broker.consumers import ConsumerQueues
from wonderq.broker.counters import BrokerCounters
from wonderq.model.envelope import Envelope, envelope_of
from wonderq.model.errors import (
    BrokerError,
    InvalidValueError,
    MessageNotFoundError,
    QueueNotFoundError,
    StaleReceiptError,
)
from wonderq.model.ids import Ids
from wonderq.model.limits import Limits
from wonderq.model.messages import Message, Target, new_tuple
from wonderq.model.queue_names import DEFAULT_QUEUE, check_queue_name
from wonderq.model.status import CLAIMED, DELAYED, STATUS_NAMES
from wonderq.runtime.clock import Clock
from wonderq.runtime.durability import DurabilityWaiter
from wonderq.runtime.fibers import Hub
from wonderq.runtime.offload import BlockingPool
from wonderq.runtime.token_bucket import TokenBuckets
from wonderq.state import record
from wonderq.state.page import NO_TOKEN, MessageView
from wonderq.state.record import Record
from wonderq.state.replay import replay_log
from wonderq.state.state import Queue, State, queue_record
from wonderq_storage import Checkpoints, CorruptLogError, Log, Position, TrimmedError

logger = logging.getLogger("wonderq")

Append = Callable[..., Position]
"""`Core._append_and_apply`: takes the fields of records, and ``leave``."""

#: On a full disk, what is left in reserve is for those who make room: producing leaves half a segment, compaction a quarter,
#: claiming an eighth, deleting a 64th, and what empties a whole queue nothing.
PRODUCE_LEAVES, COMPACTION_LEAVES, CLAIM_LEAVES, DELETE_LEAVES = 2, 4, 8, 64

#: The statuses that end by themselves.
_WITH_DEADLINE = (CLAIMED, DELAYED)

#: How many reads of what is not in memory go on at once.
_READERS = 4


class Transaction:
    """Holds the broker's lock, and gives the time; a refusal leaves only when what it is based on is durable.

    A class, since a generator takes three times as long for it.
    """

    def __init__(self, lock: threading.Lock, clock: Clock, settle: Callable[[], None]) -> None:
        self.damage: CorruptLogError | None = None
        """Why nothing is decided any more."""
        self._lock = lock
        self._now_ms = clock.now_ms
        self._wait_until_durable = settle

    def __enter__(self) -> int:
        self._lock.acquire()
        if self.damage is None:
            return self._now_ms()
        self._lock.release()
        raise CorruptLogError(self.damage.file, self.damage.offset, self.damage.reason)

    def __exit__(self, refusal: type[BaseException] | None, _error: object, _trace: object) -> None:
        self._lock.release()
        if refusal is not None and issubclass(refusal, BrokerError):
            self._wait_until_durable()


class Core:
    """The log, the state and the lock; see `wonderq.broker.broker.Broker`, which is made of classes that each add some operations."""

    def __init__(
        self,
        log: Log,
        *,
        checkpoints: Checkpoints | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        create_queues: bool = True,
    ) -> None:
        self.limits = limits or Limits()
        self.counters = BrokerCounters()
        self._log = log
        self._durability = DurabilityWaiter(log)
        self._blocking = BlockingPool(_READERS)
        self._clock = clock or Clock()
        self._create_queues = create_queues
        self._lock = threading.Lock()
        self._transaction = Transaction(self._lock, self._clock, self._wait_until_durable)
        self._consumers = ConsumerQueues(self.limits.waiting_consumers, self.limits.in_flight_per_queue)
        self._listings: set[object] = set()
        self._tokens: Iterator[int] = iter(())
        self._rates = TokenBuckets()
        self._stopping = False
        self._state, self.log_bytes = replay_log(log, checkpoints)
        """``log_bytes``: of records behind the checkpoint that the start began with, read then and written since."""
        log.start()
        self._clock.raise_floor(self._state.last_ms)
        with self._lock:
            now_ms = self._clock.now_ms()
            if self._state.key is None:
                self._append_and_apply(record.Identity(record.IDENTITY, now_ms, os.urandom(16), self._state.next_queue))
            assert self._state.key is not None
            self._ids = Ids(self._state.key)
            if DEFAULT_QUEUE not in self._state.queues:
                new = self._new_queue(DEFAULT_QUEUE, now_ms)
                self._append_and_apply(queue_record(new, new.settings, now_ms))
            for each in self._state.queues.values():
                self.counters.of(each.name)
        self._wait_until_durable()

    # Running

    @property
    def unready(self) -> str | None:
        """Why the broker does no more work, or None while it does."""
        if self._stopping:
            return "shutting down"
        damage = self._transaction.damage
        return self._log.failure if damage is None else str(damage)

    @property
    def is_damaged(self) -> bool:
        return self._transaction.damage is not None

    @property
    def waiting_consumers(self) -> int:
        """How many consumers wait for a message."""
        return len(self._consumers)

    @property
    def checkpoint_lag_bytes(self) -> int:
        """Bytes of records behind the newest checkpoint."""
        return self.log_bytes - self.counters.checkpointed_bytes

    def mark_damaged(self, file: str, offset: int, reason: str) -> CorruptLogError:
        """Do no more work, because the log does not verify there; returns the error to raise."""
        advice = "Nothing more is done. Stop the broker, and run 'wonderq verify' on its folder"
        damage = self._transaction.damage = CorruptLogError(file, offset, f"{reason}. {advice}")
        logger.critical("the log is damaged: %s", damage)
        return damage

    def stop_claiming(self) -> None:
        """Give out no more messages: answer those who wait with nothing, and refuse new ones."""
        with self._lock:
            self._stopping = True
            self._consumers.wake_all()

    def close(self) -> None:
        """Stop giving out messages, make everything durable, and let go of the log."""
        self.stop_claiming()
        self._durability.close()
        self._blocking.close()
        self._log.close()

    # Shared pieces

    def _append_and_apply(self, *records: Record, leave: int | None = None) -> Position:
        """Append records and apply them; a crash leaves all or none. Returns the position of the last one.

        ``leave`` says for which part of a segment there must be room behind them.
        """
        encoded = [record.encode(fields) for fields in records]
        leave_bytes = self._log.max_record_bytes // leave if leave else 0
        positions = self._log.append_together(encoded, leave_bytes=leave_bytes)
        for fields, data, position in zip(records, encoded, positions, strict=True):
            self.log_bytes += len(data)
            self._state.apply(fields, position, len(data))
        return positions[-1]

    def _wait_until_durable(self) -> None:
        """Wait until everything decided so far is durable."""
        self._durability.wait(self._log.end() - 1)

    def _find_queue(self, name: str) -> Queue:
        found = self._state.queues.get(name)
        if found is None:
            raise QueueNotFoundError(name)
        return found

    def _new_queue(self, name: str, now_ms: int, before: int = 0) -> Queue:
        """Return a queue that there is not yet; a record of it makes it, and ``before`` others are to be made before it."""
        check_queue_name(name, "queue")
        if name != DEFAULT_QUEUE:
            self.limits.check_queues(self._state, before)
        return Queue(self._state.next_queue + before, name, now_ms)

    def _resolve(self, queue: Queue, target: Target) -> MessageView:
        """Return the message a target means, if it is there and the receipt, when there is one, still counts."""
        token = None
        if target.receipt is not None:
            claim = self._ids.decode_receipt(target.receipt)
            if claim is None:
                raise InvalidValueError("receipt", "This is not a receipt: use the one that consume returned.")
            *place, token = claim
            if target.id is not None and self._ids.decode_id(target.id) != tuple(place):
                raise InvalidValueError("receipt", "The receipt belongs to another message than the id.")
        elif target.id is not None:
            place = list(self._ids.decode_id(target.id) or (-1, -1))
        else:
            raise InvalidValueError("id", "Name the message by its id or by a receipt.")
        view = queue.messages.find(place[1]) if place[0] == queue.number else None
        if view is None:
            raise MessageNotFoundError
        if token is not None and token != view.token:
            raise StaleReceiptError
        return view

    def _read_messages(self, queue: Queue, views: Sequence[MessageView], token: int = NO_TOKEN) -> list[Message]:
        """Read the bodies of messages that are durable."""
        views, entries = self._entries(queue, views)
        if not views:
            return []
        bodies, headers = self._decode(views, entries)
        sequences, statuses, _, _, produced_ms, receives, _, dues_ms, _, first_claimed_ms, _, updates = zip(
            *views, strict=True
        )
        receipts: Iterable[str | None] = repeat(None)
        if token:
            ids, receipts = self._ids.ids_and_receipts(queue.number, sequences, token)
        else:
            ids = self._ids.message_ids(queue.number, sequences)
        ends_ms = [
            due_ms if status in _WITH_DEADLINE else None for status, due_ms in zip(statuses, dues_ms, strict=True)
        ]
        envelope: Iterable[Envelope | None] = repeat(None)
        if headers or any(updates):
            envelope = [envelope_of(headers.get(index, {}), count) for index, count in enumerate(updates)]
        names = [STATUS_NAMES[status] for status in statuses]
        queues = repeat(queue.name)
        columns = (
            ids,
            bodies,
            names,
            receipts,
            receives,
            produced_ms,
            ends_ms,
            queues,
            sequences,
            first_claimed_ms,
            envelope,
        )
        fields = zip(*columns, strict=False)
        return list(map(new_tuple, repeat(Message), fields))

    def _decode(
        self, views: Sequence[MessageView], entries: Sequence[bytes]
    ) -> tuple[list[str], dict[int, dict[str, Any]]]:
        """Return the bodies of entries, and what they carry, by index."""
        try:
            return record.decode_entries(entries)
        except ValueError as error:
            raise self.mark_damaged(*self._log.locate(views[0].position), str(error)) from error

    def _entries(self, queue: Queue, views: Sequence[MessageView]) -> tuple[Sequence[MessageView], list[bytes]]:
        """Read entries; a message that compaction has moved meanwhile is looked up again, one that is gone is left out."""
        while True:
            try:
                return views, self._read([(view.position, view.length) for view in views])
            except TrimmedError:
                with self._lock:
                    now = [queue.messages.find(view.sequence) for view in views]
                self._wait_until_durable()
                before = views
                views = [
                    view._replace(position=found.position, length=found.length)
                    for view, found in zip(before, now, strict=True)
                    if found is not None
                ]
                if views == before:
                    place = self._log.locate(before[0].position)
                    raise self.mark_damaged(*place, "messages were dropped that had not been copied") from None
            except CorruptLogError as error:
                raise self.mark_damaged(error.file, error.offset, error.reason) from error

    def _read(self, spans: Sequence[tuple[Position, int]]) -> list[bytes]:
        try:
            return self._log.read(spans, block=Hub.current() is None)
        except BlockingIOError:
            return self._blocking.do(lambda: self._log.read(spans))

    @contextmanager
    def locked(self) -> Iterator[tuple[State, Append, int]]:
        """For upkeep: hold the lock, with the state, a way to commit records, and the time."""
        with self._lock:
            yield self._state, self._append_and_apply, self._clock.now_ms()

    @contextmanager
    def transaction(self) -> Iterator[tuple[State, Append, int]]:
        """For what the broker does by itself, and what it is told to do by and by: decide something as its operations do.

        Yields what `locked` does. What was decided is durable when this ends, and what a refusal is based on, too.
        """
        with self._transaction as now_ms:
            yield self._state, self._append_and_apply, now_ms
        self._wait_until_durable()
