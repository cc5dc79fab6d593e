"""Making, changing, emptying and deleting queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wonderq.broker.core import PRODUCE_LEAVES
from wonderq.broker.queries import Looking
from wonderq.model.errors import DefaultQueueError, InvalidValueError
from wonderq.model.messages import QueueInfo
from wonderq.model.queue_names import DEFAULT_QUEUE, check_queue_name
from wonderq.model.settings import RANGES, QueueSettings, check_setting, check_tags
from wonderq.state import record
from wonderq.state.state import Queue, queue_record


class Administering(Looking):
    """What is done to whole queues."""

    def put_queue(self, name: str, **settings: Any) -> tuple[QueueInfo, bool]:
        """Create a queue, or change the given `QueueSettings` of one; returns it and whether it is new."""
        self._check_settings(name, settings)
        with self._transaction as now_ms:
            created = name not in self._state.queues
            queue = self._new_queue(name, now_ms) if created else self._state.queues[name]
            self._configure(queue, settings, now_ms)
            info = self._info(self._state.queues[name], now_ms)
        self._wait_until_durable()
        return info, created

    def create_queue(self, name: str, **settings: Any) -> tuple[QueueInfo, bool]:
        """Create a queue, or leave the one that is there as it is; returns it and whether it is new."""
        self._check_settings(name, settings)
        with self._transaction as now_ms:
            created = name not in self._state.queues
            if created:
                self._configure(self._new_queue(name, now_ms), settings, now_ms)
            info = self._info(self._state.queues[name], now_ms)
        self._wait_until_durable()
        return info, created

    def change_queue(self, name: str, change: Callable[[QueueSettings], Mapping[str, Any]]) -> None:
        """Change a queue's settings to what follows from those that it has, with nothing in between.

        What ``change`` raises leaves them as they are.
        """
        try:
            with self._transaction as now_ms:
                queue = self._find_queue(name)
                settings = change(queue.settings)
                self._check_settings(name, settings)
                self._configure(queue, settings, now_ms)
        finally:
            self._wait_until_durable()

    def _configure(self, queue: Queue, settings: Mapping[str, Any], now_ms: int) -> None:
        """Write down a queue that is new, or that changes by these settings."""
        changed = replace(queue.settings, **settings)
        if queue.name not in self._state.queues or changed != queue.settings:
            self._append_and_apply(queue_record(queue, changed, now_ms), leave=PRODUCE_LEAVES)
            self._consumers.notify(self._state.queues[queue.name])  # it may have been paused, or have room for more now

    def _check_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        for field, value in settings.items():
            if field in RANGES:
                check_setting(field, value)
            elif field in ("visibility_timeout_ms", "delay_ms"):
                self.limits.check_range(field.removesuffix("_ms"), value)
        check_tags(settings.get("tags", {}))
        target = settings.get("dead_letter_queue")
        if target:
            check_queue_name(target, "dead_letter_queue")
            if target == name:
                raise InvalidValueError("dead_letter_queue", "A queue cannot be its own dead-letter queue.")

    def drop_queue(self, name: str) -> None:
        """Delete a queue and all its messages. Those who wait for it are refused."""
        with self._transaction as now_ms:
            found = self._find_queue(name)
            if name == DEFAULT_QUEUE:
                raise DefaultQueueError
            self._append_and_apply(record.Drop(record.DROP, now_ms, found.number))
            self.counters.forget(name)
            self._consumers.dissolve(found)
        self._wait_until_durable()

    def purge(self, name: str) -> int:
        """Delete all messages of a queue, claimed ones too; returns how many."""
        with self._transaction as now_ms:
            messages = self._find_queue(name).messages
            count = len(messages)
            if count:
                number = self._state.queues[name].number
                self._append_and_apply(record.Purge(record.PURGE, now_ms, number, messages.next_sequence))
                self.counters.of(name).count(record.PURGE, count)
        self._wait_until_durable()
        return count
