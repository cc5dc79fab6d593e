"""Reading lines from a file descriptor in batches of the lines available, without waiting for more."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import NamedTuple

BATCH_LINES = 1000
BATCH_BYTES = 1 << 20
_READ_BYTES = 1 << 18


class InputError(Exception):
    """Input cannot be used. The message names its place and the lines sent before it."""


class Batch(NamedTuple):
    """Consecutive lines, without their newlines."""

    first: int
    """Number of the first line, counted from 1."""
    lines: list[bytes]

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1


def read_batches(descriptor: int, *, longest: int) -> Iterator[Batch]:
    """Read to the end, in batches of up to `BATCH_LINES` lines and `BATCH_BYTES` bytes.

    A single line may exceed `BATCH_BYTES`. The last line needs no newline. A line of more than ``longest`` bytes ends
    the reading: its beginning is yielded as the last line.
    """
    number = 1
    lines: list[bytes] = []
    rest = b""
    more = True
    while more:
        _wait_readable(descriptor, None)
        try:
            data = os.read(descriptor, _READ_BYTES)
        except OSError as error:
            error.filename = "standard input"
            raise
        *whole, rest = (rest + data).split(b"\n")
        lines += whole
        if not data or len(rest) > longest:
            more = False
            if rest:
                lines.append(rest)
        while lines:
            count = _batch_length(lines)
            if count == len(lines) and count < BATCH_LINES and more and _wait_readable(descriptor, 0):
                break
            yield Batch(number, lines[:count])
            number += count
            del lines[:count]


def split_batches(lines: list[bytes]) -> Iterator[Batch]:
    """Split lines in memory into batches of the same size."""
    at = 0
    while at < len(lines):
        count = _batch_length(lines[at : at + BATCH_LINES])
        yield Batch(at + 1, lines[at : at + count])
        at += count


def _batch_length(lines: list[bytes]) -> int:
    """Return the number of leading lines that fit in a batch, at least 1."""
    total = 0
    for index, line in enumerate(lines[:BATCH_LINES]):
        total += len(line)
        if total > BATCH_BYTES and index:
            return index
    return min(len(lines), BATCH_LINES)


def _wait_readable(descriptor: int, timeout_s: float | None) -> bool:
    """Wait until the descriptor is readable or at its end; return whether it is."""
    return bool(select.select([descriptor], [], [], timeout_s)[0])  # the poll of macOS does not work for terminals
