"""What a log is, to everything above it.

Nothing above this protocol may know about files: a `Log` over a replicated stream must be able to take the place of
`storage.file_log.FileLog`. tests/storage/log_contract.py is the suite that any implementation has to pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

Position = int
"""Where a record begins. Positions grow from one record to the next; a byte inside a record is at position + offset."""

Record = bytes | memoryview


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

    def replay(self) -> Iterator[tuple[Position, Record]]:
        """Yield every record from the oldest on. A record must not be kept beyond the next one.

        Raises:
            CorruptLogError: something that was durable does not verify. Nothing was changed.
            UnsupportedFormatError: a newer program wrote the log. Nothing was changed.
        """

    def start(self) -> None:
        """Go over from replaying to appending.

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

    def wait(self, position: Position) -> None:
        """Return once everything up to and with the record at ``position`` is as durable as the policy promises.

        Raises:
            LogFailedError: it could not be written. It may or may not be there after a restart.
        """

    def end(self) -> Position:
        """Return a position behind every record appended so far; records at or after it are still to come."""

    def read(self, spans: Sequence[tuple[Position, int]]) -> list[bytes]:
        """Return the bytes of each ``(position, length)``, all within records that have been waited for.

        Raises:
            CorruptLogError: they are not there any more.
        """

    def close(self) -> None:
        """Make everything appended durable, mark the log as cleanly ended, and let go of it. Idempotent.

        Raises:
            LogFailedError: that could not be done. It is closed all the same.
        """
