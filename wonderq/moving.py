"""Moving messages from one queue to another: dead letters there, and their way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from storage import record
from storage.record import BURIED
from wonderq.core import CLAIM_LEAVES, Core
from wonderq.lanes import UNGROUPED
from wonderq.page import MessageView
from wonderq.state import Queue, queue_record

#: How many messages are moved in one record, and up to which part of a segment.
_MOVE_MESSAGES = 100
_MOVE_PART = 4

Carried = dict[str, Any]


class Moving(Core):
    """What moves messages."""

    def _bring_away(self, queue: Queue, views: Sequence[MessageView]) -> None:
        """Move messages that were claimed too often where the queue's settings want them."""
        target = queue.settings.dead_letter_queue
        if not target:
            self._bury(queue, views)
            return
        reason = f"received {queue.settings.max_receives} times without being deleted"

        def with_origin(view: MessageView, carried: Carried, now_ms: int) -> Carried:
            message_id = self._ids.message_id(queue.number, view.sequence)
            origin = queue.name, message_id, reason, now_ms, view.produced_ms, view.receives
            return {**carried, "origin": origin}

        self._move(queue, views, lambda _: target, with_origin)

    def _bury(self, queue: Queue, views: Sequence[MessageView]) -> None:
        with self._deciding as now_ms:
            still = [view for view in views if queue.messages.find(view.sequence) == view]
            if still:
                changes = [(view.sequence, BURIED, 0, view.timeout_ms) for view in still]
                self._commit((record.UPDATE, now_ms, queue.number, changes, (), (), (), (), b""), leave=CLAIM_LEAVES)
                self.measures.of(queue.name).buried += len(still)

    def _move(
        self,
        queue: Queue,
        views: Sequence[MessageView],
        target_of: Callable[[Carried], str],
        carry: Callable[[MessageView, Carried, int], Carried],
    ) -> int:
        """Move those messages that are still as they were looked at; returns how many.

        ``target_of`` says from what a message carries which queue it goes to, and ``carry`` what it carries from then on,
        given the time. Each is gone here and new there at one moment, whatever limits and settings the other queue has.
        """
        moved = 0
        while views:
            portion, size = 1, views[0].length
            limit_bytes = self._log.max_record_bytes // _MOVE_PART
            while portion < min(len(views), _MOVE_MESSAGES) and size + views[portion].length <= limit_bytes:
                size += views[portion].length
                portion += 1
            moved += self._move_portion(queue, views[:portion], target_of, carry)
            views = views[portion:]
        return moved

    def _move_portion(
        self,
        queue: Queue,
        views: Sequence[MessageView],
        target_of: Callable[[Carried], str],
        carry: Callable[[MessageView, Carried, int], Carried],
    ) -> int:
        self._settle()  # what is not durable cannot be read
        views, entries = self._entries(queue, views)
        bodies, carried = self._decode(views, entries)
        with self._deciding as now_ms:
            still = [index for index, view in enumerate(views) if queue.messages.find(view.sequence) == view]
            by_target: dict[str, list[int]] = {}
            for index in still:
                by_target.setdefault(target_of(carried.get(index, {})), []).append(index)
            records: list[Sequence[Any]] = []
            new = 0
            for name, indexes in by_target.items():
                target = self._state.queues.get(name)
                if target is None:
                    target = self._new_queue(name, now_ms, new)
                    new += 1
                    records.append(queue_record(target, target.settings, now_ms))
                contents = [(bodies[at], carry(views[at], carried.get(at, {}), now_ms)) for at in indexes]
                new_entries = [record.encode_entry(*each) for each in contents]
                lanes = [_lane(target, more) for _, more in contents]
                first = target.messages.next_sequence
                head: tuple[Any, ...] = now_ms, target.number, first, [], list(map(len, new_entries)), lanes
                records.append((record.SEND, *head, b"".join(new_entries)))
            if still:
                runs = record.to_runs(sorted(views[at].sequence for at in still))
                self._commit(*records, (record.DELETE, now_ms, queue.number, runs), leave=CLAIM_LEAVES)
                self.measures.of(queue.name).moved += len(still)
                for name in by_target:
                    self._lines.nudge(self._state.queues[name])
        return len(still)


def _lane(queue: Queue, carried: Carried) -> tuple[int, str]:
    """Return a message's lane in a queue that it is moved to."""
    if queue.is_fifo:
        return 0, carried.get("group", UNGROUPED)
    return carried.get("priority", 0), carried.get("group", "")
