"""Fates of a change that was not synced before a power cut: lost, whole, or torn.

A fate is a number, so that one names exactly what happened: 0 lost, 1 whole, and from 2 on the ways in which this change
can be torn. A hole keeps what the file held before at that place (zeros, where it held nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tests.support.forgetful_disk import Operation

LOST, WHOLE = 0, 1

SECTOR_BYTES = 512
PAGE_BYTES = 4096

#: Up to this number of blocks in a write, every subset of them may survive; above it, each may be the only one lost, or
#: the only one to survive.
_ALL_SUBSETS_BLOCKS = 6

Ranges = tuple[tuple[int, int], ...]


class Pending:
    """A change that is not durable: one size, one write's data, or one name."""

    def __init__(self, operation: Operation, at: int) -> None:
        self.operation = operation
        self.at = at
        """Number of the disk operation; a write that makes its file longer is two changes with the same number."""
        self.fates = 2
        """Number of fates."""

    def describe(self, fate: int) -> str:
        return f"{self.at}: {self.operation}: {('lost', 'whole')[fate] if fate < 2 else self.torn(fate)}"

    def torn(self, fate: int) -> str:
        raise ValueError(fate)


class Name(Pending):
    """A file or folder that came, went or moved. A rename is one change: the old name or the new one, never both or none."""

    def apply(self, names: dict[str, int], fate: int) -> None:
        if fate == LOST:
            return
        kind, key, number, *_, new_key = self.operation
        if kind in ("link", "mkdir"):
            names[key] = number
        elif names.get(key) == number:
            del names[key]
        if kind == "rename":
            names[new_key] = number


class Size(Pending):
    """A new size of a file; torn, it is one between the old and the new."""

    def __init__(self, operation: Operation, at: int) -> None:
        super().__init__(operation, at)
        low, high = sorted((operation.before, operation.size))
        between = {low + 1, (low + high) // 2, high - 1, low // SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES}
        between |= {
            size // block * block for size in (high - 1, (low + high) // 2) for block in (SECTOR_BYTES, PAGE_BYTES)
        }
        self._between = sorted(size for size in between if low < size < high)
        self.fates = 2 + len(self._between)

    def apply(self, data: bytearray, size: int, fate: int) -> int:
        if fate == LOST:
            return size
        new = self.operation.size if fate == WHOLE else self._between[fate - 2]
        if self.operation.size > self.operation.before:
            return max(size, new)
        del data[new:]
        return min(size, new)

    def describe(self, fate: int) -> str:
        return f"{super().describe(fate)} (the size)"

    def torn(self, fate: int) -> str:
        return f"torn, {self._between[fate - 2]} bytes"


class Data(Pending):
    """The bytes of a write; torn, a part from its front, a part from its end, or some of its blocks survive."""

    def __init__(self, operation: Operation, at: int) -> None:
        super().__init__(operation, at)
        self._ways = _ways_to_tear(operation.offset, len(operation.data))
        self.fates = 2 + len(self._ways)

    def apply(self, data: bytearray, size: int, fate: int) -> int:
        _, _, _, offset, new, *_ = self.operation
        if fate == LOST:
            return size
        missing = offset + len(new) - len(data)
        if missing > 0:
            data.extend(bytes(missing))
        for start, stop in ((0, len(new)),) if fate == WHOLE else self._ways[fate - 2]:
            data[offset + start : offset + stop] = new[start:stop]
        return size

    def torn(self, fate: int) -> str:
        parts = ", ".join(f"{start} to {stop}" for start, stop in self._ways[fate - 2])
        return f"torn, of it survive bytes {parts}"


@lru_cache(maxsize=1024)
def _ways_to_tear(offset: int, length: int) -> tuple[Ranges, ...]:
    """Return which bytes of a write may survive, but for none and all: ranges relative to its beginning."""
    ways: dict[Ranges, None] = dict.fromkeys(((0, cut),) for cut in range(1, length))
    ways |= dict.fromkeys(((cut, length),) for cut in range(1, length))
    for block_bytes in (SECTOR_BYTES, PAGE_BYTES):
        ways |= dict.fromkeys(_blocks_to_lose(offset, length, block_bytes))
    return tuple(ways)


def _blocks_to_lose(offset: int, length: int, block_bytes: int) -> list[Ranges]:
    edges = [max(edge - offset, 0) for edge in range(offset // block_bytes * block_bytes, offset + length, block_bytes)]
    blocks = list(zip(edges, [*edges[1:], length], strict=True))
    count, every = len(blocks), (1 << len(blocks)) - 1
    if count <= _ALL_SUBSETS_BLOCKS:
        masks = list(range(1, every))
    else:
        masks = [mask for at in range(count) for mask in (1 << at, every ^ 1 << at)]
    return [tuple(block for at, block in enumerate(blocks) if mask >> at & 1) for mask in masks]


def compose(durable: bytes, pending: Sequence[Size | Data], fates: Sequence[int]) -> bytes:
    """Return what a file holds of which ``durable`` was synced, and ``pending``, in order, met these fates."""
    data, size = bytearray(durable), len(durable)
    for change, fate in zip(pending, fates, strict=True):
        size = change.apply(data, size, fate)
    del data[size:]
    data.extend(bytes(size - len(data)))
    return bytes(data)
