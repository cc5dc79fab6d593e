"""The option ``--part`` of a long run: it divides the same work among runs, in turn or side by side."""

from __future__ import annotations

import argparse


def part(text: str) -> tuple[int, int]:
    """Read ``2/12``, the second of twelve parts."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError("must be like 2/12")
    return int(number), int(parts)
