"""The checksum equals that of zlib, whichever library computes it: a log may move to another machine."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from wonderq_storage import checksum


@given(st.binary(max_size=300), st.integers(0, (1 << 32) - 1), st.integers(1, 400))
def test_it_is_that_of_zlib(data: bytes, seed: int, times: int) -> None:
    assert checksum.crc32(data) == zlib.crc32(data)
    assert checksum.crc32(memoryview(data)[1:], seed) == zlib.crc32(data[1:], seed)
    assert checksum.crc32(data * times, seed) == zlib.crc32(data * times, seed)
    assert checksum.crc32(bytearray(data)) == zlib.crc32(data)
