"""The thin seam to the operating system: every call by which storage touches a disk goes through here.

A test can put another `Disk` in its place that forgets, tears or refuses.
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
    """Turn the operating system's ways of saying "no room" into `DiskFullError`; let any other error through."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFullError(f"{what}: {error.strerror}") from error
        raise


class DiskFile:
    """One open file, addressed by offset in bytes."""

    def __init__(self, path: Path, flags: int) -> None:
        self.path = path
        self._fd = -1
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o640)

    def read(self, length: int, offset: int) -> bytes:
        """Read up to ``length`` bytes; less only at the end of the file."""
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
        """Read ``length`` bytes that the system has in memory.

        Raises:
            BlockingIOError: it has not, or the file ends before.
        """
        data = bytearray(length)
        try:
            count = os.preadv(self._fd, [data], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return self.read(length, offset)  # this file system cannot tell
        if count < length:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return bytes(data)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data``, however many calls it takes."""
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)

    def allocate(self, size: int) -> None:
        """Give the file ``size`` bytes of real disk, reading as zeros."""
        os.posix_fallocate(self._fd, 0, size)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """Return when everything written to the file, and its size, is on the medium."""
        os.fdatasync(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)  # also where that fails, Linux has closed it: the number may be another file's next time

    def __del__(self) -> None:
        # A file that was removed while somebody reads from it is closed when the last reader lets go of it.
        self.close()


class Disk:
    """A folder's worth of file system."""

    def lock(self, folder: Path) -> int:
        """Take the folder for this process until `unlock` (or its death).

        The lock is an flock on the directory itself, so taking it writes nothing.
        """
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise FolderLockedError(
                f"{folder} is in use by another process. Stop that one, or choose another folder."
            ) from None
        return fd

    def unlock(self, lock: int) -> None:
        os.close(lock)

    def make_folder(self, folder: Path) -> None:
        """Create a folder and those above it, durably; no-op if it is there."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o750)
        self.sync_folder(folder.parent)

    def free_bytes(self, folder: Path) -> int:
        """Return how much more can be written to the folder's file system."""
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
