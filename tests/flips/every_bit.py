"""Flip every bit of a small broker's folder, one at a time, and see what becomes of it:

    python -m tests.flips.every_bit [--seed N] [--every N] [--folder killed|stopped] [--part 2/6]

Exit code 1 if any flip changes what a client sees in silence, and 3 if all bits were flipped and one of the fates never was.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from tests.flips.judge import Fate, Judge, UnnoticedError
from tests.support.mechanisms import NOT_WHOLE, Mechanisms
from tests.support.parts import part
from tests.support.small_folder import SmallFolder, quietly, write
from wonderq_storage.frame import SEGMENT_HEADER_BYTES

_PROGRESS_S = 10.0


class Flip(NamedTuple):
    """A flipped bit of a file."""

    name: str
    at: int
    bit: int


def bits(folder: SmallFolder) -> Iterator[Flip]:
    return (Flip(name, at, bit) for name, data in folder.files.items() for at in range(len(data)) for bit in range(8))


def header_bits(folder: SmallFolder) -> Iterator[Flip]:
    """Yield the flips in the headers of segments and checkpoints."""
    return (flip for flip in bits(folder) if flip.at < SEGMENT_HEADER_BYTES and not flip.name.endswith(".tmp"))


def figures(fates: Counter[Fate]) -> str:
    return "\n".join(f"{fates[fate]:9,}  {fate.value}" for fate in Fate)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.flips.every_bit", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th bit")
    parser.add_argument("--folder", choices=["killed", "stopped"], help="only that of such a broker; otherwise both")
    parser.add_argument(
        "--part", type=part, default=(1, 1), metavar="N/PARTS", help="every PARTSth of these from the Nth"
    )
    arguments = parser.parse_args(argv)
    number_of_part, parts = arguments.part
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {arguments.seed}", flush=True)
    fates: Counter[Fate] = Counter()
    unnoticed = 0
    began = shown = time.monotonic()
    with quietly():
        for kind, folder in write(arguments.seed).items():
            if kind != (arguments.folder or kind):
                continue
            size = sum(map(len, folder.files.values()))
            print(f"the folder of a {kind} broker: {len(folder.files)} files, {size:,} bytes", flush=True)
            judge = Judge(folder)
            first, step = (number_of_part - 1) * arguments.every, parts * arguments.every
            for number, flip in islice(enumerate(bits(folder)), first, None, step):
                try:
                    fates[judge.flip(*flip)] += 1
                except UnnoticedError as error:
                    unnoticed += 1
                    print(f"UNNOTICED in the folder of a {kind} broker: {error}", flush=True)
                if time.monotonic() > shown + _PROGRESS_S:
                    shown = time.monotonic()
                    print(f"{shown - began:6.0f} s  {number:,} of {8 * size:,} bits", flush=True)
    print(figures(fates))
    took_s = time.monotonic() - began
    total = fates.total() + unnoticed
    print(
        f"{total:,} bits flipped, {unnoticed} changed something in silence, {took_s:.0f} s, {total / took_s:.0f} a second"
    )
    mechanisms = Mechanisms(fate.name for fate in Fate)
    mechanisms.counts.update({fate.name: count for fate, count in fates.items()})
    is_slice = arguments.every > 1 or arguments.folder is not None or parts > 1
    verdict, is_whole = mechanisms.verdict(is_slice=is_slice)
    print(verdict)
    return 1 if unnoticed else 0 if is_whole else NOT_WHOLE


if __name__ == "__main__":
    sys.exit(main())
