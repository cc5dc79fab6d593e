"""Compare replay with its limit: a bare loop that reads, checks and unpacks the same records."""

from __future__ import annotations

import struct
from pathlib import Path
from zlib import crc32

import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from wonderq.broker.broker import Broker
from wonderq_storage import FileLog, SyncPolicy

#: One message of 100 bytes per record, and one record per group: the slowest log to replay.
RECORDS = 200_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    broker = Broker(FileLog(folder, sync=SyncPolicy("os")))
    for number in range(RECORDS):
        broker.produce("default", [f"{number:0100d}"])
    broker.close()
    return folder


def bare_loop(folder: Path) -> int:
    """Read the log with the least work that any reader needs; return the number of records."""
    read_header, read_frame = struct.Struct("<IIIIIQQI").unpack_from, struct.Struct("<II").unpack_from
    count = 0
    for path in sorted(folder.glob("*.wal")):
        data = path.read_bytes()
        view = memoryview(data)
        seed, at = struct.unpack_from("<I", data, 60)[0], 64
        while True:
            crc, kind, _, length, _, _, _, _ = read_header(data, at)
            if not kind:
                break
            assert crc32(view[at + 4 : at + 40], seed) == crc
            at += 40
            end = at + length
            while at < end:
                stored, size = read_frame(data, at)
                crc = crc32(view[at + 4 : at + 8 + size], crc)
                assert crc == stored
                msgpack.unpackb(view[at + 8 : at + 8 + size])
                at += 8 + size
                count += 1
    return count


@pytest.mark.benchmark(group="replay")
def test_bare_loop(benchmark: BenchmarkFixture, folder: Path) -> None:
    assert benchmark.pedantic(lambda: bare_loop(folder), rounds=5) == RECORDS + 2


@pytest.mark.benchmark(group="replay")
def test_replay(benchmark: BenchmarkFixture, folder: Path) -> None:
    def replay() -> None:
        broker = Broker(FileLog(folder, sync=SyncPolicy("os")))
        assert broker.count("default", "unprocessed") == RECORDS
        broker.close()

    benchmark.pedantic(replay, rounds=5)
