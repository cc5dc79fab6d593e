"""A slice of the fuzzing with bytes, by chance; and broken readers are found."""

from __future__ import annotations

import importlib.util
import mmap
import random
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgpack
import pytest

from tests.fuzz import bytes as fuzzing
from tests.fuzz import http_targets, log_targets
from tests.fuzz.target import Target, inputs
from tests.support.waiting import PATIENCE_S
from wonderq.httpd import parser
from wonderq.httpd.errors import RequestError
from wonderq.httpd.parser import _ChunkedReceiver
from wonderq.rest import bodies
from wonderq.state import record
from wonderq_storage import frame, jetstream_frame
from wonderq_storage.nats import headers, protocol

INPUTS = 20_000
TARGETS = fuzzing.all_targets()


@pytest.mark.parametrize("name", TARGETS)
def test_a_slice(name: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    target = TARGETS[name]
    fates = fuzzing.run(target, max(60, INPUTS // target.cost), seed)
    assert fates["read"] >= 10, "most samples can be read"
    if name != "runs":
        assert fates.total() - fates["read"] >= 10, "and much of what is spoiled cannot"


@pytest.mark.parametrize("name", TARGETS)
def test_samples_are_read(name: str) -> None:
    """A mutated sample is the more useful, the more of it is valid."""
    target = TARGETS[name]
    fates = [str(target.check(sample)) for sample in target.samples]
    assert fates.count("read") >= len(fates) * 3 // 4, fates


def test_the_same_seed_gives_the_same_inputs() -> None:
    target = TARGETS["body"]
    assert list(inputs(target, 50, 3)) == list(inputs(target, 50, 3))
    assert list(inputs(target, 50, 3)) != list(inputs(target, 50, 4))


def unchecked_records(patch: pytest.MonkeyPatch) -> None:
    split = frame.split_records

    def lax(data: memoryview, at: int, end: int, crc: int, offset: int) -> Any:
        return split(data, at, end, crc, offset) or ([(offset + at + 8, data[at + 8 : end])], 0)

    patch.setattr(frame, "split_records", lax)


def another_error(patch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes) -> Any:
        return msgpack.unpackb(data)  # without turning its errors into ours

    patch.setattr(record, "decode", decode)


def unchecked_entries(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(record, "crc32", lambda _value: 0)


def lost_lines(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_ChunkedReceiver, "_hold", lambda _self, _line: None)


def encoded_slashes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(parser, "_unquote", lambda path: unquote_to_bytes(path).decode("latin-1"))


def unknown_codes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(parser, "_bad", lambda message: RequestError(400, "bad", message))


def long_errors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bodies, "_NAME_CHARACTERS", 1 << 20)


def any_query(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(http_targets, "read_query", lambda req, schema: schema.__new__(schema))


def lax_receipts(patch: pytest.MonkeyPatch) -> None:
    decode = http_targets._IDS.decode_receipt
    patch.setattr(http_targets._IDS, "decode_receipt", lambda text: decode(text[:40]))


def any_numbers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(protocol, "_is_number", lambda _text: True)


def unchecked_messages(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jetstream_frame, "crc32", lambda _data: 0)


def lax_headers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(headers, "_NAME", re.compile(rb".*", re.DOTALL))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("segment", unchecked_records),
        ("folder", unchecked_records),
        ("record", another_error),
        ("entry", unchecked_entries),
        ("head", lost_lines),
        ("head", encoded_slashes),
        ("head", unknown_codes),
        ("body", long_errors),
        ("query", any_query),
        ("ids", lax_receipts),
        ("nats", any_numbers),
        ("nats headers", lax_headers),
        ("jetstream message", unchecked_messages),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_broken_reader_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, spoil: Callable[[pytest.MonkeyPatch], None]
) -> None:
    log_targets._written()  # as they were written, and read by what is whole
    log_targets._held("killed"), log_targets._held("stopped")
    spoil(monkeypatch)
    with pytest.raises(fuzzing.BrokenPromiseError, match=f"^{name}: input b"):
        fuzzing.run(TARGETS[name], 20_000, 5)


def test_memory_that_grows_is_found() -> None:
    kept: list[mmap.mmap] = []  # of these none can take the place of what was freed before

    def leak(_data: bytes) -> None:
        kept.append(mmap.mmap(-1, 1 << 18))
        kept[-1].write(b"x" * (1 << 18))

    with pytest.raises(fuzzing.BrokenPromiseError, match="memory grew"):
        fuzzing.run(Target("leak", leak, [b"x"]), 150, 1)
    for each in kept:
        each.close()


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris (pip install --group fuzz)")
def test_atheris_runs_and_finds_what_breaks() -> None:
    command = [sys.executable, "-m", "tests.fuzz.bytes", "--target", "ids", "--inputs", "500", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with atheris" in done.stdout
    assert "ids: 500 inputs" in done.stdout
