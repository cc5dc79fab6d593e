"""CRC-32 as zlib computes it, from a library that is quicker at it where there is one: three times at 100 bytes."""

from __future__ import annotations

__all__ = ["crc32"]

try:
    from isal.isal_zlib import crc32
except ImportError:  # pragma: no cover - it is not made for every machine
    from zlib import crc32
