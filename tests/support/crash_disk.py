"""A disk that records at every operation the states of a folder that a kill or a power cut can leave."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.disks import RecordingDisk
from wonderq_storage.disk import DiskFile

Files = dict[str, bytes]


@dataclass(frozen=True)
class Moment:
    """A folder just before an operation."""

    next: str
    visible: Files
    """Files after a kill: everything that was written."""
    durable: Files
    """Files after a power cut that keeps only synced changes: names as of the last sync of the folder, bytes as of the
    last sync of each file."""
    synced: Files
    """The bytes as of each file's last sync, under its visible name."""

    def after_power_cut(self) -> Iterator[Files]:
        """Yield what a power cut may leave.

        Each creation, rename and removal since the last sync of the folder has happened or not; of what was written
        since the last sync of its file all is there, or nothing.
        """
        unsure = sorted(self.visible.keys() ^ self.durable.keys())
        sure = self.visible.keys() & self.durable.keys()
        for count in range(len(unsure) + 1):
            for there in itertools.combinations(unsure, count):
                newest = {name: self.visible.get(name, self.durable.get(name, b"")) for name in (*sure, *there)}
                synced = {name: self.synced.get(name, self.durable.get(name, b"")) for name in (*sure, *there)}
                yield newest
                if synced != newest:
                    yield synced


class CrashDisk(RecordingDisk):
    """A disk for one folder without subfolders, and one thread that changes it.

    ``durable`` is what of the folder is on the medium already; all of it if not given.
    """

    def __init__(self, folder: Path, durable: Files | None = None) -> None:
        super().__init__()
        self._folder = folder
        self.moments: list[Moment] = []
        visible = files_of(folder)
        known = visible if durable is None else durable
        # A file is known by a number that stays the same when it is renamed.
        self._numbers = itertools.count()
        self._names = {name: next(self._numbers) for name in visible}
        self._synced = {self._names[name]: known.get(name, b"") for name in visible}
        self._durable_names = {name: number for name, number in self._names.items() if name in known}
        for name in known.keys() - visible.keys():
            self._durable_names[name] = number = next(self._numbers)
            self._synced[number] = known[name]

    def begin(self, name: str, path: Path) -> None:
        super().begin(name, path)
        self.note(f"{len(self.moments)}: {name} {path.name}")

    def note(self, what: str) -> None:
        durable = {name: self._synced.get(number, b"") for name, number in self._durable_names.items()}
        visible = files_of(self._folder)
        synced = {name: self._synced.get(self._names[name], b"") for name in visible}
        self.moments.append(Moment(what, visible, durable, synced))

    def synced(self, path: Path) -> None:
        self._synced[self._names[path.name]] = path.read_bytes()

    def create(self, path: Path) -> DiskFile:
        file = super().create(path)
        self._names[path.name] = next(self._numbers)
        return file

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._names[new.name] = self._names.pop(old.name)

    def remove(self, path: Path) -> None:
        super().remove(path)
        del self._names[path.name]

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        if folder == self._folder:
            self._durable_names = dict(self._names)


def files_of(folder: Path) -> Files:
    """Return the contents of each file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def lay_out(folder: Path, files: Files) -> Path:
    """Make a folder with just these files."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
