"""The calls to the operating system. The rest of the package reaches the disk only through this module.

Tests substitute a `Disk` that forgets unsynced writes, tears writes or fails calls. Where a system lacks a call of
Linux, the next best one takes its place: see `DiskFile.read_cached`, `DiskFile.allocate` and `flush_to_medium`.
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

#: Flag of a read from the page cache alone, which only Linux has.
_CACHED_ONLY: int | None = getattr(os, "RWF_NOWAIT", None)

#: The call of macOS that makes a drive write its own cache to the medium. There, fsync does not.
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)

#: Errors of a file system, or of its kind of file, that does not support a call. ENOTTY is that of macOS for WebDAV.
_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS}

#: Smallest unit in which a file system allocates space, and size of the writes that allocate it.
_BLOCK_BYTES = 4096
_ZEROS = bytes(1 << 20)


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


def flush_to_medium(fd: int) -> None:
    """Flush a file or a folder to the medium, with all that describes it.

    If a file system of macOS lacks `F_FULLFSYNC`, as network mounts do, the drive may still hold the data in its cache.
    """
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_SYNC)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
        else:
            return
    os.fsync(fd)


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
        """Read ``length`` bytes from the page cache. Where nothing tells whether they are there, wait for the disk.

        Raises:
            BlockingIOError: the bytes are not all in the page cache, or the file is shorter.
        """
        if _CACHED_ONLY is None:
            return self.read(length, offset)
        data = bytearray(length)
        try:
            count = os.preadv(self._fd, [data], offset, _CACHED_ONLY)
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
        """Allocate ``size`` bytes of disk space; those without content read as zeros.

        Where the system has no call for it, zeros are written. A file system that compresses or never overwrites, such
        as ZFS, then reserves nothing.
        """
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError as error:
                if error.errno not in _NOT_SUPPORTED:
                    _name(error, self.path)
                    raise
            else:
                return
        found = os.fstat(self._fd)
        if found.st_size < size or found.st_blocks * 512 < size:
            self._fill_holes(size)

    def _fill_holes(self, size: int) -> None:
        """Write zeros over each block of zeros, which may be a hole, and up to ``size``."""
        for start in range(0, size, len(_ZEROS)):
            length = min(len(_ZEROS), size - start)
            # The methods of this class: to a disk of a test, an allocation is one call.
            there = DiskFile.read(self, length, start).ljust(length, b"\0")
            step = length if there == _ZEROS[:length] else _BLOCK_BYTES
            for at in range(0, length, step):
                block = there[at : at + step]
                if block == _ZEROS[: len(block)]:
                    DiskFile.write(self, block, start + at)

    def truncate(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            _name(error, self.path)
            raise

    def sync(self) -> None:
        """Flush the file's data and size to the medium."""
        try:
            if _FULL_SYNC is None and hasattr(os, "fdatasync"):
                os.fdatasync(self._fd)
            else:
                flush_to_medium(self._fd)
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
        # Without O_NONBLOCK, a pipe with the name of a file would wait for its writer.
        return DiskFile(path, os.O_RDWR if write else os.O_RDONLY | os.O_NONBLOCK)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def sync_folder(self, folder: Path) -> None:
        """Make creations, renames and removals in the folder durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                flush_to_medium(fd)
            except OSError as error:
                _name(error, folder)
                raise
        finally:
            os.close(fd)
