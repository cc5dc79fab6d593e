from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.waiting import PATIENCE_S
from wonderq.cli.line_batches import BATCH_BYTES, Batch, read_batches, split_batches


def batches_of(data: bytes, folder: Path, longest: int = 1 << 20) -> list[Batch]:
    file = folder / "input"
    file.write_bytes(data)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return list(read_batches(descriptor, longest=longest))
    finally:
        os.close(descriptor)


def test_up_to_1000_lines_make_a_batch(tmp_path: Path) -> None:
    batches = batches_of(b"x\n" * 2500, tmp_path)
    assert [(batch.first, len(batch.lines), batch.last) for batch in batches] == [
        (1, 1000, 1000),
        (1001, 1000, 2000),
        (2001, 500, 2500),
    ]


def test_about_a_mebibyte_makes_a_batch(tmp_path: Path) -> None:
    sizes = [400_000, 400_000, 400_000, BATCH_BYTES, 1, BATCH_BYTES - 1, 1]
    batches = batches_of(b"".join(b"x" * size + b"\n" for size in sizes), tmp_path)
    assert [[len(line) for line in batch.lines] for batch in batches] == [
        [400_000, 400_000],
        [400_000],
        [BATCH_BYTES],
        [1, BATCH_BYTES - 1],
        [1],
    ]


def test_a_line_beyond_the_longest_comes_at_once_and_last(tmp_path: Path) -> None:
    batches = batches_of(b"ok\n" + b"x" * 3_000_000 + b"\nafter\n", tmp_path, longest=1 << 20)
    lines = [line for batch in batches for line in batch.lines]
    assert lines[0] == b"ok"
    assert len(lines) == 2
    assert len(lines[1]) > 1 << 20


@settings(deadline=None, max_examples=50)
@given(data=st.lists(st.binary(max_size=5), max_size=50).map(b"\n".join))
def test_lines_are_those_of_split(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    read = batches_of(data, tmp_path_factory.mktemp("lines"))
    assert [line for batch in read for line in batch.lines] == expected
    assert [line for batch in split_batches(expected) for line in batch.lines] == expected


def test_a_slow_pipe_is_read_as_it_comes() -> None:
    reading, writing = os.pipe()
    taken = threading.Event()

    def write() -> None:
        for piece in (b"1\n2\n3", b"4\n5\n"):
            os.write(writing, piece)
            taken.wait(PATIENCE_S)
            taken.clear()
        os.write(writing, b"6")
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    batches = []
    for batch in read_batches(reading, longest=1 << 20):
        batches.append(batch)
        taken.set()
    writer.join()
    os.close(reading)
    assert batches == [Batch(1, [b"1", b"2"]), Batch(3, [b"34", b"5"]), Batch(5, [b"6"])]
