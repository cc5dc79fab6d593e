"""Reading files of which the medium has lost parts, for `wonderq_storage.salvage`.

A read of many bytes fails as a whole if one sector is unreadable. Here it is repeated block by block, and zeros take
the place of the blocks that cannot be read. So all others are still found. A name may also lead to something else than
a file, and an open of a pipe would wait for its writer.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from wonderq_storage.disk import Disk, DiskFile
from wonderq_storage.errors import is_bad_medium

_BLOCK_BYTES = 4096

#: Errors of an open that the contents of the folder cause: a link leads nowhere, or the name is that of a socket.
_NOT_THERE = {errno.ENOENT, errno.ELOOP, errno.ENXIO}


class UnusableFileError(Exception):
    """A name in a folder leads to nothing that could be read as a file."""


class BadMediumDisk(Disk):
    """Opens files for reading, of which the medium may have lost parts."""

    def __init__(self) -> None:
        self._lost: dict[Path, set[int]] = {}

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        """Open a regular file for reading.

        Raises:
            UnusableFileError: there is none, or the medium has lost it.
        """
        assert not write
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise UnusableFileError("this is not a file")
            return _BadMediumFile(path, self._lost.setdefault(path, set()))
        except OSError as error:
            if is_bad_medium(error) or error.errno in _NOT_THERE:
                raise UnusableFileError(f"this cannot be opened: {error.strerror}") from error
            raise

    def unreadable(self, path: Path) -> list[tuple[int, int]]:
        """Return the ranges of a file that reads have found unreadable, as pairs of offset and length."""
        found: list[tuple[int, int]] = []
        for at in sorted(self._lost.get(path, ())):
            length = min(_BLOCK_BYTES, path.stat().st_size - at)
            if found and sum(found[-1]) == at:
                found[-1] = (found[-1][0], found[-1][1] + length)
            else:
                found.append((at, length))
        return found


class _BadMediumFile(DiskFile):
    """A file whose unreadable blocks read as zeros. Their offsets are added to ``lost``."""

    def __init__(self, path: Path, lost: set[int]) -> None:
        super().__init__(path, os.O_RDONLY | os.O_NONBLOCK)
        self._lost = lost

    def read(self, length: int, offset: int) -> bytes:
        # A failing disk may take seconds for each attempt, so none is repeated for a block that is known to be lost.
        if self._lost.isdisjoint(_blocks(offset, length)):
            try:
                return super().read(length, offset)
            except OSError as error:
                if not is_bad_medium(error):
                    raise
        end = min(offset + length, self.size())
        blocks = _blocks(offset, end - offset)
        return b"".join(self._read_in_block(max(at, offset), min(at + _BLOCK_BYTES, end), at) for at in blocks)

    def _read_in_block(self, start: int, end: int, block: int) -> bytes:
        if block not in self._lost:
            try:
                return super().read(end - start, start)
            except OSError as error:
                if not is_bad_medium(error):
                    raise
                self._lost.add(block)
        return bytes(end - start)


def _blocks(offset: int, length: int) -> range:
    """Return the offsets of the blocks that a range touches."""
    return range(offset - offset % _BLOCK_BYTES, offset + length, _BLOCK_BYTES)
