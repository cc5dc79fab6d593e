"""The broker over a real log against a model made of dicts: after every step, after every checkpoint and compaction, and
after every restart or kill, with whatever checkpoints are left, all that a client can see must be the same.

For a longer run: WONDERQ_MODEL_EXAMPLES=2000 WONDERQ_MODEL_STEPS=100.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage import Checkpoints, FileLog, SyncPolicy
from storage.record import encode_entry
from tests.broker.fake_clock import FakeClock
from tests.broker.helpers import another_receipt
from wonderq import columns, upkeep
from wonderq.broker import Broker
from wonderq.contents import extras_of
from wonderq.errors import BrokerError
from wonderq.model import Change, Limits, Message, Target
from wonderq.settings import QueueSettings

LIMITS = Limits(
    message_bytes=300, batch_messages=12, batch_bytes=700, visibility_timeout_ms=60_000, delay_ms=90_000, wait_s=0
)

QUEUES = ("default", "jobs", "other")
READY, TAKEN, HIDDEN, ASIDE = "unprocessed", "processing", "delayed", "buried"


class RefusalError(Exception):
    """What the model expects instead of a result."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass
class Item:
    """One message of the model."""

    id: str
    body: str
    produced_ms: int
    held: str = READY
    due_ms: int = 0
    timeout_ms: int = 0
    receives: int = 0
    receipt: str | None = None
    sequence: int = 0
    first_claimed_ms: int = 0
    updates: int = 0

    def status(self, now_ms: int) -> str:
        return self.held if self.held != READY and self.due_ms > now_ms else READY

    def size(self) -> int:
        return len(encode_entry(self.body))

    def seen(self, queue: str, now_ms: int, receipt: str | None = None) -> Message:
        status = self.status(now_ms) if receipt is None else TAKEN
        due_ms = None if status == READY else self.due_ms
        known = self.id, self.body, status, receipt, self.receives, self.produced_ms, due_ms, queue
        return Message(*known, self.sequence, self.first_claimed_ms, extras_of({}, self.updates))


@dataclass
class Line:
    """One queue of the model: its items in the order they were produced."""

    created_ms: int
    settings: QueueSettings = field(default_factory=QueueSettings)
    items: dict[str, Item] = field(default_factory=dict)
    newest_id: str | None = None
    next_sequence: int = 0


def names_of(errors: Sequence[BrokerError | None]) -> list[str | None]:
    return [None if error is None else type(error).__name__ for error in errors]


bodies = st.one_of(st.text(max_size=30), st.integers(0, 300).map("x".__mul__), st.sampled_from(["é" * 140, "\0", ""]))
bad_bodies = st.sampled_from(["x" * 301, "é" * 151, "\ud800"])
delays = st.one_of(st.none(), st.sampled_from([0, 0, 1, 2_000, 30_000, 90_000]))
timeouts = st.one_of(st.none(), st.sampled_from([0, 1, 2_000, 10_000, 60_000]))
out_of_range = st.sampled_from([-1, 90_001])
queues = st.sampled_from(["default"] * 6 + ["jobs"] * 3 + ["other"])
fillings = st.sampled_from(["keep", "claim", "delete", "claim and delete", "nothing"])
upkeeps = st.lists(st.one_of(st.just("checkpoint"), fillings), max_size=3)
KINDS = (
    "id",
    "id",
    "receipt",
    "receipt",
    "receipt",
    "old receipt",
    "both",
    "mixed",
    "forged",
    "not an id",
    "junk",
    "none",
)
targets = st.tuples(st.sampled_from(KINDS), st.integers(0, 11), st.integers(0, 5))
changes = st.one_of(
    st.just(Change()),
    st.sampled_from([0, 1, 2_000, 10_000, 60_000, -1, 60_001]).map(lambda ms: Change(visibility_timeout_ms=ms)),
    st.sampled_from([0, 1, 2_000, 90_000, -1, 90_001]).map(lambda ms: Change(delay_ms=ms)),
    bodies.map(lambda body: Change(body=body)),
    st.builds(Change, visibility_timeout_ms=timeouts, delay_ms=delays, body=st.one_of(st.none(), bodies)),
)


class BrokerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.root = Path(tempfile.mkdtemp(prefix="wonderq-model-"))
        self.folder = self.root / "0"
        self.clock = FakeClock()
        self.lines: dict[str, Line] = {}
        self.issued: dict[str, str] = {}  # every receipt ever given out, and its message
        self.ids: list[str] = []  # every id ever given out

    @initialize(
        segment_bytes=st.sampled_from([4096, 4096, 16_384, 65_536]),
        policy=st.sampled_from(["always", "os", "interval:20"]),
        page_bits=st.sampled_from([1, 2, 3, 12]),
    )
    def open_first(self, segment_bytes: int, policy: str, page_bits: int) -> None:
        if page_bits != 12:
            self.patches.setattr(columns, "PAGE_BITS", page_bits)
            self.patches.setattr(columns, "PAGE_MESSAGES", 1 << page_bits)
            self.patches.setattr(columns, "_KEEP_BELOW", 2)
        self.segment_bytes = segment_bytes
        self.policy = SyncPolicy.parse(policy)
        self.open()
        self.lines["default"] = Line(self.clock.ms)
        self._produce("default", ["first", "second", "third", "fourth"], None)
        self._produce("jobs", ["one", "two"], [None, 2_000])

    def open(self) -> None:
        self.log = FileLog(self.folder, sync=self.policy, segment_bytes=self.segment_bytes)
        self.checkpoints = Checkpoints(self.folder)
        self.broker = Broker(self.log, checkpoints=self.checkpoints, clock=self.clock, limits=LIMITS)

    def teardown(self) -> None:
        if hasattr(self, "broker"):
            self.broker.close()
        self.patches.undo()
        shutil.rmtree(self.root)

    # Helpers

    def held(self) -> list[tuple[str, Item]]:
        """All messages whose newest receipt still counts."""
        return [(queue, item) for queue, line in self.lines.items() for item in line.items.values() if item.receipt]

    def line(self, queue: str) -> Line:
        if queue not in self.lines:
            raise RefusalError("QueueNotFoundError")
        return self.lines[queue]

    def target(self, queue: str, choice: tuple[str, int, int]) -> Target:
        """Make the target that a drawn choice stands for: mostly one that is there, at times any that ever was."""
        kind, index, other = choice
        line = self.lines.get(queue)
        items = list(line.items.values()) if line else []
        receipts = [item.receipt for item in items if item.receipt]
        some_id = items[index % len(items)].id if items else self.ids[-1 - index % len(self.ids)] if self.ids else "x"
        if kind in ("receipt", "forged", "both") and receipts:
            receipt = receipts[index % len(receipts)]
        else:
            receipt = list(self.issued)[-1 - index % len(self.issued)] if self.issued else "0" * 40
        match kind:
            case "id":
                return Target(id=some_id if other else self.ids[index % len(self.ids)] if self.ids else "0")
            case "receipt" | "old receipt":
                return Target(receipt=receipt)
            case "both":
                return Target(id=self.issued.get(receipt, some_id), receipt=receipt)
            case "mixed":
                return Target(id=some_id if other else "nothing", receipt=receipt)
            case "forged":
                return Target(receipt=another_receipt(receipt))
            case "not an id":
                return Target(
                    id=("", "x", "é", some_id[:-1], some_id + "0", "00000000-0000-8000-8000-000000000000")[other]
                )
            case "junk":
                return Target(receipt=("", "x", receipt[1:], receipt + "0", "0" * 40, "é" * 40)[other])
        return Target()

    def find(self, line: Line, target: Target, receipts: dict[str, str | None] | None = None) -> Item:
        message_id = target.id
        if target.receipt is not None:
            forged = {known[:-1]: place for known, place in self.issued.items()}
            message_id = self.issued.get(target.receipt) or (
                forged.get(target.receipt[:-1]) if len(target.receipt) == 40 else None
            )
            if message_id is None or (target.id is not None and target.id != message_id):
                raise RefusalError("InvalidValueError")
        elif message_id is None:
            raise RefusalError("InvalidValueError")
        item = line.items.get(message_id)
        if item is None:
            raise RefusalError("MessageNotFoundError")
        current = item.receipt if receipts is None else receipts[item.id]
        if target.receipt is not None and target.receipt != current:
            raise RefusalError("StaleReceiptError")
        return item

    def same(self, expected: Any, call: Any) -> Any:
        """Run both, and require the same result or the same refusal; returns None after a refusal."""
        try:
            wanted = expected()
        except RefusalError as refusal:
            refused: str | None = refusal.name
        else:
            refused = None
        if refused is not None:
            with pytest.raises(BrokerError) as caught:
                call()
            assert type(caught.value).__name__ == refused
            return None
        got = call()
        if wanted is not None:
            assert got == wanted
        return got

    # Steps

    @rule(queue=queues, entries=st.lists(st.tuples(bodies, delays), min_size=1, max_size=12), given=st.booleans())
    def produce(self, queue: str, entries: list[tuple[str, int | None]], given: bool) -> None:
        self._produce(queue, [body for body, _ in entries], [delay for _, delay in entries] if given else None)

    @rule(entries=st.lists(bodies, min_size=1, max_size=6))
    def produce_plainly(self, entries: list[str]) -> None:
        self._produce("default", entries, None)

    @rule(queue=queues, entry=st.tuples(bodies, delays))
    def produce_one(self, queue: str, entry: tuple[str, int | None]) -> None:
        self._produce(queue, [entry[0]], [entry[1]])

    @rule(
        queue=st.sampled_from([*QUEUES, "no/name", "x" * 81, ""]),
        texts=st.lists(st.one_of(bodies, bad_bodies), max_size=14),
        delay=st.one_of(delays, out_of_range),
    )
    def produce_what_may_be_refused(self, queue: str, texts: list[str], delay: int | None) -> None:
        self._produce(queue, texts, [delay] * len(texts))

    def _produce(self, queue: str, texts: list[str], waits: list[int | None] | None) -> None:
        def expected() -> None:
            self._check_bodies(texts)
            if queue not in QUEUES:
                raise RefusalError("InvalidQueueNameError")
            if any(wait is not None and not 0 <= wait <= LIMITS.delay_ms for wait in waits or ()):
                raise RefusalError("InvalidValueError")

        ids = self.same(expected, lambda: self.broker.produce(queue, texts, waits))
        if ids is None:
            return
        assert len(ids) == len(texts)
        assert not set(ids) & set(self.ids)
        assert len(set(ids)) == len(ids)
        self.ids += ids
        now_ms = self.clock.ms
        line = self.lines.setdefault(queue, Line(now_ms))
        for message_id, text, wait in zip(ids, texts, waits or [None] * len(texts), strict=True):
            delay = line.settings.delay_ms if wait is None else wait
            line.items[message_id] = item = Item(message_id, text, now_ms, sequence=line.next_sequence)
            line.next_sequence += 1
            if delay:
                item.held, item.due_ms = HIDDEN, now_ms + delay
            line.newest_id = message_id

    @staticmethod
    def _check_bodies(texts: list[str]) -> None:
        if not texts:
            raise RefusalError("InvalidValueError")
        if len(texts) > LIMITS.batch_messages:
            raise RefusalError("BatchTooLargeError")
        if "\ud800" in texts:
            raise RefusalError("InvalidValueError")
        if any(len(text.encode()) > LIMITS.message_bytes for text in texts):
            raise RefusalError("MessageTooLargeError")
        if sum(len(encode_entry(text)) for text in texts) > LIMITS.batch_bytes + 16 * len(texts):
            raise RefusalError("BatchTooLargeError")

    @rule(queue=queues, limit=st.sampled_from([1, 1, 2, 3, 12]), timeout=timeouts)
    def claim(self, queue: str, limit: int, timeout: int | None) -> None:
        self._claim(queue, limit, timeout)

    @rule(limit=st.integers(1, 5), timeout=st.sampled_from([2_000, 10_000, 30_000]))
    def claim_for_long(self, limit: int, timeout: int) -> None:
        self._claim("default", limit, timeout)

    def _claim(self, queue: str, limit: int, timeout: int | None) -> None:
        chosen: list[Item] = []

        def expected() -> None:
            if not 1 <= limit <= LIMITS.batch_messages:
                raise RefusalError("InvalidValueError")
            if timeout is not None and not 0 <= timeout <= LIMITS.visibility_timeout_ms:
                raise RefusalError("InvalidValueError")
            size = 0
            for item in self.line(queue).items.values():
                if item.status(self.clock.ms) == READY:
                    size += item.size()
                    if len(chosen) == limit or (chosen and size > LIMITS.batch_bytes):
                        break
                    chosen.append(item)

        got = self.same(expected, lambda: self.broker.claim(queue, limit=limit, visibility_timeout_ms=timeout))
        if got is None:
            return
        assert [message.id for message in got] == [item.id for item in chosen]
        line = self.lines[queue]
        for item, message in zip(chosen, got, strict=True):
            item.timeout_ms = line.settings.visibility_timeout_ms if timeout is None else timeout
            item.held, item.due_ms = TAKEN, self.clock.ms + item.timeout_ms
            item.receives += 1
            item.first_claimed_ms = item.first_claimed_ms or self.clock.ms
            assert message.receipt is not None
            assert message.receipt not in self.issued
            item.receipt = message.receipt
            self.issued[message.receipt] = item.id
            assert message == item.seen(queue, self.clock.ms, message.receipt)

    @precondition(lambda self: self.held())
    @rule(index=st.integers(0, 20))
    def delete_what_is_held(self, index: int) -> None:
        held = self.held()
        queue, item = held[index % len(held)]
        self.broker.delete(queue, Target(receipt=item.receipt))
        del self.lines[queue].items[item.id]

    @precondition(lambda self: self.held())
    @rule(index=st.integers(0, 20), change=changes)
    def update_what_is_held(self, index: int, change: Change) -> None:
        held = self.held()
        queue, item = held[index % len(held)]
        target = Target(receipt=item.receipt)
        self.same(lambda: self._change(item, change), lambda: self.broker.update(queue, target, change))

    @rule(queue=queues, index=st.integers(0, 20), change=changes)
    def update_by_id(self, queue: str, index: int, change: Change) -> None:
        items = list(self.lines[queue].items.values()) if queue in self.lines else []
        if items:
            item = items[index % len(items)]
            target = Target(id=item.id)
            self.same(lambda: self._change(item, change), lambda: self.broker.update(queue, target, change))

    @rule(queue=queues, choice=targets)
    def delete(self, queue: str, choice: tuple[str, int, int]) -> None:
        target = self.target(queue, choice)

        def expected() -> None:
            line = self.line(queue)
            del line.items[self.find(line, target).id]

        self.same(expected, lambda: self.broker.delete(queue, target))

    @rule(queue=queues, choices=st.lists(targets, max_size=13))
    def delete_batch(self, queue: str, choices: list[tuple[str, int, int]]) -> None:
        chosen = [self.target(queue, choice) for choice in choices]

        def expected() -> list[str | None]:
            self._check_batch(chosen)
            line = self.line(queue)
            results: list[str | None] = []
            done: set[str] = set()
            for target in chosen:
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

        self.same(expected, lambda: names_of(self.broker.delete_batch(queue, chosen)))

    @rule(queue=queues, choice=targets, change=changes)
    def update_what_may_be_refused(self, queue: str, choice: tuple[str, int, int], change: Change) -> None:
        target = self.target(queue, choice)

        def expected() -> None:
            line = self.line(queue)
            self._change(self.find(line, target), change)

        self.same(expected, lambda: self.broker.update(queue, target, change))

    @rule(queue=queues, updates=st.lists(st.tuples(targets, changes), max_size=13))
    def update_batch(self, queue: str, updates: list[tuple[tuple[str, int, int], Change]]) -> None:
        chosen = [(self.target(queue, choice), change) for choice, change in updates]

        def expected() -> list[str | None]:
            self._check_batch(chosen)
            texts = [change.body for _, change in chosen if change.body is not None]
            if texts:
                self._check_bodies(texts)
            line = self.line(queue)
            results: list[str | None] = []
            done: set[str] = set()
            receipts = {item.id: item.receipt for item in line.items.values()}  # a batch is decided on what was before
            for target, change in chosen:
                try:
                    item = self.find(line, target, receipts)
                    if item.id in done:
                        raise RefusalError("InvalidValueError")
                    self._change(item, change)
                    done.add(item.id)
                    results.append(None)
                except RefusalError as refusal:
                    results.append(refusal.name)
            return results

        self.same(expected, lambda: names_of(self.broker.update_batch(queue, chosen)))

    @staticmethod
    def _check_batch(entries: Sequence[Any]) -> None:
        if not entries:
            raise RefusalError("InvalidValueError")
        if len(entries) > LIMITS.batch_messages:
            raise RefusalError("BatchTooLargeError")

    def _change(self, item: Item, change: Change) -> None:
        now_ms = self.clock.ms
        timeout = change.visibility_timeout_ms
        if change.delay_ms is not None:
            if timeout is not None or not 0 <= change.delay_ms <= LIMITS.delay_ms:
                raise RefusalError("InvalidValueError")
            item.held = HIDDEN if change.delay_ms else READY
            item.due_ms = now_ms + change.delay_ms
            item.receipt = None
        elif timeout is not None or change.body is None:
            if item.status(now_ms) != TAKEN:
                raise RefusalError("NotClaimedError")
            if timeout is not None:
                if not 0 <= timeout <= LIMITS.visibility_timeout_ms:
                    raise RefusalError("InvalidValueError")
                item.timeout_ms = timeout
            item.due_ms = now_ms + item.timeout_ms
            if timeout == 0:
                item.held, item.receipt = READY, None
        if change.body is not None:
            item.body = change.body
            item.updates += 1

    @rule(
        queue=st.sampled_from([*QUEUES, "no/name"]),
        given=st.fixed_dictionaries(
            {},
            optional={
                "visibility_timeout_ms": st.sampled_from([0, 2_000, 60_000, 60_001]),
                "delay_ms": st.sampled_from([0, 2_000, -1]),
            },
        ),
    )
    def put_queue(self, queue: str, given: dict[str, int]) -> None:
        def expected() -> bool:
            if given.get("visibility_timeout_ms", 0) > LIMITS.visibility_timeout_ms or given.get("delay_ms", 0) < 0:
                raise RefusalError("InvalidValueError")
            if queue not in QUEUES:
                raise RefusalError("InvalidQueueNameError")
            new = queue not in self.lines
            line = self.lines.setdefault(queue, Line(self.clock.ms))
            line.settings = replace(line.settings, **given)
            return new

        self.same(expected, lambda: self.broker.put_queue(queue, **given)[1])

    @rule(
        queue=queues, step=st.sampled_from(["claim none", "claim too many", "claim for ever", "purge", "drop", "drop"])
    )
    def do_what_is_rare(self, queue: str, step: str) -> None:
        match step:
            case "claim none":
                self._claim(queue, 0, None)
            case "claim too many":
                self._claim(queue, LIMITS.batch_messages + 1, None)
            case "claim for ever":
                self._claim(queue, 1, LIMITS.visibility_timeout_ms + 1)
            case "purge":
                self._purge(queue)
            case "drop":
                self._drop(queue)

    def _purge(self, queue: str) -> None:
        def expected() -> int:
            items = self.line(queue).items
            count = len(items)
            items.clear()
            return count

        self.same(expected, lambda: self.broker.purge(queue))

    def _drop(self, queue: str) -> None:
        def expected() -> None:
            self.line(queue)
            if queue == "default":
                raise RefusalError("QueueInUseError")
            del self.lines[queue]

        self.same(expected, lambda: self.broker.drop_queue(queue))

    @rule(ms=st.sampled_from([0, 1, 1, 1_999, 2_000, 2_001, 10_000, 30_000, 90_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.ms += ms

    @rule()
    def time_passes_to_the_next_deadline(self) -> None:
        now_ms = self.clock.ms
        held = [item for line in self.lines.values() for item in line.items.values() if item.status(now_ms) != READY]
        if held:
            self.clock.ms = min(item.due_ms for item in held)

    @rule()
    def checkpoint(self) -> None:
        upkeep.checkpoint(self.broker, self.log, self.checkpoints)

    @rule(first=fillings, segments=st.sampled_from([1, 1, 2, 50]))
    def compact(self, first: str, segments: int) -> None:
        self._fill(first)
        self._compact(segments)

    def _compact(self, segments: int) -> None:
        for _ in range(segments):
            if not upkeep.compact_oldest(self.broker, self.log):
                break

    def _fill(self, step: str) -> None:
        """Go over into the next of the smallest segments, so that there is one to drop, of which more or less is kept."""
        if step == "nothing":
            return
        texts = [f"{len(self.ids) + n} ".ljust(200, "-") for n in range(3)]
        for _ in range(6):
            self._produce("default", texts, None)
            if "claim" in step:
                self._claim("default", 2, 10_000)
            if "delete" in step:
                chosen = list(self.lines["default"].items)[-12:-1]
                self.broker.delete_batch("default", [Target(id=message_id) for message_id in chosen])
                for message_id in chosen:
                    del self.lines["default"].items[message_id]

    @rule(before=upkeeps, killed=st.booleans(), lost=st.sampled_from(["none", "none", "none", "the newest", "all"]))
    def restart(self, before: list[str], killed: bool, lost: str) -> None:
        """Open the log again, without some of the checkpoints; after a kill, from a copy of the files as they were while
        it was open.
        """
        for step in before:
            if step == "checkpoint":
                upkeep.checkpoint(self.broker, self.log, self.checkpoints)
            else:
                self._fill(step)
                self._compact(1)
        copy = self.folder.with_name(str(int(self.folder.name) + 1))
        if killed:
            shutil.copytree(self.folder, copy)
        self.broker.close()  # after a kill, only to let go of thread and files: the copy does not see it
        if killed:
            shutil.rmtree(self.folder)
            self.folder = copy
        newest_first = sorted(self.folder.glob("*.ckpt"), reverse=True)
        assert len(newest_first) <= 2
        for path in {"none": [], "the newest": newest_first[:1], "all": newest_first}[lost]:
            path.unlink()
        self.open()

    @rule(queue=queues, index=st.integers(0, 50), limit=st.sampled_from([None, 0, 1, 3]))
    def page_through(self, queue: str, index: int, limit: int | None) -> None:
        line = self.lines.get(queue)
        if line is None or not line.items:
            return
        keys = list(line.items)
        after = index % len(keys)
        found = [message.id for message in self.broker.messages(queue, after=keys[after], limit=limit)]
        assert found == keys[after + 1 :][:limit]

    # What a client can see

    @invariant()
    def everything_looks_the_same(self) -> None:
        if not hasattr(self, "broker"):
            return
        now_ms = self.clock.ms
        assert [info.name for info in self.broker.queues()] == sorted(self.lines)
        for name, line in self.lines.items():
            info = self.broker.queue(name)
            items = list(line.items.values())
            statuses = [item.status(now_ms) for item in items]
            assert info.settings == line.settings
            assert info.created_ms == line.created_ms
            assert info.counts == {status: statuses.count(status) for status in (READY, TAKEN, HIDDEN, ASIDE)}
            assert info.bytes == sum(item.size() for item in items)
            assert info.oldest_ms == (items[0].produced_ms if items else None)
            assert info.newest_id == line.newest_id
            assert info.now_ms == now_ms
            seen = [item.seen(name, now_ms) for item in items]
            assert list(self.broker.messages(name)) == seen
            for status in (READY, TAKEN, HIDDEN):
                assert self.broker.count(name, status) == statuses.count(status)
                assert list(self.broker.messages(name, status=status)) == [m for m in seen if m.status == status]
            for message in (*seen[:2], *seen[-2:]):
                assert self.broker.get(name, message.id) == message
            self._receipts_count_as_they_should(name, line)

    def _receipts_count_as_they_should(self, name: str, line: Line) -> None:
        known = [item.receipt for item in line.items.values() if item.receipt] + list(self.issued)[-30:]
        change = Change(delay_ms=0, visibility_timeout_ms=0)  # refused even to the holder, so it only asks
        for start in range(0, len(known), LIMITS.batch_messages):
            part = [Target(receipt=receipt) for receipt in known[start : start + LIMITS.batch_messages]]
            expected = []
            for target in part:
                try:
                    self.find(line, target)
                    expected.append("InvalidValueError")
                except RefusalError as refusal:
                    expected.append(refusal.name)
            assert names_of(self.broker.update_batch(name, [(target, change) for target in part])) == expected


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=int(os.environ.get("WONDERQ_MODEL_EXAMPLES", "80")),
    stateful_step_count=int(os.environ.get("WONDERQ_MODEL_STEPS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
