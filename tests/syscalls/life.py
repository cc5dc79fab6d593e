"""A short life of a broker, the same every time from its seed, that tells after each step what there is.

All its calls to the operating system come from one thread, in the same order each time: the closing groups and the
maintenance that a running broker leaves to threads are steps here.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.clock import FakeClock
from tests.support.folders import write_checkpoint
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.model.errors import BrokerError
from wonderq.model.messages import Change, Target
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq_storage import FileCheckpoints, FileLog, StorageError, SyncPolicy
from wonderq_storage.disk import Disk

SEGMENT_BYTES = 4096
HOUR_MS = 3_600_000
QUEUES = (DEFAULT_QUEUE, "orders")


#: Names of all steps of a life, as it reports them.
STEP_NAMES = (
    *("start", "_create", "_produce", "_claim", "_delete", "_update", "_batch"),
    *("_pause", "_checkpoint", "_compact", "_advance", "_queues", "_restart"),
)


class Said(NamedTuple):
    """Report of a life after a step; the first step is the start."""

    step: str
    refusal: str
    """The name of the storage's error, empty if the step was acknowledged."""
    ms: int
    picture: str
    """Digest of all that clients can see, as the broker has it in memory."""
    failed: bool
    """Whether the broker reports a failed log."""

    def line(self) -> bytes:
        return "\t".join(map(str, self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Said:
        step, refusal, ms, picture, failed = line.decode().split("\t")
        return cls(step, refusal, int(ms), picture, failed == "True")


def picture_of(broker: Broker) -> str:
    """Digest what clients can see but the bodies (their lengths are in it), wherever in the log it stands."""
    with broker.locked() as (state, _, now_ms):
        shown = []
        for name, queue in sorted(state.queues.items()):
            queue.messages.advance(now_ms)
            views = [view._replace(position=0) for view in queue.messages.after(-1, 1 << 30)]
            shown.append((name, queue.number, queue.settings, queue.created_ms, queue.messages.next_sequence, views))
    return hashlib.blake2b(repr(shown).encode(), digest_size=12).hexdigest()


def body_of(length: int) -> str:
    """The body of that length: it can be checked by itself, and no other has its length twice in a row."""
    return f"{length}:".ljust(length, "x")


def open_folder(folder: Path, ms: int, *, checkpoints: bool = True, disk: Disk | None = None) -> tuple[FileLog, Broker]:
    log = FileLog(folder, sync=SyncPolicy(), segment_bytes=SEGMENT_BYTES, disk=disk)
    try:
        return log, Broker(log, checkpoints=FileCheckpoints(folder) if checkpoints else None, clock=FakeClock(ms))
    except BaseException:
        log.close()
        raise


def look(folder: Path, ms: int, *, checkpoints: bool = True, disk: Disk | None = None) -> str:
    """Start a broker on a folder, check every body, and return its picture."""
    _, broker = open_folder(folder, ms, checkpoints=checkpoints, disk=disk)
    try:
        for info in broker.queues():
            for message in broker.messages(info.name):
                assert message.body == body_of(int(message.body.partition(":")[0])), f"another body: {message}"
        return picture_of(broker)
    finally:
        broker.close()


def make_deterministic(seed: int) -> random.Random:
    """Make everything that is left to chance in this process come from the seed."""
    chance = random.Random(seed)
    os.urandom = chance.randbytes
    secrets.token_bytes = lambda nbytes=None: chance.randbytes(nbytes or 0)
    FileLog._run_in_background = lambda self: None  # type: ignore[method-assign]  # closing groups are a step
    gc.disable()  # it would close what is left in a cycle at another moment each time
    logging.disable()
    return random.Random(seed + 1)


def live(folder: Path, seed: int, steps: int, say: Callable[[Said], None]) -> None:
    """Live in an empty folder; ``say`` is called after each step."""
    _Life(folder, make_deterministic(seed), say).run(steps)


class _Life:
    def __init__(self, folder: Path, chance: random.Random, say: Callable[[Said], None]) -> None:
        self._folder = folder
        self._chance = chance
        self._say = say
        self._ms = 1_700_000_000_000
        self._ids = [""]
        self._receipts = [""]

    def run(self, steps: int) -> None:
        self._log, self._broker = open_folder(self._folder, self._ms)
        self._tell("start", "")
        actions = [
            *(self._produce,) * 6,
            *(self._claim,) * 3,
            *(self._delete,) * 3,
            *(self._update,) * 2,
            self._batch,
            self._pause,
            self._checkpoint,
            *(self._compact,) * 2,
            self._advance,
            self._queues,
            self._restart,
        ]
        for action in [self._create, *self._chance.choices(actions, k=steps - 1)]:
            refusal = ""
            try:
                action()
            except BrokerError:
                pass  # an answer like any other
            except (StorageError, OSError) as error:
                refusal = type(error).__name__
            self._tell(action.__name__, refusal)
            if refusal and action == self._restart:
                return
        self._broker.close()

    def _tell(self, step: str, refusal: str) -> None:
        failed = self._broker.unready is not None
        self._say(Said(step, refusal, self._ms, picture_of(self._broker), failed))

    def _create(self) -> None:
        self._broker.put_queue(QUEUES[1])

    def _produce(self) -> None:
        bodies = [body_of(self._chance.randrange(10, 1200)) for _ in range(self._chance.choice((1, 1, 3)))]
        delays = [self._chance.choice((None, HOUR_MS)) for _ in bodies]
        # A produce that makes a queue is two records. With a rotation between them, a kill may leave the queue alone.
        with self._broker.locked() as (state, _, _):
            queue = self._chance.choice(sorted(state.queues))
        self._ids += self._broker.produce(queue, bodies, delays if self._chance.random() < 0.3 else None)

    def _claim(self) -> None:
        limit, timeout_ms = self._chance.choice((1, 3)), self._chance.choice((1000, HOUR_MS))
        claimed = self._broker.claim(self._chance.choice(QUEUES), limit=limit, visibility_timeout_ms=timeout_ms)
        self._receipts += [each.receipt or "" for each in claimed]

    def _target(self) -> Target:
        by_receipt = self._chance.random() < 0.5
        return Target(receipt=self._chance.choice(self._receipts)) if by_receipt else Target(id=self._newest_id())

    def _newest_id(self) -> str:
        return self._chance.choice(self._ids[-6:])

    def _delete(self) -> None:
        self._broker.delete(self._chance.choice(QUEUES), self._target())

    def _batch(self) -> None:
        self._broker.delete_batch(self._chance.choice(QUEUES), [Target(id=each) for each in self._ids[-4:-2]])

    def _update(self) -> None:
        timeout_ms, body = self._chance.choice(((0, None), (2000, None), (None, body_of(450))))
        change = Change(visibility_timeout_ms=timeout_ms, body=body)
        self._broker.update(self._chance.choice(QUEUES), self._target(), change)

    def _pause(self) -> None:
        self._log._lead_alone(self._log._put_closing_group)
        self._log._check_failure()

    def _checkpoint(self) -> None:
        write_checkpoint(self._broker, self._log, self._folder)

    def _compact(self) -> None:
        compact_oldest(self._broker, self._log)

    def _advance(self) -> None:
        if self._broker.unready is None:  # what a failed log may show is known for one moment only
            self._ms += self._chance.choice((1, 1500))
            self._broker.core.clock = FakeClock(self._ms)

    def _queues(self) -> None:
        queue = self._chance.choice(QUEUES)
        what = self._chance.randrange(3)
        if what == 0:
            self._broker.put_queue("orders", delay_ms=self._chance.choice((0, 100)))
        elif what == 1:
            self._broker.purge(queue)
        elif queue != DEFAULT_QUEUE:
            self._broker.drop_queue(queue)

    def _restart(self) -> None:
        if self._broker.unready is None:
            self._broker.close()
            self._log, self._broker = open_folder(self._folder, self._ms)
