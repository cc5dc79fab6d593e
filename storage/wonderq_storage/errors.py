"""What can go wrong between a log and its disk."""

from __future__ import annotations


class StorageError(Exception):
    """Base of every error that storage raises on purpose."""


class FolderLockedError(StorageError):
    """Another process holds the folder. Nothing was read or written."""


class CorruptLogError(StorageError):
    """Bytes that were durable once do not verify any more.

    ``file`` is the path of the damaged file, ``offset`` the byte where the first thing that does not verify begins.
    Whoever raises it has changed no file.
    """

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(f"{file}, byte {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.reason = reason


class UnsupportedFormatError(StorageError):
    """The folder was written by a newer WonderQ. It is not damaged, and nothing was changed."""


class DiskFullError(StorageError):
    """There is no room for a record. Nothing was written; small records (deletes) may still fit the reserve."""


class RecordTooLargeError(StorageError):
    """A record that no segment could hold."""


class LogFailedError(StorageError):
    """A write or a sync failed, so the log takes nothing more until the process is restarted.

    After a failed fsync the kernel may have dropped the dirty pages and answers OK to the next one, so trying again
    would acknowledge what is not on disk ("Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    """


class LogClosedError(StorageError):
    """The log was closed, or was not started yet."""


class TrimmedError(StorageError):
    """Something was read that has been dropped from the log meanwhile."""
