"""A small data folder with all kinds of records, sealed and open segments, and two checkpoints."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

from tests.support.clock import FakeClock
from tests.support.crash_disk import Files
from tests.support.folders import groups_of
from tests.support.forgetful_disk import FOLDER, ForgetfulDisk
from tests.support.history_of_all_kinds import Writer
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.model.messages import NewMessage
from wonderq.model.topics import Publication
from wonderq_storage import FileCheckpoints, FileLog

SEGMENT_BYTES = 4096


class SmallFolder(NamedTuple):
    """Files that a stopped or killed broker left."""

    files: Files
    now_ms: int
    before: Files
    """The folder as it was before the newest group."""
    older: Files
    """The folder as it was before the newest checkpoint."""

    @property
    def segments(self) -> list[str]:
        return sorted(name for name in self.files if name.endswith(".wal"))

    @property
    def checkpoints(self) -> list[str]:
        return sorted(name for name in self.files if name.endswith(".ckpt"))

    @property
    def last_group(self) -> int:
        """Start of the newest group in the newest segment: damage from there on looks like a torn write."""
        return groups_of(self.files[self.segments[-1]])[-1][0].offset


class _MemoryWriter(Writer):
    def __init__(self, disk: ForgetfulDisk, seed: int) -> None:
        self.clock = FakeClock()
        self.log = FileLog(FOLDER, segment_bytes=SEGMENT_BYTES, now_ms=self.clock.now_ms, disk=disk)
        self.broker = Broker(self.log, clock=self.clock)
        self.checkpoints = FileCheckpoints(FOLDER, disk)
        self.random = random.Random(seed)

    def publish_what_stays(self) -> None:
        """Publish a message that two queues still have when its segment is compacted."""
        self.broker.topics.put("first")
        for queue in ("kept", "kept-too"):
            self.broker.put_queue(queue)
            self.broker.topics.subscribe("first", queue, queue=queue, raw=queue == "kept")
        self.broker.topics.publish("first", [Publication(NewMessage("stays"))])


def write(seed: int) -> dict[str, SmallFolder]:
    """Return the folder of a killed broker and of the same one stopped, by these names; the same for each seed."""
    disk = ForgetfulDisk({})
    chance = random.Random(seed)
    with (
        patch("os.urandom", chance.randbytes),
        patch("secrets.token_bytes", chance.randbytes),
        patch.object(FileLog, "_run_in_background", lambda _: None),  # no closing group where a noisy machine pauses
    ):
        writer = _MemoryWriter(disk, seed)
        writer.publish_what_stays()
        writer.write_history(4)
        checkpoint(writer.broker, writer.log, writer.checkpoints)
        assert compact_oldest(writer.broker, writer.log)
        older = disk.files()
        writer.write_history(1)
        checkpoint(writer.broker, writer.log, writer.checkpoints)
        writer.write_history(2)
        writer.broker.purge("passing")
        writer.broker.drop_queue("passing")
        before = disk.files()
        writer.broker.produce("default", [writer.body("the last"), writer.body("and the very last")])
        killed = SmallFolder(disk.files(), writer.clock.ms, before, older)
        writer.close()
        stopped = SmallFolder(disk.files(), writer.clock.ms, killed.files, older)
    return {"killed": killed, "stopped": stopped}


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings about what is passed over, of which there would be thousands."""
    logger = logging.getLogger("wonderq")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def open_log(disk: ForgetfulDisk) -> FileLog:
    """Open the log of the small folder on this disk."""
    return FileLog(FOLDER, disk=disk, segment_bytes=SEGMENT_BYTES)
