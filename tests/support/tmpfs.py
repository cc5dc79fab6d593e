"""A small file system in memory, which a test fills or makes read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Self


class Tmpfs:
    """Mounted at ``root`` for as long as it is entered; where none can be mounted, an ordinary folder.

    ``why_not`` then says why, and nothing else here has a meaning: such a folder never gets full.
    """

    def __init__(self, root: Path, *, size_bytes: int) -> None:
        self.root = root
        self.why_not = ""
        self._size_bytes = size_bytes
        self._filler = root / "filler"

    def __enter__(self) -> Self:
        self.root.mkdir()
        options = f"size={self._size_bytes},mode=700"
        self.why_not = _run("mount", "-t", "tmpfs", "-o", options, "wonderq-test", str(self.root))
        return self

    def fill(self) -> None:
        """Take all that is free."""
        with self._filler.open("ab") as file:
            for step in (1 << 20, 1 << 14, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.root)], check=True)

    def __exit__(self, *_error: object) -> None:
        if not self.why_not:
            # A file that is still open there must not keep the mount alive.
            _run("umount", "--lazy", str(self.root))


def _run(*command: str) -> str:
    """Return why a command failed; nothing if it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
