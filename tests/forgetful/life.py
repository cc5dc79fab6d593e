"""A broker's life on a forgetful disk, with an account of what it owes to its clients at every moment.

Everything happens in one thread. Other clients come in while a leader syncs (`Life.arrival`): what they append then is in the
next group, as it is when many threads work. The log's background thread is not started; its work is a step of a life.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.forgetful.reference import Records
from tests.support.clock import FakeClock
from tests.support.forgetful_disk import FOLDER, ForgetfulDisk
from tests.support.mechanisms import counted
from wonderq.broker.broker import Broker
from wonderq.model.errors import BrokerError
from wonderq_storage import FileCheckpoints, FileLog, LogClosedError, Position, RecordTooLargeError, SyncPolicy
from wonderq_storage.segment import SUFFIX, file_name

#: Files that are not ours, in every folder.
STRANGERS = {"notes.txt": b"not ours", "0000000002.wal.old": b"neither is this", "photos/cat.jpg": b"meow"}


class Moment(NamedTuple):
    """Guarantees at one moment."""

    records: Records
    acknowledged: int
    """Number of records that must survive a crash."""
    appended: int
    """Number of records that may survive a crash."""
    now_ms: int


class NoThread:
    def start(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False


class QuietLog(FileLog):
    """A log without its background thread. ``started_at`` is its end as the start found it."""

    started_at: Position = 0

    def start(self) -> None:
        self._background_thread = NoThread()  # type: ignore[assignment]
        found = self._recovery
        self.started_at = (found.active.number if found.active else 1) << 32 | found.offset
        super().start()

    def pause(self) -> None:
        """Write a closing group, as the background thread does when traffic pauses."""
        if self.sync_policy.name != "os":
            self._lead_alone(self._put_closing_group)

    def interval_ends(self) -> None:
        """Sync, as the background thread does at the end of an interval."""
        self._lead_alone(self._writer.sync)


class _Log(QuietLog):
    """A log that tells its life what was appended, and does not let those wait who come while a leader syncs."""

    def __init__(self, life: Life, **kwargs: Any) -> None:
        self._life = life
        super().__init__(FOLDER, **kwargs)

    def start(self) -> None:
        super().start()
        self._life.recovered(self.started_at)

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        positions = super().append_together(records, leave_bytes=leave_bytes)
        self._life.appended(positions, records)
        return positions

    def wait(self, position: Position) -> None:
        if not self._life.arriving:
            super().wait(position)


class _Promising:
    """The broker; when it answers, whether it did what it was asked or refused, the life takes it at its word."""

    def __init__(self, life: Life, part: str | None = None) -> None:
        """Stand for the broker, or for one of its parts, such as its topics."""
        self._life = life
        self._part = part

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._life.broker if self._part is None else getattr(self._life.broker, self._part), name)
        if not callable(found):
            return _Promising(self._life, name)
        return lambda *args, **kwargs: self._life.call(lambda: found(*args, **kwargs))


class Life:
    """One folder with a broker on it, which may be stopped, started and killed.

    ``files`` are in the folder at first, and hold at least ``acknowledged`` of ``records``, if it is not a new one.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        records: Records,
        acknowledged: int = 0,
        *,
        sync: SyncPolicy,
        segment_bytes: int,
        now_ms: int,
    ) -> None:
        self.base = files
        self.sync = sync
        self.segment_bytes = segment_bytes
        self.clock = FakeClock(now_ms)
        self.records = records
        self.acknowledged = acknowledged
        self.arriving = False
        self.arrival: Callable[[], None] | None = None
        self.promising: Any = _Promising(self)
        self._answered = acknowledged  # those that survive the death of the process, whatever the policy
        self._own = 0  # records appended up to and with the newest of whoever called
        self._broker: Broker | None = None
        self.done: Counter[str] = Counter()
        """Steps that were not refused, and what the brokers did."""
        self.disk = ForgetfulDisk(files, self.moment)
        self.disk.before_sync = self._let_others_in
        self.disk.after_sync = self._synced

    @property
    def broker(self) -> Broker:
        assert self._broker is not None
        return self._broker

    def moment(self) -> Moment:
        return Moment(self.records, self.acknowledged, len(self.records), self.clock.ms)

    # Starting and ending

    def start(self) -> None:
        self.log = _Log(
            self, sync=self.sync, segment_bytes=self.segment_bytes, disk=self.disk, now_ms=self.clock.now_ms
        )
        self.checkpoints = FileCheckpoints(FOLDER, self.disk)
        self._broker = Broker(self.log, checkpoints=self.checkpoints, clock=self.clock)
        self.checkpoints.remove_unfinished()
        self._answer(len(self.records))

    def count_mechanisms(self) -> None:
        """Add the counts of the broker, which ends now."""
        if self._broker is not None:
            self.done += counted(self._broker)

    def stop(self) -> None:
        self.count_mechanisms()
        self.call(self.broker.close)
        self.acknowledged = len(self.records)  # whatever the policy
        self._broker = None

    def kill(self) -> None:
        """Let the process die. The next one finds all that it had written, synced or not."""
        self.count_mechanisms()
        self._broker = None
        self.disk.unlock(0)

    def recovered(self, end: Position) -> None:
        found = self.records.before(end)
        assert found >= self._answered, f"of {self._answered} records that were answered {found} are left after a start"
        if found < len(self.records):
            self.records = self.records.first(found)

    # Guarantees

    def call(self, work: Callable[[], Any]) -> Any:
        """Let a client ask for something; once it has its answer, that is owed, and all that the answer is based on."""
        if self.arriving:
            return work()  # which has no answer yet
        before, self._own = len(self.records), 0
        try:
            result: Any = work()
        except BrokerError as refusal:
            result = refusal
        self._answer(max(before, self._own))
        if isinstance(result, BrokerError):
            raise result
        return result

    def _answer(self, count: int) -> None:
        self._answered = max(self._answered, count)
        if self.sync.name == "always":
            self.acknowledged = max(self.acknowledged, count)

    def appended(self, positions: Sequence[Position], records: Sequence[bytes]) -> None:
        self.records.add(positions, records)
        if not self.arriving:
            self._own = len(self.records)

    def durably(self, work: Callable[[], Any]) -> Any:
        """Do something that, unless it returns nothing, makes everything before it durable, whatever the policy."""
        before = len(self.records)
        result = work()
        if result:
            self.acknowledged = max(self.acknowledged, before)
        return result

    def _synced(self, key: str) -> None:
        """A file was synced; under the weaker policies, the records up to the last in it are owed from now on."""
        if self.sync.name == "always" or not key.endswith(SUFFIX):
            return  # only answers count
        while self.acknowledged < len(self.records):
            position, data = self.records.at(self.acknowledged)
            name, offset = file_name(position >> 32), position & 0xFFFF_FFFF
            number = self.disk.numbers.get(name)
            if name > key or number is None:
                return
            if bytes(self.disk.contents[number][offset : offset + len(data)]) != data:
                return
            self.acknowledged += 1

    def _let_others_in(self) -> None:
        if self.arrival is None or self.arriving or self._broker is None:
            return
        if self.log._mutex.locked() or self._broker.core.lock.locked():
            return
        self.arriving = True
        try:
            self.arrival()
        except (BrokerError, RecordTooLargeError, LogClosedError):
            pass  # they are refused, which is no business of the one who leads
        finally:
            self.arriving = False
