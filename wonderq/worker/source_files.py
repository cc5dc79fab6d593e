"""Source files whose change restarts workers: for development."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

#: Interval between two looks, in seconds.
_POLL_S = 0.5

_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


class SourceFiles:
    """The Python files of a folder and those below it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = self._times()

    def wait_for_change(self) -> None:
        """Return when a file was changed, added or removed."""
        while not self.have_changed():
            time.sleep(_POLL_S)

    def have_changed(self) -> bool:
        """Return whether a file was changed, added or removed since the last call."""
        before, self._seen = self._seen, self._times()
        return self._seen != before

    def _times(self) -> dict[str, int]:
        return dict(self._walk(str(self._root)))

    def _walk(self, folder: str) -> Iterator[tuple[str, int]]:
        try:
            entries = list(os.scandir(folder))
        except OSError:  # it was removed, or is not readable
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.name not in _SKIPPED:
                    yield from self._walk(entry.path)
            elif entry.name.endswith(".py"):
                try:
                    yield entry.path, entry.stat().st_mtime_ns
                except OSError:
                    continue
