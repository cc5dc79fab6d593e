"""Lines from a file descriptor in batches: what is there now, without waiting for more."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import NamedTuple

BATCH_LINES = 1000
BATCH_BYTES = 1 << 20
_READ_BYTES = 1 << 18


class Batch(NamedTuple):
    """Some lines, without their newlines."""

    first: int
    """The number of the first one; counting begins at 1."""
    lines: list[bytes]

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1


def read_batches(descriptor: int, *, longest: int) -> Iterator[Batch]:
    """Read to the end, in batches of up to `BATCH_LINES` lines and, unless one line has more, `BATCH_BYTES` bytes.

    A last line needs no newline. A line of more than ``longest`` bytes is given out as soon as that is known, cut short
    and as the last one.
    """
    number = 1
    lines: list[bytes] = []
    rest = b""
    more = True
    while more:
        _wait(descriptor, None)
        data = os.read(descriptor, _READ_BYTES)
        *whole, rest = (rest + data).split(b"\n")
        lines += whole
        if not data or len(rest) > longest:
            more = False
            if rest:
                lines.append(rest)
        while lines:
            count = _fitting(lines)
            if count == len(lines) and count < BATCH_LINES and more and _wait(descriptor, 0):
                break
            yield Batch(number, lines[:count])
            number += count
            del lines[:count]


def cut_batches(lines: list[bytes]) -> Iterator[Batch]:
    """Cut lines that are at hand into the same batches."""
    at = 0
    while at < len(lines):
        count = _fitting(lines[at : at + BATCH_LINES])
        yield Batch(at + 1, lines[at : at + count])
        at += count


def _fitting(lines: list[bytes]) -> int:
    """Return how many lines from the front make a batch: at least one."""
    total = 0
    for index, line in enumerate(lines[:BATCH_LINES]):
        total += len(line)
        if total > BATCH_BYTES and index:
            return index
    return min(len(lines), BATCH_LINES)


def _wait(descriptor: int, timeout_ms: int | None) -> bool:
    """Wait until there is something to read, or its end; returns whether there is."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_ms))
