"""The engines of a worker: one for all queues, or in a cluster one for each group of queues that are in one shard.

A broker claims messages of several queues with one request, but the nodes of a cluster only if the queues are in one
shard. A worker does not know that before it asks. When it is refused, it divides its queues by their names: the part
before ``--`` decides the shard.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from wonderq.client.errors import Refused
from wonderq.worker.engine import Engine
from wonderq.worker.executor import Places
from wonderq.worker.slots import Share, Slots

log = logging.getLogger("wonderq.worker")

Queues: TypeAlias = Sequence[str] | Mapping[str, int]

Make: TypeAlias = Callable[[Queues, Share], Engine]
"""Makes the engine for some queues."""


def is_divided(error: BaseException) -> bool:
    """Return whether a broker refused a call because it is about queues in different shards."""
    return isinstance(error, Refused) and error.code == "different_shards"


def groups_of(queues: Queues) -> list[Queues]:
    """Return groups of queues that are surely in one shard, in their order, with their weights."""
    found: dict[str, list[str]] = {}
    for queue in queues:
        found.setdefault(queue.partition("--")[0].removesuffix(".fifo"), []).append(queue)
    if isinstance(queues, Mapping):
        return [{queue: queues[queue] for queue in group} for group in found.values()]
    return list(found.values())


class Crew:
    """The engines of one worker. Together they hold no more messages than it has slots."""

    def __init__(self, make: Make, queues: Queues, concurrency: int, places: Places) -> None:
        """``places`` are where the engines run handlers; they are closed at the end."""
        self._make = make
        self._queues = queues
        self._concurrency = concurrency
        self._places = places
        self._lock = threading.Lock()
        self._engines = [make(queues, Slots(concurrency).share())]
        self._is_stopping = False
        self._hurries = False

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopping

    @property
    def running(self) -> int:
        """Number of handlers that run."""
        return sum(each.running for each in self._engines)

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more messages. Let handlers finish within the grace, or none if ``at_once``."""
        with self._lock:
            self._is_stopping = True
            self._hurries |= at_once
            engines = list(self._engines)
        for each in engines:
            each.stop(at_once=at_once)

    def run(self) -> None:
        """Run until `stop` is called, and the handlers have ended or were given up.

        Raises:
            Exception: a defect ended an engine.
        """
        try:
            try:
                self._engines[0].run()
            except Refused as error:
                if not is_divided(error) or not self._divide():
                    raise
                self._run_all()
        finally:
            self._places.close()

    def _divide(self) -> bool:
        """Make an engine for each group of queues; return whether there are several groups."""
        groups = groups_of(self._queues)
        if len(groups) == 1:
            return False
        log.info("the queues are in different shards of a cluster, so each of %d groups has its own polls", len(groups))
        slots = Slots(self._concurrency)
        engines = [self._make(group, slots.share(_draw(at, group))) for at, group in enumerate(groups)]
        with self._lock:
            self._engines = engines
            is_stopping, hurries = self._is_stopping, self._hurries
        if is_stopping:
            self.stop(at_once=hurries)
        return True

    def _run_all(self) -> None:
        errors: list[BaseException] = []

        def run(engine: Engine) -> None:
            try:
                engine.run()
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)
                for each in self._engines:
                    each.stop(at_once=True)

        threads = [
            threading.Thread(target=run, args=(each,), name=f"wonderq-engine-{at}", daemon=True)
            for at, each in enumerate(self._engines)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        if errors:
            raise errors[0]


def _draw(at: int, group: Queues) -> Callable[[], float]:
    """Return how a group gets its place among those that wait for a slot: its own one, or at random by its weight."""
    if isinstance(group, Mapping):
        return partial(random.expovariate, sum(group.values()))  # as the broker draws the order of queues
    return lambda: float(at)
