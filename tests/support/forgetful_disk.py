"""A disk in memory that records every change and every sync, so that a test can derive each state a crash can leave."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path, PosixPath
from typing import NamedTuple

from wonderq_storage.disk import Disk, DiskFile
from wonderq_storage.errors import FolderLockedError


class _Folder(PosixPath):
    """A path that makes each path below it just once: it is opened many thousands of times a minute."""

    @lru_cache(maxsize=4096)  # noqa: B019 - there is one for the life of the process
    def __truediv__(self, name: str) -> Path:  # type: ignore[override]
        return Path(str(self), name)


#: Apparent path of the folder, which is never looked up in the real file system.
FOLDER = _Folder("/forgetful")

_SKIP = len(str(FOLDER)) + 1


def key_of(path: Path) -> str:
    """Return a path inside the folder as a short name: ``a``, ``torn/b``, and the empty string for the folder."""
    return str(path)[_SKIP:]


def folder_of(key: str) -> str:
    """Return the folder part of a short name; empty for the folder itself."""
    return key.rpartition("/")[0]


class Operation(NamedTuple):
    """One change, or one sync."""

    kind: str
    """``write``, ``grow``, ``truncate`` and ``sync`` are about a file; ``link`` (a name for a new file), ``rename``,
    ``unlink``, ``mkdir`` and ``sync_folder`` about names."""
    key: str
    """The name, as `key_of` gives it; for a rename the old one."""
    file: int = 0
    """The file's number, which stays when it is renamed."""
    offset: int = 0
    data: bytes = b""
    size: int = 0
    """The file's new size."""
    before: int = 0
    """The file's size before."""
    new_key: str = ""

    def __str__(self) -> str:
        detail = {
            "write": f" {len(self.data)} bytes at {self.offset}",
            "grow": f" from {self.before} to {self.size} bytes",
            "truncate": f" from {self.before} to {self.size} bytes",
            "rename": f" to {self.new_key}",
        }
        return f"{self.kind} {self.key or 'the folder'}{detail.get(self.kind, '')}"


class ForgetfulDisk(Disk):
    """A disk that holds one folder, and folders in it one deep.

    ``files`` are on the medium already. ``operations`` has every change since, in order, and ``notes`` what ``note``
    returned just before each.
    """

    def __init__(self, files: Mapping[str, bytes], note: Callable[[], object] = lambda: None) -> None:
        self.operations: list[Operation] = []
        self.notes: list[object] = []
        self.note = note
        self.before_sync: Callable[[], None] = lambda: None
        """Called just before a file is synced."""
        self.after_sync: Callable[[str], None] = lambda _: None
        """Called with the name of a file that was synced."""
        self.numbers = {key: number for number, key in enumerate(files)}
        self.contents: dict[int, bytes | bytearray] = dict(enumerate(files.values()))
        self.folders = {"", *map(folder_of, files)}
        self._next = len(files)
        self._locked = False

    def record(self, operation: Operation) -> None:
        self.notes.append(self.note())
        self.operations.append(operation)

    def files(self) -> dict[str, bytes]:
        """Return the current files, durable or not."""
        return {key: bytes(self.contents[number]) for key, number in self.numbers.items()}

    def changeable(self, number: int) -> bytearray:
        content = self.contents[number]
        if not isinstance(content, bytearray):
            content = self.contents[number] = bytearray(content)
        return content

    def lock(self, folder: Path) -> int:
        if self._locked:
            raise FolderLockedError(f"{folder} is in use")
        self._locked = True
        return 0

    def unlock(self, lock: int) -> None:
        self._locked = False

    def is_in_place(self, folder: Path, lock: int) -> bool:
        return True

    def make_folder(self, folder: Path, like: Path | None = None) -> None:
        key = key_of(folder)
        if key not in self.folders:
            self.record(Operation("mkdir", key, -1))
            self.folders.add(key)
            self.sync_folder(folder.parent)

    def free_bytes(self, folder: Path) -> int:
        return 1 << 40

    def list(self, folder: Path) -> list[str]:
        key = key_of(folder)
        if key:
            return [each.rpartition("/")[2] for each in self.numbers if folder_of(each) == key]
        return [each for each in (*self.numbers, *self.folders) if each and "/" not in each]

    def create(self, path: Path) -> DiskFile:
        key = key_of(path)
        number = self.numbers.get(key)
        if number is None:
            number = self.numbers[key] = self._next
            self._next += 1
            self.contents[number] = b""
            self.record(Operation("link", key, number))
        elif self.contents[number]:
            self.record(Operation("truncate", key, number, before=len(self.contents[number])))
            self.contents[number] = b""
        return ForgetfulFile(self, path, number)

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        return ForgetfulFile(self, path, self._number(path))

    def rename(self, old: Path, new: Path) -> None:
        number = self._number(old)
        self.record(Operation("rename", key_of(old), number, new_key=key_of(new)))
        del self.numbers[key_of(old)]
        self.numbers[key_of(new)] = number

    def remove(self, path: Path) -> None:
        number = self._number(path)
        self.record(Operation("unlink", key_of(path), number))
        del self.numbers[key_of(path)]

    def sync_folder(self, folder: Path) -> None:
        self.record(Operation("sync_folder", key_of(folder)))

    def _number(self, path: Path) -> int:
        number = self.numbers.get(key_of(path))
        if number is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return number


class ForgetfulFile(DiskFile):
    """An open file of a `ForgetfulDisk`."""

    def __init__(self, disk: ForgetfulDisk, path: Path, number: int) -> None:
        self.path = path
        self._fd = -1
        self._disk = disk
        self._number = number

    def read(self, length: int, offset: int) -> bytes:
        return bytes(self._disk.contents[self._number][offset : offset + length])

    def write(self, data: bytes, offset: int) -> None:
        if not data:
            return
        before = self.size()
        size = max(before, offset + len(data))
        self._record("write", offset, bytes(data), size, before)
        content = self._disk.changeable(self._number)
        content.extend(bytes(size - before))
        content[offset : offset + len(data)] = data

    def allocate(self, size: int) -> None:
        before = self.size()
        if size > before:
            self._record("grow", size=size, before=before)
            self._disk.changeable(self._number).extend(bytes(size - before))

    def truncate(self, size: int) -> None:
        before = self.size()
        if size > before:
            self.allocate(size)
        elif size < before:
            self._record("truncate", size=size, before=before)
            del self._disk.changeable(self._number)[size:]

    def sync(self) -> None:
        self._disk.before_sync()
        self._record("sync")
        self._disk.after_sync(key_of(self.path))

    def size(self) -> int:
        return len(self._disk.contents[self._number])

    def close(self) -> None:
        pass

    def _record(self, kind: str, offset: int = 0, data: bytes = b"", size: int = 0, before: int = 0) -> None:
        self._disk.record(Operation(kind, key_of(self.path), self._number, offset, data, size, before))
