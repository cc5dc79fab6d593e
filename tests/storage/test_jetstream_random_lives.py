"""Random lives of a log with several writers and lost answers, compared with a list of what was acknowledged."""

from __future__ import annotations

import random

import pytest

from tests.support.log_streams import LogStream, Publish, replayed
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection
from wonderq_storage import LogLostError, Mark, Position, StaleMarkError, jetstream_stream
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import Ack, ApiError, Connection, ConnectionLostError, NatsTimeoutError

__all__ = ["connection"]

pytestmark = needs_nats


class Life:
    """Writers that follow on each other; the former ones go on until they find out."""

    def __init__(self, stream: LogStream, seed: int) -> None:
        self.stream = stream
        self.chance = random.Random(seed)
        self.owner = stream.start()
        self.former: list[JetStreamLog] = []
        self.acknowledged: list[tuple[Position, bytes]] = []
        self.refused: set[bytes] = set()
        self.begin: Position = 0
        """Everything before it was dropped."""
        self.marks: list[Mark] = []
        self.counts = {"lost": 0, "repeated": 0, "trimmed": 0, "stale": 0}
        self.number = 0
        stream.jetstream.interfere = self.interfere

    def interfere(self, publish: Publish) -> Ack:
        """Lose the message, or its acknowledgement, now and then."""
        match self.chance.randrange(12):
            case 0:
                raise NatsTimeoutError("lost before")
            case 1:
                publish()
                raise ConnectionLostError("lost after")
            case 2:
                raise ApiError(503, 10008, "JetStream system temporarily unavailable")
        return publish()

    def append(self, log: JetStreamLog) -> None:
        records = []
        for _ in range(self.chance.choice([1, 1, 2, 5])):
            self.number += 1
            records.append(b"%d " % self.number + bytes(self.chance.choice([0, 10, 700])))
        retries = log.append_retries
        try:
            if self.chance.random() < 0.3:
                positions = log.append_together(records)
            else:
                positions = [log.append(record) for record in records]
            log.wait(positions[-1])
        except LogLostError:
            assert log is not self.owner
            self.refused |= set(records)
            self.counts["lost"] += 1
            return
        assert log is self.owner
        self.counts["repeated"] += log.append_retries - retries
        self.acknowledged += zip(positions, records, strict=True)

    def step(self) -> None:
        match self.chance.randrange(12):
            case 0 | 1:
                self.take_over()
            case 2:
                self.owner.rotate()
            case 3:
                self.trim()
            case 4:
                mark = self.owner.mark()
                self.owner.sync()
                self.marks.append(mark)
            case 5:
                self.owner.wait(self.owner.confirm())
                self.read()
            case 6 if self.former:
                self.append(self.chance.choice(self.former))
            case _:
                self.append(self.owner)

    def take_over(self) -> None:
        self.former.append(self.owner)
        mark = self.chance.choice(self.marks) if self.marks and self.chance.random() < 0.7 else None
        log = self.stream.open(node=f"owner {len(self.former)}")
        try:
            found = replayed(log, mark)
        except StaleMarkError:
            self.counts["stale"] += 1
            mark = None
            found = replayed(log)
        assert found == [pair for pair in self.acknowledged if pair[0] >= max(self.begin, mark.end if mark else 0)]
        log.start()
        self.owner = log

    def trim(self) -> None:
        if (oldest := self.owner.oldest()) is not None:
            end, records = oldest
            found = [(position, bytes(record)) for position, record in records]
            assert found == [pair for pair in self.acknowledged if self.begin <= pair[0] < end]
            self.owner.trim(end)
            self.begin = end
            self.counts["trimmed"] += 1

    def read(self) -> None:
        kept = [pair for pair in self.acknowledged if pair[0] >= self.begin]
        chosen = self.chance.sample(kept, min(len(kept), 9))
        found = self.owner.read([(position, len(record)) for position, record in chosen])
        assert found == [record for _, record in chosen]

    def end(self) -> None:
        self.take_over()
        self.stream.jetstream.interfere = None
        held = {record for _, record in replayed(self.stream.open())}
        assert not held & self.refused
        assert held == {record for position, record in self.acknowledged if position >= self.begin}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have messages sent again without a long pause."""
    monkeypatch.setattr(jetstream_stream, "_FIRST_PAUSE_S", 0.0005)


def test_random_lives(connection: Connection) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    counts = {"lost": 0, "repeated": 0, "trimmed": 0, "stale": 0}
    for number in range(8):
        life = Life(LogStream(connection), seed + number)
        for _ in range(80):
            life.step()
        life.end()
        counts = {name: counts[name] + count for name, count in life.counts.items()}
    assert min(counts.values()) > 0, counts


@pytest.mark.slow
def test_many_random_lives(connection: Connection) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    for number in range(300):
        life = Life(LogStream(connection), seed + number)
        for _ in range(120):
            life.step()
        life.end()
