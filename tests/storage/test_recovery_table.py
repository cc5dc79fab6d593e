"""Recovery decides as its table says, and the table says something about every case."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.disks import Operation, RecordingDisk
from tests.support.folders import Builder, open_log, records_in, segment_files, snapshot, write_log
from wonderq_storage import CorruptLogError, FileLog, recovery
from wonderq_storage.disk import DiskFile
from wonderq_storage.recovery import TORN_FOLDER, Ending, Next, Verdict, decide

Case = tuple[Ending, bool, Next]

ENDINGS = {
    "a seal": Ending.SEAL,
    "bytes behind a seal": Ending.BEHIND_SEAL,
    "zeros": Ending.ZEROS,
    "damage": Ending.DAMAGE,
}
PROVED = {"yes": [True], "no": [False], "-": [True, False]}
FOLLOWING = {
    "there": [Next.BLANK, Next.USED],
    "missing": [Next.MISSING],
    "blank or missing": [Next.BLANK, Next.MISSING],
    "used": [Next.USED],
    "any": list(Next),
}


#: Wording of each verdict in the two tables.
VERDICTS = {
    "go on": Verdict.GO_ON,
    "cut": Verdict.CUT,
    "append here": Verdict.APPEND,
    "refuse": Verdict.REFUSE,
}


def rows(text: str) -> Iterator[tuple[Case, Verdict]]:
    """The table as it is printed, one case at a time."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0] in ENDINGS:
            words = cells[3].lower().replace("_", " ")
            verdict = next(verdict for text, verdict in VERDICTS.items() if text in words)
            for proved, following in itertools.product(PROVED[cells[1]], FOLLOWING[cells[2]]):
                yield (ENDINGS[cells[0]], proved, following), verdict


CASES: list[Case] = list(itertools.product(Ending, (True, False), Next))
TABLES = {
    "the module": recovery.__doc__ or "",
    "docs/FORMAT.md": (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text(),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_the_printed_table_has_every_case_once(table: str) -> None:
    printed = [case for case, _ in rows(table)]
    assert sorted(map(str, printed)) == sorted(map(str, CASES))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("case", CASES, ids=str)
def test_decide_is_the_printed_table(case: Case, table: str) -> None:
    ending, proved, following = case
    assert decide(ending, proved=proved, following=following) is dict(rows(table))[case]


# The same cases as real files. Segment 1 holds two groups, ends in the way to be judged, and is followed as told.

HELD = [b"one", b"two"]
BEYOND = b"three"


def seal(log: Builder) -> int:
    log.seal()
    return len(log.data)


def bytes_behind_a_seal(log: Builder) -> int:
    log.seal()
    end = len(log.data)
    log.path.write_bytes(bytes(log.data).ljust(log.capacity, b"\0")[:-1] + b"\1")
    return end


def a_group_behind_a_seal(log: Builder) -> int:
    log.seal()
    end = len(log.data)
    log.group(b"never written there")
    return end


def zeros(log: Builder) -> int:
    return len(log.data)


def proved_damage(log: Builder) -> int:
    """Group 3 is gone, and the closing group behind it knew it to be durable."""
    start = len(log.data)
    log.group(BEYOND).group()
    log.data[start + 44] ^= 1
    log.write()
    return start


def proved_gap(log: Builder) -> int:
    """Leave zeros in place of the group, with its closing group behind them."""
    start = len(log.data)
    log.group(BEYOND)
    gap = len(log.data)
    log.group()
    log.data[start:gap] = bytes(gap - start)
    log.write()
    return start


def unproved_damage(log: Builder) -> int:
    """Group 3 is torn, and so is 4, of which nothing says that it came after a sync."""
    start = len(log.data)
    log.group(BEYOND).group(b"four", durable=2)
    log.data[start + 44] ^= 1
    log.write()
    return start


def torn_end(log: Builder) -> int:
    """Write all of group 3 except its last bytes."""
    start = len(log.data)
    log.group(BEYOND)
    log.data[-3:] = b"\0\0\0"
    log.write()
    return start


ENDS: dict[Callable[[Builder], int], tuple[Ending, bool]] = {
    seal: (Ending.SEAL, False),
    bytes_behind_a_seal: (Ending.BEHIND_SEAL, False),
    a_group_behind_a_seal: (Ending.BEHIND_SEAL, True),
    zeros: (Ending.ZEROS, False),
    proved_damage: (Ending.DAMAGE, True),
    proved_gap: (Ending.DAMAGE, True),
    unproved_damage: (Ending.DAMAGE, False),
    torn_end: (Ending.DAMAGE, False),
}


def build(folder: Path, end: Callable[[Builder], int], following: Next) -> int:
    """Make the folder; returns where segment 1's groups end."""
    log = Builder(folder).open()
    for record in HELD:
        log.group(record)
    offset = end(log)
    if following is not Next.MISSING:
        log.open()
    if following is Next.USED:
        log.group(b"in the next segment")
    return offset


REAL = [
    pytest.param(
        end, following, decide(ending, proved=proved, following=following), id=f"{end.__name__}-{following.name}"
    )
    for (end, (ending, proved)), following in itertools.product(ENDS.items(), Next)
]


def only(*verdicts: Verdict) -> list[object]:
    return [case for case in REAL if case.values[2] in verdicts]


def test_the_real_folders_meet_every_verdict() -> None:
    assert {case.values[2] for case in REAL} == set(Verdict)


@pytest.mark.parametrize(("end", "following", "verdict"), only(Verdict.REFUSE))
def test_refused(tmp_path: Path, end: Callable[[Builder], int], following: Next, verdict: Verdict) -> None:
    offset = build(tmp_path, end, following)
    before = snapshot(tmp_path)
    # A segment that is missing is named itself, and all of it is what does not verify.
    file, offset = ("0000000002.wal", 0) if end is seal else ("0000000001.wal", offset)
    for _ in range(2):
        log = FileLog(tmp_path)
        read: list[bytes] = []
        with pytest.raises(CorruptLogError) as refusal:
            read.extend(bytes(record) for _, record in log.replay())
        log.close()
        assert (refusal.value.file, refusal.value.offset) == (str(tmp_path / file), offset)
        assert str(refusal.value).startswith(f"{tmp_path / file}, byte {offset}: ")
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize(("end", "following", "verdict"), only(Verdict.GO_ON, Verdict.APPEND, Verdict.CUT))
def test_accepted(tmp_path: Path, end: Callable[[Builder], int], following: Next, verdict: Verdict) -> None:
    offset = build(tmp_path, end, following)
    behind = [b"in the next segment"] if following is Next.USED else []
    before = snapshot(tmp_path)
    assert records_in(tmp_path) == HELD + behind
    assert snapshot(tmp_path) == before, "reading changes nothing"

    log, held = open_log(tmp_path, segment_bytes=4096)
    assert held == HELD + behind
    assert log.torn_bytes == (len(before["0000000001.wal"][0].rstrip(b"\0")) - offset if verdict is Verdict.CUT else 0)
    position = log.append(b"new")
    log.wait(position)
    assert position >> 32 == (2 if verdict is Verdict.GO_ON else 1)
    # Enough to use up the segment that follows, or the first one that is made.
    more = [f"more {number}".encode() * 9 for number in range(30)]
    for record in more:
        log.wait(log.append(record))
    log.close()
    assert records_in(tmp_path) == [*HELD, *behind, b"new", *more]

    torn = list((tmp_path / TORN_FOLDER).glob("*")) if (tmp_path / TORN_FOLDER).exists() else []
    if verdict is Verdict.CUT:
        assert [path.read_bytes() for path in torn] == [before["0000000001.wal"][0][offset:].rstrip(b"\0")]
    else:
        assert torn == []


def test_refused_means_not_started(tmp_path: Path) -> None:
    build(tmp_path, proved_damage, Next.MISSING)
    before = snapshot(tmp_path)
    log = FileLog(tmp_path)
    with pytest.raises(CorruptLogError, match="records that it was durable"):
        list(log.replay())
    with pytest.raises(Exception, match="replay was read to the end"):
        log.start()
    log.close()
    assert snapshot(tmp_path) == before


def operations_of_a_start(folder: Path) -> list[Operation]:
    disk = RecordingDisk()
    log, _ = open_log(folder, disk=disk)
    operations = list(disk.operations)
    log.close()
    return [each for each in operations if not each.target.endswith(".tmp")]  # those are of its reserve


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_start_makes_durable_what_it_goes_by(tmp_path: Path, count: int) -> None:
    """A killed process, or a failed sync, may have left the newest groups and a rename in the page cache alone."""
    write_log(tmp_path, [bytes(3000)] * count)
    newest = segment_files(tmp_path)[-1].name
    assert operations_of_a_start(tmp_path) == [
        Operation("allocate", newest),
        Operation("write", newest),
        Operation("sync", newest),
        Operation("sync_folder", tmp_path.name),
    ]


def test_a_start_makes_the_seal_durable_too_while_nothing_follows_it(tmp_path: Path) -> None:
    log = Builder(tmp_path).open().group(b"one", durable=0).group(b"two", durable=0)
    sealed = log.seal().path.name
    blank = log.open().path.name
    assert operations_of_a_start(tmp_path) == [
        Operation("allocate", blank),
        *(Operation(name, file) for file in (sealed, blank) for name in ("write", "sync")),
        Operation("sync_folder", tmp_path.name),
    ]


class _ForgetfulDisk(RecordingDisk):
    """Notes which bytes are written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[int, bytes]] = []

    def open(self, path: Path, *, write: bool = False) -> DiskFile:
        file = super().open(path, write=write)
        put = file.write

        def note(data: bytes, offset: int) -> None:
            self.written.append((offset, data))
            put(data, offset)

        file.write = note  # type: ignore[method-assign]
        return file


def test_what_no_group_vouches_for_is_written_again(tmp_path: Path) -> None:
    log = Builder(tmp_path).open().group(b"durable")
    start = len(log.data)
    log.group(b"perhaps").group(b"perhaps", durable=1)
    disk = _ForgetfulDisk()
    open_log(tmp_path, disk=disk)[0].close()
    assert disk.written[0] == (start, bytes(log.data[start:]))


def test_a_start_fills_the_holes_of_a_copied_segment(tmp_path: Path) -> None:
    """A full disk is to be found out before anything is taken, also on a folder that was copied sparsely."""
    log = Builder(tmp_path, capacity=1 << 20).open().group(b"one").group()
    with log.path.open("wb") as file:
        file.write(log.data)
        file.truncate(log.capacity)
    assert log.path.stat().st_blocks * 512 < log.capacity
    open_log(tmp_path)[0].close()
    assert log.path.stat().st_blocks * 512 >= log.capacity


def test_checkpoints_without_a_log_are_refused(tmp_path: Path) -> None:
    """All segments are missing: a start with an empty log would hide that."""
    (tmp_path / "0000000002-0000000064.ckpt").write_bytes(b"of some log")
    before = snapshot(tmp_path)
    with pytest.raises(CorruptLogError, match="there is no segment"):
        FileLog(tmp_path)
    assert snapshot(tmp_path) == before
