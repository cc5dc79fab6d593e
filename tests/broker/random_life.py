"""A life of a broker made of chance: everything that clients may ask for, sensible or not."""

from __future__ import annotations

import random

from tests.broker.fake_clock import FakeClock
from wonderq.broker import Broker
from wonderq.errors import BrokerError
from wonderq.model import Change, Target


def live_a_random_life(broker: Broker, clock: FakeClock, chance: random.Random, steps: int) -> None:
    receipts: list[str] = [""]
    ids: list[str] = [""]
    for _ in range(steps):
        queue = chance.choice(["default", "default", "a", "b"])
        target = chance.choice([Target(id=chance.choice(ids)), Target(receipt=chance.choice(receipts[-20:]))])
        change = Change(
            visibility_timeout_ms=chance.choice([None, None, 0, 500, 5000]),
            delay_ms=chance.choice([None, None, 0, 700]),
            body=chance.choice([None, "new", "n" * 200]),
        )
        try:
            match chance.randrange(14):
                case 0 | 1 | 2 | 3:
                    count = chance.choice([1, 1, 5, 30])
                    delays = [chance.choice([None, 0, 800]) for _ in range(count)] if chance.random() < 0.4 else None
                    ids += broker.produce(queue, [f"message {len(ids)}"] * count, delays)
                case 4 | 5 | 6:
                    limit, timeout = chance.choice([1, 3, 20]), chance.choice([None, 0, 300, 3000])
                    claimed = broker.claim(queue, limit=limit, visibility_timeout_ms=timeout)
                    receipts += [message.receipt or "" for message in claimed]
                case 7 | 8:
                    broker.delete_batch(queue, [target, *(Target(id=each) for each in chance.sample(ids, 1))])
                case 9 | 10:
                    broker.update(queue, target, change)
                case 11:
                    clock.ms += chance.choice([1, 100, 1000, 4000])
                case 12:
                    broker.put_queue(queue, delay_ms=chance.choice([0, 100]))
                case _ if chance.random() < 0.1:
                    broker.drop_queue(queue) if chance.random() < 0.5 else broker.purge(queue)
        except BrokerError:
            pass
