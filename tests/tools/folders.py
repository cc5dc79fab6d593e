"""Folders for the tools to work on, and what is in them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.model.messages import Change, Target
from wonderq.state import record
from wonderq_storage import FileCheckpoints, FileLog
from wonderq_storage.segment import file_name

SEGMENT_BYTES = 4096


@contextmanager
def broker_on(folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> Iterator[tuple[Broker, FileLog]]:
    log = FileLog(folder, segment_bytes=segment_bytes)
    try:
        broker = Broker(log, checkpoints=FileCheckpoints(folder))
        yield broker, log
    finally:
        log.close()


def live_a_little(broker: Broker, rng: random.Random, turns: int) -> None:
    """Use every kind of call but dropping and purging, on three queues."""
    for turn in range(turns):
        queue = rng.choice(["default", "orders", "mail"])
        bodies = [f"{queue} {turn}.{n} " + "x" * rng.randrange(60) for n in range(rng.randrange(1, 4))]
        delays = [rng.choice([None, None, 3_600_000]) for _ in bodies]
        ids = broker.produce(queue, bodies, delays)
        if turn % 10 == 5:
            broker.update(queue, Target(id=ids[0]), Change(body=f"changed {turn}"))
        if turn % 7 == 4:
            broker.delete(queue, Target(id=ids[-1]))
        if turn % 3 == 0:
            claimed = broker.claim(queue, limit=rng.randrange(1, 4), visibility_timeout_ms=3_600_000)
            for message in claimed[1:]:
                broker.delete(queue, Target(receipt=message.receipt))
            if claimed and turn % 2:
                broker.update(queue, Target(receipt=claimed[0].receipt), Change(visibility_timeout_ms=7_200_000))


def compact_all(broker: Broker, log: FileLog, parts: int) -> None:
    for _ in range(parts):
        assert compact_oldest(broker, log)


class Stored(NamedTuple):
    """A record and where it lies."""

    segment: int
    offset: int
    data: bytes

    @property
    def fields(self) -> list[Any]:
        return record.decode(self.data)


def records_of(folder: Path) -> list[Stored]:
    log = FileLog(folder)
    try:
        return [Stored(position >> 32, position & 0xFFFF_FFFF, bytes(data)) for position, data in log.replay()]
    finally:
        log.close()


def flip(folder: Path, segment: int, offset: int, mask: int = 1) -> None:
    path = folder / file_name(segment)
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)
