"""Tasks of dramatiq."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.workers.counting import REDIS_VARIABLE, count

dramatiq.set_broker(RedisBroker(url=os.environ.get(REDIS_VARIABLE)))


@dramatiq.actor
def empty() -> None:
    count()


def fill(_name: str, tasks: int) -> None:
    for _ in range(tasks):
        empty.send()
