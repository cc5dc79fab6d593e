"""The calls to the operating system. The rest of the package reaches the disk only through this module.

Tests substitute a `Disk` that forgets unsynced writes, tears writes or fails calls.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wonderq_storage.errors import DiskFullError, FolderLockedError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def no_room_is_disk_full(what: str) -> Iterator[None]:
    """Replace the operating system's "no space" errors by `DiskFullError`. Other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFullError(f"{what}: {error.strerror}") from error
        raise


class DiskFile:
    """An open file, addressed by offset in bytes."""

    def __init__(self, path: Path, flags: int) -> None:
        self.path = path
        self._fd = -1
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o640)

    def read(self, length: int, offset: int) -> bytes:
        """Read ``length`` bytes, or fewer at the end of the file."""
        data = os.pread(self._fd, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        got = len(data)
        while got < length and (data := os.pread(self._fd, length - got, offset + got)):
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def read_cached(self, length: int, offset: int) -> bytes:
        """Read ``length`` bytes from the page cache.

        Raises:
            BlockingIOError: the bytes are not all in the page cache, or the file is shorter.
        """
        data = bytearray(length)
        try:
            count = os.preadv(self._fd, [data], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return self.read(length, offset)  # this file system does not support RWF_NOWAIT
        if count < length:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return bytes(data)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data``, in several calls if necessary."""
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)

    def allocate(self, size: int) -> None:
        """Allocate ``size`` bytes of disk space, which read as zeros."""
        os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Flush the file's data and size to the medium."""
        os.fdatasync(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)  # not retried: Linux closes it even on an error, and may reuse the number at once

    def __del__(self) -> None:
        # A segment may be removed while it is being read. It is closed once the last reader drops it.
        self.close()


class Disk:
    """File system calls for folders and names in them."""

    def lock(self, folder: Path) -> int:
        """Lock the folder for this process until `unlock` or the end of the process.

        The lock is an flock on the directory itself, so locking writes nothing.

        Raises:
            FolderLockedError: another process holds the lock.
        """
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise FolderLockedError(
                f"{folder} is in use by another process. Stop that process, or choose another folder."
            ) from None
        return fd

    def unlock(self, lock: int) -> None:
        os.close(lock)

    def make_folder(self, folder: Path) -> None:
        """Create a folder and its missing parents durably. An existing folder is left as it is."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)  # messages and keys are for the owner alone
        self.sync_folder(folder.parent)

    def free_bytes(self, folder: Path) -> int:
        """Return the free space of the folder's file system in bytes."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def list(self, folder: Path) -> list[str]:
        return os.listdir(folder)

    def create(self, path: Path) -> DiskFile:
        return DiskFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        return DiskFile(path, os.O_RDWR if write else os.O_RDONLY)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and removals in the folder durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
