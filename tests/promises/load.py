"""Parts of loads that several scenarios share."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.promises.client import Client
from tests.promises.scenario import Actor
from tests.support.waiting import eventually

#: Lengths of the padding of texts: most messages are small, and some fill a segment soon.
_PADDING = (0, 0, 0, 20, 200, 1500)


class Texts:
    """Texts of which no two in a run are equal."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0

    def next(self, client: Client) -> str:
        """Return another text; it begins with the name of the actor."""
        self._count += 1
        return f"{client.actor}:{self._count}:{'.' * self._rng.choice(_PADDING)}"


def producer(
    rng: random.Random,
    queue: str,
    *,
    most: int = 4,
    backlog: int = 60,
    pause_s: float = 0.1,
    fields: Callable[[], Mapping[str, Any]] = dict,
) -> Actor:
    """Return an actor that produces batches of up to ``most`` messages while the queue has fewer than ``backlog``."""
    texts = Texts(rng)

    def step(client: Client) -> None:
        if client.total(queue) < backlog:
            client.produce(queue, [{"message": texts.next(client), **fields()} for _ in range(rng.randint(1, most))])
        client.pause(rng.uniform(0, pause_s))

    return step


def consumer(
    rng: random.Random,
    queue: str,
    *,
    timeouts_s: Sequence[float],
    most: int,
    finish: Callable[[Client, Mapping[str, Any]], object],
    pause_s: float = 0.05,
) -> Actor:
    """Return an actor that claims up to ``most`` messages, and calls ``finish`` for each."""

    def step(client: Client) -> None:
        answer = client.consume(queue, visibility_timeout=rng.choice(timeouts_s), most=rng.randint(1, most))
        for message in answer.answer if answer.is_done else ():
            client.pause(rng.uniform(0, pause_s))
            finish(client, message)
        if not answer.is_done or not answer.answer:
            client.pause(0.1)

    return step


def drain(client: Client, queue: str) -> None:
    """Consume and delete until the queue is empty."""

    def is_empty() -> bool:
        for message in client.consume(queue, visibility_timeout=5, most=100, wait=0.5).answer:
            client.delete(queue, message)
        return client.total(queue) == 0

    eventually(is_empty, f"the queue {queue} to be empty")


def listed(*queues: str) -> Callable[[Client], None]:
    """Return an end of a scenario that only lists its queues."""

    def settle(client: Client) -> None:
        for queue in queues:
            client.listing(queue)

    return settle
