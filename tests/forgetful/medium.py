"""Durable and pending changes of a folder, and the folders that a crash at this moment can leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.forgetful.fates import LOST, WHOLE, Data, Name, Pending, Size, compose
from tests.support.forgetful_disk import Operation, folder_of

FolderKey = frozenset[tuple[str, int]]
"""A folder as pairs of a name and the number of a content in `Contents`. Equal keys are equal folders."""


class Contents:
    """Contents of files, each kept once and known by a number, so that folders can be told apart without reading them."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._contents: list[bytes] = []

    def number(self, content: bytes) -> int:
        number = self._numbers.setdefault(content, len(self._contents))
        if number == len(self._contents):
            self._contents.append(content)
        return number

    def folder(self, key: FolderKey) -> dict[str, bytes]:
        return {name: self._contents[number] for name, number in sorted(key)}

    def key(self, files: Mapping[str, bytes]) -> FolderKey:
        return frozenset((name, self.number(content)) for name, content in files.items())


class _File:
    """A file's content as of its last sync, and the changes to it since."""

    def __init__(self, durable: bytes, contents: Contents) -> None:
        self._contents = contents
        self.pending: list[Size | Data] = []
        self.start(durable)

    def start(self, durable: bytes) -> None:
        self.durable = durable
        self.pending = []
        self._composed: dict[tuple[int, ...], int] = {(): self._contents.number(durable)}

    def number(self, fates: tuple[int, ...]) -> int:
        """Return the number of what the file holds after these fates; those left out are lost."""
        while fates and fates[-1] == LOST:
            fates = fates[:-1]
        number = self._composed.get(fates)
        if number is None:
            content = compose(self.durable, self.pending[: len(fates)], fates)
            number = self._composed[fates] = self._contents.number(content)
        return number

    def would_change(self, operation: Operation) -> bool:
        """Return whether the survival of a write matters, given the durable bytes and the pending changes."""
        start, stop = operation.offset, operation.offset + len(operation.data)
        return bool(self.pending) or self.durable[start:stop] != operation.data


class Medium:
    """A disk's medium, as operation after operation reaches it."""

    def __init__(self, files: Mapping[str, bytes], contents: Contents) -> None:
        self._contents = contents
        self._files = {number: _File(content, contents) for number, content in enumerate(files.values())}
        self._names = {key: number for number, key in enumerate(files)}
        self._names |= {folder: -1 for folder in map(folder_of, files) if folder}
        self._pending_names: list[Name] = []
        self._at = 0
        self._order_at = -1
        self._places: list[int] = []

    @property
    def pending(self) -> list[Pending]:
        """The changes whose fates are open, in the order in which they were made."""
        return sorted(self._pending, key=lambda change: change.at)

    @property
    def _pending(self) -> list[Pending]:
        return [*self._pending_names, *(change for file in self._files.values() for change in file.pending)]

    def take(self, operation: Operation) -> None:
        """Let one more operation happen."""
        kind, at = operation.kind, self._at
        self._at += 1
        if kind == "sync":
            file = self._files[operation.file]
            if file.pending:
                file.start(compose(file.durable, file.pending, [WHOLE] * len(file.pending)))
        elif kind == "sync_folder":
            self._sync_names(operation.key)
        elif kind in ("link", "mkdir", "rename", "unlink"):
            if kind == "link":
                self._files[operation.file] = _File(b"", self._contents)
            self._pending_names.append(Name(operation, at))
        else:
            file = self._files[operation.file]
            if operation.size != operation.before and kind != "write":
                file.pending.append(Size(operation, at))
            elif kind == "write" and (operation.size > operation.before or file.would_change(operation)):
                if operation.size > operation.before:
                    file.pending.append(Size(operation, at))
                file.pending.append(Data(operation, at))

    def _sync_names(self, folder: str) -> None:
        left: list[Name] = []
        for change in self._pending_names:
            if folder_of(change.operation.key) == folder:
                change.apply(self._names, WHOLE)
            else:
                left.append(change)
        self._pending_names = left
        # Nothing more can be seen of a file that has no name and cannot get one back.
        known = {*self._names.values(), *(change.operation.file for change in left)}
        self._files = {number: file for number, file in self._files.items() if number in known}

    def _order(self) -> list[int]:
        """Return the place in time of each pending change, names first and then file by file."""
        if self._order_at != self._at:
            pending = self._pending
            by_time = sorted(range(len(pending)), key=lambda index: pending[index].at)
            self._places = sorted(range(len(pending)), key=by_time.__getitem__)
            self._order_at = self._at
        return self._places

    def key(self, fates: Sequence[int]) -> FolderKey:
        """Return the folder that a crash leaves now if the pending changes, as `pending` has them, meet these fates."""
        fates = [fates[place] for place in self._order()]
        at = len(self._pending_names)
        names = self._names
        if at:
            names = names.copy()
            for change, fate in zip(self._pending_names, fates, strict=False):
                change.apply(names, fate)
        numbers = {}
        for number, file in self._files.items():
            stop = at + len(file.pending)
            numbers[number] = file.number(tuple(fates[at:stop]))
            at = stop
        return frozenset(
            [
                (name, numbers[number])
                for name, number in names.items()
                if number >= 0 and ("/" not in name or folder_of(name) in names)
            ]
        )
