"""Many threads on few queues: each message is with one consumer at a time, none is lost, and the counts add up."""

from __future__ import annotations

import random
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.support.threads import Call
from wonderq.broker.broker import Broker
from wonderq.model.errors import BrokerError
from wonderq.model.messages import Change, Target
from wonderq_storage import FileLog, SyncPolicy

QUEUES = ("default", "a", "b")
LONG_MS = 3_600_000


class Ledger:
    """Current holders of messages, and completed work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.produced: dict[str, str] = {}
        self.held: dict[str, int] = {}
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []

    def take(self, message_id: str, who: int) -> None:
        with self.lock:
            if message_id in self.held:
                self.faults.append(f"{message_id} is with {self.held[message_id]} and was given to {who}")
            if self.done[message_id]:
                self.faults.append(f"{message_id} was deleted and given to {who}")
            self.held[message_id] = who

    def give_back(self, message_id: str) -> None:
        with self.lock:
            del self.held[message_id]


@pytest.mark.parametrize("policy", ["always", "os"])
def test_every_message_is_with_one_consumer_at_a_time(tmp_path: Path, policy: str) -> None:
    broker = Broker(FileLog(tmp_path, sync=SyncPolicy(policy), segment_bytes=1 << 17))
    for queue in QUEUES[1:]:
        broker.put_queue(queue)
    ledger = Ledger()
    producers_left = 4

    def produce(seed: int) -> None:
        nonlocal producers_left
        chance = random.Random(seed)
        for n in range(80):
            queue = chance.choice(QUEUES)
            bodies = [f"{seed}/{n}/{k}" for k in range(chance.choice([1, 1, 3, 20]))]
            ids = broker.produce(queue, bodies, [chance.choice([None, None, 1]) for _ in bodies])
            with ledger.lock:
                ledger.produced.update(zip(ids, bodies, strict=True))
        with ledger.lock:
            producers_left -= 1

    def consume(seed: int) -> None:
        chance = random.Random(100 + seed)
        while True:
            queue = chance.choice(QUEUES)
            finished = producers_left == 0
            wait_s = chance.choice([0, 0.02])
            found = broker.claim(queue, limit=chance.choice([1, 5, 20]), visibility_timeout_ms=LONG_MS, wait_s=wait_s)
            for message in found:
                ledger.take(message.id, seed)
            for message in found:
                target = Target(receipt=message.receipt)
                ledger.give_back(message.id)  # before the call: from then on somebody else may be given it
                if chance.random() < 0.2:
                    broker.update(queue, target, Change(visibility_timeout_ms=0))
                else:
                    broker.delete(queue, target)
                    with ledger.lock:
                        ledger.done[message.id] += 1
            if finished and not found and not any(map(len, (q.messages for q in broker.core.state.queues.values()))):
                return

    calls = [Call(produce, seed) for seed in range(4)] + [Call(consume, seed) for seed in range(6)]
    for call in calls:
        call.result()
    assert ledger.faults == []
    assert ledger.held == {}
    assert set(ledger.done) == set(ledger.produced)
    assert set(ledger.done.values()) == {1}
    for info in broker.queues():
        assert set(info.counts.values()) == {0}
        assert info.bytes == 0
        assert info.oldest_ms is None
    broker.close()
    again = Broker(FileLog(tmp_path))
    assert [sum(info.counts.values()) for info in again.queues()] == [0, 0, 0]
    again.close()


def test_only_one_of_many_can_delete_a_message(tmp_path: Path) -> None:
    broker = Broker(FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=1 << 17))
    ids = broker.produce("default", ["x"] * 300)
    wins: Counter[str] = Counter()
    lock = threading.Lock()

    def work(seed: int) -> None:
        order = random.Random(seed).sample(ids, len(ids))
        for start in range(0, len(order), 7):
            part = order[start : start + 7]
            results = broker.delete_batch("default", [Target(id=each) for each in part])
            with lock:
                wins.update(each for each, error in zip(part, results, strict=True) if error is None)

    for call in [Call(work, seed) for seed in range(8)]:
        call.result()
    assert wins == Counter(ids)
    broker.close()


def test_counts_add_up_while_everything_moves(tmp_path: Path) -> None:
    """An observer sees all counts of one moment: no message twice, and none missing."""
    broker = Broker(FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=1 << 17))
    broker.produce("default", ["x"] * 200)
    stop = threading.Event()

    def move(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            timeout_ms = chance.choice([0, 1, 5000])
            for message in broker.claim("default", limit=chance.randrange(1, 30), visibility_timeout_ms=timeout_ms):
                change = chance.choice([Change(visibility_timeout_ms=0), Change(delay_ms=1), Change(body="yy")])
                try:
                    broker.update("default", Target(receipt=message.receipt), change)
                except BrokerError:
                    assert timeout_ms < 5000, "only an expired claim can have been lost"

    movers = [Call(move, seed) for seed in range(4)]
    try:
        for _ in range(150):
            assert sum(broker.queue("default").counts.values()) == 200
            listed = [message.id for message in broker.messages("default")]
            assert len(listed) == len(set(listed)) == 200
    finally:
        stop.set()
    for mover in movers:
        mover.result()
    broker.close()
