"""The number of messages that share each entry of the log, and the bytes that this saves.

Compaction compares the size of the log with the bytes that its messages need. A published message is in several queues
and its entry in the log once, so the sum over all messages is too much. This table has the entries that at least two
messages share, by the position after the entry, which is the same for messages with and without a head. It costs 16
bytes for an entry, and nothing for messages that were not published.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

#: Most entries of a block. A snapshot shares the blocks, and a block is copied before it changes.
BLOCK_ENTRIES = 2048


class Block:
    """Neighbouring shared entries."""

    __slots__ = ("copies", "ends", "frozen", "lengths", "live")

    def __init__(self, ends: array[int], lengths: array[int], copies: array[int]) -> None:
        self.ends = ends
        """Position after each entry, ascending."""
        self.lengths = lengths
        """Bytes of each entry without its head."""
        self.copies = copies
        """Number of messages that share each entry; 0 for one that is not shared any more."""
        self.live = len(copies) - copies.count(0)
        """Number of entries that are shared."""
        self.frozen = False

    def copy(self) -> Block:
        """Return a block that may be changed."""
        return Block(self.ends[:], self.lengths[:], self.copies[:])


class SharedEntries:
    """The shared entries of a log. `wonderq.state.state.State` and the columns of its queues keep them up to date."""

    def __init__(self) -> None:
        self.saved_bytes = 0
        """Bytes by which the sum over all messages exceeds the bytes of their entries."""
        self._blocks: list[Block] = []
        self._firsts: list[int] = []  # end of the first entry of each block

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, ends: Iterable[int], lengths: Iterable[int], copies: Iterable[int]) -> None:
        """Add new entries, which follow all others; ``copies`` is the number of messages with each one."""
        for end, length, count in zip(ends, lengths, copies, strict=True):
            if count < 2:
                continue
            if not self._blocks or len(self._blocks[-1].ends) >= BLOCK_ENTRIES:
                self._append_block(Block(array("Q"), array("I"), array("I")), end)
            block = self._blocks[-1]
            if block.frozen:
                block = self._blocks[-1] = block.copy()
            block.ends.append(end)
            block.lengths.append(length)
            block.copies.append(count)
            block.live += 1
            self.saved_bytes += (count - 1) * length

    def release(self, ends: Iterable[int]) -> None:
        """Remove one message from each of these entries. Entries that are not shared are left out."""
        for end in ends:
            at = bisect_right(self._firsts, end) - 1
            if at < 0:
                continue
            block = self._blocks[at]
            index = bisect_left(block.ends, end)
            if index == len(block.ends) or block.ends[index] != end or not block.copies[index]:
                continue
            if block.frozen:
                block = self._blocks[at] = block.copy()
            left = block.copies[index] - 1
            self.saved_bytes -= block.lengths[index]
            block.copies[index] = left if left > 1 else 0
            if left <= 1:
                block.live -= 1
                if not block.live:
                    del self._blocks[at], self._firsts[at]

    def is_shared(self, end: int) -> bool:
        """Return whether several messages share the entry that ends at a position."""
        at = bisect_right(self._firsts, end) - 1
        if at < 0:
            return False
        block = self._blocks[at]
        index = bisect_left(block.ends, end)
        return index < len(block.ends) and block.ends[index] == end and block.copies[index] > 1

    # Snapshots

    def freeze(self) -> list[Block]:
        """Return all blocks. They are not changed until `thaw`."""
        for block in self._blocks:
            block.frozen = True
        return list(self._blocks)

    @staticmethod
    def thaw(blocks: Sequence[Block]) -> None:
        """Allow changes to the blocks that `freeze` returned."""
        for block in blocks:
            block.frozen = False

    def load(self, ends: bytes, lengths: bytes, copies: bytes) -> None:
        """Append the block with these columns, which `dump` returned.

        Raises:
            ValueError: the columns are not those of a block.
        """
        block = Block(array("Q", ends), array("I", lengths), array("I", copies))
        if not len(block.ends) == len(block.lengths) == len(block.copies) > 0:
            raise ValueError("the columns of shared entries have different lengths")
        self._append_block(block, block.ends[0])
        self.saved_bytes += sum(
            (count - 1) * length for count, length in zip(block.copies, block.lengths, strict=True) if count
        )

    def _append_block(self, block: Block, first: int) -> None:
        self._blocks.append(block)
        self._firsts.append(first)


def dump(block: Block) -> tuple[bytes, bytes, bytes]:
    """Return the columns of a block, for `SharedEntries.load`."""
    return block.ends.tobytes(), block.lengths.tobytes(), block.copies.tobytes()
