"""Random lives of a log in JetStream with several writers and lost answers, compared with what was acknowledged:

    python -m tests.storage.jetstream_lives [--lives N] [--seed N]

Exit code 1 if a life is not as it must be.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.support.log_streams import LogStream, Publish, replayed
from tests.support.nats_servers import NatsCluster
from wonderq_storage import LogLostError, Mark, Position, StaleMarkError, jetstream_stream
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.nats import Ack, ApiError, Connection, ConnectionLostError, NatsTimeoutError, NatsUnreachableError

#: Counts of what must happen in a run, or it proves nothing.
LOST = "appends of former writers refused"
REPEATED = "messages sent again"
TRIMMED = "parts dropped"
STALE = "marks that were stale"
TAKEOVERS = "takeovers"
ACKNOWLEDGED = "records acknowledged"
MECHANISMS = (LOST, REPEATED, TRIMMED, STALE, TAKEOVERS, ACKNOWLEDGED)

STEPS = 120


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
        self.counts: Counter[str] = Counter()
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
            case 3:
                raise NatsUnreachableError("no connection")
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
            self.counts[LOST] += 1
            return
        assert log is self.owner
        self.counts[REPEATED] += log.append_retries - retries
        self.counts[ACKNOWLEDGED] += len(records)
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
            self.counts[STALE] += 1
            mark = None
            found = replayed(log)
        assert found == [pair for pair in self.acknowledged if pair[0] >= max(self.begin, mark.end if mark else 0)]
        log.start()
        self.owner = log
        self.counts[TAKEOVERS] += 1

    def trim(self) -> None:
        if (oldest := self.owner.oldest()) is not None:
            end, records = oldest
            found = [(position, bytes(record)) for position, record in records]
            assert found == [pair for pair in self.acknowledged if self.begin <= pair[0] < end]
            self.owner.trim(end)
            self.begin = end
            self.counts[TRIMMED] += 1

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


def live(connection: Connection, seed: int, steps: int = STEPS) -> Counter[str]:
    """Live one life in a stream of its own, and return what happened.

    Raises:
        AssertionError: the log was not as it must be.
    """
    stream = LogStream(connection, posts=bool(seed % 2))
    life = Life(stream, seed)
    for _ in range(steps):
        life.step()
    life.end()
    stream.call("DELETE")
    return life.counts


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storage.jetstream_lives", description=__doc__)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args(argv)
    jetstream_stream._FIRST_PAUSE_S = 0.0005  # answers are lost so often that pauses would take most of the time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends, too
    logging.getLogger("wonderq").addHandler(logging.NullHandler())
    print(f"seed {options.seed}", flush=True)
    counts: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        NatsCluster(Path(folder), 1) as cluster,
        closing(Connection(cluster.url)) as connection,
    ):
        for number in range(options.lives):
            try:
                counts += live(connection, options.seed + number)
            except Exception:
                print(f"BROKEN PROMISE in the life with seed {options.seed + number}\n{traceback.format_exc()}")
                return 1
    print(", ".join(f"{counts[each]:,} {each}" for each in MECHANISMS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
