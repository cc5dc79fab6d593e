"""Shared machinery of all operations: decide under one lock, append to the log, answer once that is durable.

    decide -> record -> Log.append -> State.apply       under one short lock
    wait until durable, read bodies, answer             outside the lock

The broker applies a record before the log has synced it. That is safe, because no later record can become durable
without all earlier ones: only the answer has to wait. Refusals wait too, so that a crash cannot undo the state that a
404 was based on.

An answer waits for the record of its operation. An answer without a record, such as a listing or a 404, waits for what
`Log.confirm` returns: a log may have another writer by now, whose records would contradict the answer.
"""

from __future__ import annotations

import logging
import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from wonderq.broker.admission import Admission
from wonderq.broker.consumers import ConsumerQueues
from wonderq.broker.counters import BrokerCounters
from wonderq.model.errors import (
    BrokerError,
    DifferentShardsError,
    InvalidValueError,
    MessageNotFoundError,
    OtherQueueError,
    QueueNotFoundError,
    StaleReceiptError,
    TopicNotFoundError,
)
from wonderq.model.ids import Ids
from wonderq.model.limits import Limits
from wonderq.model.messages import Target
from wonderq.model.queue_names import DEFAULT_QUEUE, check_queue_name
from wonderq.model.status import CLAIMED
from wonderq.runtime.clock import Clock
from wonderq.runtime.durability import DurabilityWaiter
from wonderq.runtime.fibers import in_turns, note_action, yield_to_others
from wonderq.state import record
from wonderq.state.page import MessageView
from wonderq.state.record import Record
from wonderq.state.replay import replay_log
from wonderq.state.state import Queue, State, queue_record
from wonderq.state.topics import Topic
from wonderq_storage import Checkpoints, CorruptLogError, Log, LogLostError, Position

logger = logging.getLogger("wonderq")

#: Room that an operation must leave free on a full disk, as a fraction of a segment: producing leaves a half,
#: compaction a quarter, claiming an eighth and deleting a 64th. Purges and dropped queues leave nothing. So the
#: operations that make room still work when the others are refused.
PRODUCE_LEAVES, COMPACTION_LEAVES, CLAIM_LEAVES, DELETE_LEAVES = 2, 4, 8, 64


NOT_A_RECEIPT = "This is not a receipt: use the one that consume returned."

#: Most units of work of a portion: what is done under the lock at a time, of work that may be more. A unit takes a few
#: microseconds, such as the end of one claim.
PORTION = 400

#: Queues to pass, and names of queues to read under the lock, before other requests have their turn.
_PASSED = 1000
_NAMES = 200


class Transaction:
    """Context manager that holds the broker's lock and yields the time in ms.

    A refusal (`BrokerError`) leaves it only once the log has confirmed what it is based on. It is a class because a
    generator takes three times as long.

    Raises:
        CorruptLogError: the log is damaged, so the broker takes no more decisions.
        LogLostError: another writer has taken over the log, and so has another broker.
    """

    def __init__(self, lock: threading.Lock, clock: Clock, durability: DurabilityWaiter, log: Log) -> None:
        self.ended: CorruptLogError | LogLostError | None = None
        """The reason why all work has ended, or None while the broker works."""
        self._lock = lock
        self._now_ms = clock.now_ms
        self._durability = durability
        self._log = log

    def __enter__(self) -> int:
        self._lock.acquire()
        if self.ended is None:
            return self._now_ms()
        self._lock.release()
        if isinstance(self.ended, CorruptLogError):
            raise CorruptLogError(self.ended.file, self.ended.offset, self.ended.reason)
        raise LogLostError(str(self.ended))

    def __exit__(self, refusal: type[BaseException] | None, _error: object, _trace: object) -> None:
        self._lock.release()
        if refusal is not None and issubclass(refusal, BrokerError):
            self._durability.wait(self._log.confirm())

    @property
    def damage(self) -> CorruptLogError | None:
        """Damage that was found in the log, and has ended all work."""
        return self.ended if isinstance(self.ended, CorruptLogError) else None


Place = tuple[int, int | None]
"""Sequence number of a message, and the token that its newest claim must have, or None."""


class OtherShards(Protocol):
    """The other shards of a cluster, as a broker asks them. The calls wait: make none under the lock.

    Every method raises `ShardUnavailableError` if a shard does not answer.
    """

    def attributes_of(self, queue: str) -> Mapping[str, str] | None:
        """Return `QueueSettings.sqs` of a queue, or None if the queue does not exist."""

    def sources_of(self, queue: str, after: str) -> Iterator[str]:
        """Yield the names of the queues of other shards whose dead letters go to a queue, in order."""


class AppendAndApply(Protocol):
    """Signature of `Core.append_and_apply`."""

    def __call__(self, *records: Record, leave: int | None = None) -> Position: ...


class Locked(NamedTuple):
    """The broker while its lock is held, as background work sees it."""

    state: State
    append_and_apply: AppendAndApply
    now_ms: int


class Core:
    """The log, the state and the lock, for the collaborators that make up `wonderq.broker.broker.Broker`.

    Call a method that works "under the lock" inside `transaction` or `locked` only. The constructor raises the errors
    of `Log.replay` and `Log.start`, and `UnreadableRecordError`.
    """

    def __init__(
        self,
        log: Log,
        *,
        checkpoints: Checkpoints | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        create_queues: bool = True,
        default_queue: bool = True,
        has_name: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Replay the log from the newest usable checkpoint. `wonderq.broker.broker.Broker` describes the settings."""
        self.limits = limits or Limits()
        self.log = log
        self.clock = clock or Clock()
        self.lock = threading.Lock()
        self.durability = DurabilityWaiter(log)
        self.transaction = Transaction(self.lock, self.clock, self.durability, log)
        self.counters = BrokerCounters(has_name)
        self.consumers = ConsumerQueues(self.limits.waiting_consumers, self.limits.in_flight_per_queue)
        self.stopping = False
        """Whether the broker is shutting down and delivers no more messages."""
        self._create_queues = create_queues
        self.has_name = has_name
        self.others: OtherShards | None = None
        """The other shards, if messages may cross to them; None if this broker is alone, or may not send there."""
        self.state, self.log_bytes = replay_log(log, checkpoints)
        """State, and bytes of records after the checkpoint that the start loaded, replayed or appended since."""
        self.outboxes = {name for name in self.state.queues if not has_name(name)}
        """Names of the outboxes. An outbox has the name of a queue of another shard, and holds the messages that wait
        to cross to it (`wonderq.broker.outboxes`). The set may contain names of outboxes that were deleted."""
        self.target_changes = 0
        """Number of changes of dead-letter queues, schedules and redrives, which lead to a queue by its name.

        A method that examines all of them in turns compares the number before and after, because they may change
        between two turns."""
        self.admission = Admission(self.limits, self.state)
        log.on_lost(self._lose)
        log.start()
        self.clock.raise_floor(self.state.last_ms)
        with self.lock:
            self._begin(self.clock.now_ms(), default_queue)
        assert self.state.key is not None
        self.ids = Ids(self.state.key)
        for each in self.state.queues.values():
            self.counters.of(each.name)
        self.wait_until_durable()

    def _begin(self, now_ms: int, default_queue: bool) -> None:
        if self.state.key is None:
            self.append_and_apply(record.Identity(record.IDENTITY, now_ms, os.urandom(16), self.state.next_queue))
        if default_queue and DEFAULT_QUEUE not in self.state.queues:
            new = self.new_queue(DEFAULT_QUEUE, now_ms)
            self.append_and_apply(queue_record(new, new.settings, now_ms))

    # Transactions

    @contextmanager
    def locked(self) -> Iterator[Locked]:
        """Hold the lock for a background step that does not wait for durability."""
        with self.lock:
            yield Locked(self.state, self.append_and_apply, self.clock.now_ms())

    @contextmanager
    def durable_transaction(self) -> Iterator[Locked]:
        """Hold the lock for one step, and return once the log has confirmed what it decided."""
        with self.transaction as now_ms:
            yield Locked(self.state, self.append_and_apply, now_ms)
        self.confirm()

    def append_and_apply(self, *records: Record, leave: int | None = None) -> Position:
        """Append records to the log and apply them to the state, under the lock; return the position of the last one.

        After a crash the log has all of these records or none. ``leave`` is the room that must stay free after them,
        as the divisor of a segment's size.

        Raises:
            DiskFullError: the disk has no room. Nothing was changed.
            LogFailedError: an earlier write to the log failed.
        """
        encoded = [record.encode(each) for each in records]
        leave_bytes = self.log.max_record_bytes // leave if leave else 0
        note_action()
        positions = self.log.append_together(encoded, leave_bytes=leave_bytes)
        for each, data, position in zip(records, encoded, positions, strict=True):
            self.log_bytes += len(data)
            self.state.apply(each, position, len(data))
        return positions[-1]

    def wait_until_durable(self) -> None:
        """Wait until everything appended so far is durable: enough for the answer of an operation that appended.

        Raises:
            LogFailedError: the log cannot be written. A restart shows whether the last operations are durable.
            LogLostError: another writer has taken over the log. Its broker knows whether they are.
        """
        self.durability.wait(self.log.end() - 1)

    def confirm(self) -> None:
        """Wait until everything appended so far is durable, and the log has confirmed that nobody appended more.

        Every answer needs this that may be based on records which its own operation did not append.

        Raises: as `wait_until_durable`.
        """
        self.durability.wait(self.log.confirm())

    # Queues and messages, under the lock

    def find_queue(self, name: str) -> Queue:
        """Return a queue, under the lock.

        Raises:
            QueueNotFoundError: no queue has this name.
            DifferentShardsError: a queue of this name would be in another shard.
        """
        found = self.state.queues.get(name)
        if found is None or name in self.outboxes:
            self.check_shard(name)
            raise QueueNotFoundError(name)
        return found

    def own_queues(self) -> Sequence[Queue]:
        """Return all queues of this broker, without the outboxes. The lock is held for a copy only."""
        with self.lock:
            queues = list(self.state.queues.values())
        return [each for each in in_turns(queues, _PASSED) if each.name not in self.outboxes]

    def names(self, hold: AbstractContextManager[Any], *, after: str = "", prefix: str = "") -> Iterator[str]:
        """Yield the names of this broker's queues that follow ``after`` and begin with ``prefix``, in order.

        Other requests have their turn meanwhile. A queue that is created or deleted meanwhile may be among them or not.
        ``hold`` is what holds the lock for some names at a time: `transaction`, or `lock` for a caller that also reads
        a damaged broker.
        """
        names = self.state.names
        while True:
            with hold:
                at = max(bisect_right(names, after), bisect_left(names, prefix))
                some = names[at : at + _NAMES]
            for name in some:
                if not name.startswith(prefix):
                    return
                if name not in self.outboxes:
                    yield name
            if len(some) < _NAMES:
                return
            after = some[-1]
            yield_to_others()

    def find_topic(self, name: str) -> Topic:
        """Return a topic, under the lock.

        Raises:
            TopicNotFoundError: no topic has this name.
        """
        found = self.state.topics.get(name)
        if found is None:
            raise TopicNotFoundError(name)
        return found

    def new_queue(self, name: str, now_ms: int, before: int = 0) -> Queue:
        """Return a queue that does not exist yet; appending its record creates it.

        ``before`` counts queues that the same transaction creates before this one.

        Raises:
            InvalidQueueNameError: no queue can have this name.
            DifferentShardsError: a queue of this name would be in another shard.
            TooManyQueuesError: the broker has as many queues as it may have.
        """
        check_queue_name(name, "queue")
        self.check_shard(name)
        return self._new_queue(name, now_ms, before)

    def _new_queue(self, name: str, now_ms: int, before: int) -> Queue:
        if name != DEFAULT_QUEUE:
            self.admission.check_queues(before)
        return Queue(self.state.next_queue + before, name, now_ms)

    def new_target(self, name: str, now_ms: int, before: int = 0) -> Queue:
        """Do what `new_queue` does, but return an outbox for a queue of another shard that messages may cross to."""
        if self.has_name(name) or self.others is None:
            return self.new_queue(name, now_ms, before)
        self.outboxes.add(name)
        return self._new_queue(name, now_ms, before)

    def check_shard(self, name: str) -> None:
        """Check that this broker has the queue, topic or schedule of a name, if several brokers share the names.

        Raises:
            DifferentShardsError: another broker has it.
        """
        if not self.has_name(name):
            raise DifferentShardsError(name)

    def check_reach(self, name: str) -> None:
        """Check that messages can get to a queue, which may not exist: it is in this shard, or they may cross to it.

        Raises:
            DifferentShardsError: it is in another shard, and nothing crosses.
        """
        if self.others is None:
            self.check_shard(name)

    def check_exists(self, *names: str) -> None:
        """Check that queues exist that are in other shards, without the lock. The others are not looked at.

        Raises:
            QueueNotFoundError: one does not exist.
            DifferentShardsError: as `check_reach`.
            ShardUnavailableError: its shard does not answer.
        """
        for name in names:
            self.check_reach(name)
            if self.others is not None and not self.has_name(name) and self.others.attributes_of(name) is None:
                raise QueueNotFoundError(name)

    def existing_elsewhere(self, names: Collection[str]) -> Collection[str]:
        """Return those queues of other shards that exist, without the lock.

        Raises:
            ShardUnavailableError: a shard does not answer.
        """
        if self.others is None:
            return ()
        return {name for name in names if not self.has_name(name) and self.others.attributes_of(name) is not None}

    @property
    def identity(self) -> str:
        """Text that names this broker's log among those of a cluster. It does not tell the key of the ids."""
        assert self.state.key is not None
        return sha256(b"identity " + self.state.key).hexdigest()[:16]

    def new_output_queue(self, name: str, now_ms: int, before: int = 0) -> Queue:
        """Do what `new_queue` does, for a producer.

        Raises:
            QueueNotFoundError: producers may not create queues.
        """
        if not self._create_queues:
            self.check_shard(name)
            raise QueueNotFoundError(name)
        return self.new_queue(name, now_ms, before)

    def advance(self, queue: Queue, now_ms: int, most: int = PORTION) -> int:
        """End claims and delays of a queue that are past their deadline, and count the claims, under the lock.

        Returns the units of work that are left of ``most``. If none are, more deadlines may be past.
        """
        claimed = queue.messages.counts[CLAIMED]
        left = queue.messages.advance(now_ms, most)
        timed_out = claimed - queue.messages.counts[CLAIMED]
        if timed_out:
            self.counters.of(queue.name).claims_timed_out += timed_out
        return left

    def delete_expired(self, queue: Queue, now_ms: int) -> bool:
        """Delete messages that are older than the retention of their queue, under the lock.

        Returns whether it deleted any. If so, there may be more.
        """
        end = queue.messages.oldest_end(PORTION, now_ms - queue.settings.retention_ms + 1)
        if end is None:
            return False
        self.counters.of(queue.name).retention_expired += self.purge_to(queue, end, now_ms)
        return True

    def purge_to(self, queue: Queue, end: int, now_ms: int) -> int:
        """Delete all messages of a queue whose sequence numbers are below ``end``, under the lock; return how many."""
        before = len(queue.messages)
        self.append_and_apply(record.Purge(record.PURGE, now_ms, queue.number, end))
        return before - len(queue.messages)

    def resolve(self, queue: Queue, target: Target) -> MessageView:
        """Return the message that a target identifies, under the lock.

        Raises:
            InvalidValueError: the target is malformed.
            MessageNotFoundError: the queue has no such message.
            OtherQueueError: the message is one of another queue.
            StaleReceiptError: the receipt's claim is not the current one.
        """
        return self.look_up(queue, self.locate(queue, target))

    def locate(self, queue: Queue, target: Target) -> Place:
        """Return the place that a target names.

        Raises:
            InvalidValueError, OtherQueueError: see `resolve`.
        """
        token = None
        if target.receipt is not None:
            claim = self.ids.decode_receipt(target.receipt)
            if claim is None:
                raise InvalidValueError("receipt", NOT_A_RECEIPT)
            *place, token = claim
            if target.id is not None and self.ids.decode_id(target.id) != tuple(place):
                raise InvalidValueError("receipt", "The receipt and the id belong to different messages.")
        elif target.id is not None:
            place = list(self.ids.decode_id(target.id) or (queue.number, -1))
        else:
            raise InvalidValueError("id", "Give the id or the receipt of the message.")
        if place[0] != queue.number:
            raise OtherQueueError
        return place[1], token

    def look_up(self, queue: Queue, place: Place) -> MessageView:
        """Return the message at a place, under the lock.

        Raises:
            MessageNotFoundError, StaleReceiptError: see `resolve`.
        """
        sequence, token = place
        view = queue.messages.find(sequence)
        if view is None:
            raise MessageNotFoundError
        if token is not None and token != view.token:
            raise StaleReceiptError
        return view

    # Operation

    @property
    def unready(self) -> str | None:
        """Reason why the broker accepts no requests, or None if it does."""
        if self.stopping:
            return "shutting down"
        ended = self.transaction.ended
        return self.log.failure if ended is None else str(ended)

    def review_clock(self) -> None:
        """Follow the system's clock again if it was held and there is no doubt any more."""
        with self.lock:
            released = self.clock.review()
            if released:
                self.consumers.wake_all()  # claims and delays may have ended
        if released:
            logger.warning("the broker's clock follows the system's clock again")
        self.clock.remember()

    def mark_damaged(self, file: str, offset: int, reason: str) -> CorruptLogError:
        """Refuse all further work, because the log does not verify at this place; return the error to raise."""
        advice = "The broker does nothing more. Stop it, and run 'wonderq folder verify' on its folder"
        damage = CorruptLogError(file, offset, f"{reason}. {advice}")
        if self.transaction.ended is None:
            self.transaction.ended = damage
        logger.critical("the log is damaged: %s", damage)
        return damage

    def _lose(self, error: LogLostError) -> None:
        """End all work, because another writer has taken over the log: refuse waiting consumers, and all that come."""
        logger.error("the log is lost, and this broker ends: %s", error)
        with self.lock:
            self.transaction.ended = error
            self.consumers.wake_all()

    def stop_claiming(self) -> None:
        """Deliver no more messages: answer waiting consumers with none, and refuse new ones."""
        with self.lock:
            self.stopping = True
            self.consumers.wake_all()
