"""Admission: checks of new work against the limits, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from wonderq.model.errors import (
    BatchTooLargeError,
    BrokerFullError,
    InvalidValueError,
    MessageTooLargeError,
    QueueFullError,
    TooManyKeysError,
    TooManyQueuesError,
)
from wonderq.model.limits import UNLIMITED, Limits
from wonderq.model.messages import size_of
from wonderq.runtime.fibers import took
from wonderq.state import record
from wonderq.state.state import Queue, State

#: Characters of a batch above which it is encoded in turns.
_LONG_CHARACTERS = 1 << 18

#: Bytes that are encoded in a step of `took`.
_BYTES_PER_STEP = 500
#: Expired keys that are forgotten for a produce that finds no room for its keys, and one more per key.
_FORGET_MORE = 100
#: A look for expired keys that found none is not repeated sooner: it is at all queues and topics, under the lock.
_LOOK_MS = 1000


class Admission:
    """Checks what may be added. The log may hold more than the limits allow now; that is left as it is."""

    def __init__(self, limits: Limits, state: State) -> None:
        self._limits = limits
        self.limits_queues = limits.messages_per_queue < UNLIMITED or limits.bytes_per_queue < UNLIMITED
        """Whether the broker limits the messages of each queue, or their bytes."""
        self._state = state
        self._found_none_ms = -_LOOK_MS  # when the last look found no expired key

    # One request: outside the broker's lock

    def encode(self, bodies: Sequence[str], headers: Sequence[Mapping[str, Any]] | None = None) -> list[bytes]:
        """Return the entries of new messages; ``headers`` holds those of each message.

        Raises:
            InvalidValueError: the batch is empty, or a body is not Unicode text.
            BatchTooLargeError: the batch has too many messages or bytes.
            MessageTooLargeError: a message has too many bytes.
        """
        limits = self._limits
        if not bodies:
            raise InvalidValueError("messages", "A batch needs at least one message.")
        if len(bodies) > limits.batch_messages:
            raise BatchTooLargeError(f"A batch may have {limits.batch_messages} messages, and this has {len(bodies)}.")
        try:
            if sum(map(len, bodies)) > _LONG_CHARACTERS:
                entries = self._encode_in_turns(bodies, headers or repeat({}))
            elif headers is None:
                entries = record.encode_bodies(bodies)
            else:
                entries = list(map(record.encode_entry, bodies, headers))
        except UnicodeEncodeError as error:
            raise InvalidValueError("message", "A message must be text: it holds a lone surrogate.") from error
        if max(map(len, entries)) > limits.message_bytes:  # an entry is a few bytes longer than its message
            for body, more in zip(bodies, headers or repeat({}), strict=False):
                size = size_of(body, more.get("attributes"))
                if size > limits.message_bytes:
                    raise MessageTooLargeError(size, limits.message_bytes)
        self.check_batch_bytes(sum(map(len, entries)), len(entries))
        return entries

    def _encode_in_turns(self, bodies: Sequence[str], headers: Iterable[Mapping[str, Any]]) -> list[bytes]:
        """Encode messages whose text is long, and stop when the batch has too many bytes."""
        entries: list[bytes] = []
        size = 0
        for body, more in zip(bodies, headers, strict=False):
            entries.append(record.encode_entry(body, more))
            size += len(entries[-1])
            self.check_batch_bytes(size, len(bodies))
            took(len(entries[-1]) // _BYTES_PER_STEP)
        return entries

    def check_batch_bytes(self, size: int, count: int) -> None:
        """Refuse a batch of ``count`` messages whose entries have ``size`` bytes, if that is too much.

        Raises:
            BatchTooLargeError: it is.
        """
        if size > self._limits.batch_bytes + 16 * count:
            raise BatchTooLargeError(f"A batch may have {self._limits.batch_bytes} bytes, and this has about {size}.")

    def check_batch(self, count: int) -> None:
        """Refuse a batch of deletes or updates that is empty or too large.

        Raises:
            InvalidValueError: it is empty.
            BatchTooLargeError: it has too many entries.
        """
        if not count:
            raise InvalidValueError("entries", "A batch needs at least one entry.")
        self._limits.check_entries(count)

    # All of them together: under the broker's lock

    def check_queues(self, before: int = 0) -> None:
        """Refuse one more queue; ``before`` counts queues that are created together with it.

        Raises:
            TooManyQueuesError: the broker has as many queues as it may have.
        """
        if len(self._state.queues) + before >= self._limits.queues:
            raise TooManyQueuesError(self._limits.queues)

    def check_keys(self, count: int, now_ms: int) -> None:
        """Refuse ``count`` more dedup entries.

        Raises:
            TooManyKeysError: the broker would hold more than it may.
        """
        if count and self._state.dedup_entries + count > self._limits.total_keys:
            self._forget(now_ms, count + _FORGET_MORE)
            if self._state.dedup_entries + count > self._limits.total_keys:
                raise TooManyKeysError(self._limits.total_keys)

    def remembers_attempt(self, now_ms: int) -> bool:
        """Return whether one more attempt to claim or to finish messages gets a dedup entry: half of them must be free.

        A busy consumer makes thousands of attempts a second. So they leave room to producers, and one without an entry
        is carried out all the same: only a lost response would need it.
        """
        most = self._limits.total_keys // 2
        if self._state.dedup_entries >= most:
            self._forget(now_ms, 1 + _FORGET_MORE)
        return self._state.dedup_entries < most

    def _forget(self, now_ms: int, most: int) -> None:
        """Remove expired dedup entries, unless a look at all queues and topics has just found none."""
        if 0 <= now_ms - self._found_none_ms < _LOOK_MS:
            return
        before = self._state.dedup_entries
        self._state.forget(now_ms, most)
        if self._state.dedup_entries == before:
            self._found_none_ms = now_ms

    def check_room(self, queue: Queue, count: int, size: int) -> None:
        """Refuse ``count`` more messages of ``size`` bytes together in a queue.

        Raises:
            QueueFullError: the queue would hold more than it may.
            BrokerFullError: all queues together would.
        """
        self.check_queue_room(queue, count, size)
        self.check_total_room(count, size)

    def check_total_room(self, count: int, size: int) -> None:
        """Refuse ``count`` more messages of ``size`` bytes together in any queues.

        Raises:
            BrokerFullError: all queues together would hold more than they may.
        """
        limits, state = self._limits, self._state
        if count and state.messages + count > limits.total_messages:
            raise BrokerFullError(_full("The broker", limits.total_messages, "--total-messages"))
        if size and state.bytes + size > limits.total_bytes:
            raise BrokerFullError(_full("The broker", limits.total_bytes, "--total-bytes"))

    def check_queue_room(self, queue: Queue, count: int, size: int) -> None:
        """Refuse ``count`` more messages of ``size`` bytes together in a queue, whatever the others hold.

        Raises:
            QueueFullError: the queue would hold more than it may.
        """
        if not (self.limits_queues or queue.limits_size):  # as in most brokers, and each message passes here
            return
        limits, there, settings = self._limits, queue.messages, queue.settings
        if count:
            messages = len(there) + count
            if messages > limits.messages_per_queue:
                raise QueueFullError(_full(_the(queue), limits.messages_per_queue, "--messages-per-queue"))
            if settings.max_messages and messages > settings.max_messages:
                raise QueueFullError(_full(_the(queue), settings.max_messages, "its max_messages"))
        if there.bytes + size > limits.bytes_per_queue:
            raise QueueFullError(_full(_the(queue), limits.bytes_per_queue, "--bytes-per-queue"))
        if settings.max_bytes and there.bytes + size > settings.max_bytes:
            raise QueueFullError(_full(_the(queue), settings.max_bytes, "its max_bytes"))


def _the(queue: Queue) -> str:
    return f"The queue {queue.name}"


def _full(holder: str, limit: int, setting: str) -> str:
    counted = "bytes of messages" if "bytes" in setting else "messages"
    return (
        f"{holder} may hold {limit} {counted}, and this would exceed it. Try again after deletions, or raise {setting}."
    )
