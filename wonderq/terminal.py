"""Output for people: tables, sizes, durations and progress."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Self, TextIO

_REDRAW_S = 0.1

#: Characters that control a terminal or the order of text on it: those of ASCII but the tab, those of ISO 6429 (C1),
#: line and paragraph separators, marks and overrides of bidirectional text, and annotations.
_CONTROLS = re.compile("[\0-\x08\n-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]")


def printable(text: str) -> str:
    """Return a line of text with its control characters escaped as in JSON."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def table(rows: Sequence[Sequence[str]], *, texts: int = 1) -> list[str]:
    """Align rows, the first of which is the heading. The first ``texts`` columns are left-aligned, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < texts else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def counted(count: int, noun: str) -> str:
    """Return a count with a regular noun, in the plural unless it is one: "1 queue", "1,508 messages"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def human_bytes(size: float) -> str:
    """Return a size with a binary unit."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1023.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


class Progress:
    """A counter on stderr, redrawn in place. Silent unless ``enabled`` and stderr is a terminal."""

    def __init__(self, done: str, *, enabled: bool = True, stream: TextIO | None = None) -> None:
        self._done = done
        self._stream = stream or sys.stderr
        self._enabled = enabled and is_terminal(self._stream)
        self._began = time.monotonic()
        self._drawn = 0.0
        self._count = 0

    def add(self, count: int = 1) -> None:
        self._count += count
        if self._enabled and time.monotonic() - self._drawn >= _REDRAW_S:
            self._draw()

    def _draw(self, end: str = "") -> None:
        self._drawn = time.monotonic()
        rate = self._count / max(self._drawn - self._began, 0.001)
        self._stream.write(f"\r\x1b[K{self._count:,} {self._done}, {rate:,.0f}/s{end}")
        self._stream.flush()

    def close(self) -> None:
        """Leave the last count on the screen."""
        if self._enabled and self._count:
            self._draw("\n")
            self._enabled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream, which may be closed or missing, is a terminal."""
    return stream is not None and not stream.closed and stream.isatty()
