"""docs/FORMAT.md is enough to read the log: a reader written from that page alone agrees with the broker."""

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.support.folders import end_of_groups
from tests.support.independent_reader import records
from tests.support.independent_state import live_messages
from wonderq.broker.broker import Broker
from wonderq.model.messages import Change, Target
from wonderq_storage import FileLog

SEED = int(os.environ.get("WONDERQ_TEST_SEED") or time.time_ns() % 1_000_000)
NAMES = ("orders", "mail", "jobs-2")
SOON, LATE = 1, 3_600_000
STATUSES = {"unprocessed": 1, "processing": 2, "delayed": 3}
Messages = dict[str, list[tuple[Any, ...]]]


def open_broker(folder: Path) -> Broker:
    return Broker(FileLog(folder, segment_bytes=4096))


def is_done(message: Any) -> bool:
    return message.due_ms is not None and message.due_ms <= time.time() * 1000 + SOON


def write_history(folder: Path, rng: random.Random, steps: int) -> Messages:
    """Runs a random history, and returns what the broker says of the live messages."""
    broker = open_broker(folder)
    ids: dict[str, list[str]] = {name: [] for name in NAMES}
    receipts: dict[str, str] = {}
    for name in NAMES:
        broker.put_queue(name, visibility_timeout_ms=LATE, delay_ms=0)
    for step in range(steps):
        name = rng.choice(NAMES)
        live = list(broker.messages(name))
        target = Target(id=rng.choice(live).id) if live else None
        action = rng.choices(
            ["produce", "claim", "delete", "delete claimed", "update", "renew", "purge", "drop", "put", "reopen"],
            [30, 20, 10, 10, 20, 5, 1, 1, 2, 1],
        )[0]
        if action == "produce":
            bodies = [f"{step} {'é🐇x'[i % 3] * rng.choice([0, 3, 90])}" for i in range(rng.randint(1, 5))]
            delays = rng.choice([None, [rng.choice([None, 0, SOON, LATE]) for _ in bodies]])
            ids[name] += broker.produce(name, bodies, delays) if delays else broker.produce(name, bodies)
        elif action in ("claim", "delete claimed"):
            timeout = LATE if action == "delete claimed" else rng.choice([SOON, LATE])
            claimed = broker.claim(name, limit=rng.randint(1, 6), visibility_timeout_ms=timeout)
            receipts |= {message.id: message.receipt or "" for message in claimed}
            if action == "delete claimed":
                for message in rng.sample(claimed, len(claimed) // 2):
                    broker.delete(name, Target(receipt=message.receipt))
        elif action == "delete" and target:
            broker.delete(name, target)
        elif action == "update" and target:
            body = rng.choice([None, "new", "longer " * 20])
            late: dict[str, Any] = rng.choice(
                [{"visibility_timeout_ms": rng.choice([0, LATE])}, {"delay_ms": rng.choice([0, LATE])}, {}]
            )
            claimed = [message for message in live if message.status == "processing" and not is_done(message)]
            if "visibility_timeout_ms" in late or not late:
                target = Target(id=rng.choice(claimed).id) if claimed else None
            if target:
                broker.update(name, target, Change(body=body, **late))
        elif action == "purge":
            broker.purge(name)
        elif action == "drop":
            broker.drop_queue(name)
            ids[name] = []
            broker.put_queue(name, visibility_timeout_ms=LATE, delay_ms=rng.choice([0, SOON, LATE]))
        elif action == "put":
            broker.put_queue(name, visibility_timeout_ms=LATE, delay_ms=rng.choice([0, LATE]))
        elif action == "reopen":
            broker.close()
            broker = open_broker(folder)
    time.sleep(0.02)
    state = {
        name: [
            (ids[name].index(m.id), m.body, STATUSES[m.status], m.receives, m.due_ms, receipts.get(m.id, ""))
            for m in broker.messages(name)
        ]
        for name in NAMES
    }
    broker.close()
    return state


def compare(folder: Path, expected: Messages) -> None:
    """The reader's messages are the broker's, once claims and delays have ended by their deadlines."""
    found, now = live_messages(folder), time.time() * 1000
    assert {*NAMES} <= {*found}
    for name in NAMES:
        assert list(found[name]) == [sequence for sequence, *_ in expected[name]]
        for message, (_, body, status, receives, due, receipt) in zip(
            found[name].values(), expected[name], strict=True
        ):
            waits = message["status"] == 1 or message["due"] <= now
            assert (message["body"], message["receives"]) == (body, receives)
            assert (status, due) == ((1, None) if waits else (message["status"], message["due"]))
            if status == 2:
                assert receipt.endswith(
                    f"{message['token']:08x}"
                )  # the page does not say so: receipts are the broker's


def segments_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wal"))


def overwrite(segment: Path, offset: int, data: bytes) -> None:
    with segment.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.fixture(scope="module")
def rng() -> random.Random:
    print(f"WONDERQ_TEST_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture(scope="module")
def history(rng: random.Random, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Messages]:
    folder = tmp_path_factory.mktemp("log")
    state = write_history(folder, rng, steps=400)
    assert len(segments_of(folder)) > 3
    return folder, state


@pytest.fixture
def folder(history: tuple[Path, Messages], tmp_path: Path) -> Path:
    return shutil.copytree(history[0], tmp_path / "copy")


def test_reader_agrees_with_broker(history: tuple[Path, Messages]) -> None:
    compare(*history)


def test_flipped_byte_is_refused(folder: Path, rng: random.Random) -> None:
    *sealed, last = segments_of(folder)
    for segment in [*rng.choices(sealed, k=60), *[last] * 20]:
        data = segment.read_bytes()
        offset = rng.randrange(
            len(data) if segment != last else end_of_groups(last.read_bytes()) - 44
        )  # before the closing group
        overwrite(segment, offset, bytes([data[offset] ^ 1 << rng.randrange(8)]))
        with pytest.raises(ValueError, match=f"{segments_of(folder)[0].parent.name}/.*offset"):
            list(records(folder))
        overwrite(segment, offset, data[offset : offset + 1])


def test_torn_tail_is_the_end(folder: Path, rng: random.Random) -> None:
    before, last = list(records(folder)), segments_of(folder)[-1]
    end = end_of_groups(last.read_bytes())
    room = last.stat().st_size - end
    for length in (1, 39, 40, 500, room):
        overwrite(last, end, rng.randbytes(min(length, room)))
        assert list(records(folder)) == before
        overwrite(last, end, bytes(room))


def test_half_of_a_group_does_not_count(tmp_path: Path) -> None:
    broker = open_broker(tmp_path)
    broker.produce("orders", ["kept"])
    broker.produce("orders", ["torn"])
    broker.close()
    [segment] = segments_of(tmp_path)
    *before, (_, end, _) = records(tmp_path)
    overwrite(segment, end - 3, bytes(4096 - end + 3))
    assert list(records(tmp_path)) == before
    assert [message["body"] for message in live_messages(tmp_path)["orders"].values()] == ["kept"]


def test_dropped_queue_is_gone(tmp_path: Path) -> None:
    broker = open_broker(tmp_path)
    broker.produce("orders", ["kept"])
    broker.produce("mail", ["gone"])
    broker.drop_queue("mail")
    broker.close()
    found = live_messages(tmp_path)
    assert "mail" not in found
    assert [message["body"] for message in found["orders"].values()] == ["kept"]


def test_bytes_behind_a_seal_are_refused(folder: Path) -> None:
    first = segments_of(folder)[0]
    overwrite(first, first.stat().st_size, b"\0\1")
    with pytest.raises(ValueError, match="behind a seal"):
        list(records(folder))


def test_cut_file_is_refused(folder: Path) -> None:
    last = segments_of(folder)[-1]
    os.truncate(last, last.stat().st_size - 1)
    with pytest.raises(ValueError, match="original size"):
        list(records(folder))


@pytest.mark.parametrize("which", [0, 1, -1])
def test_missing_segment_is_refused(folder: Path, which: int) -> None:
    segments_of(folder)[which].unlink()
    with pytest.raises(ValueError, match=r"missing|gap"):
        list(records(folder))


def test_swapped_segments_are_refused(folder: Path) -> None:
    first, second, *_ = segments_of(folder)
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)
    with pytest.raises(ValueError, match="number"):
        list(records(folder))


def test_other_version_is_not_damage(folder: Path) -> None:
    segment = segments_of(folder)[0]
    header = segment.read_bytes()[:8] + b"\3" + segment.read_bytes()[9:60]
    overwrite(segment, 0, header + crc32(header).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="unknown format version"):
        list(records(folder))
