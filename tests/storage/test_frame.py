"""The codec: what is packed is unpacked, and what was not packed there is not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wonderq_storage import frame
from wonderq_storage.frame import FRAME_BYTES, GROUP, GROUP_HEADER_BYTES, SEAL, SEGMENT_HEADER_BYTES, GroupHeader

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
LOG_ID = st.binary(min_size=16, max_size=16)
RECORDS = st.lists(st.binary(max_size=60), max_size=12)


@st.composite
def groups(draw: st.DrawFn) -> tuple[int, list[bytes], bytes, int, GroupHeader]:
    """A seed, records, the group made of them, its last checksum, and its header as it should be read."""
    seed, records = draw(U32), draw(RECORDS)
    kind = SEAL if not records and draw(st.booleans()) else GROUP
    offset, base, number, durable, chain = draw(U32), draw(U32), draw(U64), draw(U64), draw(U32)
    data, last = frame.pack_group(
        seed, records, kind=kind, offset=offset, base=base, number=number, durable=durable, chain=chain
    )
    header = GroupHeader(
        crc=int.from_bytes(data[:4], "little"),
        kind=kind,
        offset=offset,
        length=len(data) - GROUP_HEADER_BYTES,
        base=base,
        number=number,
        durable=durable,
        chain=chain,
    )
    return seed, records, data, last, header


def split(data: bytes, header: GroupHeader, at: int = 0) -> tuple[list[tuple[int, bytes]], int] | None:
    """The records of a group that begins at ``data[at:]``, with their places in ``data``."""
    start = at + GROUP_HEADER_BYTES
    found = frame.split_records(memoryview(data), start, start + header.length, header.crc, 0)
    return found and ([(place, bytes(record)) for place, record in found[0]], found[1])


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8 % len(data)
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


@settings(deadline=None)
@given(number=U32, log_id=LOG_ID, capacity=U64, created_ms=U64, behind=st.binary(max_size=30))
def test_segment_header(number: int, log_id: bytes, capacity: int, created_ms: int, behind: bytes) -> None:
    data = frame.pack_segment_header(number, log_id, capacity, created_ms)
    assert len(data) == SEGMENT_HEADER_BYTES
    header = frame.unpack_segment_header(data + behind)
    assert header is not None
    assert header[:5] == (frame.VERSION, number, log_id, capacity, created_ms)
    assert header.crc == int.from_bytes(data[-4:], "little")
    for length in (0, 8, SEGMENT_HEADER_BYTES - 1):
        assert frame.unpack_segment_header(data[:length]) is None


@settings(deadline=None)
@given(number=U32, log_id=LOG_ID, bit=st.integers(0, SEGMENT_HEADER_BYTES * 8 - 1))
def test_segment_header_with_a_flipped_bit(number: int, log_id: bytes, bit: int) -> None:
    data = frame.pack_segment_header(number, log_id, 4096, 1_700_000_000_000)
    assert frame.unpack_segment_header(flipped(data, bit)) is None


@settings(deadline=None)
@given(group=groups(), before=st.binary(max_size=50), behind=st.binary(max_size=50))
def test_group(group: tuple[int, list[bytes], bytes, int, GroupHeader], before: bytes, behind: bytes) -> None:
    seed, records, data, last, header = group
    at = len(before)
    assert header.length == sum(len(record) + FRAME_BYTES for record in records)
    whole = before + data + behind
    assert frame.unpack_group_header(whole, at, seed) == header
    assert frame.unpack_group_header(memoryview(whole), at, seed) == header
    found = split(whole, header, at)
    assert found is not None
    places, chain = found
    assert [record for _, record in places] == records
    assert all(whole[place : place + len(record)] == record for place, record in places)
    assert chain == last


@settings(deadline=None)
@given(group=groups(), bit=st.integers(0, 2**20))
def test_group_with_a_flipped_bit(group: tuple[int, list[bytes], bytes, int, GroupHeader], bit: int) -> None:
    seed, _, data, _, header = group
    damaged = flipped(data, bit)
    if frame.unpack_group_header(damaged, 0, seed) is not None:
        assert damaged[:GROUP_HEADER_BYTES] == data[:GROUP_HEADER_BYTES]
        assert split(damaged, header) is None


@settings(deadline=None)
@given(group=groups(), cut=st.integers(1, 2000))
def test_group_cut_short(group: tuple[int, list[bytes], bytes, int, GroupHeader], cut: int) -> None:
    seed, _, data, _, header = group
    short = data[: max(len(data) - cut, 0)]
    if len(short) < GROUP_HEADER_BYTES:
        assert frame.unpack_group_header(short, 0, seed) is None
    else:
        assert frame.unpack_group_header(short, 0, seed) == header
        assert split(short.ljust(len(data), b"\0"), header) is None or short.ljust(len(data), b"\0") == data


@settings(deadline=None)
@given(group=groups(), seed=U32)
def test_group_of_another_segment(group: tuple[int, list[bytes], bytes, int, GroupHeader], seed: int) -> None:
    assert (frame.unpack_group_header(group[2], 0, seed) is not None) == (seed == group[0])


@settings(deadline=None)
@given(records=st.lists(st.binary(min_size=4, max_size=4), min_size=2, max_size=6, unique=True), data=st.data())
def test_records_moved_within_a_group(records: list[bytes], data: st.DataObject) -> None:
    """All the bytes are there, each frame as it was, but in another order, or one in the place of another."""
    packed, _ = frame.pack_group(7, records, offset=64, base=1, number=1, durable=0, chain=0)
    header = frame.unpack_group_header(packed, 0, 7)
    assert header is not None
    size = FRAME_BYTES + 4
    frames = [packed[at : at + size] for at in range(GROUP_HEADER_BYTES, len(packed), size)]
    order = data.draw(st.lists(st.sampled_from(frames), min_size=len(frames), max_size=len(frames)))
    found = split(packed[:GROUP_HEADER_BYTES] + b"".join(order), header)
    assert (found is not None) == (order == frames)


def test_an_unknown_kind_is_no_group() -> None:
    packed, _ = frame.pack_group(7, [], kind=0x12345678, offset=64, base=1, number=1, durable=0, chain=0)
    assert frame.unpack_group_header(packed, 0, 7) is None


def test_zeros_are_no_header() -> None:
    assert frame.unpack_segment_header(bytes(SEGMENT_HEADER_BYTES)) is None
    # A run of zeros has no kind, whatever the seed.
    assert frame.unpack_group_header(bytes(GROUP_HEADER_BYTES), 0, 0) is None


def test_every_kind_is_found_by_its_bytes() -> None:
    for kind, found_by in frame.KIND_BYTES.items():
        packed, _ = frame.pack_group(7, [], kind=kind, offset=64, base=1, number=1, durable=0, chain=0)
        assert packed[4:8] == found_by


def test_a_length_that_leads_out_of_the_group_is_no_record() -> None:
    packed, _ = frame.pack_group(7, [b"record"], offset=64, base=1, number=1, durable=0, chain=0)
    header = frame.unpack_group_header(packed, 0, 7)
    assert header is not None
    for length in (0, 5, 7, 2**31, 2**32 - 1):
        damaged = packed[: GROUP_HEADER_BYTES + 4] + length.to_bytes(4, "little") + packed[GROUP_HEADER_BYTES + 8 :]
        assert split(damaged, header) is None
    assert split(packed[:-3], header._replace(length=header.length - 3)) is None
    assert split(packed + bytes(7), header._replace(length=header.length + 7)) is None
