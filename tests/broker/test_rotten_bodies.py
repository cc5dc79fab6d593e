"""Every read notices a message that was damaged on the disk while the broker runs, whichever bit it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.folders import segment_files
from wonderq.broker.broker import Broker
from wonderq.state import record
from wonderq_storage import CorruptLogError, FileLog, SyncPolicy

BODY = "a body \u00e9"

READS: dict[str, Callable[[Broker, str], object]] = {
    "claim": lambda broker, _: broker.claim("default"),
    "get": lambda broker, message_id: broker.get("default", message_id),
    "list": lambda broker, _: list(broker.messages("default")),
}


class Rotting:
    """A broker with one message, of which bits can be flipped on the disk."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker(FileLog(folder, sync=SyncPolicy("os"), segment_bytes=4096))
        [self.id] = self.broker.produce("default", [BODY])
        [path] = segment_files(folder)
        self.entry = record.encode_entry(BODY)
        self._fd = os.open(path, os.O_RDWR)
        self._at = path.read_bytes().index(self.entry)

    def flip(self, bit: int) -> None:
        at = self._at + bit // 8
        [byte] = os.pread(self._fd, 1, at)
        os.pwrite(self._fd, bytes([byte ^ 1 << bit % 8]), at)

    def close(self) -> None:
        os.close(self._fd)
        self.broker.close()


@pytest.fixture
def rotting(tmp_path: Path) -> Iterator[Rotting]:
    rotting = Rotting(tmp_path)
    yield rotting
    rotting.close()


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_whoever_reads_it_is_told(rotting: Rotting, read: Callable[[Broker, str], object]) -> None:
    rotting.flip(8 * len(rotting.entry) - 3)
    with pytest.raises(CorruptLogError):
        read(rotting.broker, rotting.id)
    assert rotting.broker.unready is not None
    rotting.flip(8 * len(rotting.entry) - 3)
    with pytest.raises(CorruptLogError):
        rotting.broker.produce("default", ["more"])  # nothing more is taken, though it reads right now


def test_every_bit_of_it(rotting: Rotting) -> None:
    for bit in range(8 * len(rotting.entry)):
        rotting.flip(bit)
        with pytest.raises(CorruptLogError):
            rotting.broker.get("default", rotting.id)
        rotting.flip(bit)
        rotting.broker.core.transaction.ended = None
        assert rotting.broker.get("default", rotting.id).body == BODY


def test_any_byte_of_a_batch(tmp_path: Path) -> None:
    """The messages of a batch are verified together."""
    bodies = ["first", BODY, "third"]
    broker = Broker(FileLog(tmp_path, sync=SyncPolicy("os"), segment_bytes=4096))
    broker.produce("default", bodies)
    [path] = segment_files(tmp_path)
    entries = b"".join(map(record.encode_entry, bodies))
    first = path.read_bytes().index(entries)
    with path.open("r+b", buffering=0) as file:
        for at, byte in enumerate(entries):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << at % 8]), first + at)
            with pytest.raises(CorruptLogError):
                list(broker.messages("default"))
            os.pwrite(file.fileno(), bytes([byte]), first + at)
            broker.core.transaction.ended = None
            assert [message.body for message in broker.messages("default")] == bodies
    broker.close()


def test_the_refusal_names_the_file_and_the_place(rotting: Rotting) -> None:
    rotting.flip(40)
    for call in (
        lambda: rotting.broker.get("default", rotting.id),
        lambda: rotting.broker.produce("default", ["more"]),
    ):
        with pytest.raises(CorruptLogError, match=rf"/0000000001\.wal, byte {rotting._at}: .*wonderq folder verify"):
            call()
