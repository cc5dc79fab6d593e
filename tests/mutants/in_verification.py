"""Bugs in what is verified: checksums, chains, numbers, places."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FRAME = "storage/wonderq_storage/frame.py"
_SEGMENT = "storage/wonderq_storage/segment.py"
_CHECKPOINT = "storage/wonderq_storage/checkpoint.py"
_FRAMES = "tests/storage/test_frame.py"
_BITS = "tests/storage/test_every_bit.py"
_CHECKPOINTS = "tests/storage/test_checkpoint.py"

MUTANTS = [
    Mutant(
        "segment_header_not_checked",
        "A flipped bit in a segment's header passes.",
        _FRAME,
        "    if _U32.unpack_from(data, SEGMENT_HEADER_BYTES - 4)[0] != crc:\n",
        "    if False:\n",
        (f"{_FRAMES}::test_segment_header_with_a_flipped_bit",),
    ),
    Mutant(
        "group_header_not_checked",
        "A flipped bit in a group's header passes, and bytes of a message pass for a group.",
        _FRAME,
        "header.crc != crc32(data[at + 4 : at + GROUP_HEADER_BYTES], seed) or ",
        "",
        (f"{_FRAMES}::test_group_with_a_flipped_bit",),
    ),
    Mutant(
        "record_not_checked",
        "A flipped bit in a record passes.",
        _FRAME,
        "        if crc != stored:\n",
        "        if False:\n",
        (f"{_FRAMES}::test_group_with_a_flipped_bit",),
    ),
    Mutant(
        "record_longer_than_its_group",
        "A record reaches into the group behind it.",
        _FRAME,
        "        if stop > end:\n",
        "        if False:\n",
        ("tests/storage/test_borders.py::test_a_record_does_not_reach_beyond_its_group",),
    ),
    Mutant(
        "body_not_checked",
        "The broker delivers a message that rotted on the disk.",
        "wonderq/state/record.py",
        '    if crc32(value) != int.from_bytes(entry[:_CRC_BYTES], "little"):\n',
        "    if False:\n",
        ("tests/broker/test_rotten_bodies.py::test_every_bit_of_it",),
    ),
    Mutant(
        "bodies_of_a_batch_not_checked",
        "The broker delivers a message that rotted on the disk, if it is in a batch.",
        "wonderq/state/record.py",
        '    if struct.pack(f"<{len(values)}I", *map(crc32, values)) != checksums:\n',
        "    if False:\n",
        ("tests/broker/test_rotten_bodies.py::test_any_byte_of_a_batch",),
    ),
    Mutant(
        "first_headers_for_all",
        "A consumer gets the attributes of another message.",
        "wonderq/rest/deliveries.py",
        "len(set(map(id, batch.headers.values()))) == 1",
        "True",
        ("tests/http/test_arrays.py::test_any_kind_of_messages",),
    ),
    Mutant(
        "chain_ignored",
        "Groups that were moved, swapped or left out pass.",
        _SEGMENT,
        "                or (chain != self.chain and self.chain is not None)\n",
        "",
        (f"{_BITS}::test_a_chain_that_was_cut_and_mended",),
    ),
    Mutant(
        "group_number_gap_accepted",
        "Recovery does not notice a missing group.",
        _SEGMENT,
        "                or (number != self.number and self.number is not None)\n",
        "",
        (f"{_BITS}::test_a_number_that_was_skipped",),
    ),
    Mutant(
        "group_offset_ignored",
        "A group that was copied to another place passes.",
        _SEGMENT,
        "                offset != self.offset\n                or",
        "                False\n                or",
        ("tests/storage/test_borders.py::test_a_group_counts_only_in_its_place",),
    ),
    Mutant(
        "file_name_ignored",
        "A segment under another's name passes, so one that was copied is replayed twice.",
        _SEGMENT,
        "        if file_name(header.number) != path.name:\n",
        "        if False:\n",
        (f"{_BITS}::test_a_segment_under_another_number",),
    ),
    Mutant(
        "version_ignored",
        "A folder that a newer program wrote is misread.",
        _SEGMENT,
        "        if not frame.OLDEST_VERSION <= header.version <= frame.VERSION:\n",
        "        if False:\n",
        (f"{_BITS}::test_an_unknown_version_is_unsupported_and_not_damage",),
    ),
    Mutant(
        "proof_ignored",
        "The start takes damage to acknowledged records for a torn tail, and cuts them off.",
        _SEGMENT,
        "if header.durable >= number",
        "if False",
        ("tests/storage/test_borders.py::test_proof_is_found_wherever_it_stands",),
    ),
    Mutant(
        "anything_is_proof",
        "The start takes a torn tail for damage, and the broker does not start after a crash.",
        _SEGMENT,
        "if header.durable >= number",
        "if header.durable >= 0",
        ("tests/storage/test_torn_tail.py::test_a_torn_tail_at_every_byte",),
    ),
    Mutant(
        "proof_on_a_border_missed",
        "The start takes damage for a torn tail where the group that proves it crosses a boundary of 1 MiB.",
        _SEGMENT,
        "data = file.read(_CHUNK_BYTES + frame.GROUP_HEADER_BYTES, at)",
        "data = file.read(_CHUNK_BYTES, at)",
        ("tests/storage/test_borders.py::test_proof_is_found_wherever_it_stands",),
    ),
    Mutant(
        "used_segment_called_blank",
        "The start takes a segment full of records for an empty one, and overwrites it.",
        _SEGMENT,
        "return read_tail(segment, frame.SEGMENT_HEADER_BYTES, 0).end == frame.SEGMENT_HEADER_BYTES",
        "return True",
        ("tests/storage/test_recovery_table.py::test_refused",),
    ),
    Mutant(
        "checkpoint_header_not_checked",
        "A flipped bit in a checkpoint's header passes.",
        _CHECKPOINT,
        ' or header[-4:] != crc.to_bytes(4, "little")',
        "",
        (f"{_CHECKPOINTS}::test_every_flipped_bit_is_noticed",),
    ),
    Mutant(
        "checkpoint_not_checked",
        "A flipped bit in a checkpoint changes messages.",
        _CHECKPOINT,
        "        if expected != prefix:\n",
        "        if False:\n",
        (f"{_CHECKPOINTS}::test_every_flipped_bit_is_noticed",),
    ),
    Mutant(
        "cut_checkpoint_is_whole",
        "A start uses a checkpoint that ends too early, and loses the messages behind its end.",
        _CHECKPOINT,
        '            raise DamagedCheckpointError(f"{file.path}, byte {at}: the file ends too early")\n',
        "            return\n",
        (f"{_CHECKPOINTS}::test_every_flipped_bit_is_noticed",),
    ),
]
