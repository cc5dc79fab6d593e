"""A small disk of its own for the data folder, which can be full for a while."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Self


class SmallDisk:
    """A tmpfs, where the user may mount one; else an ordinary folder, which never gets full. Use as a context manager.

    ``bytes_`` is its size.
    """

    def __init__(self, folder: Path, bytes_: int) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        folder.mkdir()
        self.why_not = _run("mount", "-t", "tmpfs", "-o", f"size={bytes_},mode=700", "wonderq-soak", str(folder))
        self.can_be_full = not self.why_not

    def fill(self) -> None:
        """Take all that is free."""
        with self._filler.open("ab") as file:
            for step in (1 << 20, 1 << 14, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.can_be_full:
            # Whatever still has a file open there must not keep the mount alive.
            _run("umount", "--lazy", str(self.folder))


def _run(*command: str) -> str:
    """Return why a command failed; nothing if it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
