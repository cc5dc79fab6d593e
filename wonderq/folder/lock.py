"""Locking the folder of a stopped broker, and the errors that all folder tools share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wonderq_storage import segment
from wonderq_storage.disk import Disk


class FolderError(Exception):
    """A folder cannot be used for this command. The message gives the reason and what to do."""


class NoLogError(FolderError):
    """There is no log in the folder, or no such folder."""

    def __init__(self, folder: Path, advice: str = "") -> None:
        problem = f"{folder} holds no log" if folder.is_dir() else f"there is no folder {folder}"
        super().__init__(f"{problem}. Pass the folder that 'wonderq serve --data' uses. {advice}".strip())


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segment files in a folder, ascending; none for a folder that does not exist."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    numbers = map(segment.file_number, names)
    return sorted(number for number in numbers if number is not None)


@contextmanager
def locked(folder: Path) -> Iterator[list[Path]]:
    """Lock a folder against brokers and other tools, without writing to it. Yields its segment files in order.

    Raises:
        NoLogError: the folder contains no log.
        FolderLockedError: another process holds the lock.
        OSError: the folder cannot be read.
    """
    files = [folder / segment.file_name(number) for number in segment_numbers(folder)]
    if not files:
        raise NoLogError(folder)
    disk = Disk()
    lock = disk.lock(folder)
    try:
        yield files
    finally:
        disk.unlock(lock)


def resolve(path: Path) -> Path:
    """Return the absolute path to which the links of a path lead. Unlike `Path.resolve`, links in a circle stay."""
    return Path(os.path.realpath(path))


def check_can_be_replaced(folder: Path) -> None:
    """Check that another folder can be renamed to this name. Call it before the work for that other folder.

    Raises:
        FolderError: the folder is a mount point.
    """
    if os.path.ismount(folder):
        raise FolderError(f"{folder} is a mount point, which no other folder can replace. Name a folder inside it")


def check_outside(source: Path, target: Path) -> None:
    """Check that a command does not write into the folder it reads.

    Raises:
        FolderError: ``target`` is ``source`` or lies inside it.
    """
    if resolve(source) == resolve(target):
        raise FolderError(f"{target} is the source folder. Choose another folder as the target")
    if resolve(source) in resolve(target).parents:
        raise FolderError(f"{target} is inside the source folder {source}. Choose a folder outside it")
