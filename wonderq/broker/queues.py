"""Queues: create, configure, purge, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wonderq.broker.core import PRODUCE_LEAVES, Core
from wonderq.broker.queries import Queries
from wonderq.model.errors import DefaultQueueError, InvalidValueError
from wonderq.model.messages import QueueInfo
from wonderq.model.queue_names import DEFAULT_QUEUE, check_queue_name
from wonderq.model.settings import RANGES, QueueSettings, check_setting, check_tags, check_texts
from wonderq.state import record
from wonderq.state.dedup import PURGE
from wonderq.state.record import Record
from wonderq.state.state import Queue, queue_record


class Queues:
    """Creates, configures, purges and deletes queues."""

    def __init__(self, core: Core, queries: Queries) -> None:
        self._core = core
        self._queries = queries

    def put_queue(self, name: str, **settings: Any) -> tuple[QueueInfo, bool]:
        """Create a queue, or change the given `QueueSettings` of one; return it and whether it is new.

        Raises:
            InvalidQueueNameError, InvalidValueError: the name or a setting is not allowed.
            TooManyQueuesError: the broker has as many queues as it may have.
        """
        self._check_settings(name, settings)
        with self._core.transaction as now_ms:
            created = name not in self._core.state.queues
            queue = self._core.new_queue(name, now_ms) if created else self._core.state.queues[name]
            self._configure(queue, settings, now_ms)
            info = self._queries.info(self._core.state.queues[name], now_ms)
        self._core.wait_until_durable()
        return info, created

    def create_queue(self, name: str, **settings: Any) -> tuple[QueueInfo, bool]:
        """Create a queue unless it exists; return it and whether it is new. Raises what `put_queue` does."""
        self._check_settings(name, settings)
        with self._core.transaction as now_ms:
            created = name not in self._core.state.queues
            if created:
                self._configure(self._core.new_queue(name, now_ms), settings, now_ms)
            info = self._queries.info(self._core.state.queues[name], now_ms)
        self._core.wait_until_durable()
        return info, created

    def change_queue(self, name: str, change: Callable[[QueueSettings], Mapping[str, Any]]) -> None:
        """Change the settings of a queue to those that ``change`` returns for its present settings, in one step.

        An exception of ``change`` leaves the settings as they are.

        Raises:
            QueueNotFoundError: the queue does not exist.
            InvalidValueError: a setting is not allowed.
        """
        try:
            with self._core.transaction as now_ms:
                queue = self._core.find_queue(name)
                settings = change(queue.settings)
                self._check_settings(name, settings)
                self._configure(queue, settings, now_ms)
        finally:
            self._core.wait_until_durable()

    def _configure(self, queue: Queue, settings: Mapping[str, Any], now_ms: int) -> None:
        """Append the record of a queue that is new, or whose settings change."""
        changed = replace(queue.settings, **settings)
        if "tags" in settings or "sqs" in settings:  # a log of an earlier program may have larger ones
            check_texts(changed.tags, changed.sqs)
        if queue.name not in self._core.state.queues or changed != queue.settings:
            self._core.append_and_apply(queue_record(queue, changed, now_ms), leave=PRODUCE_LEAVES)
            # The queue may be resumed now, or admit more messages in flight.
            self._core.consumers.notify(self._core.state.queues[queue.name])

    def _check_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        for field, value in settings.items():
            if field in RANGES:
                check_setting(field, value)
            elif field in ("visibility_timeout_ms", "delay_ms"):
                self._core.limits.check_range(field.removesuffix("_ms"), value)
        check_tags(settings.get("tags", {}))
        target = settings.get("dead_letter_queue")
        if target:
            check_queue_name(target, "dead_letter_queue")
            if target == name:
                raise InvalidValueError("dead_letter_queue", "A queue cannot be its own dead-letter queue.")

    def drop_queue(self, name: str) -> None:
        """Delete a queue and all its messages. Consumers that wait for it are refused.

        Raises:
            QueueNotFoundError: the queue does not exist.
            DefaultQueueError: it is the default queue.
        """
        with self._core.transaction as now_ms:
            found = self._core.find_queue(name)
            if name == DEFAULT_QUEUE:
                raise DefaultQueueError
            self._core.append_and_apply(record.Drop(record.DROP, now_ms, found.number))
            self._core.counters.forget(name)
            self._core.consumers.dissolve(found)
        self._core.wait_until_durable()

    def purge(self, name: str, *, void_keys: bool = False) -> int:
        """Delete all messages of a queue, claimed ones too; return how many.

        With ``void_keys``, the idempotency keys that the queue remembers are void, as after a purge in SQS. Otherwise
        a producer that repeats a message after the purge still adds nothing.

        Raises:
            QueueNotFoundError: the queue does not exist.
        """
        with self._core.transaction as now_ms:
            queue = self._core.find_queue(name)
            count, end = len(queue.messages), queue.messages.next_sequence
            records: list[Record] = []
            if count:
                records.append(record.Purge(record.PURGE, now_ms, queue.number, end))
            if void_keys and len(queue.dedup):
                row = PURGE, end, now_ms + RANGES["deduplication_window_ms"][1]  # outlives every key
                records.append(record.Dedup(record.DEDUP, now_ms, queue.number, [row]))
            if records:
                self._core.append_and_apply(*records)
            if count:
                self._core.counters.of(name).count(record.PURGE, count)
        self._core.wait_until_durable()
        return count
