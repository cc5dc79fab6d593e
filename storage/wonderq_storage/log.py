"""What a log is, to everything above it.

Nothing above this protocol may know about files: a `Log` over a replicated stream must be able to take the place of
`wonderq_storage.file_log.FileLog`. tests/storage/log_contract.py is the suite that any implementation has to pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

Position = int
"""Where a record begins. Positions grow from one record to the next; a byte inside a record is at position + offset."""

Record = bytes | memoryview


class Mark(NamedTuple):
    """A place in a log to begin a replay from, to be kept with what the log added up to there."""

    end: Position
    """Records before it are in what was kept; those from it on are to be replayed."""
    place: bytes
    """The log's own; nobody else looks into it."""


class StaleMarkError(Exception):
    """A mark that this log does not know (any more). Nothing is wrong with the log: replay without it."""


class Log(Protocol):
    """An append-only sequence of records, each on the medium before `wait` returns for it.

    Use: `replay` to its end once, `start`, then append, wait and read from any number of threads; `close` at the end.
    """

    @property
    def max_record_bytes(self) -> int:
        """The longest record that `append` takes."""

    @property
    def failure(self) -> str | None:
        """Why the log takes no more records, or None while it does."""

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, Record]]:
        """Yield every record from the oldest or from ``mark`` on. A record must not be kept beyond the next one.

        Raises:
            StaleMarkError: the mark is of another log, or from before its oldest record. Before anything is yielded.
            CorruptLogError: something that was durable does not verify. Nothing was changed.
            UnsupportedFormatError: a newer program wrote the log. Nothing was changed.
        """

    def start(self) -> None:
        """Go over from replaying to appending. A log of an older format version that has no room to go over takes nothing.

        Raises:
            DiskFullError: there is no room to start in.
            LogClosedError: `replay` was not read to its end, the log was started before, or it was closed.
        """

    def append(self, record: bytes, *, leave_bytes: int = 0) -> Position:
        """Put a record at the end, in memory, and return where it will be. `wait` makes it durable.

        ``leave_bytes`` keeps that much of the reserved space free for records that matter more on a full disk.

        Raises:
            DiskFullError: there is no room; nothing was appended.
            RecordTooLargeError: longer than `max_record_bytes`; nothing was appended.
            LogFailedError: a write or sync failed before; nothing was appended.
            LogClosedError: not started yet, or closed.
        """

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        """Put records at the end of which a crash leaves all or none, and return where each will be.

        Raises what `append` does; `max_record_bytes` is for all of them together.
        """

    def wait(self, position: Position) -> None:
        """Return once everything up to and with the record at ``position`` is as durable as the policy promises.

        Raises:
            LogFailedError: it could not be written. It may or may not be there after a restart.
        """

    def end(self) -> Position:
        """Return a position behind every record appended so far; records at or after it are still to come."""

    def sync(self) -> None:
        """Make everything appended so far durable, whatever the policy.

        Raises:
            LogFailedError: it could not be written.
        """

    def rotate(self) -> Position:
        """End the part of the log in use, and return where the next one begins: `oldest` returns all parts before it.

        Raises:
            DiskFullError: there is no room for it; nothing was changed.
            LogFailedError: it could not be written.
        """

    def mark(self) -> Mark:
        """Return a mark behind everything appended so far. It may be used once `sync` has returned."""

    def oldest(self) -> tuple[Position, Iterator[tuple[Position, Record]]] | None:
        """Return the oldest part of the log that `trim` can drop: where it ends, and its records; None if there is none.

        The records raise CorruptLogError if they do not verify any more.
        """

    def trim(self, end: Position) -> None:
        """Drop every record before ``end``, which `oldest` returned.

        Everything that is still wanted of them must have been appended again, and synced.

        Raises:
            DiskFullError: there is no room to write it down; nothing was dropped.
            LogFailedError: it could not be written down.
        """

    def free_bytes(self) -> int:
        """Return by how much the log could grow."""

    def used_bytes(self) -> int:
        """Return how much room the records take, reserved space not counted."""

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        """Return the bytes of each ``(position, length)``, all within records that have been waited for.

        Raises:
            BlockingIOError: they are not in memory, and ``block`` is false.
            TrimmedError: they were dropped.
            CorruptLogError: they are not there any more.
        """

    def locate(self, position: Position) -> tuple[str, int]:
        """Return what a person has to look at to find a position: the name of a file, and the offset in it."""

    def close(self) -> None:
        """Make everything appended durable, mark the log as cleanly ended, and let go of it. Idempotent.

        Raises:
            LogFailedError: that could not be done. It is closed all the same.
        """
