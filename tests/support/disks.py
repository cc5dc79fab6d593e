"""Disks for tests: they record operations, fail on request, have little room, or hold a sync back."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support.waiting import PATIENCE_S
from wonderq_storage.disk import Disk, DiskFile


class Operation(NamedTuple):
    """Something that was asked of the disk, and of which file or folder."""

    name: str
    target: str


class RecordingDisk(Disk):
    """Writes down, in order, every operation that changes something or makes it durable."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def begin(self, name: str, path: Path) -> None:
        """Called before each operation; what it raises comes instead of the operation."""
        self.operations.append(Operation(name, path.name))

    def count(self, name: str) -> int:
        return sum(each.name == name for each in self.operations)

    def synced(self, path: Path) -> None:
        """Called after each sync of a file."""

    def create(self, path: Path) -> DiskFile:
        self.begin("create", path)
        return _RecordedFile(self, path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        return _RecordedFile(self, path, os.O_RDWR if write else os.O_RDONLY)

    def rename(self, old: Path, new: Path) -> None:
        self.begin("rename", old)
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self.begin("remove", path)
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        self.begin("sync_folder", folder)
        super().sync_folder(folder)


class _RecordedFile(DiskFile):
    def __init__(self, disk: RecordingDisk, path: Path, flags: int) -> None:
        super().__init__(path, flags)
        self._disk = disk

    def write(self, data: bytes, offset: int) -> None:
        try:
            self._disk.begin("write", self.path)
        except TornWriteError:
            super().write(data[: len(data) // 2], offset)
            raise
        super().write(data, offset)

    def allocate(self, size: int) -> None:
        self._disk.begin("allocate", self.path)
        super().allocate(size)

    def truncate(self, size: int) -> None:
        self._disk.begin("truncate", self.path)
        super().truncate(size)

    def sync(self) -> None:
        self._disk.begin("sync", self.path)
        super().sync()
        self._disk.synced(self.path)


class TornWriteError(OSError):
    """An error half-way through a write."""


class FaultyDisk(RecordingDisk):
    """A disk that fails on request. ``fail("write", ENOSPC, nth=2)``: the second write from now on, and those after it."""

    def __init__(self) -> None:
        super().__init__()
        self._faults: list[_Fault] = []

    def fail(self, name: str, code: int, *, nth: int = 1, on: str = "", torn: bool = False) -> None:
        """``name`` "any" is every operation, ``on`` how the file's name ends; ``torn`` lets half of a write through."""
        self._faults.append(_Fault(name, on, nth, (TornWriteError if torn else OSError)(code, os.strerror(code))))

    def mend(self) -> None:
        self._faults = []

    def begin(self, name: str, path: Path) -> None:
        super().begin(name, path)
        for fault in self._faults:
            if fault.name in (name, "any") and path.name.endswith(fault.on):
                fault.countdown -= 1
                if fault.countdown <= 0:
                    raise fault.error


@dataclass
class _Fault:
    name: str
    on: str
    countdown: int
    error: OSError


class SmallDisk(FaultyDisk):
    """Has room for ``size_bytes`` of files in a folder, and says how much of that is left."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes

    def free_bytes(self, folder: Path) -> int:
        return max(0, self.size_bytes - sum(path.stat().st_size for path in folder.iterdir() if path.is_file()))

    def create(self, path: Path) -> DiskFile:
        file = super().create(path)
        allocate = file.allocate

        def allocate_if_it_fits(size: int) -> None:
            if size > self.free_bytes(path.parent):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            allocate(size)

        file.allocate = allocate_if_it_fits  # type: ignore[method-assign]
        return file


class GatedDisk(FaultyDisk):
    """A disk on which each sync of a file waits after `hold`, until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self._hold = False
        self._arrived = threading.Semaphore(0)
        self._admitted = threading.Semaphore(0)

    def hold(self) -> None:
        self._hold = True

    def await_sync(self, timeout_s: float = PATIENCE_S) -> bool:
        """Return once a sync has begun and is being held."""
        return self._arrived.acquire(timeout=timeout_s)

    def let_one_through(self) -> None:
        self._admitted.release()

    def let_all_through(self) -> None:
        self._hold = False
        self._admitted.release(1000)

    def begin(self, name: str, path: Path) -> None:
        if name == "sync" and self._hold:
            self._arrived.release()
            assert self._admitted.acquire(timeout=PATIENCE_S), "nobody let the sync through"
        super().begin(name, path)


class UnsyncedDisk(Disk):
    """The real disk without its waits, for tests that open thousands of logs and cut no power."""

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        return _UnsyncedFile(path, os.O_RDWR if write else os.O_RDONLY)

    def create(self, path: Path) -> DiskFile:
        return _UnsyncedFile(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def sync_folder(self, folder: Path) -> None:
        pass


class _UnsyncedFile(DiskFile):
    def sync(self) -> None:
        pass
