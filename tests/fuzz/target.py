"""Fuzz targets for bytes, and mutation of valid samples without coverage feedback."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple


class Target(NamedTuple):
    """Something that reads bytes from outside."""

    name: str
    check: Callable[[bytes], object]
    """Reads an input; raises an AssertionError, or anything else, if it was not read as promised. Returns what became of it,
    so that tests see that not all is refused."""
    samples: Sequence[bytes]
    """Valid inputs."""
    cost: int = 1
    """Cost relative to most targets; a target gets that many times fewer inputs."""


#: Bytes that often stand at a border, or have a meaning.
_TELLING = (
    *(bytes([each]) for each in (0, 1, 0x1F, 0x20, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xC7, 0xD9, 0xDB, 0xDD, 0xDF, 0xFF)),
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\r\n", b"\r\n\r\n", b"\n", b"%00", b"%2f", b"&", b"=", b"[", b"]", b"{", b"}", b'"',
    b"\\ud800", b"1e999", b"-1", b"null", b"\xed\xa0\x80", b"\xc5\xbf\xe2\x84\xaa", b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"message", b"messages", b"receipt", b"ids", b"entries",
)  # fmt: skip


def spoiled(sample: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Return the sample with a few changes."""
    data = bytearray(sample)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((0, 1, 1, 2, 4, 16, len(data)))
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + max(length, 1)]
            case 2:
                data[at : at + length] = chance.choice(_TELLING)
            case 3:
                data[at:at] = data[at : at + length] * chance.choice((1, 1, 2, 50))
            case 4:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                data[at : at + length] = other[start : start + chance.choice((1, 4, 16, len(other)))]
            case _:
                data[at : at + length] = chance.randbytes(length)
        del data[1 << 16 :]
    return bytes(data)


def inputs(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """Yield the samples, and a number of spoiled ones; the same for each seed."""
    chance = random.Random(f"{seed} {target.name}")
    yield from target.samples
    for _ in range(count):
        yield spoiled(chance.choice(target.samples), target.samples, chance)
