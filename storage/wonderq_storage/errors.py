"""The errors that storage raises."""

from __future__ import annotations

import errno


class StorageError(Exception):
    """Base class of the errors that storage raises."""


class FolderLockedError(StorageError):
    """Another process has locked the folder. Nothing was read or written."""


class UnsuitableStreamError(StorageError):
    """The stream, or its server, is set up in a way that could lose records. Nothing was changed."""


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


class LogLostError(LogFailedError):
    """Another writer has taken over the log. This object accepts no more records, and the broker that uses it ends.

    The last records may be in the log or not. The process may open the log again, and start another broker on it.
    """


class LogMovedError(StorageError):
    """Another writer dropped the beginning of the log during a replay. Replay it again."""


class DamagedCheckpointError(Exception):
    """A checkpoint does not verify. A start skips it with a warning."""


class FolderMissingError(StorageError):
    """The log's folder, or a segment in it, was moved or removed while the log is open."""


class LogClosedError(StorageError):
    """The log is closed, or not started yet."""


class TrimmedError(StorageError):
    """The record to be read has been dropped from the log."""


_PERMISSIONS = (
    "Check the owner and the mode of the folder and its files, and what confines this process (seccomp, AppArmor)"
)
_UNSUPPORTED = "The file system, or what confines this process, does not support the call. Use a local file system"

_OTHER_PATH = "Choose another path"

_REMEDIES = {
    errno.EMFILE: "Raise the limit on open files of this process (LimitNOFILE= of systemd, or ulimit -Hn)",
    errno.ENFILE: "The machine has too many open files. Raise fs.file-max, or end other programs",
    errno.ENOMEM: "The machine has no memory left. End other programs, or add memory",
    errno.ENOSPC: "Free some space on the disk",
    errno.EFBIG: "Raise the limit on the size of a file (ulimit -f)",
    errno.EDQUOT: "Raise the quota of this user, or remove files",
    errno.EROFS: "The file system is read-only. Find the reason in the kernel's log, and mount it writable",
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.ENOLCK: _UNSUPPORTED,
    errno.ENOSYS: _UNSUPPORTED,
    errno.EOPNOTSUPP: _UNSUPPORTED,
    errno.EINVAL: _UNSUPPORTED,
    errno.ENOENT: "The file was moved or removed. Put it back, or restore a backup",
    errno.EEXIST: _OTHER_PATH,
    errno.ENOTDIR: _OTHER_PATH,
    errno.EISDIR: _OTHER_PATH,
    errno.ELOOP: _OTHER_PATH,
    errno.ENAMETOOLONG: _OTHER_PATH,
    errno.ESTALE: "The file server no longer has the file. Mount the file system again",
}

#: Errors of a read that the medium causes. Any other error has its reason in the process or its surroundings.
_BAD_MEDIUM = {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.EILSEQ}


def remedy(error: BaseException) -> str:
    """Return what to do about an error of the operating system, as a sentence without its full stop."""
    code = error.errno if isinstance(error, OSError) else None
    return _REMEDIES.get(code or 0, "Fix the disk: the kernel's log has the reason")


def is_bad_medium(error: OSError) -> bool:
    """Return whether a failed read means that bytes on the medium are damaged."""
    return error.errno in _BAD_MEDIUM
