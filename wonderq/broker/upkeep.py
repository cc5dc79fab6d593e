"""Upkeep: work on all queues that no request waits for, in portions."""

from __future__ import annotations

from collections.abc import Callable

from wonderq.broker.core import PORTION, Core
from wonderq.state.state import Queue


class Upkeep:
    """Ends claims and delays, enforces retention, forgets expired keys, and frees what deleted queues had."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def run(self, rest: Callable[[], bool] = lambda: False) -> None:
        """Do all work that is due now.

        ``rest`` is called between two portions, without the lock. It lets others have the lock, and returns whether to
        stop.
        """
        core = self._core
        with core.transaction:
            queues = list(core.state.queues.values())
        at = 0
        while at < len(queues) or core.state.dropped:
            with core.transaction as now_ms:
                left = core.state.free_dropped(PORTION)
                while left > 0 and at < len(queues):
                    left = self._keep(queues[at], now_ms, left - 1)
                    at += left > 0
            if (at < len(queues) or core.state.dropped) and rest():
                break
        core.wait_until_durable()

    def _keep(self, queue: Queue, now_ms: int, left: int) -> int:
        """Work on one queue, under the lock; return the units of work that are left. If none are, repeat the call."""
        core, messages = self._core, queue.messages
        if core.state.find(queue.number) is not queue:
            return left
        changed = False
        due_ms = messages.next_due_ms()
        if due_ms is not None and due_ms <= now_ms:
            left = core.advance(queue, now_ms, left)
            changed = True
        forget_ms = queue.dedup.next_ms()
        if left > 0 and forget_ms is not None and forget_ms <= now_ms:
            left = core.state.forget(now_ms, left, queue)
        if left > 0 and queue.settings.retention_ms and core.delete_expired(queue, now_ms):
            left, changed = 0, True
        if changed:
            core.consumers.notify(queue)  # more messages may be available or in flight now
        return left
