"""Output of `wonderq demo`: sentences and, on a terminal, a view below them that is redrawn in place."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass, field
from typing import TextIO

from wonderq.terminal import is_terminal

_REDRAW_S = 0.05
_BAR_CELLS = 40


@dataclass
class View:
    """Progress of the demo."""

    total: int
    waiting: int = 0
    processing: int = 0
    done: int = 0
    broker: str = ""
    consumers: dict[int, str] = field(default_factory=dict)
    latest: str = ""


class Screen:
    """Writes to a terminal, or plain lines to anything else."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._is_terminal = is_terminal(self._stream)
        self._bold = self._is_terminal and "NO_COLOR" not in os.environ
        self._full, self._empty = "█░" if (self._stream.encoding or "").lower().startswith("utf") else "#."
        self._began = time.monotonic()
        self._drawn_lines = 0
        self._drawn = 0.0
        self._tenths = 0

    def say(self, text: str, *, loud: bool = False) -> None:
        """Write a sentence with the time since the start."""
        self.clear()
        when = f"{time.monotonic() - self._began:5.1f} s  "
        lines = self._wrap(text, len(when))
        for index, line in enumerate(lines):
            self._stream.write((" " * len(when) if index else when) + self._emphasize(line, loud) + "\n")
        self._stream.flush()

    def write(self, text: str = "", *, loud: bool = False) -> None:
        """Write a line."""
        self.clear()
        for line in self._wrap(text, 0):
            self._stream.write(self._emphasize(line, loud) + "\n")
        self._stream.flush()

    def show(self, view: View) -> None:
        """Redraw the view. If the output is not a terminal, write a line at each tenth of the work."""
        if not self._is_terminal:
            tenths = 10 * view.done // view.total
            if tenths > self._tenths:
                self._tenths = tenths
                self.say(f"{view.done:,} of {view.total:,} files done, {view.waiting:,} waiting")
            return
        if time.monotonic() - self._drawn < _REDRAW_S:
            return
        self._drawn = time.monotonic()
        lines = [
            "",
            *(
                f"  {name:<16}{self._bar(count, view.total)} {count:>6,}"
                for name, count in (
                    ("waiting", view.waiting),
                    ("being processed", view.processing),
                    ("done", view.done),
                )
            ),
            f"  broker          {view.broker}",
            *(f"  consumer {number:<7}{text}" for number, text in view.consumers.items()),
            f"  latest          {view.latest}",
        ]
        self.clear()
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("".join(line[:width] + "\n" for line in lines))
        self._stream.flush()
        self._drawn_lines = len(lines)

    def clear(self) -> None:
        """Remove the view from the screen."""
        if self._drawn_lines:
            self._stream.write(f"\x1b[{self._drawn_lines}A\x1b[J")
            self._stream.flush()
            self._drawn_lines = 0
            self._drawn = 0.0

    def _wrap(self, text: str, indent: int) -> list[str]:
        width = max(shutil.get_terminal_size().columns - indent - 1, 40)
        return (textwrap.wrap(text, width) if self._is_terminal else []) or [text]

    def _bar(self, count: int, total: int) -> str:
        cells = min(-(-count * _BAR_CELLS // total), _BAR_CELLS)
        return self._full * cells + self._empty * (_BAR_CELLS - cells)

    def _emphasize(self, text: str, loud: bool) -> str:
        return f"\x1b[1m{text}\x1b[0m" if loud and self._bold else text
