"""Compaction rewrites the live contents of old records, and drops the records: the log keeps its meaning."""

from __future__ import annotations

import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.disks import UnsyncedDisk
from tests.support.memory_log import MemoryLog
from tests.support.random_life import live_a_random_life
from tests.support.states import state_view
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.model.errors import MessageNotFoundError, NotClaimedError, QueueNotFoundError, StaleReceiptError
from wonderq.model.limits import Limits
from wonderq.model.messages import Change, Message, NewMessage, Target
from wonderq.state.replay import replay_log
from wonderq.state.state import State
from wonderq_storage import (
    CorruptLogError,
    DiskFullError,
    FileCheckpoints,
    FileLog,
    Position,
    RecordTooLargeError,
    SyncPolicy,
)

SEGMENT_BYTES = 4096
LIMITS = Limits(message_bytes=1000, batch_messages=200, batch_bytes=3000)
LATER_MS = (0, 300, 800, 4_000, 40_000)


class KeepingDisk(UnsyncedDisk):
    """Keeps what is removed from the log, in a folder beside it."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        kept.mkdir(parents=True, exist_ok=True)

    def remove(self, path: Path) -> None:
        if path.suffix == ".wal":
            shutil.copy(path, self.kept / path.name)
        super().remove(path)


class InterruptedLog(FileLog):
    """Does something before the next read: after the broker has looked up where the bodies are."""

    before_read: Callable[[], None] | None = None

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        interruption, self.before_read = self.before_read, None
        if interruption is not None:
            interruption()
        return super().read(spans, block=block)


class Running:
    """A broker over a log of small segments, which can be started again, and compacted up to any moment."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "log"
        self.kept = root / "kept"
        self.clock = FakeClock()
        self.open()

    def open(self) -> None:
        self.log = InterruptedLog(
            self.folder, sync=SyncPolicy("os"), segment_bytes=SEGMENT_BYTES, disk=KeepingDisk(self.kept)
        )
        self.broker = Broker(self.log, clock=self.clock, limits=LIMITS)

    def restart(self) -> None:
        self.broker.close()
        self.open()

    def compact(self) -> None:
        """Drop every record written so far."""
        end = self.log.end() >> 32
        while self.log.end() >> 32 == end:
            self.pass_through()
        while (oldest := self.log.oldest()) is not None and oldest[0] >> 32 <= end + 1:
            if not compact_oldest(self.broker, self.log):
                self.pass_through()  # a log may want to be asked again later

    def pass_through(self) -> None:
        self.broker.delete("default", Target(id=self.broker.produce("default", ["filler".ljust(500)])[0]))

    def compact_and_restart(self) -> None:
        self.compact()
        self.restart()

    @property
    def state(self) -> State:
        return self.broker.core.state


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.broker.close()


def segments_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wal"))


def rebuilt(folder: Path, checkpoints: FileCheckpoints | None = None) -> State:
    log = FileLog(folder, disk=UnsyncedDisk())
    try:
        return replay_log(log, checkpoints)[0]
    finally:
        log.close()


# Histories


#: A life with another seed is another one, and not a smaller one, so there is nothing to shrink.
_UNSHRUNK = settings(
    deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck)
)

_histories = given(
    seed=st.integers(0, 2**32),
    compactions=st.lists(st.integers(0, 6), min_size=4, max_size=10),
    restarts=st.booleans(),
)


@settings(_UNSHRUNK, max_examples=6)
@_histories
def test_every_end_of_a_log_that_compaction_can_leave_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, compactions: list[int], restarts: bool
) -> None:
    check_history(tmp_path_factory, seed, compactions, restarts)


@pytest.mark.slow
@settings(_UNSHRUNK, max_examples=100)
@_histories
def test_every_end_of_many_logs(
    tmp_path_factory: pytest.TempPathFactory, seed: int, compactions: list[int], restarts: bool
) -> None:
    check_history(tmp_path_factory, seed, compactions, restarts)


def check_history(tmp_path_factory: pytest.TempPathFactory, seed: int, compactions: list[int], restarts: bool) -> None:
    """Live a random life with compactions, and compare the state with what each possible end of its log gives."""
    chance = random.Random(seed)
    root = tmp_path_factory.mktemp("history")
    try:
        running = Running(root)
        for count in compactions:
            with suppress(RecordTooLargeError):  # many dead letters that move at once need a larger segment
                live_a_random_life(running.broker, running.clock, chance, 40)
            for _ in range(count):
                compact_oldest(running.broker, running.log)
            if restarts and chance.random() < 0.3:
                running.restart()
        running.broker.close()
        compare_what_is_left(running, root / "left")
    finally:
        shutil.rmtree(root)


def compare_what_is_left(running: Running, scratch: Path) -> None:
    """Replay all that was ever written, and each end of it that a crash between two removals could leave."""
    left, dropped = segments_in(running.folder), segments_in(running.kept)
    assert [int(path.stem) for path in (*dropped, *left)] == list(range(1, len(dropped) + len(left) + 1))
    now_ms = running.clock.ms
    expected = [state_view(running.state, now_ms + later_ms) for later_ms in LATER_MS]
    for first in sorted({0, len(dropped), *range(0, len(dropped), len(dropped) // 6 + 1)}):
        scratch.mkdir()
        for path in (*dropped[first:], *left):
            shutil.copy(path, scratch / path.name)
        state = rebuilt(scratch)
        for later_ms, said in zip(LATER_MS, expected, strict=True):
            assert state_view(state, now_ms + later_ms) == said, f"without the first {first} segments, {later_ms} ms on"
        shutil.rmtree(scratch)


# Durable state


def test_all_that_can_be_seen_of_messages_lasts(running: Running) -> None:
    broker, clock = running.broker, running.clock
    broker.produce("default", [f"waiting {n}" for n in range(5)])
    broker.produce("default", ["delayed"], [50_000])
    broker.claim("default", limit=2, visibility_timeout_ms=20_000)
    clock.ms += 7
    broker.produce("jobs", ["young", "é\0", ""])
    broker.claim("jobs", limit=1, visibility_timeout_ms=5)
    clock.ms += 5
    seen = {queue: list(broker.messages(queue)) for queue in ("default", "jobs")}
    for _ in range(3):
        running.compact_and_restart()
        assert {queue: list(running.broker.messages(queue)) for queue in seen} == seen
        assert [message.receives for message in running.broker.messages("jobs")] == [1, 0, 0]


def test_ids_and_receipts_stay_the_same(running: Running) -> None:
    ids = running.broker.produce("default", ["a", "b"])
    claimed = running.broker.claim("default", limit=1)
    key = running.state.key
    for _ in range(3):
        running.compact_and_restart()
        assert running.state.key == key
        assert [message.id for message in running.broker.messages("default")] == ids
    running.broker.update("default", Target(receipt=claimed[0].receipt), Change(visibility_timeout_ms=1_000))
    running.compact_and_restart()
    running.broker.delete("default", Target(receipt=claimed[0].receipt))
    assert [message.id for message in running.broker.messages("default")] == ids[1:]


def test_a_claim_keeps_its_deadline(running: Running) -> None:
    running.broker.produce("default", ["x"])
    deadline_ms = running.clock.ms + 10_000
    running.broker.claim("default", visibility_timeout_ms=10_000)
    running.clock.ms += 4_000
    running.compact_and_restart()
    running.clock.ms = deadline_ms - 1
    assert [message.due_ms for message in running.broker.messages("default")] == [deadline_ms]
    assert running.broker.claim("default") == []
    running.clock.ms += 1
    assert [message.receives for message in running.broker.claim("default")] == [2]


def test_renewing_uses_the_timeout_of_the_claim(running: Running) -> None:
    running.broker.produce("default", ["x"])
    (claimed,) = running.broker.claim("default", visibility_timeout_ms=9_000)
    running.compact_and_restart()
    running.clock.ms += 5_000
    running.broker.update("default", Target(receipt=claimed.receipt), Change())
    assert [message.due_ms for message in running.broker.messages("default")] == [running.clock.ms + 9_000]


@pytest.mark.parametrize("noticed", [False, True])
def test_an_ended_claim_s_work_can_still_be_deleted(running: Running, noticed: bool) -> None:
    ids = running.broker.produce("default", ["done late", "given to somebody else"])
    late, lost = running.broker.claim("default", visibility_timeout_ms=1_000)
    running.clock.ms += 1_000
    if noticed:
        assert running.broker.count("default", "unprocessed") == 2
    running.compact_and_restart()
    with pytest.raises(NotClaimedError):
        running.broker.update("default", Target(receipt=late.receipt), Change())
    running.broker.delete("default", Target(receipt=late.receipt))
    assert [message.id for message in running.broker.claim("default")] == ids[1:]
    running.compact_and_restart()
    with pytest.raises(StaleReceiptError):
        running.broker.delete("default", Target(receipt=lost.receipt))


def test_a_released_message_s_receipt_stays_void(running: Running) -> None:
    running.broker.produce("default", ["x"])
    (claimed,) = running.broker.claim("default")
    running.broker.update("default", Target(receipt=claimed.receipt), Change(visibility_timeout_ms=0))
    running.compact_and_restart()
    with pytest.raises(StaleReceiptError):
        running.broker.delete("default", Target(receipt=claimed.receipt))


def test_delayed_messages_stay_delayed(running: Running) -> None:
    running.broker.produce("default", ["later"], [10_000])
    running.broker.produce("default", ["delayed again"])
    (claimed,) = running.broker.claim("default")
    running.broker.update("default", Target(receipt=claimed.receipt), Change(delay_ms=20_000))
    running.compact_and_restart()
    for passed_ms, available in ((9_999, []), (10_000, ["later"]), (20_000, ["later", "delayed again"])):
        running.clock.ms += passed_ms - (running.clock.ms - 1_700_000_000_000)
        assert [message.body for message in running.broker.messages("default", status="unprocessed")] == available


def test_the_newest_body_counts(running: Running) -> None:
    first, second = running.broker.produce("default", ["old", "kept"])
    running.clock.ms += 3
    running.broker.update("default", Target(id=first), Change(body="new"))
    running.compact_and_restart()
    running.broker.update("default", Target(id=first), Change(body="newer ".ljust(300)))
    before = list(running.broker.messages("default"))
    assert [message.body for message in before] == ["newer ".ljust(300), "kept"]
    running.compact_and_restart()
    assert list(running.broker.messages("default")) == before
    assert [message.id for message in running.broker.claim("default")] == [first, second]


def test_what_was_deleted_before_stays_deleted(running: Running) -> None:
    ids = running.broker.produce("default", ["a", "b", "c"])
    running.broker.update("default", Target(id=ids[1]), Change(body="bb"))
    running.broker.delete("default", Target(id=ids[0]))
    running.compact_and_restart()
    running.broker.delete("default", Target(id=ids[1]))
    running.compact_and_restart()
    assert [message.body for message in running.broker.messages("default")] == ["c"]
    running.broker.purge("default")
    running.compact_and_restart()
    assert list(running.broker.messages("default")) == []
    assert running.state.queues["default"].messages.bytes == 0


def test_a_message_number_is_never_used_twice(running: Running) -> None:
    given_out: set[str] = set()
    for empty in ("delete", "purge", "delete"):
        ids = running.broker.produce("default", ["a", "b"]) + running.broker.produce("jobs", ["c"])
        assert not given_out.intersection(ids)
        given_out.update(ids)
        for queue in ("default", "jobs"):
            if empty == "purge":
                running.broker.purge(queue)
            else:
                targets = [Target(id=message.id) for message in running.broker.messages(queue)]
                assert running.broker.delete_batch(queue, targets) == [None] * len(targets)
        newest = {info.name: info.newest_id for info in running.broker.queues()}
        running.compact_and_restart()
        running.compact_and_restart()
        assert running.broker.queue("jobs").newest_id == newest["jobs"]
        for message_id in given_out:
            with pytest.raises(MessageNotFoundError):
                running.broker.get("jobs", message_id)


def test_a_queue_number_is_never_used_twice(running: Running) -> None:
    used: set[int] = set()
    old_ids: list[str] = []
    for _ in range(3):
        running.broker.put_queue("a")
        number = running.state.queues["a"].number
        assert number not in used
        used.add(number)
        for message_id in old_ids:
            with pytest.raises(MessageNotFoundError):
                running.broker.get("a", message_id)
        old_ids += running.broker.produce("a", ["x"])
        running.broker.drop_queue("a")
        running.compact_and_restart()
        running.compact_and_restart()
        assert [info.name for info in running.broker.queues()] == ["default"]


def test_queues_keep_their_settings(running: Running) -> None:
    running.broker.put_queue("jobs", visibility_timeout_ms=5_000)
    running.clock.ms += 10
    running.broker.put_queue("empty.fifo", delay_ms=7)
    running.compact_and_restart()
    running.broker.put_queue("jobs", delay_ms=9)
    infos = [(info.name, info.settings, info.created_ms) for info in running.broker.queues()]
    for _ in range(2):
        running.compact_and_restart()
        assert [(info.name, info.settings, info.created_ms) for info in running.broker.queues()] == infos


def test_the_identity_alone_is_kept() -> None:
    """It ends where the part of the log ends in which nothing else is."""
    log = MemoryLog()
    broker = Broker(log, default_queue=False)
    identity = broker.core.identity
    for _ in range(4):
        log.rotate()
        assert compact_oldest(broker, log)
    broker.close()
    again = Broker(log.opened_again(), default_queue=False)
    assert again.core.identity == identity
    again.close()


def test_records_that_end_where_the_oldest_part_ends_are_kept() -> None:
    """The protocol of a log does not promise that anything stands between the last record of a part and its end."""
    log = MemoryLog()
    broker = Broker(log)
    broker.put_queue("named", tags={"team": "a"})
    broker.topics.put("news")
    broker.topics.subscribe("news", "all", queue="named")
    sent = broker.send("named", [NewMessage("x", key="once")]).ids
    identity = broker.core.identity
    for _ in range(4):
        log.rotate()
        assert compact_oldest(broker, log)
    broker.close()
    again = Broker(log.opened_again())
    assert again.core.identity == identity
    assert again.queue("named").settings.tags == {"team": "a"}
    assert again.topics.get("news").subscriptions == 1
    assert again.send("named", [NewMessage("x", key="once")]).ids == sent
    again.close()


@pytest.mark.parametrize("size", [0, 30])
def test_messages_that_take_more_room_restated_than_together(running: Running, size: int) -> None:
    bodies = [str(n).ljust(size) for n in range(200)]
    for start in range(0, 200, 50):
        running.broker.produce("default", bodies[start : start + 50])
    running.broker.claim("default", limit=100)
    for _ in range(2):
        running.compact_and_restart()
        assert [message.body for message in running.broker.messages("default")] == bodies


# Reading while the place read from is dropped

READERS: dict[str, Callable[[Broker, str], list[Message]]] = {
    "claim": lambda broker, _: broker.claim("jobs", limit=10),
    "get": lambda broker, message_id: [broker.get("jobs", message_id)],
    "list": lambda broker, _: list(broker.messages("jobs")),
}

MEANWHILE: dict[str, tuple[Callable[[Broker, str], object], list[str | None]]] = {
    "nothing": (lambda *_: None, ["a", "b", "c"]),
    "another body": (lambda it, each: it.update("jobs", Target(id=each), Change(body="B" * 99)), ["a", "B" * 99, "c"]),
    "deleted": (lambda broker, each: broker.delete("jobs", Target(id=each)), ["a", None, "c"]),
    "purged": (lambda broker, _: broker.purge("jobs"), [None, None, None]),
    "dropped": (lambda broker, _: broker.drop_queue("jobs"), [None, None, None]),
    "dropped and made again": (
        lambda broker, _: (broker.drop_queue("jobs"), broker.produce("jobs", ["x", "y", "z"])),
        [None, None, None],
    ),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_read_while_its_place_is_dropped(running: Running, reader: str, meanwhile: str) -> None:
    broker = running.broker
    ids = broker.produce("jobs", ["a", "b", "c"])
    middle = ids[1]
    change, bodies = MEANWHILE[meanwhile]

    def interrupt() -> None:
        change(broker, middle)
        running.compact()

    running.log.before_read = interrupt
    call = Call(READERS[reader], broker, middle)
    if reader == "get":
        ids, bodies = ids[1:2], bodies[1:2]
        if bodies == [None]:
            with pytest.raises(MessageNotFoundError):
                call.result()
            return
    if reader == "claim" and meanwhile == "dropped":
        with pytest.raises(QueueNotFoundError):
            call.result()
        return
    if reader == "claim" and meanwhile == "dropped and made again":
        assert [message.body for message in call.result()] == ["x", "y", "z"]
        return
    expected = [(message_id, body) for message_id, body in zip(ids, bodies, strict=True) if body is not None]
    assert [(message.id, message.body) for message in call.result()] == expected
    assert running.log.before_read is None
    assert broker.unready is None


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_others_are_given_for_claimed_messages_that_are_deleted_before_they_are_read(
    running: Running, limit: int
) -> None:
    """A claim returns all available messages up to its limit, even if some of those it picked have been deleted."""
    broker = running.broker
    ids = broker.produce("jobs", ["a", "b", "c", "d", "e", "f"])

    def interrupt() -> None:
        broker.delete("jobs", Target(id=ids[0]))
        broker.delete("jobs", Target(id=ids[2]))
        running.compact()

    running.log.before_read = interrupt
    expected = {1: ["b"], 2: ["b", "d"], 3: ["b", "d", "e"]}[limit]
    given = Call(broker.claim, "jobs", limit=limit).result()
    assert sorted(message.body for message in given) == expected
    assert all(message.receipt for message in given)


def test_a_full_disk_that_refuses_the_others_leaves_those_that_were_claimed(running: Running) -> None:
    broker, log = running.broker, running.log
    ids = broker.produce("jobs", ["a", "b", "c"])
    append = log.append_together

    def refuse(records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        raise DiskFullError("no room")

    def interrupt() -> None:
        broker.delete("jobs", Target(id=ids[0]))
        running.compact()
        broker.produce("jobs", ["d"])
        log.append_together = refuse  # type: ignore[method-assign]

    log.before_read = interrupt
    given = Call(broker.claim, "jobs", limit=3).result()
    log.append_together = append  # type: ignore[method-assign]
    assert sorted(message.body for message in given) == ["b", "c"]


def test_a_consumer_whose_messages_were_deleted_before_they_were_read_waits_on(running: Running) -> None:
    broker = running.broker
    [message_id] = broker.produce("jobs", ["a"])

    def interrupt() -> None:
        broker.delete("jobs", Target(id=message_id))
        running.compact()

    running.log.before_read = interrupt
    call = Call(broker.claim, "jobs", wait_s=15)
    eventually(lambda: broker.core.consumers._count == 1)
    broker.produce("jobs", ["b"])
    assert [message.body for message in call.result()] == ["b"]


def test_a_place_dropped_without_a_copy_is_damage(running: Running) -> None:
    """It cannot happen; if it does all the same, nobody is to look for the copy for ever."""
    running.broker.produce("jobs", ["a"])
    end = running.log.end() >> 32
    while running.log.end() >> 32 == end:
        running.pass_through()
    running.log.trim((end + 1) << 32)
    with pytest.raises(CorruptLogError, match="dropped"):
        Call(lambda: list(running.broker.messages("jobs"))).result()
    assert "had not been copied" in str(running.broker.unready)


def test_a_listing_goes_on_across_compactions(running: Running) -> None:
    ids = running.broker.produce("jobs", ["x"] * 150)
    ids += running.broker.produce("jobs", ["y"] * 150)  # more than a listing reads at a time
    listing = running.broker.messages("jobs")
    found = [next(listing).id]
    running.compact()
    running.log.before_read = running.compact
    found += [message.id for message in listing]
    assert found == ids


# Everything at once


@pytest.mark.parametrize("policy", ["always", pytest.param("os", marks=pytest.mark.slow)])
def test_nothing_is_lost_or_doubled_while_upkeep_never_rests(tmp_path: Path, policy: str) -> None:
    kept = tmp_path / "kept"
    folder = tmp_path / "log"
    log = FileLog(folder, sync=SyncPolicy(policy), segment_bytes=16_384, disk=KeepingDisk(kept))
    checkpoints = FileCheckpoints(folder)
    broker = Broker(log, checkpoints=checkpoints)
    lock = threading.Lock()
    bodies: dict[str, str] = {}
    given: Counter[str] = Counter()
    deleted: set[str] = set()
    finished = threading.Event()
    producing = 3

    def produce(seed: int) -> None:
        nonlocal producing
        chance = random.Random(seed)
        for n in range(400):
            queue = chance.choice(["default", "jobs"])
            texts = [f"{seed}/{n}/{k}".ljust(chance.choice([1, 90])) for k in range(chance.choice([1, 1, 8]))]
            ids = broker.produce(queue, texts, [chance.choice([None, None, 1]) for _ in texts])
            with lock:
                for message_id, text in zip(ids, texts, strict=True):
                    bodies.setdefault(message_id, text)  # a consumer may have changed it already
        with lock:
            producing -= 1

    def consume(seed: int) -> None:
        chance = random.Random(100 + seed)
        while True:
            last = producing == 0
            found = [m for q in ("default", "jobs") for m in broker.claim(q, limit=5, visibility_timeout_ms=3_600_000)]
            for message in found:
                with lock:
                    given[message.id] += 1
                target = Target(receipt=message.receipt)
                step = chance.random()
                if step < 0.6:
                    broker.delete(message.queue, target)
                    with lock:
                        deleted.add(message.id)
                elif step < 0.8:
                    broker.update(message.queue, target, Change(body=message.body + "!"))
                    with lock:
                        bodies[message.id] = message.body + "!"
            if last and not found and not broker.count("default", "delayed") + broker.count("jobs", "delayed"):
                return

    dropped = written = 0

    def keep_up() -> None:
        nonlocal dropped, written
        while not finished.is_set() or not dropped or not written:
            written += checkpoint(broker, log, checkpoints) > 0
            dropped += compact_oldest(broker, log)

    def look() -> None:
        while not finished.is_set():
            for queue in ("default", "jobs"):
                listed = [message.id for message in broker.messages(queue)]
                assert len(listed) == len(set(listed))

    broker.put_queue("jobs")
    maintenance, looking = Call(keep_up), Call(look)
    workers = [Call(produce, seed) for seed in range(3)] + [Call(consume, seed) for seed in range(3)]
    try:
        for worker in workers:
            worker.result()
    finally:
        finished.set()
    maintenance.result()
    looking.result()
    assert dropped > 1
    assert given == Counter(list(bodies)), "lost, or given out twice within a claim"
    left = {message.id: message.body for queue in ("default", "jobs") for message in broker.messages(queue)}
    assert left == {message_id: body for message_id, body in bodies.items() if message_id not in deleted}
    broker.close()
    now_ms = broker.core.state.last_ms
    expected = state_view(broker.core.state, now_ms)
    assert state_view(rebuilt(folder), now_ms) == expected
    assert state_view(rebuilt(folder, checkpoints), now_ms) == expected
    for path in segments_in(kept):
        shutil.copy(path, folder / path.name)
    assert state_view(rebuilt(folder), now_ms) == expected
