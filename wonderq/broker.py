"""The semantics: what a produce, claim, delete or update decides, and when it may be answered.

    decide -> record -> Log.append -> State.apply       under one short lock
    wait until durable, read bodies, answer             outside it

Applying before the sync is safe because no later record can be durable without all earlier ones; only the answer has
to wait. That holds for refusals as well: what a 404 is based on must not vanish in a crash, so it waits too.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
import threading
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate, repeat
from operator import ge
from typing import Any

from storage import Checkpoints, CorruptLogError, Log, Position, TrimmedError, record
from storage.record import CLAIMED, DELAYED, WAITING, Runs
from wonderq.clock import Clock
from wonderq.errors import (
    BrokerError,
    InvalidQueueNameError,
    InvalidValueError,
    MessageNotFoundError,
    NotClaimedError,
    QueueInUseError,
    QueueNotFoundError,
    ShuttingDownError,
    StaleReceiptError,
    TooManyInFlightError,
    TooManyListingsError,
)
from wonderq.fibers import Aside, Durability, Hub, make_way
from wonderq.ids import Ids
from wonderq.measures import Measures
from wonderq.model import DEFAULT_QUEUE, STATUS_NAMES, STATUSES, Change, Limits, Message, QueueInfo, Target
from wonderq.page import NO_TOKEN, MessageView, new_tuple
from wonderq.rebuild import rebuild
from wonderq.state import Queue, QueueSettings, State, queue_record
from wonderq.waiting import Waiter, WaitingLines

logger = logging.getLogger("wonderq")

Commit = Callable[..., Position]
"""`Broker._commit`: takes the fields of records, and ``leave``."""

_QUEUE_NAME = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9_-]+(\.fifo)?")

#: On a full disk, what is left in reserve is for those who make room: producing leaves half a segment, compaction a quarter,
#: claiming an eighth, deleting a 64th, and what empties a whole queue nothing.
PRODUCE_LEAVES, COMPACTION_LEAVES, CLAIM_LEAVES, DELETE_LEAVES = 2, 4, 8, 64

_TOKENS_BYTES = 4096

#: How many reads of what is not in memory go on at once.
_READERS = 4

#: A listing reads this many messages at a time, or so many bytes, or one message that is larger.
_LIST_CHUNK = 256
_LIST_BYTES = 1 << 20

#: Queues that are looked at before others have their turn.
_GLANCE_CHUNK = 100


class _Deciding:
    """Holds the broker's lock, and gives the time; a refusal leaves only when what it is based on is durable.

    A class, since a generator takes three times as long for it.
    """

    def __init__(self, lock: threading.Lock, clock: Clock, settle: Callable[[], None]) -> None:
        self.damage: CorruptLogError | None = None
        """Why nothing is decided any more."""
        self._lock = lock
        self._now_ms = clock.now_ms
        self._settle = settle

    def __enter__(self) -> int:
        self._lock.acquire()
        if self.damage is None:
            return self._now_ms()
        self._lock.release()
        raise CorruptLogError(self.damage.file, self.damage.offset, self.damage.reason)

    def __exit__(self, refusal: type[BaseException] | None, _error: object, _trace: object) -> None:
        self._lock.release()
        if refusal is not None and issubclass(refusal, BrokerError):
            self._settle()


class Broker:
    """All queues of one log. Every method may be called from any thread.

    Methods raise `BrokerError` for what they refuse, and the storage errors `DiskFullError` (nothing was changed),
    `LogFailedError` (the outcome is known after a restart) and `CorruptLogError`.

    Raises, from the constructor, what `Log.replay` and `Log.start` raise, and `UnreadableRecordError`.
    """

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
        self.measures = Measures()
        self._log = log
        self._durability = Durability(log)
        self._aside = Aside(_READERS)
        self._clock = clock or Clock()
        self._create_queues = create_queues
        self._lock = threading.Lock()
        self._deciding = _Deciding(self._lock, self._clock, self._settle)
        self._lines = WaitingLines(self.limits.waiting_consumers, self.limits.in_flight_per_queue)
        self._listings: set[object] = set()
        self._tokens: Iterator[int] = iter(())
        self._stopping = False
        self._state, self.log_bytes = rebuild(log, checkpoints)
        """``log_bytes``: of records behind the checkpoint that the start began with, read then and written since."""
        log.start()
        self._clock.raise_floor(self._state.last_ms)
        with self._lock:
            now_ms = self._clock.now_ms()
            if self._state.key is None:
                self._commit((record.IDENTITY, now_ms, os.urandom(16), self._state.next_queue))
            assert self._state.key is not None
            self._ids = Ids(self._state.key)
            if DEFAULT_QUEUE not in self._state.queues:
                new = self._new_queue(DEFAULT_QUEUE, now_ms)
                self._commit(queue_record(new, new.settings, now_ms))
            for each in self._state.queues.values():
                self.measures.of(each.name)
        self._settle()

    # Producing

    def produce(self, queue: str, bodies: Sequence[str], delays_ms: Sequence[int | None] | None = None) -> list[str]:
        """Add messages, all or none, and return their ids in order.

        ``delays_ms`` holds for each message how long it stays hidden, or None for the queue's own delay.
        """
        entries = self.limits.encode(bodies)
        lengths = [len(entry) for entry in entries]
        data = b"".join(entries)
        with self._deciding as now_ms:
            found = self._state.queues.get(queue)
            records: list[Sequence[Any]] = []
            if found is None:
                if not self._create_queues:
                    raise QueueNotFoundError(queue)
                found = self._new_queue(queue, now_ms)
                records.append(queue_record(found, found.settings, now_ms))
            self.limits.check_room(self._state, found, len(entries), len(data))
            number, first = found.number, found.messages.next_sequence
            due_ms = self._due_ms(found.settings, now_ms, len(entries), delays_ms)
            records.append((record.PRODUCE, now_ms, number, first, due_ms, lengths, data))
            position = self._commit(*records, leave=PRODUCE_LEAVES)
            self.measures.of(queue).count(record.PRODUCE, len(entries))
            self._lines.nudge(self._state.queues[queue])
        self._durability.wait(position)
        return self._ids.message_ids(number, range(first, first + len(entries)))

    def _due_ms(
        self, settings: QueueSettings, now_ms: int, count: int, delays_ms: Sequence[int | None] | None
    ) -> list[int]:
        own = settings.delay_ms
        if delays_ms is None:
            return [now_ms + own] * count if own else []
        delays = [own if delay is None else delay for delay in delays_ms]
        for delay in delays:
            self.limits.check_range("delay", delay)
        return [now_ms + delay for delay in delays] if any(delays) else []

    # Consuming

    def claim(
        self,
        queue: str,
        *,
        limit: int = 10,
        visibility_timeout_ms: int | None = None,
        wait_s: float = 0,
        client_gone: Callable[[], bool] = lambda: False,
    ) -> list[Message]:
        """Claim the oldest waiting messages, at most ``limit``, waiting up to ``wait_s`` for the first.

        ``client_gone`` is asked before each attempt; once it says yes, nothing is claimed any more.
        """
        if not 1 <= limit <= self.limits.batch_messages:
            raise InvalidValueError("max", f"max must be from 1 to {self.limits.batch_messages}.")
        if visibility_timeout_ms is not None:
            self.limits.check_range("visibility_timeout", visibility_timeout_ms)
        if not 0 <= wait_s <= self.limits.wait_s:
            raise InvalidValueError("wait", f"wait must be from 0 to {self.limits.wait_s} seconds.")
        wait_until = time.monotonic() + wait_s
        waiter: Waiter | None = None
        claimed = None
        try:
            while not client_gone():
                with self._deciding as now_ms:
                    if self._stopping:
                        if waiter is None:
                            raise ShuttingDownError
                        break
                    found = self._find_queue(queue)
                    claimed = self._claim(found, now_ms, limit, visibility_timeout_ms)
                    if claimed is not None:
                        break
                    left_s = wait_until - time.monotonic()
                    if left_s <= 0:
                        if found.messages.counts[WAITING]:  # to say that there is nothing would be wrong
                            raise TooManyInFlightError(queue, self.limits.in_flight_per_queue)
                        break
                    if waiter is None:
                        waiter = self._lines.join(found)
                    else:
                        self._lines.rejoin(found, waiter)
                    sleep_s = min(left_s, (waiter.due_ms - now_ms) / 1000)
                waiter.wake.wait(max(sleep_s, 0.001))
        finally:
            if waiter is not None:
                with self._lock:
                    self._lines.leave(waiter, self._state.queues.get(queue))
        if claimed is None:
            self._settle()
            return []
        position, views, token = claimed
        self._durability.wait(position)
        messages = self._read_messages(found, views, token)
        missing = len(views) - len(messages)
        if not missing:
            return messages
        # They were deleted meanwhile, and dropped from the log: others may be there to be given for them.
        wait_s = 0 if messages else max(0, wait_until - time.monotonic())
        try:
            return messages + self.claim(
                queue,
                limit=missing,
                visibility_timeout_ms=visibility_timeout_ms,
                wait_s=wait_s,
                client_gone=client_gone,
            )
        except BrokerError:
            if not messages:
                raise
            return messages

    def _claim(
        self, queue: Queue, now_ms: int, limit: int, visibility_timeout_ms: int | None
    ) -> tuple[Position, list[MessageView], int] | None:
        messages = queue.messages
        messages.advance(now_ms)
        room = self.limits.in_flight_per_queue - messages.counts[CLAIMED]
        runs = messages.pick(min(limit, room), self.limits.batch_bytes)
        if not runs:
            return None
        timeout_ms = queue.settings.visibility_timeout_ms if visibility_timeout_ms is None else visibility_timeout_ms
        token = self._new_token()
        position = self._commit((record.CLAIM, now_ms, queue.number, runs, timeout_ms, token), leave=CLAIM_LEAVES)
        self.measures.of(queue.name).claimed(now_ms, messages.produced_ms(runs))
        self._lines.nudge(queue)
        return position, messages.views(runs), token

    def _new_token(self) -> int:
        """Return 32 bits that nobody can foresee, not all zero. Drawn in advance: a call of the system for each costs more."""
        for token in self._tokens:
            if token != NO_TOKEN:
                return token
        self._tokens = iter(array("I", secrets.token_bytes(_TOKENS_BYTES)))
        return self._new_token()

    def stop_claiming(self) -> None:
        """Give out no more messages: answer those who wait with nothing, and refuse new ones."""
        with self._lock:
            self._stopping = True
            self._lines.wake_all()

    # Deleting and updating

    def delete(self, queue: str, target: Target) -> None:
        """Delete one message.

        By receipt this also works after the claim's deadline, as long as nobody has claimed the message since: the work
        was done, and nobody else has begun it.
        """
        for error in self.delete_batch(queue, [target]):
            if error is not None:
                raise error

    def delete_batch(self, queue: str, targets: Sequence[Target]) -> list[BrokerError | None]:
        """Delete what can be deleted, in one record, and return for each target None or why it was not."""
        self.limits.check_batch(len(targets))
        with self._deciding as now_ms:
            found = self._find_queue(queue)
            runs = self._resolve_receipts(found, targets)
            results: list[BrokerError | None] = [None] * len(targets)
            if runs is None:
                runs, results = self._resolve_each(found, targets)
            if runs:
                produced_ms = found.messages.produced_ms(runs)
                self._commit((record.DELETE, now_ms, found.number, runs), leave=DELETE_LEAVES)
                self.measures.of(queue).deleted(now_ms, produced_ms)
                self._lines.nudge(found)  # there is room for more in flight
        self._settle()
        return results

    def _resolve_receipts(self, queue: Queue, targets: Sequence[Target]) -> Runs | None:
        """Return the messages of receipts that all count and ascend, as those of one claim do, or None if it is otherwise.

        What `_resolve_each` does, in a fifth of the time.
        """
        receipts = [receipt for message_id, receipt in targets if receipt is not None and message_id is None]
        if len(receipts) < len(targets):
            return None
        claims = self._ids.decode_receipts(queue.number, receipts)
        if claims is None:
            return None
        sequences, tokens = claims
        if any(map(ge, sequences, sequences[1:])):
            return None
        runs = record.to_runs(sequences)
        return runs if queue.messages.are_claimed(runs, tokens) else None

    def _resolve_each(self, queue: Queue, targets: Sequence[Target]) -> tuple[Runs, list[BrokerError | None]]:
        """Return the messages that may be deleted, and for each target None or why it may not."""
        results: list[BrokerError | None] = []
        sequences: set[int] = set()
        for target in targets:
            try:
                sequence = self._resolve(queue, target).sequence
                if sequence in sequences:
                    raise MessageNotFoundError
                sequences.add(sequence)
                results.append(None)
            except BrokerError as error:
                results.append(error)
        return record.to_runs(sorted(sequences)), results

    def update(self, queue: str, target: Target, change: Change) -> None:
        """Change one message; see `Change`."""
        for error in self.update_batch(queue, [(target, change)]):
            if error is not None:
                raise error

    def update_batch(self, queue: str, updates: Sequence[tuple[Target, Change]]) -> list[BrokerError | None]:
        """Change what can be changed, in one record, and return for each update None or why it was not done."""
        self.limits.check_batch(len(updates))
        bodies = [change.body for _, change in updates if change.body is not None]
        new_entries = iter(self.limits.encode(bodies) if bodies else ())
        with self._deciding as now_ms:
            found = self._find_queue(queue)
            found.messages.advance(now_ms)
            results: list[BrokerError | None] = []
            changes: list[tuple[int, ...]] = []
            restated: dict[int, tuple[MessageView, bytes]] = {}
            seen: set[int] = set()
            for target, change in updates:
                entry = next(new_entries) if change.body is not None else b""
                try:
                    view = self._resolve(found, target)
                    if view.sequence in seen:
                        raise InvalidValueError("entries", "A batch may update a message only once.")
                    after = self._decide_change(view, change, now_ms)
                    if entry:
                        restated[view.sequence] = after, entry
                    else:
                        changes.append((after.sequence, after.status, after.due_ms, after.timeout_ms))
                    seen.add(view.sequence)
                    results.append(None)
                except BrokerError as error:
                    results.append(error)
            if restated:
                more = sum(len(entry) - view.length for view, entry in restated.values())
                if more > 0:
                    self.limits.check_room(self._state, found, 0, more)
            if changes or restated:
                views, entries = (
                    zip(*(restated[each] for each in sorted(restated)), strict=True) if restated else ((), ())
                )
                fields = (
                    *(record.UPDATE, now_ms, found.number, changes),
                    record.to_runs(view.sequence for view in views),
                    [view.produced_ms for view in views],
                    [len(entry) for entry in entries],
                    [view.claim for view in views if not view.merely_waits],
                    b"".join(entries),
                )
                self._commit(fields, leave=PRODUCE_LEAVES if restated else CLAIM_LEAVES)
                self.measures.of(queue).count(record.UPDATE, len(seen))
                self._lines.nudge(found)
        self._settle()
        return results

    def _decide_change(self, view: MessageView, change: Change, now_ms: int) -> MessageView:
        """Return the message as it is after the change, but for its body."""
        if change.delay_ms is not None:
            if change.visibility_timeout_ms is not None:
                raise InvalidValueError("delay", "Give either delay or visibility_timeout, not both.")
            self.limits.check_range("delay", change.delay_ms)
            if change.delay_ms == 0:
                return view._replace(status=WAITING, due_ms=0, token=NO_TOKEN)
            return view._replace(status=DELAYED, due_ms=now_ms + change.delay_ms, token=NO_TOKEN)
        if change.visibility_timeout_ms is None and change.body is not None:
            return view
        if view.status != CLAIMED:
            raise NotClaimedError
        timeout_ms = view.timeout_ms if change.visibility_timeout_ms is None else change.visibility_timeout_ms
        self.limits.check_range("visibility_timeout", timeout_ms)
        if timeout_ms == 0:
            return view._replace(status=WAITING, due_ms=0, token=NO_TOKEN)
        return view._replace(status=CLAIMED, due_ms=now_ms + timeout_ms, timeout_ms=timeout_ms)

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

    # Looking

    def get(self, queue: str, message_id: str) -> Message:
        """Return one message, without touching it."""
        with self._deciding as now_ms:
            found = self._find_queue(queue)
            found.messages.advance(now_ms)
            view = self._resolve(found, Target(id=message_id))
        self._settle()
        for message in self._read_messages(found, [view]):
            return message
        raise MessageNotFoundError  # deleted meanwhile, and its place in the log is gone already

    def messages(
        self, queue: str, *, status: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Generator[Message]:
        """Go through a queue's messages, oldest first, in bounded memory, without touching them.

        ``after`` is the id of a message (which may be gone by now) behind which to begin. Messages that come, go or
        change meanwhile may or may not be seen; each is seen at most once. As many as `Limits.listings` may be gone through at
        once, which is found out with the first message; whoever does not go on to the end has to close the iterator.
        """
        sequence = -1
        wanted = None if status is None else STATUSES[status]
        with self._deciding:
            found = self._find_queue(queue)
            if after is not None:
                place = self._ids.decode_id(after)
                if place is None or place[0] != found.number:
                    raise InvalidValueError("after", "after must be the id of a message of this queue.")
                sequence = place[1]
        return self._walk(found, sequence, wanted, sys.maxsize if limit is None else limit)

    def _walk(self, queue: Queue, sequence: int, status: int | None, limit: int) -> Generator[Message]:
        this = object()
        with self._deciding:
            if len(self._listings) >= self.limits.listings:
                raise TooManyListingsError(self.limits.listings)
            self._listings.add(this)
        try:
            yield from self._walk_on(queue, sequence, status, limit)
        finally:
            self._listings.discard(this)  # without the lock, since a listing that nobody holds any more ends anywhere

    def _walk_on(self, queue: Queue, sequence: int, status: int | None, limit: int) -> Iterator[Message]:
        while limit > 0:
            with self._deciding as now_ms:
                queue.messages.advance(now_ms)
                views = queue.messages.after(sequence, min(limit, _LIST_CHUNK), status)
                within = sum(1 for total in accumulate(view.length for view in views) if total <= _LIST_BYTES)
                views = views[: within or 1]
            self._settle()
            if not views:
                return
            make_way()
            yield from self._read_messages(queue, views)
            sequence = views[-1].sequence
            limit -= len(views)

    def count(self, queue: str, status: str) -> int:
        """Return how many messages have a status at this moment."""
        with self._deciding as now_ms:
            found = self._find_queue(queue)
            found.messages.advance(now_ms)
            count = found.messages.counts[STATUSES[status]]
        self._settle()
        return count

    def queue(self, name: str) -> QueueInfo:
        with self._deciding as now_ms:
            info = self._info(self._find_queue(name), now_ms)
        self._settle()
        return info

    def queues(self) -> list[QueueInfo]:
        """Return all queues, by name."""
        with self._deciding as now_ms:
            infos = [self._info(found, now_ms) for _, found in sorted(self._state.queues.items())]
        self._settle()
        return infos

    def glance(self) -> Iterator[QueueInfo]:
        """Go through all queues for whoever watches the broker: also of one that is damaged, and not waiting for the log.

        The lock is held for a few at a time, so they are not all of one moment.
        """
        with self._lock:
            queues = list(self._state.queues.values())
        for at in range(0, len(queues), _GLANCE_CHUNK):
            with self._lock:
                there = [each for each in queues[at : at + _GLANCE_CHUNK] if self._state.queues.get(each.name) is each]
                infos = [self._info(each, self._clock.now_ms()) for each in there]
                for each in there:
                    self.measures.of(each.name).expired += each.messages.expired
                    each.messages.expired = 0
            yield from infos
            make_way()

    def _info(self, queue: Queue, now_ms: int) -> QueueInfo:
        messages = queue.messages
        messages.advance(now_ms)
        newest = messages.next_sequence - 1
        counts = {name: messages.counts[status] for name, status in STATUSES.items()}
        return QueueInfo(
            queue.name,
            queue.settings,
            queue.created_ms,
            counts,
            messages.bytes,
            messages.oldest_ms(),
            self._ids.message_id(queue.number, newest) if newest >= 0 else None,
            now_ms,
        )

    # Queues

    def put_queue(self, name: str, **settings: int) -> tuple[QueueInfo, bool]:
        """Create a queue, or change the given settings of one; returns it and whether it is new."""
        for field, value in settings.items():
            self.limits.check_range(field.removesuffix("_ms"), value)
        with self._deciding as now_ms:
            created = name not in self._state.queues
            queue = self._new_queue(name, now_ms) if created else self._state.queues[name]
            changed = replace(queue.settings, **settings)
            if created or changed != queue.settings:
                self._commit(queue_record(queue, changed, now_ms), leave=PRODUCE_LEAVES)
            info = self._info(self._state.queues[name], now_ms)
        self._settle()
        return info, created

    def drop_queue(self, name: str) -> None:
        """Delete a queue and all its messages. Those who wait for it are refused."""
        with self._deciding as now_ms:
            found = self._find_queue(name)
            if name == DEFAULT_QUEUE:
                raise QueueInUseError
            self._commit((record.DROP, now_ms, found.number))
            self.measures.forget(name)
            self._lines.dissolve(found)
        self._settle()

    def purge(self, name: str) -> int:
        """Delete all messages of a queue, claimed ones too; returns how many."""
        with self._deciding as now_ms:
            messages = self._find_queue(name).messages
            count = len(messages)
            if count:
                number = self._state.queues[name].number
                self._commit((record.PURGE, now_ms, number, messages.next_sequence))
                self.measures.of(name).count(record.PURGE, count)
        self._settle()
        return count

    def _new_queue(self, name: str, now_ms: int) -> Queue:
        """Return a queue that there is not yet; a record of it makes it."""
        if not _QUEUE_NAME.fullmatch(name):
            raise InvalidQueueNameError(
                "queue", "A queue's name is 1 to 80 of A-Z a-z 0-9 _ and -, with .fifo allowed at the end."
            )
        if name != DEFAULT_QUEUE:
            self.limits.check_queues(self._state)
        return Queue(self._state.next_queue, name, now_ms)

    # Running

    @property
    def unready(self) -> str | None:
        """Why the broker does no more work, or None while it does."""
        if self._stopping:
            return "shutting down"
        damage = self._deciding.damage
        return self._log.failure if damage is None else str(damage)

    @property
    def is_damaged(self) -> bool:
        return self._deciding.damage is not None

    @property
    def waiting_consumers(self) -> int:
        """How many consumers wait for a message."""
        return len(self._lines)

    @property
    def checkpoint_lag_bytes(self) -> int:
        """Bytes of records behind the newest checkpoint."""
        return self.log_bytes - self.measures.checkpointed_bytes

    def damaged(self, file: str, offset: int, reason: str) -> CorruptLogError:
        """Do no more work, because the log does not verify there; returns the error to raise."""
        advice = "Nothing more is done. Stop the broker, and run 'wonderq verify' on its folder"
        damage = self._deciding.damage = CorruptLogError(file, offset, f"{reason}. {advice}")
        logger.critical("the log is damaged: %s", damage)
        return damage

    def close(self) -> None:
        """Stop giving out messages, make everything durable, and let go of the log."""
        self.stop_claiming()
        self._durability.close()
        self._aside.close()
        self._log.close()

    # Shared pieces

    def _commit(self, *records: Sequence[Any], leave: int | None = None) -> Position:
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

    def _settle(self) -> None:
        """Wait until everything decided so far is durable."""
        self._durability.wait(self._log.end() - 1)

    def _find_queue(self, name: str) -> Queue:
        found = self._state.queues.get(name)
        if found is None:
            raise QueueNotFoundError(name)
        return found

    def _read_messages(self, queue: Queue, views: Sequence[MessageView], token: int = NO_TOKEN) -> list[Message]:
        """Read the bodies of messages that are durable."""
        try:
            views, entries = self._entries(queue, views)
            bodies = record.decode_entries(entries)
        except ValueError as error:
            raise self.damaged(*self._log.locate(views[0].position), str(error)) from error
        except CorruptLogError as error:
            raise self.damaged(error.file, error.offset, error.reason) from error
        if not views:
            return []
        sequences, statuses, _, _, produced_ms, receives, _, dues_ms, _ = zip(*views, strict=True)
        receipts: Iterable[str | None] = repeat(None)
        if token:
            ids, receipts = self._ids.ids_and_receipts(queue.number, sequences, token)
        else:
            ids = self._ids.message_ids(queue.number, sequences)
        names = [STATUS_NAMES[status] for status in statuses]
        ends_ms = [None if status == WAITING else due_ms for status, due_ms in zip(statuses, dues_ms, strict=True)]
        fields = zip(ids, bodies, names, receipts, receives, produced_ms, ends_ms, repeat(queue.name), strict=False)
        return list(map(new_tuple, repeat(Message), fields))

    def _entries(self, queue: Queue, views: Sequence[MessageView]) -> tuple[Sequence[MessageView], list[bytes]]:
        """Read entries; a message that compaction has moved meanwhile is looked up again, one that is gone is left out."""
        while True:
            try:
                return views, self._read([(view.position, view.length) for view in views])
            except TrimmedError:
                with self._lock:
                    now = [queue.messages.find(view.sequence) for view in views]
                self._settle()
                before = views
                views = [
                    view._replace(position=found.position, length=found.length)
                    for view, found in zip(before, now, strict=True)
                    if found is not None
                ]
                if views == before:
                    place = before[0].position
                    file, offset = self._log.locate(place)
                    raise CorruptLogError(file, offset, "messages were dropped that had not been copied") from None

    def _read(self, spans: Sequence[tuple[Position, int]]) -> list[bytes]:
        try:
            return self._log.read(spans, block=Hub.current() is None)
        except BlockingIOError:
            return self._aside.do(lambda: self._log.read(spans))

    @contextmanager
    def exclusively(self) -> Iterator[tuple[State, Commit, int]]:
        """For upkeep: hold the lock, with the state, a way to commit records, and the time."""
        with self._lock:
            yield self._state, self._commit, self._clock.now_ms()
