"""A model of the broker with dicts and lists, which `test_model` compares the broker with.

Ids and receipts are the broker's to choose, and so is whose turn it is among groups that are alike. So the model takes these
from the broker's answers, and checks that they are among those that it may give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from tests.broker.naive_queue import (
    ASIDE,
    HIDDEN,
    READY,
    TAKEN,
    Attempt,
    Finished,
    Item,
    Key,
    Line,
    RefusalError,
    share_of,
)
from wonderq.broker.finishing import Finish
from wonderq.model.envelope import DeadLetterSource
from wonderq.model.failures import FAILURE_HEADER, MAX_ERROR_BYTES, Failure
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, SendResult, Target, size_of
from wonderq.model.settings import DEDUPLICATION_WINDOW_MS
from wonderq.state.lanes import UNGROUPED
from wonderq.state.record import encode_entry


class NaiveBroker:
    def __init__(self, limits: Limits, names: Sequence[str]) -> None:
        """``names`` are those that queues may have."""
        self.limits = limits
        self.names = names
        self.now_ms = 0
        self.queues: dict[str, Line] = {}
        self.issued: dict[str, str] = {}
        """Every receipt ever issued, and its message."""
        self.ids: list[str] = []
        """Every id ever issued."""
        self.line_of: dict[str, Line] = {}
        """The queue of every id ever issued."""
        self.moving: list[tuple[Line, Item, str]] = []
        """Messages that the last call declared dead, with the reason: `arrive` is to be told what became of them."""

    def line(self, queue: str) -> Line:
        if queue not in self.queues:
            raise RefusalError("QueueNotFoundError")
        return self.queues[queue]

    def _line_to_be(self, queue: str) -> Line:
        if queue not in self.names:
            raise RefusalError("InvalidQueueNameError")
        return self.queues.get(queue) or Line(queue, self.now_ms)

    # Sending

    def check_contents(self, contents: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        if not contents:
            raise RefusalError("InvalidValueError")
        if len(contents) > self.limits.batch_messages:
            raise RefusalError("BatchTooLargeError")
        if any("\ud800" in body for body, _ in contents):
            raise RefusalError("InvalidValueError")
        if any(size_of(body, more.get("attributes")) > self.limits.message_bytes for body, more in contents):
            raise RefusalError("MessageTooLargeError")
        self.check_bytes([len(encode_entry(*each)) for each in contents])

    def check_bytes(self, sizes: Sequence[int]) -> None:
        if sum(sizes) > self.limits.batch_bytes + 16 * len(sizes):
            raise RefusalError("BatchTooLargeError")

    def check_range(self, value_ms: int | None, most_ms: int) -> None:
        if value_ms is not None and not 0 <= value_ms <= most_ms:
            raise RefusalError("InvalidValueError")

    def send(
        self, queue: str, targets: Sequence[Target] | None, outputs: Mapping[str, Sequence[NewMessage]]
    ) -> dict[str, list[SendResult]]:
        """Do a hand-over, or a send if there are no targets; the new messages are still without ids, in `new_items`."""
        if targets is not None:
            self.check_batch(targets)
        if sum(map(len, outputs.values())) > self.limits.batch_messages:
            raise RefusalError("BatchTooLargeError")
        for name, messages in outputs.items():
            if name.endswith(".fifo") and any(message.priority for message in messages):
                raise RefusalError("InvalidValueError")
            self.check_contents([(message.body, message.headers()) for message in messages])
        every = [message for messages in outputs.values() for message in messages]
        self.check_bytes([len(encode_entry(message.body, message.headers())) for message in every])
        gone: list[Item] = []
        if targets is not None:
            line = self.line(queue)
            gone = [self.find(line, target) for target in targets]
            if len({item.id for item in gone}) < len(gone):
                raise RefusalError("InvalidValueError")
        lines: dict[str, Line] = {}
        decided: dict[str, list[tuple[int, bool]]] = {}
        for name, messages in outputs.items():
            lines[name] = self._line_to_be(name)
            decided[name] = self._decide(lines[name], messages)
        for item in gone:
            del self.queues[queue].items[item.id]
        self.new_items: list[tuple[Line, Item, Key | None]] = []
        for name, places in decided.items():
            self.queues[name] = line = lines[name]
            for message, (sequence, is_duplicate) in zip(outputs[name], places, strict=True):
                if not is_duplicate:
                    self.new_items.append((line, self._new_item(line, message, sequence), line.key_of(message)))
        return {
            name: [SendResult(self._id_of(lines[name], sequence), sequence, again) for sequence, again in places]
            for name, places in decided.items()
        }

    def _id_of(self, line: Line, sequence: int) -> str:
        return next((known[0] for known in line.keys.values() if known[1] == sequence), "")

    def _decide(self, line: Line, messages: Sequence[NewMessage]) -> list[tuple[int, bool]]:
        """Return for each message which sequence it has, and whether it is there already."""
        settings = line.settings
        if settings.draining:
            raise RefusalError("QueueDrainingError")
        most_bytes = settings.max_message_bytes
        if most_bytes and any(size_of(each.body, each.attributes) > most_bytes for each in messages):
            raise RefusalError("MessageTooLargeError")
        known = {key: sequence for key, (_, sequence, until_ms) in line.keys.items() if until_ms > self.now_ms}
        places: list[tuple[int, bool]] = []
        fresh: list[NewMessage] = []
        for message in messages:
            key = line.key_of(message)
            if key is not None and key in known:
                places.append((known[key], True))
                continue
            places.append((line.next_sequence + len(fresh), False))
            if key is not None:
                known[key] = places[-1][0]
            fresh.append(message)
        if fresh:
            line.check_room(len(fresh), sum(len(encode_entry(each.body, each.headers())) for each in fresh))
            for message in fresh:
                self.check_range(self._delay_ms(message), self.limits.delay_ms)
        return places

    def _new_item(self, line: Line, message: NewMessage, sequence: int) -> Item:
        lane = (0, message.group or UNGROUPED) if line.is_fifo else (message.priority, message.group)
        item = Item("", message.body, self.now_ms, sequence, message.headers(), lane)
        delay_ms = self._delay_ms(message)
        delay_ms = line.settings.delay_ms if delay_ms is None else delay_ms
        if delay_ms:
            item.held, item.due_ms = HIDDEN, self.now_ms + delay_ms
        return item

    def _delay_ms(self, message: NewMessage) -> int | None:
        return message.delay_ms if message.deliver_at_ms is None else max(message.deliver_at_ms - self.now_ms, 0)

    def sent(self, results: Mapping[str, Sequence[SendResult]]) -> None:
        """Take over the ids that the broker gave to the new messages of a send."""
        for line, item, key in self.new_items:
            item.id = next(each.id for each in results[line.name] if each.sequence == item.sequence)
            if key is not None:
                line.keys[key] = item.id, item.sequence, self.now_ms + line.settings.deduplication_window_ms
            self.add(line, item)

    def add(self, line: Line, item: Item) -> None:
        assert item.sequence == line.next_sequence
        assert item.id not in self.ids
        self.ids.append(item.id)
        self.line_of[item.id] = line
        line.items[item.id] = item
        line.newest_id = item.id
        line.next_sequence += 1

    # Claiming

    def before_claim(self, queue: str, limit: int, timeout_ms: int | None) -> None:
        """Refuse a claim if it must be; and forget what is too old."""
        self.check_claim(limit, timeout_ms)
        line, now_ms = self.line(queue), self.now_ms
        retention_ms = line.settings.retention_ms
        if retention_ms:
            line.items = {key: item for key, item in line.items.items() if item.produced_ms > now_ms - retention_ms}

    def check_claim(self, limit: int, timeout_ms: int | None) -> None:
        if not 1 <= limit <= self.limits.batch_messages:
            raise RefusalError("InvalidValueError")
        self.check_range(timeout_ms, self.limits.visibility_timeout_ms)

    def claim_again(self, line: Line, attempt_id: str | None, timeout_ms: int) -> list[Message] | None:
        """Return what an attempt has to be given that was made before, if it still counts."""
        attempt = line.attempts.get(attempt_id) if attempt_id is not None else None
        if attempt is None or attempt.until_ms <= self.now_ms or line.settings.paused:
            return None
        items = [line.items.get(message_id) for message_id, _ in attempt.given]
        for item, (_, receipt) in zip(items, attempt.given, strict=True):
            known = item and (item.status(self.now_ms), item.receipt, item.due_ms)
            if known != (TAKEN, receipt, attempt.due_ms):
                return None
        attempt.due_ms, attempt.until_ms = self.now_ms + timeout_ms, self.now_ms + DEDUPLICATION_WINDOW_MS
        messages = []
        for item in items:
            assert item is not None
            item.due_ms, item.timeout_ms = attempt.due_ms, timeout_ms
            messages.append(item.seen(line.name, self.now_ms, item.receipt))
        return messages

    def room(self, line: Line, limit: int) -> int:
        """Return how many messages may be claimed now; raise an error if messages wait, and none may."""
        now_ms, most = self.now_ms, line.settings.max_in_flight
        if line.settings.paused:
            return 0
        room = most - len(line.by_status(now_ms, TAKEN)) if most else limit
        if room <= 0 and line.by_status(now_ms, READY):
            raise RefusalError("TooManyInFlightError")
        return min(limit, max(room, 0))

    def claimed(
        self,
        line: Line,
        most: int,
        timeout_ms: int,
        attempt_id: str | None,
        got: Sequence[Message],
        *,
        consumer: str = "",
        may_be_less: bool = False,
    ) -> None:
        """Take over a claim's answer, which must be one that it may have, and all that it may have.

        With ``may_be_less`` it may have less: messages of another queue came before these.
        """
        now_ms, last = self.now_ms, None
        lines, busy = line.lines(now_ms), line.in_flight(now_ms)
        left_bytes = self.limits.batch_bytes
        assert len(got) <= most
        for message in got:
            choices = line.may_be_next(lines, busy, last)
            assert message.id in [item.id for item in choices]
            item = line.items[message.id]
            assert not line.settings.max_receives or item.receives < line.settings.max_receives
            left_bytes -= item.size
            assert left_bytes >= 0 or last is None
            last = item.lane
            lines[last].pop(0)
            busy[share_of(last)] = busy.get(share_of(last), 0) + 1
        if len(got) < most and not may_be_less:
            more = line.may_be_next(lines, busy, last)
            assert not more or (got and any(item.size > left_bytes for item in more)), "there was more to be given"
        for message in got:
            item = line.items[message.id]
            assert message.receipt is not None
            assert message.receipt not in self.issued
            self.issued[message.receipt] = item.id
            item.first_claimed_ms = item.first_claimed_ms if item.receives else now_ms
            item.held, item.due_ms, item.timeout_ms = TAKEN, now_ms + timeout_ms, timeout_ms
            item.receives += 1
            item.receipt, item.consumer = message.receipt, consumer
            assert message == item.seen(line.name, now_ms, message.receipt)
        if attempt_id is not None and got:
            given = [(message.id, message.receipt or "") for message in got]
            line.attempts[attempt_id] = Attempt(given, now_ms + timeout_ms, now_ms + DEDUPLICATION_WINDOW_MS)

    def is_dead(self, line: Line, item: Item) -> bool:
        """Return whether a claim may find that the message was claimed too often."""
        most = line.settings.max_receives
        return bool(most and item.receives >= most and item.status(self.now_ms) == READY)

    def bury(self, line: Line, item: Item) -> None:
        assert self.is_dead(line, item)
        item.held, item.receipt, item.due_ms = ASIDE, None, 0

    def move(self, line: Line, item: Item, moved: Message) -> None:
        """Take over that a dead letter was moved, and is now this."""
        assert self.is_dead(line, item)
        most = line.settings.max_receives
        self.arrive(line, item, f"received {'once' if most == 1 else f'{most} times'} without being deleted", moved)

    def arrive(self, line: Line, item: Item, reason: str, moved: Message) -> None:
        """Take over that a message is now this dead letter."""
        target = self.queues.setdefault(line.settings.dead_letter_queue, Line(moved.queue, self.now_ms))
        origin = DeadLetterSource(line.name, item.id, reason, self.now_ms, item.produced_ms, item.receives)
        headers = {**item.headers, "origin": origin}
        group = headers.get("group", "")
        lane = (0, group or UNGROUPED) if target.is_fifo else (headers.get("priority", 0), group)
        del line.items[item.id]
        self.add(target, Item(moved.id, item.body, self.now_ms, target.next_sequence, headers, lane))

    # Changing

    def check_batch(self, entries: Sequence[Any]) -> None:
        if not entries:
            raise RefusalError("InvalidValueError")
        if len(entries) > self.limits.batch_messages:
            raise RefusalError("BatchTooLargeError")

    def message_of(self, receipt: str) -> str | None:
        """Return the id of a receipt's message, also if the receipt is forged; None if it is no receipt."""
        forged = {known[:-1]: place for known, place in self.issued.items()}
        return self.issued.get(receipt) or (forged.get(receipt[:-1]) if len(receipt) == 40 else None)

    def find(self, line: Line, target: Target) -> Item:
        message_id = target.id
        if target.receipt is not None:
            message_id = self.message_of(target.receipt)
            if message_id is None or (target.id is not None and target.id != message_id):
                raise RefusalError("InvalidValueError")
        elif message_id is None:
            raise RefusalError("InvalidValueError")
        item = line.items.get(message_id)
        if item is None:
            raise RefusalError("MessageNotFoundError")
        if target.receipt is not None and target.receipt != item.receipt:
            raise RefusalError("StaleReceiptError")
        return item

    def delete_batch(self, queue: str, targets: Sequence[Target]) -> list[str | None]:
        self.check_batch(targets)
        line = self.line(queue)
        results: list[str | None] = []
        done: set[str] = set()
        for target in targets:
            try:
                item = self.find(line, target)
                if item.id in done:
                    raise RefusalError("MessageNotFoundError")
                done.add(item.id)
                results.append(None)
            except RefusalError as refusal:
                results.append(refusal.name)
        for message_id in done:
            del line.items[message_id]
        return results

    def update_batch(self, queue: str, updates: Sequence[tuple[Target, Change]]) -> list[str | None]:
        self.check_batch(updates)
        texts: list[tuple[str, dict[str, Any]]] = [
            (change.body, {}) for _, change in updates if change.body is not None
        ]
        if texts:
            self.check_contents(texts)
        self.check_uncounted(updates)
        return self._update_line(self.line(queue), updates, frozenset())

    def check_uncounted(self, updates: Sequence[tuple[Target, Change]]) -> None:
        for target, change in updates:
            releases = change.visibility_timeout_ms == 0 or change.delay_ms is not None or change.backoff_ms is not None
            if change.uncounted and (target.receipt is None or not releases):
                raise RefusalError("InvalidValueError")

    def _update_line(
        self, line: Line, updates: Sequence[tuple[Target, Change]], gone: AbstractSet[str]
    ) -> list[str | None]:
        """Update the messages of a queue; those in ``gone`` are deleted by the same request."""
        self._check_rewritten(line, updates)
        results: list[str | None] = []
        after: dict[str, Item] = {}
        moving: list[tuple[Line, Item, str]] = []
        for target, change in updates:  # a batch is decided on what was before
            try:
                item = self.find(line, target)
                if item.id in after or item.id in gone:
                    raise RefusalError("InvalidValueError")
                after[item.id] = self._changed(line, item, change)
                if change.dead and line.settings.dead_letter_queue:
                    reason = change.error.message[:1000] if change.error else ""
                    moving.append((line, after[item.id], reason or "declared dead by its consumer"))
                results.append(None)
            except RefusalError as refusal:
                results.append(refusal.name)
        leaving = {item.id for _, item, _ in moving}
        more = sum(
            item.size - line.items[key].size
            for key, item in after.items()
            if item.updates > line.items[key].updates and key not in leaving
        )
        if more > 0:
            line.check_room(0, more)
        line.items.update(after)
        self.moving += moving
        return results

    def _check_rewritten(self, line: Line, updates: Sequence[tuple[Target, Change]]) -> None:
        """Refuse to write too much again. Reported errors have room of their own."""
        before: dict[str, int] = {}
        after: list[tuple[tuple[str, Mapping[str, Any]], bool]] = []
        for target, change in updates:
            if change.rewrites:
                try:
                    item = self.find(line, target)
                except RefusalError:
                    continue
                before[item.id] = item.size
                moves = change.dead and bool(line.settings.dead_letter_queue)
                contents = _rewritten(item, change, self._failure(item, change))
                after.append((contents, change.replaces_contents and not moves))
        failing = sum(change.error is not None or change.dead for _, change in updates)
        most = self.limits.batch_bytes + 16 * len(after) + 2 * MAX_ERROR_BYTES * failing
        sizes = [sum(before.values())]
        for contents, is_checked in after:
            if is_checked:
                self.check_contents([contents])
            sizes.append(len(encode_entry(*contents)))
            if len(before) > 1 and max(sizes[0], sum(sizes[1:])) > most:
                raise RefusalError("BatchTooLargeError")

    def _failure(self, item: Item, change: Change) -> Failure | None:
        if change.error is None:
            return None
        consumer = item.consumer if item.status(self.now_ms) == TAKEN else ""
        return Failure(change.error, self.now_ms, item.receives, consumer)

    def finish(self, queues: Sequence[str], finishes: Sequence[Finish], attempt_id: str | None) -> list[str | None]:
        """Delete and update messages by their receipts, whatever their queues."""
        if len(finishes) > self.limits.batch_messages:
            raise RefusalError("BatchTooLargeError")
        self.check_uncounted([(Target(receipt=each.receipt), each.change) for each in finishes if each.change])
        first, *_ = [self.line(queue) for queue in queues]
        before = None if attempt_id is None else first.finished.get(attempt_id)
        if before is not None and before.until_ms > self.now_ms and before.finishes == tuple(finishes):
            return before.results
        results: list[str | None] = ["InvalidValueError"] * len(finishes)
        parts: dict[str, list[int]] = {}
        for index, each in enumerate(finishes):
            message_id = self.message_of(each.receipt)
            if message_id is not None:
                line = self.line_of[message_id]
                if self.queues.get(line.name) is line:
                    parts.setdefault(line.name, []).append(index)
                else:
                    results[index] = "MessageNotFoundError"
        for name, indexes in parts.items():
            self._finish_part(self.queues[name], [(index, finishes[index]) for index in indexes], results)
        if attempt_id is not None:
            until_ms = self.now_ms + DEDUPLICATION_WINDOW_MS
            first.finished[attempt_id] = Finished(tuple(finishes), results, until_ms)
        return results

    def _finish_part(self, line: Line, part: Sequence[tuple[int, Finish]], results: list[str | None]) -> None:
        done: set[str] = set()
        for index, each in part:
            if each.change is None:
                try:
                    item = self.find(line, Target(receipt=each.receipt))
                    results[index] = "MessageNotFoundError" if item.id in done else None
                    done.add(item.id)
                except RefusalError as refusal:
                    results[index] = refusal.name
        updates = [(index, Target(receipt=each.receipt), each.change) for index, each in part if each.change]
        changed = self._update_line(line, [(target, change) for _, target, change in updates], done)
        for (index, _, _), result in zip(updates, changed, strict=True):
            results[index] = result
        for message_id in done:
            del line.items[message_id]

    def _changed(self, line: Line, item: Item, change: Change) -> Item:
        now_ms, timeout_ms, limits = self.now_ms, change.visibility_timeout_ms, self.limits
        failure = self._failure(item, change)
        item = replace(item)
        if change.if_version not in (None, item.updates + 1):
            raise RefusalError("VersionConflictError")
        if sum((timeout_ms is not None, change.delay_ms is not None, change.backoff_ms is not None, change.bury,
                change.expire, change.dead)) > 1:  # fmt: skip
            raise RefusalError("InvalidValueError")
        self.check_range(change.backoff_ms, limits.delay_ms)
        delay_ms = change.delay_ms
        if change.backoff_ms is not None:
            delay_ms = min(change.backoff_ms * 2 ** max(item.receives - 1, 0), limits.delay_ms)
        self.check_range(delay_ms, limits.delay_ms)
        if change.bury or change.dead:
            item.held, item.receipt = ASIDE, None
        elif delay_ms is not None:
            item.held, item.due_ms, item.receipt = HIDDEN if delay_ms else READY, now_ms + delay_ms, None
            item.uncount(change)
        elif change.expire:
            if item.status(now_ms) != TAKEN:
                raise RefusalError("NotClaimedError")
            item.due_ms = now_ms
        elif timeout_ms is not None or not change.rewrites:
            if item.status(now_ms) != TAKEN:
                raise RefusalError("NotClaimedError")
            self.check_range(timeout_ms, limits.visibility_timeout_ms)
            item.timeout_ms = item.timeout_ms if timeout_ms is None else timeout_ms
            item.due_ms = now_ms + item.timeout_ms
            if timeout_ms == 0:
                item.held, item.receipt = READY, None
                item.uncount(change)
        if change.rewrites:
            item.body, item.headers = _rewritten(item, change, failure)
        if change.replaces_contents:
            most_bytes = line.settings.max_message_bytes
            if most_bytes and size_of(item.body, item.headers.get("attributes")) > most_bytes:
                raise RefusalError("MessageTooLargeError")
            item.updates += 1
        return item

    def kick(self, queue: str, limit: int) -> int:
        if not 1 <= limit <= self.limits.batch_messages:
            raise RefusalError("InvalidValueError")
        kicked = self.line(queue).by_status(self.now_ms, ASIDE)[:limit]
        for item in kicked:
            item.held, item.receives, item.first_claimed_ms = READY, 0, 0
        return len(kicked)

    # Queues

    def put_queue(self, queue: str, given: Mapping[str, Any]) -> bool:
        self.check_range(given.get("visibility_timeout_ms"), self.limits.visibility_timeout_ms)
        self.check_range(given.get("delay_ms"), self.limits.delay_ms)
        if given.get("dead_letter_queue") == queue:
            raise RefusalError("InvalidValueError")
        line = self._line_to_be(queue)
        line.settings = replace(line.settings, **given)
        new = queue not in self.queues
        self.queues[queue] = line
        return new

    def purge(self, queue: str, *, void_keys: bool = False) -> int:
        if void_keys:
            self.line(queue).keys.clear()
        items = self.line(queue).items
        count = len(items)
        items.clear()
        return count

    def drop_queue(self, queue: str) -> None:
        self.line(queue)
        if queue == "default":
            raise RefusalError("DefaultQueueError")
        del self.queues[queue]


def _rewritten(item: Item, change: Change, failure: Failure | None) -> tuple[str, Mapping[str, Any]]:
    more = item.headers if failure is None else {**item.headers, FAILURE_HEADER: failure.to_header()}
    if change.attributes is not None:
        more = {**more, "attributes": dict(change.attributes)}
    return item.body if change.body is None else change.body, more
