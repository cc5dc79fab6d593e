"""The calls to the operating system. The rest of the package reaches the disk only through this module.

Tests substitute a `Disk` that forgets unsynced writes, tears writes or fails calls.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wonderq_storage.errors import DiskFullError, FolderLockedError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

#: Errors of a kernel, a file system or a sandbox that does not support reading from the page cache alone.
_NO_CACHED_READS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EINVAL}


@contextmanager
def no_room_is_disk_full(what: str) -> Iterator[None]:
    """Replace the operating system's "no space" errors by `DiskFullError`. Other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFullError(f"{what}: {error.strerror}") from error
        raise


def _name(error: OSError, path: Path) -> None:
    """Add a path to an error, which names no file if the call took a descriptor."""
    error.filename = error.filename or str(path)


def hand_to_owner(path: Path, like: Path, fd: int | None = None) -> None:
    """Give a file or folder that root has created to the owner of ``like``, who could not use it otherwise.

    ``fd`` is a descriptor of ``path``, if it is open. Other users than root own what they create.
    """
    if os.geteuid() != 0:
        return
    owner, found = os.stat(like), os.stat(path, follow_symlinks=False) if fd is None else os.fstat(fd)
    # A second name would belong to a file that somebody else linked into the folder.
    if (owner.st_uid, owner.st_gid) == (found.st_uid, found.st_gid) or (fd is not None and found.st_nlink > 1):
        return
    with suppress(OSError):  # in a container, root may lack the right to do so
        if fd is None:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        else:
            os.fchown(fd, owner.st_uid, owner.st_gid)


class DiskFile:
    """An open file, addressed by offset in bytes. Its errors name it."""

    def __init__(self, path: Path, flags: int) -> None:
        self.path = path
        self._fd = -1
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o640)

    def hand_to_owner(self) -> None:
        """Give the file to the owner of its folder; see `hand_to_owner`."""
        hand_to_owner(self.path, self.path.parent, self._fd)

    def read(self, length: int, offset: int) -> bytes:
        """Read ``length`` bytes, or fewer at the end of the file."""
        try:
            data = os.pread(self._fd, length, offset)
            if len(data) == length or not data:
                return data
            parts = [data]
            got = len(data)
            while got < length and (data := os.pread(self._fd, length - got, offset + got)):
                parts.append(data)
                got += len(data)
        except OSError as error:
            _name(error, self.path)
            raise
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
            if error.errno not in _NO_CACHED_READS:
                raise
            return self.read(length, offset)
        if count < length:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return bytes(data)

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data``, in several calls if necessary."""
        try:
            written = os.pwrite(self._fd, data, offset)
            while written < len(data):
                written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)
        except OSError as error:
            _name(error, self.path)
            raise

    def allocate(self, size: int) -> None:
        """Allocate ``size`` bytes of disk space, which read as zeros."""
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            _name(error, self.path)
            raise

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            _name(error, self.path)
            raise

    def sync(self) -> None:
        """Flush the file's data and size to the medium."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            _name(error, self.path)
            raise

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def is_removed(self) -> bool:
        """Return whether the open file has no name any more, so that its contents are lost once it is closed."""
        if self._fd < 0:
            return False
        found = os.fstat(self._fd)
        if found.st_nlink > 0:
            return False
        try:  # some file systems count no links
            return not os.path.samestat(found, os.stat(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return True

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
        except OSError as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                raise FolderLockedError(
                    f"{folder} is in use by another process. Stop that process, or choose another folder."
                ) from None
            _name(error, folder)
            raise
        return fd

    def unlock(self, lock: int) -> None:
        os.close(lock)

    def is_in_place(self, folder: Path, lock: int) -> bool:
        """Return whether the path still names the folder that ``lock`` holds: it was neither moved nor removed."""
        try:
            return os.path.samestat(os.stat(folder), os.fstat(lock))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # unknown; a write will find out

    def make_folder(self, folder: Path, like: Path | None = None) -> None:
        """Create a folder and its missing parents durably. An existing folder is left as it is.

        If root creates it, the folder belongs to the owner of ``like`` or, without it, of its parent.
        """
        if folder.is_dir():
            return
        self.make_folder(folder.parent, like)
        folder.mkdir(exist_ok=True, mode=0o700)  # messages and keys are for the owner alone
        hand_to_owner(folder, like or folder.parent)
        self.sync_folder(folder.parent)

    def free_bytes(self, folder: Path) -> int:
        """Return the free space of the folder's file system in bytes."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def list(self, folder: Path) -> list[str]:
        return os.listdir(folder)

    def create(self, path: Path) -> DiskFile:
        """Create a file, or empty an existing one. If root does so, it belongs to the folder's owner."""
        file = DiskFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        file.hand_to_owner()
        return file

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
            try:
                os.fsync(fd)
            except OSError as error:
                _name(error, folder)
                raise
        finally:
            os.close(fd)
