"""A small file system in memory, that can be filled, mounted read-only, or put under another one's image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from wonderq.client import Client, RefusedError


class SmallDisk:
    """A tmpfs, mounted at ``root`` for as long as it is entered. Needs root."""

    def __init__(self, root: Path, *, size_bytes: int) -> None:
        self.root = root
        self._size_bytes = size_bytes
        self._filler = root / "filler"

    def __enter__(self) -> Self:
        self.root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self._size_bytes}", "tmpfs", str(self.root)], check=True)
        return self

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("ab", buffering=0) as file:
            for piece in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(piece))
                except OSError:
                    pass

    def make_room(self) -> None:
        self._filler.unlink()

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.root)], check=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", str(self.root)], check=False)


def why_not() -> str | None:
    """Say why this process cannot mount one, or None if it can."""
    return None if os.geteuid() == 0 else "mounting needs root"


def produce_until_refused(client: Client, body: str) -> tuple[list[str], RefusedError]:
    """Return the ids of what was produced, and how the next one was refused."""
    ids: list[str] = []
    while len(ids) < 1000:
        try:
            ids.append(client.produce(body))
        except RefusedError as refused:
            return ids, refused
    raise AssertionError("nothing was refused")
