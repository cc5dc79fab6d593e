"""The protocols of a log and of its checkpoints.

Code above these protocols must not know about files or sockets, so that a log over a replicated stream can replace
`wonderq_storage.file_log.FileLog`. Every log must pass the test suite in tests/storage/log_contract.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from wonderq_storage.errors import LogLostError

Position = int
"""Place of a record's first byte. Later records have larger positions; byte n of a record is at its position + n."""

Record = bytes | memoryview


class Mark(NamedTuple):
    """A place in a log from which a replay can begin. It is stored together with the state at that place."""

    end: Position
    """Position of the first record to replay. The stored state includes all records before it."""
    place: bytes
    """Opaque value of the log implementation."""


class StaleMarkError(Exception):
    """The log does not contain this mark, or no longer does. The log is intact: replay it without the mark."""


class LogFiles(NamedTuple):
    """The files of a log that is in a folder."""

    segments: int
    """Number of segment files, without the reserved one."""
    disk_bytes: int
    """Size of all segment files, reserved space included."""


class Log(Protocol):
    """An append-only sequence of records. A record is durable once `wait` returns for it.

    Usage: read `replay` to its end once and call `start`. Then append, wait and read from any number of threads. Call
    `close` at the end.

    `replay`, `start`, `wait`, `sync`, `trim`, `close`, `read` with ``block``, and the records of `oldest` may take as
    long as a disk or a network does. Callers make every other call while they hold a lock or serve other clients, so
    no other call waits for a sync or for the network.
    """

    @property
    def max_record_bytes(self) -> int:
        """Size of the largest record that `append` accepts, in bytes."""

    @property
    def failure(self) -> str | None:
        """The reason why the log accepts no more records, or None while it does."""

    @property
    def files(self) -> LogFiles | None:
        """The files of the log, or None if it is not in a folder."""

    def on_lost(self, callback: Callable[[LogLostError], None]) -> None:
        """Register a function to call once when another writer takes over the log; at once if one already has.

        `failure` is set before the call, and the log holds no lock of its own during it. The call comes from a thread
        of the log, or from within one of the calls that may take long. A log that only this process can write never
        makes it.
        """

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, Record]]:
        """Yield every record from the oldest, or from ``mark``, on. A record is valid until the next one is requested.

        Raises:
            StaleMarkError: the mark belongs to another log, or precedes its oldest record. No record was yielded.
            CorruptLogError: durable bytes do not verify. Nothing was changed.
            UnsupportedFormatError: a newer program wrote the log. Nothing was changed.
            LogMovedError: another writer dropped the beginning of the log meanwhile. Call `replay` again.
            LogLostError: another writer took over the log before this one had it.
        """

    def start(self) -> None:
        """Switch from replaying to appending.

        A log of an older format version accepts no records until there is room for a segment of the current version.

        Raises:
            DiskFullError: there is no room for the first records.
            LogClosedError: `replay` was not read to its end, the log was started before, or it is closed.
        """

    def append(self, record: bytes, *, leave_bytes: int = 0) -> Position:
        """Append a record in memory and return its position. `wait` makes it durable.

        ``leave_bytes`` of the reserved space stay free, for records that matter more on a full disk.

        Raises:
            DiskFullError: there is no room. Nothing was appended.
            RecordTooLargeError: the record is larger than `max_record_bytes`. Nothing was appended.
            LogFailedError: an earlier write or sync failed. Nothing was appended.
            LogLostError: another writer has taken over the log. Nothing was appended.
            LogClosedError: the log is not started yet, or closed.
        """

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        """Append records of which a crash leaves all or none, and return their positions.

        Raises: as `append`. `max_record_bytes` limits their total size.
        """

    def wait(self, position: Position) -> None:
        """Block until the record at ``position`` and all before it are as durable as the policy promises.

        Once it has failed, each later call for what is not durable raises at once.

        Raises:
            LogFailedError: the log could not be written. The record may or may not exist after a restart.
            LogLostError: another writer has taken over the log. The record may or may not be in it.
        """

    def call_when_durable(self, position: Position, callback: Callable[[], None]) -> bool:
        """Do what `wait` does without blocking, and call ``callback`` once `wait` would return or raise at once.

        Any thread may make the call, also the caller before this returns; it must not wait or raise. Returns False, and
        does nothing, if this log makes records durable only on a thread that waits.
        """

    def end(self) -> Position:
        """Return the position after the last record appended so far."""

    def confirm(self) -> Position:
        """Return the position to `wait` for before an answer that is based on the records appended so far.

        When that `wait` returns, they are durable, and no other writer had appended any record at the moment of this
        call. So nothing that another writer did can be missing in the answer. The position is not below that of any
        record appended before, and it is below those of all records appended later. No record is appended for it.

        A log that only this process can write returns ``end() - 1``. Any other log returns a position in a group that
        it sends after this call, with or without records.

        Raises:
            LogFailedError, LogLostError: as `wait`, which may raise them instead.
        """

    def sync(self) -> None:
        """Make everything appended so far durable, under every policy.

        Raises:
            LogFailedError: the log could not be written.
        """

    def rotate(self) -> Position:
        """End the part of the log in use and return the position at which the next one begins.

        `oldest` and `trim` reach everything before that position once `sync` has returned. A log that holds parts back
        may instead continue with the part in use, and return the beginning of that one.

        Raises:
            DiskFullError: there is no room for the next part. Nothing was changed.
            LogFailedError: an earlier write failed, or the next part cannot be created. Nothing was changed.
            LogClosedError: the log is not started yet, or closed.
        """

    def mark(self) -> Mark:
        """Return a mark after everything appended so far. It is usable once `sync` has returned."""

    def oldest(self) -> tuple[Position, Iterator[tuple[Position, Record]]] | None:
        """Return the end and the records of the oldest part that `trim` can drop, or None if there is none.

        A log may hold a part back for some minutes after its end. The iterator raises CorruptLogError at a record that
        no longer verifies.
        """

    def trim(self, end: Position) -> None:
        """Drop every record before ``end``, which `oldest` returned.

        The caller must have appended the records it still needs again, and synced them.

        Raises:
            DiskFullError: there is no room to record the new beginning. Nothing was dropped.
            LogFailedError: the new beginning could not be recorded.
        """

    def free_bytes(self) -> int:
        """Return how many bytes the log can still grow."""

    def used_bytes(self) -> int:
        """Return the size of the log in bytes, without reserved space."""

    @property
    def replay_overhead_bytes(self) -> int:
        """Time that a replay needs besides that for the records, as the bytes of records that it reads in this time.

        It is that of everything that this log has replayed or appended. A log whose groups cost nothing has 0.
        """

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        """Return the bytes of each ``(position, length)``. All must lie within records that `wait` returned for.

        Raises:
            BlockingIOError: the bytes are not in memory, and ``block`` is false.
            TrimmedError: the record was dropped.
            CorruptLogError: the bytes cannot be read.
        """

    def locate(self, position: Position) -> tuple[str, int]:
        """Return where a position is, for messages to people: the file and the offset in it.

        A log without files returns its name, and a number that does not fall as positions rise.
        """

    def close(self) -> None:
        """Make everything appended durable, mark the log as cleanly closed, and release it. Idempotent.

        A log that has failed before is only released.

        Raises:
            LogFailedError: the last records could not be made durable. The log is closed nevertheless.
        """


class Checkpoints(Protocol):
    """States of a log at some of its positions, stored so that a start replays only the records after one of them.

    They are a cache: without them a start takes longer, and nothing else changes.
    """

    def write(self, mark: Mark, chunks: Iterable[bytes]) -> int:
        """Write a checkpoint durably and return its size in bytes. The newest one that is proved stays, too.

        Everything before the mark must be durable in the log already.

        Raises:
            DiskFullError: there is no room. Nothing of the checkpoint is left.
        """

    def prove(self, mark: Mark) -> None:
        """Remember that the checkpoint with this mark is usable, which is unknown of the others."""

    def newest_first(self) -> Iterator[tuple[Mark, Iterator[bytes]]]:
        """Yield the mark and the chunks of each checkpoint. One that cannot be reached or does not verify is skipped.

        The chunks raise `DamagedCheckpointError` at the first one that does not verify.
        """

    def remove_unfinished(self) -> None:
        """Remove what a crash left of checkpoints. Call it after a replay: a damaged log stays as it is."""


class SharedLog(Log, Protocol):
    """A log that several processes share, of which one at a time owns it."""

    def prepare(self) -> object:
        """Make the log if there is none, and check that it is suitable. It may take as long as a network does.

        Raises:
            UnsuitableStreamError: it is set up in a way that could lose records.
            LogFailedError: it cannot be reached.
        """

    @property
    def log_id(self) -> bytes:
        """Identity of the log, the same for all of its owners; empty before the log is started."""

    @property
    def epoch(self) -> int:
        """Number of this ownership; 0 before the log is started."""

    @property
    def acknowledged_sequence(self) -> int:
        """Number of the newest group that is durable; 0 before the log is started."""

    @property
    def waiting_s(self) -> float:
        """How long the oldest group that is not durable has been waiting for that; 0 without one."""

    @property
    def append_retries(self) -> int:
        """Number of groups that were sent again."""


class Reached(NamedTuple):
    """How far a process has read a log."""

    log_id: bytes | None
    """Identity of the log; None while nothing was ever written to it."""
    epoch: int
    """Number of the newest ownership; 0 in a new log."""
    sequence: int
    """Sequence of the newest message that was read."""


class Turn(Protocol):
    """Decides when a process takes over a log that other processes share."""

    def wait(self, reached: Reached) -> int | None:
        """Wait until there is more to read, or until the log is to be taken over.

        Return the sequence of a later message that was acknowledged, or None to take over.

        Raises:
            LogClosedError: this process gives up.
            LogMovedError: the log is not what was read. `Log.replay` is to be called again.
        """

    def known_sequence(self, log_id: bytes | None) -> int:
        """Return the sequence of the newest message that is known to be acknowledged, or 0."""

    def beaten(self, error: LogLostError) -> None:
        """Another process was faster. Return to wait for the next turn, or raise ``error``."""

    def claimed(self, epoch: int) -> None:
        """This process owns the log from now on, and reads the rest of it."""
