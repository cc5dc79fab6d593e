"""A broker in memory, and one that can be started again in every way there is, for tests of what must last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.broker import consumers
from wonderq.broker.admission import Admission
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.broker.maintenance import checkpoint
from wonderq.model.limits import Limits
from wonderq.model.messages import Message, NewMessage
from wonderq.runtime.fibers import Event
from wonderq_storage import FileCheckpoints, FileLog, SyncPolicy


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock) -> Iterator[Broker]:
    broker = Broker(MemoryLog(), clock=clock)
    yield broker
    broker.close()


WAYS = ("as it is", "from the log", "from a checkpoint", "compacted")


class Lasting:
    """A broker, and ``again`` to go on with it in one of the `WAYS`: nothing that it promises may depend on which."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder = folder
        self.way = way
        self.clock = FakeClock()
        self._open(None)

    def _open(self, limits: Limits | None) -> None:
        self.log = FileLog(self.folder, sync=SyncPolicy("os"), segment_bytes=1 << 20)
        self.checkpoints = FileCheckpoints(self.folder)
        self.broker = Broker(self.log, checkpoints=self.checkpoints, clock=self.clock, limits=limits)

    def again(self) -> Broker:
        if self.way == "as it is":
            return self.broker
        if self.way == "from a checkpoint":
            checkpoint(self.broker, self.log, self.checkpoints)
        if self.way == "compacted":
            self._compact()
        self.broker.close()
        self._open(self.broker.limits)
        assert (self.broker.log_bytes == 0) == (self.way == "from a checkpoint")
        return self.broker

    def limit(self, limits: Limits) -> None:
        """Put other limits in force, here and from now on."""
        core = self.broker.core
        self.broker.limits = core.limits = limits
        core.admission = Admission(limits, core.state)

    def _compact(self) -> None:
        """Drop every record that there is, once what they still say has been said again."""
        end = self.log.rotate()
        self.log.sync()
        while (oldest := self.log.oldest()) and oldest[0] <= end:
            assert compact_oldest(self.broker, self.log)

    def add(self, queue: str, *bodies: str, group: str = "", priority: int = 0) -> list[str]:
        """Send messages, and return their ids."""
        messages = [NewMessage(body, group=group, priority=priority) for body in bodies]
        return [sent.id for sent in self.broker.send(queue, messages)]

    def take(
        self, queue: str, limit: int = 10, timeout_ms: int = 10_000, attempt_id: str | None = None
    ) -> list[Message]:
        return self.broker.claim(queue, limit=limit, visibility_timeout_ms=timeout_ms, attempt_id=attempt_id)

    def bodies(self, queue: str, limit: int = 10, timeout_ms: int = 10_000) -> str:
        """Claim, and return the bodies with blanks between them."""
        return " ".join(message.body for message in self.take(queue, limit, timeout_ms))


@pytest.fixture(params=WAYS)
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lasting]:
    lasting = Lasting(tmp_path / "log", request.param)
    yield lasting
    lasting.broker.close()


class _UnhurriedEvent(Event):
    """An event that only `set` ends: neither a deadline nor the end of a long poll does."""

    def wait(self, timeout_s: float) -> None:
        super().wait(4 * PATIENCE_S)


@pytest.fixture
def woken_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let consumers sleep until an operation wakes them, so that a test fails where none does."""
    monkeypatch.setattr(consumers, "Event", _UnhurriedEvent)
