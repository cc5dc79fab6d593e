"""Random calls to a broker: everything that clients may request, sensible or not."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from tests.support.clock import FakeClock
from wonderq.broker.broker import Broker
from wonderq.broker.claims import ClaimOptions
from wonderq.broker.finishing import Finish
from wonderq.broker.polls import Sources
from wonderq.model.errors import BrokerError
from wonderq.model.failures import ReportedError
from wonderq.model.messages import Change, NewMessage, Target
from wonderq.model.topics import Publication

Attributes = dict[str, tuple[str, str | bytes]]

QUEUES = ("default", "default", "a", "b", "c.fifo")
TOPICS = ("news", "news", "news", "line.fifo")

SETTINGS: dict[str, tuple[Any, ...]] = {
    "delay_ms": (0, 100),
    "visibility_timeout_ms": (0, 2_000, 30_000),
    "retention_ms": (0, 0, 6_000),
    "max_messages": (0, 60),
    "max_receives": (0, 0, 2),
    "dead_letter_queue": ("", "dead", "dead.fifo"),
    "paused": (False, False, True),
    "draining": (False, False, True),
    "content_deduplication": (False, True),
    "deduplication_window_ms": (1_000, 5_000),
    "deduplication_per_group": (False, True),
    "max_in_flight": (0, 0, 4),
    "max_in_flight_per_group": (0, 2),
}


class RandomLife:
    """Random calls to one broker, on a clock that they move."""

    def __init__(self, broker: Broker, clock: FakeClock, chance: random.Random) -> None:
        self._broker = broker
        self._clock = clock
        self._chance = chance
        self._receipts: list[str] = [""]
        self._ids: list[str] = [""]

    def step(self) -> None:
        chance, broker = self._chance, self._broker
        queue = chance.choice(QUEUES)
        match chance.randrange(23):
            case 0 | 1:
                count = chance.choice([1, 1, 5, 30])
                delays = [chance.choice([None, 0, 800]) for _ in range(count)] if chance.random() < 0.4 else None
                self._ids += broker.produce(queue, [f"message {len(self._ids)}"] * count, delays)
            case 2 | 3 | 4:
                sent = broker.send(queue, [self._new(queue) for _ in range(chance.choice([1, 1, 4, 12]))])
                self._ids += [each.id for each in sent]
            case 5 | 6 | 7:
                self._claim(queue)
            case 8 | 9:
                some = [Target(id=each) for each in chance.sample(self._ids, 1)]
                broker.delete_batch(queue, [self._target(), *some])
            case 10 | 11:
                broker.update(queue, self._target(), self._change())
            case 12:
                self._clock.ms += chance.choice([1, 100, 1000, 4000])
            case 13:
                name = chance.choice(list(SETTINGS))
                broker.put_queue(queue, **{name: chance.choice(SETTINGS[name])})
            case 14:
                broker.kick(chance.choice([queue, "dead"]), chance.choice([1, 20]))
            case 15:
                outputs = {name: [self._new(name)] for name in chance.sample([*QUEUES[1:], "d"], 2)}
                broker.hand_over(queue, [self._target()], outputs)
            case 16 | 17:
                self._next(queue)
            case 18 | 19:
                self._publish()
            case 20:
                self._subscribe(queue)
            case _ if chance.random() < 0.1:
                broker.drop_queue(queue) if chance.random() < 0.5 else broker.purge(
                    queue, void_keys=chance.random() < 0.5
                )

    def _claim(self, queue: str) -> None:
        chance = self._chance
        claimed = self._broker.claim(
            queue,
            limit=chance.choice([1, 3, 20]),
            visibility_timeout_ms=chance.choice([None, 0, 300, 3000]),
            attempt_id=chance.choice([None, None, "one", "two"]),
        )
        self._receipts += [message.receipt or "" for message in claimed]

    def _next(self, queue: str) -> None:
        chance = self._chance
        receipts = chance.sample(self._receipts[-20:], min(len(self._receipts), chance.choice([0, 1, 5])))
        finished = [Finish(each, self._change() if chance.random() < 0.7 else None) for each in receipts]
        others = [name for name in ("a", "b") if name != queue]
        options = ClaimOptions(
            chance.choice([1, 3, 20]),
            chance.choice([None, 0, 300, 3000]),
            attempt_id=chance.choice([None, None, "one", "two"]),
            consumer=chance.choice(["", "worker-1", "worker-2"]),
        )
        done = self._broker.next(Sources((queue, *chance.choice([(), others]))), finished, options)
        self._receipts += [message.receipt or "" for message in done.messages]

    def _publish(self) -> None:
        chance = self._chance
        messages = [self._new("c.fifo") for _ in range(chance.choice([1, 1, 3, 9]))]
        self._broker.topics.publish(chance.choice(TOPICS), [Publication(each, "news") for each in messages])

    def _subscribe(self, queue: str) -> None:
        chance, topics, topic = self._chance, self._broker.topics, self._chance.choice(TOPICS)
        kind = chance.randrange(12)
        if kind == 0:
            topics.delete(topic)
        elif kind == 1:
            topics.unsubscribe(topic, queue.removesuffix(".fifo"))
        else:
            topics.put(topic, content_deduplication=chance.random() < 0.1)
            given: dict[str, Any] = {
                "raw": chance.random() < 0.6,
                "filter": chance.choice([None, None, {"a": ["x"]}]),
                "when_full": chance.choice(["fail", "skip", "skip"]),
                "paused": kind == 2,
                "dead_letter_queue": chance.choice(["", "dead"]),
            }
            topics.subscribe(topic, queue.removesuffix(".fifo"), queue=queue, **given)

    def _target(self) -> Target:
        by_receipt = Target(receipt=self._chance.choice(self._receipts[-20:]))
        return self._chance.choice([Target(id=self._chance.choice(self._ids)), by_receipt])

    def _new(self, queue: str) -> NewMessage:
        chance = self._chance
        attributes: Attributes = {"a": ("String", "x"), "b": ("Binary", b"\0")}
        return NewMessage(
            chance.choice(["", "some", "s" * 90]),
            delay_ms=chance.choice([None, None, 0, 900]),
            attributes=chance.choice([None, attributes]),
            system=chance.choice([None, None, {"traceparent": "00-1-1-01"}]),
            group=chance.choice(["", "g", "h", "i"]),
            priority=0 if queue.endswith(".fifo") else chance.choice([0, 0, 4, 9]),
            key=chance.choice(["", "", "k", "l", str(chance.randrange(40))]),
        )

    def _change(self) -> Change:
        chance = self._chance
        kind = chance.randrange(8)
        return Change(
            visibility_timeout_ms=chance.choice([0, 500, 5000]) if kind in (0, 5) else None,
            delay_ms=chance.choice([0, 700]) if kind == 1 else None,
            body=chance.choice([None, None, "new", "n" * 200]),
            attributes=chance.choice([None, None, {}, {"c": ("Number", "1")}]),
            bury=kind == 2,
            expire=kind == 6,
            backoff_ms=chance.choice([0, 400]) if kind == 3 else None,
            if_version=chance.choice([None, None, 1, 2]),
            error=chance.choice([None, None, ReportedError("some error", "Error", "t" * 90)]),
            dead=kind == 7,
            uncounted=kind in (1, 3) and chance.random() < 0.5,
        )


def live_a_random_life(broker: Broker, clock: FakeClock, chance: random.Random, steps: int) -> None:
    """Make random calls, and ignore refusals."""
    life = RandomLife(broker, clock, chance)
    for _ in range(steps):
        with suppress(BrokerError):
            life.step()
