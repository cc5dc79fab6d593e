"""The folder of a stopped broker: taking it for oneself without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wonderq_storage import segment
from wonderq_storage.disk import Disk


class FolderError(Exception):
    """A folder that cannot be used for what was asked; the message says why and what to do."""


class NoLogError(FolderError):
    """There is no log in the folder."""


@contextmanager
def held(folder: Path) -> Iterator[list[Path]]:
    """Lock a folder that holds a log, so that no broker starts on it meanwhile; gives its segment files.

    Raises:
        NoLogError: there is no log in it.
        FolderLockedError: a broker is running on it.
        OSError: it cannot be read.
    """
    files = sorted(each for each in folder.iterdir() if segment.file_number(each.name) is not None)
    if not files:
        raise NoLogError(f"{folder} holds no log: give the folder that 'wonderq serve --data' was given.")
    disk = Disk()
    lock = disk.lock(folder)
    try:
        yield files
    finally:
        disk.unlock(lock)


def check_outside(source: Path, target: Path) -> None:
    """Refuse to write into the folder that is read.

    Raises:
        FolderError: ``target`` is ``source``, or inside of it.
    """
    if source.resolve() == target.resolve():
        raise FolderError(f"{target} is the folder that is read: give another one")
    if source.resolve() in target.resolve().parents:
        raise FolderError(f"{target} is inside {source}: give a folder outside of it")
