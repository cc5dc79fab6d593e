"""No damage to a broker's folder changes what a client sees in silence: a sample of `tests.flips.every_bit`."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.flips import every_bit, whole_files
from tests.flips.every_bit import bits, header_bits
from tests.flips.judge import Fate, Judge, UnnoticedError
from tests.support.crash_disk import Files
from tests.support.folders import groups_of
from tests.support.small_folder import SmallFolder, quietly, write
from wonderq.state import record
from wonderq_storage.frame import SEGMENT_HEADER_BYTES

SEED = 20
SAMPLE = 300

Damage = Callable[[SmallFolder], Iterator[tuple[str, Files]]]


@pytest.fixture(scope="module")
def folders() -> dict[str, SmallFolder]:
    return write(SEED)


@pytest.fixture(params=["killed", "stopped"])
def judge(request: pytest.FixtureRequest, folders: dict[str, SmallFolder]) -> Iterator[Judge]:
    with quietly():
        yield Judge(folders[request.param])


def test_the_folder_has_everything_in_it(folders: dict[str, SmallFolder]) -> None:
    folder = folders["killed"]
    groups = [group for name in folder.segments for group in groups_of(folder.files[name])]
    kinds = {record.decode(each)[0] for _, records in groups for each in records}
    assert kinds == set(range(len(record.TYPES))), "every kind of record"
    assert len(folder.checkpoints) == 2
    assert len(folder.segments) >= 3
    assert folder.segments[0] == "0000000002.wal", "and the oldest was compacted"
    assert write(SEED) == folders, "the same each time"


def test_each_bit_of_the_headers(folders: dict[str, SmallFolder]) -> None:
    folder = folders["killed"]
    with quietly():
        judge = Judge(folder)
        fates = Counter(judge.flip(*flip) for flip in header_bits(folder))
    assert fates == {Fate.REFUSED: 512 * len(folder.segments), Fate.PASSED_OVER: 512 * len(folder.checkpoints)}


def test_bits_chosen_by_chance(judge: Judge) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    fates = Counter(judge.flip(*flip) for flip in chance.sample(list(bits(judge.folder)), SAMPLE))
    assert fates.keys() >= {Fate.REFUSED, Fate.PASSED_OVER, Fate.FOUND_BY_A_FULL_READ, Fate.SET_ASIDE}


def test_the_newest_group_of_a_killed_broker_is_set_aside(folders: dict[str, SmallFolder]) -> None:
    """The one case in which damage and a torn write look the same."""
    folder = folders["killed"]
    end = len(folder.files[folder.segments[-1]].rstrip(b"\0"))
    with quietly():
        judge = Judge(folder)
        fates = {judge.flip(folder.segments[-1], at, at % 8) for at in range(folder.last_group, end, 7)}
    assert fates == {Fate.UNDECIDABLE}


def test_the_newest_group_of_a_stopped_broker_is_vouched_for(folders: dict[str, SmallFolder]) -> None:
    """The closing group behind it records that it was durable; damage to that one loses nothing."""
    folder = folders["stopped"]
    with quietly():
        judge = Judge(folder)
        before = groups_of(folder.files[folder.segments[-1]])[-2][0].offset
        fates = {judge.flip(folder.segments[-1], at, at % 8) for at in range(before, folder.last_group, 7)}
        closing = {
            judge.flip(folder.segments[-1], at, at % 8) for at in range(folder.last_group, folder.last_group + 40)
        }
    assert fates == {Fate.REFUSED}
    assert closing == {Fate.SET_ASIDE}


@pytest.mark.parametrize("damage", [whole_files.dropped, whole_files.doubled, whole_files.swapped])
def test_whole_files(judge: Judge, damage: Damage) -> None:
    for what, files in damage(judge.folder):
        fate = fate_of(judge, what, files)
        if any(files.get(name) != judge.folder.files[name] for name in judge.folder.segments):
            assert fate is Fate.REFUSED, what


def test_files_that_were_rolled_back(judge: Judge) -> None:
    fates = {what: fate_of(judge, what, files) for what, files in whole_files.rolled_back(judge.folder)}
    assert fates.pop("an older log with the newest checkpoints") is Fate.REFUSED, "its end is lost, and one knows"
    noticed = {Fate.REFUSED, Fate.FOUND_BY_A_FULL_READ, Fate.FOUND_ON_READING}
    assert set(fates.values()) <= {Fate.HARMLESS, *noticed}, fates


def test_files_that_grew(judge: Judge) -> None:
    """Zeros behind a seal are in order, other bytes are not; the open segment has a length."""
    fates = {what: fate_of(judge, what, files) for what, files in whole_files.grown(judge.folder)}
    *sealed, last = judge.folder.segments
    assert all(fate is Fate.REFUSED for what, fate in fates.items() if what.startswith(last))
    assert fates[f"{sealed[0]} with 100 more zeros"] is Fate.HARMLESS
    assert fates[f"{sealed[0]} with 1 more bytes"] is Fate.FOUND_BY_A_FULL_READ


def fate_of(judge: Judge, what: str, files: Files) -> Fate:
    try:
        return judge.files(files)
    except UnnoticedError as error:
        raise UnnoticedError(f"{what}: {error}") from error


def test_files_cut_short(judge: Judge) -> None:
    """Cut at chosen lengths: the start or a later read notices, whatever is missing."""
    chance = random.Random(SEED)
    read_from = judge.folder.checkpoints[-1]
    for name, data in judge.folder.files.items():
        for length in [0, 1, 63, 64, 65, len(data) - 1, *chance.sample(range(len(data)), 20)]:
            what = f"{name} of {length} bytes"
            fate = fate_of(judge, what, whole_files.cut_short(judge.folder, name, length))
            if not name.endswith(".wal"):
                assert fate is Fate.HARMLESS, what
            elif name[:10] >= read_from[:10] or length < SEGMENT_HEADER_BYTES:
                assert fate is Fate.REFUSED, what
            elif not any(data[length:]):  # a reader takes what is missing for zeros, and it was
                assert fate is Fate.HARMLESS, what
            else:
                assert fate in (Fate.FOUND_ON_READING, Fate.FOUND_BY_A_FULL_READ), what


def test_parts_of_a_run_flip_the_same_bits_as_the_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.flips.every_bit.signal.signal", lambda *_: None)  # this process keeps its own handler
    whole, *parts = [
        _counts_of_a_run(capsys, "--every", "20000", "--part", part) for part in ("1/1", "1/3", "2/3", "3/3")
    ]
    assert sum(parts, Counter()) == whole
    assert whole.total() > 3


def _counts_of_a_run(capsys: pytest.CaptureFixture[str], *options: str) -> Counter[str]:
    assert every_bit.main(["--seed", str(SEED), *options]) == 0
    lines = re.findall(r"^ *([\d,]+)  (.*)$", capsys.readouterr().out, re.MULTILINE)
    return Counter({fate: int(count.replace(",", "")) for count, fate in lines})
