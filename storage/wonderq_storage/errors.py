"""The errors that storage raises."""

from __future__ import annotations


class StorageError(Exception):
    """Base class of the errors that storage raises."""


class FolderLockedError(StorageError):
    """Another process has locked the folder. Nothing was read or written."""


class CorruptLogError(StorageError):
    """Bytes that were durable no longer verify. No file was changed.

    ``file`` is the path of the damaged file, ``offset`` the byte at which the damage begins.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"{file}, byte {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.reason = reason


class UnsupportedFormatError(StorageError):
    """A newer WonderQ wrote the folder. It is not damaged, and nothing was changed."""


class DiskFullError(StorageError):
    """The disk has no room for a record. Nothing was written. Small records may still fit the reserved space."""


class RecordTooLargeError(StorageError):
    """The record is larger than a segment can hold."""


class LogFailedError(StorageError):
    """A write or sync failed. The log accepts no records until the process restarts.

    After a failed fsync the kernel may drop the dirty pages and report success for the next one. A retry could
    therefore acknowledge data that is not on disk ("Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    """


class LogClosedError(StorageError):
    """The log is closed, or not started yet."""


class TrimmedError(StorageError):
    """The record to be read has been dropped from the log."""
