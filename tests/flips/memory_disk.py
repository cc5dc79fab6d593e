"""A disk in memory: quick to copy, to damage and to open again. Nothing is ever lost of it."""

from __future__ import annotations

from pathlib import Path

from storage.disk import Disk, DiskFile

Files = dict[str, bytes]
"""Bytes by path, relative to the folder."""


class MemoryDisk(Disk):
    """One folder."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.folder = folder
        self._files = {name: bytearray(data) for name, data in (files or {}).items()}

    @property
    def files(self) -> Files:
        return {name: bytes(data) for name, data in sorted(self._files.items())}

    def _name(self, path: Path) -> str:
        return str(path)[len(str(self.folder)) + 1 :]

    def lock(self, folder: Path) -> int:
        return 0

    def unlock(self, lock: int) -> None:
        pass

    def make_folder(self, folder: Path) -> None:
        pass

    def free_bytes(self, folder: Path) -> int:
        return 1 << 40

    def list(self, folder: Path) -> list[str]:
        return [name for name in self._files if "/" not in name]

    def create(self, path: Path) -> DiskFile:
        data = self._files[self._name(path)] = bytearray()
        return _MemoryFile(path, data)

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        return _MemoryFile(path, self._files[self._name(path)])

    def rename(self, old: Path, new: Path) -> None:
        self._files[self._name(new)] = self._files.pop(self._name(old))

    def remove(self, path: Path) -> None:
        del self._files[self._name(path)]

    def sync_folder(self, folder: Path) -> None:
        pass


class _MemoryFile(DiskFile):
    def __init__(self, path: Path, data: bytearray) -> None:
        self.path = path
        self._data = data

    def read(self, length: int, offset: int) -> bytes:
        return bytes(self._data[offset : offset + length])

    def write(self, data: bytes, offset: int) -> None:
        self.allocate(offset)
        self._data[offset : offset + len(data)] = data

    def allocate(self, size: int) -> None:
        self._data.extend(bytes(max(size - len(self._data), 0)))

    def truncate(self, size: int) -> None:
        del self._data[size:]

    def sync(self) -> None:
        pass

    def size(self) -> int:
        return len(self._data)

    def close(self) -> None:
        pass
