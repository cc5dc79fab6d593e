"""Upkeep: work on all queues and topics that no request waits for, in portions."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from wonderq.broker.core import PORTION, Core
from wonderq.state.state import Queue
from wonderq.state.topics import Topic


class Upkeep:
    """Ends claims and delays, enforces retention, forgets expired keys, and frees what was deleted."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def run(self, rest: Callable[[], bool] = lambda: False) -> float:
        """Do all work that is due. Return the time in ms from which there is more, if no record is appended before.

        ``rest`` is called between two portions, without the lock. It lets others have the lock, and returns whether to
        stop.
        """
        core = self._core
        with core.transaction:
            kept: list[Queue | Topic] = [*core.state.queues.values(), *core.state.topics.values()]
        at, next_ms = 0, inf
        while at < len(kept) or core.state.dropped:
            with core.transaction as now_ms:
                left = core.state.free_dropped(PORTION)
                while left > 0 and at < len(kept):
                    each, due_ms, left = kept[at], inf, left - 1
                    if (core.state.find(each.number) or core.state.find_topic(each.number)) is each:
                        due_ms = _due_ms(each)
                        if due_ms <= now_ms:
                            left = self._keep(each, now_ms, left)
                            due_ms = _due_ms(each)
                    if left > 0:
                        at, next_ms = at + 1, min(next_ms, due_ms)
            if (at < len(kept) or core.state.dropped) and rest():
                next_ms = 0
                break
        core.wait_until_durable()
        return next_ms

    def _keep(self, queue: Queue | Topic, now_ms: int, left: int) -> int:
        """Work on one queue or topic, under the lock; return the units of work that are left.

        If none are, repeat the call.
        """
        if isinstance(queue, Topic):
            return self._core.state.forget(now_ms, left, queue)
        core, messages = self._core, queue.messages
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


def _due_ms(queue: Queue | Topic) -> float:
    """Return the time from which a queue or topic has work, if no record is appended before. It may be too early."""
    forget_ms = queue.dedup.next_ms()
    if isinstance(queue, Topic):
        return inf if forget_ms is None else forget_ms
    due_ms = queue.messages.next_due_ms()
    if forget_ms is not None and (due_ms is None or forget_ms < due_ms):
        due_ms = forget_ms
    retention_ms = queue.settings.retention_ms
    if retention_ms:
        oldest_ms = queue.messages.oldest_ms()
        if oldest_ms is not None and (due_ms is None or oldest_ms + retention_ms < due_ms):
            due_ms = oldest_ms + retention_ms
    return inf if due_ms is None else due_ms
