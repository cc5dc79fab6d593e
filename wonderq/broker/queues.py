"""Queues: create, configure, purge, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wonderq.broker.core import PORTION, PRODUCE_LEAVES, Core
from wonderq.broker.queries import Queries
from wonderq.broker.redrive import Redrives
from wonderq.broker.topics import drop_queue, end_some_subscriptions
from wonderq.model.errors import DefaultQueueError, InvalidValueError, NotPermittedError
from wonderq.model.messages import QueueInfo
from wonderq.model.permits import Permits, everything
from wonderq.model.queue_names import DEFAULT_QUEUE, check_queue_name
from wonderq.model.settings import RANGES, QueueSettings, check_setting, check_tags, check_texts
from wonderq.runtime.fibers import yield_to_others
from wonderq.state import record
from wonderq.state.dedup import PURGE
from wonderq.state.state import Queue, queue_record


class Queues:
    """Creates, configures, purges and deletes queues."""

    def __init__(self, core: Core, queries: Queries, redrives: Redrives) -> None:
        self._core = core
        self._queries = queries
        self._redrives = redrives

    def put_queue(self, name: str, permits: Permits = everything, /, **settings: Any) -> tuple[QueueInfo, bool]:
        """Create a queue, or change the given `QueueSettings` of one; return it and whether it is new.

        A change of when or where dead letters go needs the right to the dead-letter queue, because the broker will
        write to it.

        Raises:
            NotPermittedError: the client may not use the dead-letter queue.
            DifferentShardsError: the dead-letter queue is in another shard, and nothing crosses.
            InvalidQueueNameError, InvalidValueError: the name or a setting is not allowed.
            TooManyQueuesError: the broker has as many queues as it may have.
        """
        self._check_settings(name, settings)
        with self._core.transaction as now_ms:
            created = name not in self._core.state.queues
            queue = self._core.new_queue(name, now_ms) if created else self._core.state.queues[name]
            self._configure(queue, settings, now_ms, permits)
            info = self._queries.info(self._core.state.queues[name], now_ms)
        self._core.confirm()
        return info, created

    def create_queue(self, name: str, permits: Permits = everything, /, **settings: Any) -> tuple[QueueInfo, bool]:
        """Create a queue unless it exists; return it and whether it is new. Raises what `put_queue` does."""
        self._check_settings(name, settings)
        with self._core.transaction as now_ms:
            created = name not in self._core.state.queues
            if created:
                self._configure(self._core.new_queue(name, now_ms), settings, now_ms, permits)
            info = self._queries.info(self._core.state.queues[name], now_ms)
        self._core.confirm()
        return info, created

    def change_queue(
        self, name: str, change: Callable[[QueueSettings], Mapping[str, Any]], *, permits: Permits = everything
    ) -> None:
        """Change the settings of a queue to those that ``change`` returns for its present settings, in one step.

        An exception of ``change`` leaves the settings as they are.

        Raises:
            QueueNotFoundError: the queue does not exist.
            InvalidValueError: a setting is not allowed.
            NotPermittedError: see `put_queue`.
        """
        try:
            with self._core.transaction as now_ms:
                queue = self._core.find_queue(name)
                settings = change(queue.settings)
                self._check_settings(name, settings)
                self._configure(queue, settings, now_ms, permits)
        finally:
            self._core.confirm()

    def _configure(self, queue: Queue, settings: Mapping[str, Any], now_ms: int, permits: Permits) -> None:
        """Append the record of a queue that is new, or whose settings change."""
        before, changed = queue.settings, replace(queue.settings, **settings)
        if "tags" in settings or "sqs" in settings:  # a log of an earlier program may have larger ones
            check_texts(changed.tags, changed.sqs)
        target = changed.dead_letter_queue
        if target and target != before.dead_letter_queue:
            self._core.check_reach(target)
        if (
            target
            and (target, changed.max_receives) != (before.dead_letter_queue, before.max_receives)
            and not permits(target)
        ):
            raise NotPermittedError(
                f"for the queue {target}" if "dead_letter_queue" in settings else "for the dead-letter queue as well"
            )
        if queue.name not in self._core.state.queues or changed != queue.settings:
            self._core.append_and_apply(queue_record(queue, changed, now_ms), leave=PRODUCE_LEAVES)
            self._core.target_changes += target != before.dead_letter_queue
            # The queue may be resumed now, or admit more messages in flight.
            self._core.consumers.notify(self._core.state.queues[queue.name])

    def _check_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        if name in self._core.outboxes:
            self._core.check_shard(name)
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
        """Delete a queue with all its messages, dedup keys, redrives and subscriptions of topics.

        Consumers that wait for it are refused.

        Schedules stay, because they may exist before their queue does. If the queue has very many subscriptions, most
        of them end before it does, in writes of their own.

        Raises:
            QueueNotFoundError: the queue does not exist.
            DefaultQueueError: it is the default queue.
        """
        if name == DEFAULT_QUEUE:
            with self._core.transaction:
                self._core.find_queue(name)
                raise DefaultQueueError
        while self._end_some_subscriptions(name):
            yield_to_others()
        with self._core.transaction as now_ms:
            drop_queue(self._core, self._redrives, self._core.find_queue(name), now_ms)
        self._core.confirm()

    def _end_some_subscriptions(self, name: str) -> bool:
        with self._core.transaction as now_ms:
            return end_some_subscriptions(self._core, self._core.find_queue(name), now_ms)

    def purge(self, name: str, *, void_keys: bool = False) -> int:
        """Delete all messages of a queue that it has now, claimed ones too; return how many.

        A large queue is purged in portions, oldest messages first, so others may see a part of them meanwhile. Messages
        that are produced meanwhile stay.

        With ``void_keys``, the idempotency keys that the queue remembers are void, as after a purge in SQS. Otherwise
        a producer that repeats a message after the purge still adds nothing.

        Raises:
            QueueNotFoundError: the queue does not exist.
        """
        with self._core.transaction as now_ms:
            queue = self._core.find_queue(name)
            last = queue.messages.next_sequence
            if void_keys:
                self._void_keys(queue, last, now_ms)
        count, more = 0, True
        while more:
            with self._core.transaction as now_ms:
                deleted, more = self._purge_portion(queue, last, now_ms)
                count += deleted
                if count and not more and self._core.state.find(queue.number) is queue:
                    self._core.counters.of(name).count(record.PURGE, count)
            yield_to_others()
        self._core.confirm()
        return count

    def _void_keys(self, queue: Queue, end: int, now_ms: int) -> None:
        """Void the idempotency keys of messages below ``end``, in a record of its own before those of the purge.

        So no producer that repeats a purged message is told that it is there, whatever portion a crash leaves out.
        """
        if len(queue.dedup):
            row = PURGE, end, now_ms + RANGES["deduplication_window_ms"][1]  # outlives every key
            self._core.append_and_apply(record.Dedup(record.DEDUP, now_ms, queue.number, [row]))

    def _purge_portion(self, queue: Queue, last: int, now_ms: int) -> tuple[int, bool]:
        """Delete the oldest messages of a queue, below ``last``; return how many, and whether there may be more."""
        end = queue.messages.oldest_end(PORTION)
        if end is None or self._core.state.find(queue.number) is not queue:  # it may have been deleted meanwhile
            return 0, False
        deleted = self._core.purge_to(queue, min(end, last), now_ms)
        self._core.consumers.notify(queue)  # more messages may be in flight now
        return deleted, end < last
