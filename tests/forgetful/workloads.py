"""Workloads of the explored brokers. Each is random around one theme."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from unittest.mock import patch

from tests.forgetful.life import Life
from tests.support.random_life import live_a_random_life
from wonderq.broker import publish_plan, shared_compaction, wide_copies
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.model.errors import BrokerError
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.topics import Publication
from wonderq_storage import RecordTooLargeError, SyncPolicy, frame

ALWAYS, OS, INTERVAL = SyncPolicy(), SyncPolicy("os"), SyncPolicy("interval", 10)

_QUEUES = ("default", "default", "default", "a", "b")
_SPECIAL = ("default", "a", "c.fifo")
_OUTPUTS = ("default", "a", "c.fifo", "d", "e")


class Steps:
    """Steps of a life. Bodies have up to ``body_bytes`` bytes."""

    def __init__(self, life: Life, chance: random.Random, body_bytes: int) -> None:
        self._life = life
        self._chance = chance
        self._body_bytes = body_bytes
        self._ids: list[tuple[str, str]] = []  # queue and id
        self._receipts: list[tuple[str, str]] = []

    def _body(self) -> str:
        length = int(self._body_bytes * self._chance.random() ** 2)
        return "".join(self._chance.choices("abcdefgh\0é", k=length))

    def _target(self) -> tuple[str, Target]:
        if self._receipts and self._chance.random() < 0.6:
            queue, receipt = self._chance.choice(self._receipts[-8:])
            return queue, Target(receipt=receipt)
        queue, message_id = self._chance.choice(self._ids[-8:] or [("default", "")])
        return queue, Target(id=message_id)

    def produce(self) -> None:
        self._produce(1)

    def batch(self) -> None:
        self._produce(self._chance.randint(2, 5))

    def _produce(self, count: int) -> None:
        queue = self._chance.choice(_QUEUES)
        delays = [self._chance.choice([None, 0, 800]) for _ in range(count)] if self._chance.random() < 0.2 else None
        ids = self._life.promising.produce(queue, [self._body() for _ in range(count)], delays)
        self._ids += [(queue, each) for each in ids]

    def send(self) -> None:
        queue = self._chance.choice(_SPECIAL)
        sent = self._life.promising.send(queue, self._new(queue, self._chance.randint(1, 3)))
        self._ids += [(queue, each.id) for each in sent]

    def _new(self, queue: str, count: int) -> list[NewMessage]:
        chance = self._chance
        return [
            NewMessage(
                self._body(),
                attributes=chance.choice([None, {"a": ("Number", "1")}]),
                group=chance.choice(["", "g", "h"]),
                priority=0 if queue.endswith(".fifo") else chance.choice([0, 0, 9]),
                key=chance.choice(["", "k", "l", str(chance.randrange(9))]),
            )
            for _ in range(count)
        ]

    def hand_over(self) -> None:
        """Delete up to two messages, and add others to two queues, of which one may be new."""
        queue, target = self._target()
        others = [Target(id=each) for name, each in self._ids[-3:-2] if name == queue]
        outputs = {name: self._new(name, self._chance.randint(1, 2)) for name in self._chance.sample(_OUTPUTS, 2)}
        for name, sent in self._life.promising.hand_over(queue, [target, *others], outputs).items():
            self._ids += [(name, each.id) for each in sent]

    def subscribe(self) -> None:
        queue = self._chance.choice(_SPECIAL)
        topics = self._life.promising.topics
        topics.put("news")
        fields = {"raw": self._chance.random() < 0.7, "when_full": self._chance.choice(["fail", "skip"])}
        if self._chance.random() < 0.3:
            fields["filter"] = {"a": [{"numeric": ["=", 1]}]}
        topics.subscribe("news", queue.removesuffix(".fifo"), queue=queue, **fields)

    def subscribe_all(self) -> None:
        self._life.promising.topics.put("news")
        for queue in _SPECIAL:
            self._life.promising.put_queue(queue)
            self._life.promising.topics.subscribe("news", queue.removesuffix(".fifo"), queue=queue)

    def unsubscribe(self) -> None:
        self._life.promising.topics.unsubscribe("news", self._chance.choice(["default", "a", "c"]))

    def publish(self) -> None:
        new = [each._replace(priority=0) for each in self._new("news", self._chance.randint(1, 3))]
        self._life.promising.topics.publish("news", [Publication(each, "news") for each in new])

    def publish_in_turns(self) -> None:
        with patch.object(publish_plan, "PORTION_STEPS", 1):
            self.publish()

    def attempt(self) -> None:
        queue = self._chance.choice(_SPECIAL)
        claimed = self._life.promising.claim(queue, limit=3, attempt_id=self._chance.choice(["one", "two"]))
        self._receipts += [(queue, message.receipt) for message in claimed]

    def few_receives(self) -> None:
        """Let a message be claimed once; the next claim moves it to another queue, or buries it."""
        queue = self._chance.choice(_SPECIAL)
        self._life.promising.put_queue(
            queue, max_receives=1, dead_letter_queue=self._chance.choice(["", "dead"]), visibility_timeout_ms=0
        )

    def kick(self) -> None:
        self._life.promising.kick(self._chance.choice(_SPECIAL), 2)

    def short_retention(self) -> None:
        self._life.promising.put_queue(self._chance.choice(_SPECIAL), retention_ms=self._chance.choice([0, 3_000]))

    def claim_sent(self) -> None:
        self._claim(_SPECIAL)

    def claim(self) -> None:
        self._claim(_QUEUES)

    def _claim(self, queues: Sequence[str]) -> None:
        queue = self._chance.choice(queues)
        timeout_ms = self._chance.choice([None, 0, 300, 3000])
        claimed = self._life.promising.claim(
            queue, limit=self._chance.choice([1, 2, 5]), visibility_timeout_ms=timeout_ms
        )
        self._receipts += [(queue, message.receipt) for message in claimed]

    def delete(self) -> None:
        self._life.promising.delete(*self._target())

    def delete_batch(self) -> None:
        queue, target = self._target()
        others = [
            Target(id=each) for name, each in self._chance.sample(self._ids, min(len(self._ids), 3)) if name == queue
        ]
        self._life.promising.delete_batch(queue, [target, *others])

    def update(self) -> None:
        self._life.promising.update(*self._target(), self._change())

    def update_batch(self) -> None:
        queue, target = self._target()
        others = [
            Target(id=each) for name, each in self._chance.sample(self._ids, min(len(self._ids), 2)) if name == queue
        ]
        self._life.promising.update_batch(queue, [(each, self._change()) for each in (target, *others)])

    def _change(self) -> Change:
        renew = Change(visibility_timeout_ms=self._chance.choice([400, 5000]))
        release = Change(visibility_timeout_ms=0)
        delay = Change(delay_ms=self._chance.choice([0, 700]))
        rewrite = Change(body=self._body(), attributes=self._chance.choice([None, {}, {"b": ("String", "x")}]))
        changes = [renew, release, delay, Change(bury=True)]
        if not self._life.arriving:  # who rewrites a message reads it first, and waits until it is durable
            changes += [rewrite, rewrite]
        return self._chance.choice(changes)

    def settings(self) -> None:
        self._life.promising.put_queue(
            self._chance.choice(["a", "b", "c"]), delay_ms=self._chance.choice([0, 100]), visibility_timeout_ms=2000
        )

    def drop(self) -> None:
        self._life.promising.drop_queue(self._chance.choice(["a", "b", "c"]))

    def purge(self) -> None:
        self._life.promising.purge(self._chance.choice(_QUEUES))

    def pass_time(self) -> None:
        self._life.clock.ms += self._chance.choice([1, 400, 4000])

    def pause(self) -> None:
        self._life.log.pause()

    def interval_ends(self) -> None:
        self._life.log.interval_ends()

    def checkpoint(self) -> None:
        life = self._life
        life.durably(lambda: checkpoint(life.broker, life.log, life.checkpoints))

    def compact(self) -> None:
        life = self._life
        life.durably(lambda: compact_oldest(life.broker, life.log))

    def compact_in_turns(self) -> None:
        """Compact with turns of one queue."""
        with (
            patch.object(shared_compaction, "_QUEUES", 1),
            patch.object(wide_copies, "_QUEUES", 1),
            patch.object(wide_copies, "_MOST_QUEUES_BESIDES", 0),
        ):
            self.compact()

    def compact_all(self) -> None:
        """Compact the whole folder, as `wonderq folder compact` does."""
        life = self._life
        end = life.durably(life.log.rotate)
        while (oldest := life.log.oldest()) and oldest[0] <= end:
            self.compact()
        life.checkpoints.remove_before(end)

    def restart(self) -> None:
        self._life.stop()
        self._life.start()

    def kill(self) -> None:
        self._life.kill()
        self._life.start()

    def arrival(self) -> None:
        """Make a call of another client while a leader syncs."""
        if self._chance.random() < 0.5:
            getattr(self, self._chance.choice(["produce", "batch", "delete", "update"]))()

    def random(self) -> None:
        """A few steps of a life that other tests lead too."""
        live_a_random_life(self._life.promising, self._life.clock, self._chance, 4)


@dataclass(frozen=True)
class Workload:
    """A theme: which steps, how often, and on what kind of log."""

    weights: Mapping[str, int]
    """Weights by the name of a step in `Steps`."""
    steps: int = 16
    policies: tuple[SyncPolicy, ...] = (ALWAYS,)
    segment_bytes: tuple[int, ...] = (4096,)
    body_bytes: int = 120
    arrivals: bool = False
    first_version: int = frame.VERSION
    """The format version of the segments that the first of its lives writes."""
    first: tuple[str, ...] = field(default=())
    """Steps before those that chance chooses."""

    def live(self, life: Life, chance: random.Random) -> None:
        """Lead the life, and leave it as if the power had gone."""
        steps = Steps(life, chance, self.body_bytes)
        if self.arrivals:
            life.arrival = steps.arrival
        life.start()
        chosen = chance.choices(list(self.weights), list(self.weights.values()), k=self.steps) if self.weights else []
        for name in (*self.first, *chosen):
            with suppress(BrokerError, RecordTooLargeError):  # a refusal is an answer
                getattr(steps, name)()
                life.done[f"step {name}"] += 1
        life.count_mechanisms()


_WORK = {"produce": 4, "batch": 1, "claim": 3, "delete": 2, "update": 2, "pass_time": 1}
_ALL = _WORK | {"delete_batch": 1, "update_batch": 1, "settings": 1, "drop": 1, "purge": 1, "pause": 2}
_UPKEEP = {"checkpoint": 2, "compact": 3}
_SENDS = {"send": 5, "claim_sent": 3, "delete": 1, "update": 2, "attempt": 1, "pass_time": 1}

WORKLOADS: dict[str, Workload] = {
    "tiny": Workload({}, first=("produce",), body_bytes=24),
    "messages": Workload(_WORK),
    "updates": Workload({"produce": 2, "claim": 3, "update": 5, "pass_time": 1}, first=("batch", "claim")),
    "batches": Workload({"batch": 3, "claim": 2, "delete_batch": 2, "update_batch": 3}, body_bytes=300),
    "queues": Workload({"produce": 3, "claim": 1, "settings": 3, "drop": 2, "purge": 2, "pass_time": 1}),
    "rotation": Workload(
        {"produce": 4, "batch": 3, "claim": 1, "delete": 1}, segment_bytes=(4096, 8192), body_bytes=2500
    ),
    "pauses": Workload({"produce": 2, "claim": 1, "delete": 1, "pause": 3}, first=("produce", "pause")),
    "checkpoints": Workload(_WORK | {"checkpoint": 3}, body_bytes=600),
    "compaction": Workload(
        _WORK | _UPKEEP | {"batch": 4, "compact_all": 1}, steps=22, body_bytes=1200, segment_bytes=(4096, 6000)
    ),
    "restarts": Workload(_WORK | {"restart": 3, "checkpoint": 1, "pause": 1}, body_bytes=700),
    "kills": Workload(_WORK | {"kill": 3, "checkpoint": 1}, policies=(ALWAYS, OS), body_bytes=700),
    "arrivals": Workload(_ALL, arrivals=True, body_bytes=500),
    "arrivals-and-upkeep": Workload(
        _WORK | _UPKEEP | {"batch": 3, "pause": 1}, arrivals=True, steps=20, body_bytes=1500
    ),
    "sends": Workload(_SENDS | _UPKEEP, body_bytes=500, steps=20),
    "hand-overs": Workload({"send": 2, "hand_over": 4, "claim_sent": 2, "drop": 1}, first=("send",), body_bytes=300),
    "topics": Workload(
        {
            "publish": 4,
            "publish_in_turns": 4,
            "subscribe": 2,
            "unsubscribe": 1,
            "claim_sent": 2,
            "delete": 1,
            "restart": 1,
            "compact_in_turns": 3,
        }
        | _UPKEEP,
        first=("subscribe_all", "publish", "publish_in_turns"),
        body_bytes=400,
        steps=20,
    ),
    "dead-letters": Workload(
        {"send": 3, "few_receives": 2, "claim_sent": 5, "kick": 1, "short_retention": 1, "pass_time": 1, "compact": 1},
        first=("few_receives", "send", "claim_sent"),
        body_bytes=500,
        steps=20,
    ),
    "weak-sync": Workload(_ALL | _UPKEEP | {"interval_ends": 2}, policies=(OS, INTERVAL), body_bytes=700),
    "weak-sync-restarts": Workload(
        _WORK | _UPKEEP | {"interval_ends": 1, "restart": 1, "kill": 1},
        policies=(OS, INTERVAL),
        body_bytes=1200,
        arrivals=True,
    ),
    "older-version": Workload(
        _WORK | _UPKEEP | {"batch": 3, "restart": 1, "kill": 1, "pause": 1},
        policies=(ALWAYS, OS),
        body_bytes=1200,
        first_version=1,
    ),
    "large-writes": Workload(
        {"produce": 3, "batch": 2, "checkpoint": 1}, segment_bytes=(16384,), body_bytes=9000, steps=10
    ),
    "everything": Workload(
        _ALL | _UPKEEP | {"restart": 1, "kill": 1, "random": 6},
        policies=(ALWAYS, ALWAYS, OS, INTERVAL),
        segment_bytes=(4096, 4608, 12288),
        body_bytes=900,
        arrivals=True,
        steps=20,
    ),
}
