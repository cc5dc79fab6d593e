"""A flipped bit in each of ten segments: all ten are reported, and what still verifies is recovered."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.support.folders import groups_in, snapshot, write_checkpoint
from tests.tools.folders import Stored, broker_on, flip, live_a_little, records_of
from wonderq.cli.reports import repair_lines
from wonderq.folder.export import export
from wonderq.folder.repair import Repair, repair
from wonderq.folder.verify import verify
from wonderq.state import record
from wonderq.state.state import State
from wonderq_storage import frame
from wonderq_storage.segment import file_name

SEGMENTS = 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve segments or more, of which the tests damage the first ten."""
    folder = tmp_path_factory.mktemp("whole") / "d"
    with broker_on(folder) as (broker, _):
        live_a_little(broker, random.Random(1), 330)
    assert len(list(folder.glob("*.wal"))) >= SEGMENTS + 2
    return folder


def is_hit(found: Stored, flips: dict[int, int]) -> bool:
    at = flips.get(found.segment, -1)
    return found.offset <= at < found.offset + len(found.data)


def group_start(folder: Path, segment: int, offset: int) -> int:
    """Return the start of the group or header that contains a byte."""
    starts = [header.offset for header, _ in groups_in(folder / file_name(segment))]
    return max([0, *(start for start in starts if start <= offset)])


def lost_messages(before: list[Stored], flips: dict[int, int]) -> set[tuple[int, int]]:
    """Messages whose producing record is lost, and which no record that is left deletes or restates."""
    lost: set[tuple[int, int]] = set()
    for each in before:
        fields = each.fields
        if is_hit(each, flips):
            if fields[0] == record.PRODUCE:
                lost |= {(fields[2], fields[3] + n) for n in range(len(fields[5]))}
        elif fields[0] == record.DELETE:
            runs = fields[3]
            for first, count in zip(runs[::2], runs[1::2], strict=True):
                lost -= {(fields[2], first + n) for n in range(count)}
        elif fields[0] == record.UPDATE:
            lost -= {(fields[2], sequence) for sequence in record.from_runs(fields[4])}
    return lost


def named(done: Repair) -> set[tuple[int, int]]:
    return {(queue, n) for queue, runs in done.losses.lost.items() for first, end in runs for n in range(first, end)}


def expected_messages(before: list[Stored], flips: dict[int, int]) -> list[tuple[int, int, str, int]]:
    """Return the sum of the remaining records: queue, sequence, body and receive count of each message."""
    state = State()
    contents = {}
    for index, each in enumerate(before):
        if not is_hit(each, flips):
            state.apply(each.fields, index << 32, len(each.data))
            contents[index] = each.data
    found = []
    for number in range(1, state.next_queue):
        queue = state.find(number)
        for view in queue.messages.after(-1, 10**6) if queue else ():
            start = view.position & 0xFFFF_FFFF
            entry = contents[view.position >> 32][start : start + view.length]
            found.append((number, view.sequence, record.decode_entry(entry)[0], view.receives))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_ten_flipped_bits(whole: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder, new = tmp_path / "d", tmp_path / "new"
    shutil.copytree(whole, folder)
    before = records_of(whole)
    flips = {
        number: rng.randrange(len((whole / file_name(number)).read_bytes().rstrip(b"\0")))
        for number in range(1, SEGMENTS + 1)
    }
    for number, offset in flips.items():
        flip(folder, number, offset, 1 << rng.randrange(8))
    damaged = snapshot(folder)

    findings = verify(folder)
    assert [(each.file, each.offset) for each in findings.problems] == [
        (str(folder / file_name(number)), group_start(whole, number, offset)) for number, offset in flips.items()
    ]

    done = repair(folder, new)
    assert snapshot(folder) == damaged
    left = [each.data for each in before if not is_hit(each, flips)]
    after = [each.data for each in records_of(new)]
    assert after[: len(left)] == left
    assert {record.decode(data)[0] for data in after[len(left) :]} <= {record.IDENTITY, record.QUEUE}
    assert done.records == len(left)

    # Every byte that was left behind is named: the damaged record, or the damaged header.
    for problem, (number, offset) in zip(done.problems, flips.items(), strict=True):
        hit = [each for each in before if each.segment == number and is_hit(each, flips)]
        if hit:
            start, size = hit[0].offset - frame.FRAME_BYTES, frame.FRAME_BYTES + len(hit[0].data)
            assert [(span.offset, span.length) for span in problem.lost] == [(start, size)]
        elif problem.lost:
            [span] = problem.lost
            assert span.offset <= offset < span.end
            assert span.length <= frame.SEGMENT_HEADER_BYTES

    assert named(done) == lost_messages(before, flips)
    text = "\n".join(repair_lines(done))
    for problem in done.problems:
        for span in problem.lost:
            assert f"{problem.file}, byte {span.offset}, {span.length} bytes" in text
    check_messages(new, expected_messages(before, flips), done)


def check_messages(new: Path, expected: list[tuple[int, int, str, int]], done: Repair) -> None:
    lines = [line for line in export(new) if line["type"] == "message"]
    numbers = {queue.name: queue.number for queue in done.state.queues.values()}
    found = [(numbers[line["queue"]], line["message"], line["receive_count"]) for line in lines]
    assert sorted(found, key=lambda each: each[0]) == [(queue, body, receives) for queue, _, body, receives in expected]
    with broker_on(new) as (broker, _):
        for line in lines[:3]:
            assert broker.get(line["queue"], line["id"]).body == line["message"]
        for queue in done.state.queues.values():
            [new_id] = broker.produce(queue.name, ["after"])
            assert new_id not in {line["id"] for line in lines}


def any_record(folder: Path, kind: int, index: int = 0) -> Stored:
    return [each for each in records_of(folder) if each.fields[0] == kind][index]


@pytest.mark.parametrize("field", [0, 1, 2, 3, 4, 5, 6, 7])
def test_a_frame_whose_checksum_or_length_alone_is_damaged_is_recovered(
    whole: Path, tmp_path: Path, field: int
) -> None:
    folder = tmp_path / "d"
    shutil.copytree(whole, folder)
    hit = any_record(whole, record.PRODUCE, 20)
    flip(folder, hit.segment, hit.offset - frame.FRAME_BYTES + field, 0x80)
    done = repair(folder, tmp_path / "new")
    assert len(done.problems) == 1
    assert done.losses.count() == 0
    assert [each.data for each in records_of(tmp_path / "new")][: done.records] == [
        each.data for each in records_of(whole)
    ]


def test_the_other_records_of_a_damaged_group_are_recovered(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "d"
    with broker_on(source, segment_bytes=1 << 16) as (broker, _):
        broker.produce("default", ["first"])
    log = FileLogWithOneGroup(source, 8)
    shutil.copytree(source, folder)
    places = [each for each in records_of(source) if each.data in log.records]
    for index in (2, 3, 6):
        flip(folder, places[index].segment, places[index].offset + 5)
    done = repair(folder, tmp_path / "new")
    assert len(verify(folder).problems) == 1
    kept = [each.data for each in records_of(tmp_path / "new")]
    assert [data in kept for data in log.records] == [True, True, False, False, True, True, False, True]
    [problem] = done.problems
    assert [span.length for span in problem.lost] == [
        sum(frame.FRAME_BYTES + len(places[index].data) for index in (2, 3)),
        frame.FRAME_BYTES + len(places[6].data),
    ]
    assert named(done) == {(1, 3), (1, 4), (1, 7)}


class FileLogWithOneGroup:
    """Appends several records that one sync makes durable."""

    def __init__(self, folder: Path, count: int) -> None:
        self.records: list[bytes] = []
        with broker_on(folder, segment_bytes=1 << 16) as (broker, log), broker.locked() as (state, commit, now_ms):
            first = state.queues["default"].messages.next_sequence
            for n in range(count):
                entry = record.encode_entry(f"grouped {n}")
                produce = record.Produce(record.PRODUCE, now_ms, 1, first + n, [], [len(entry)], entry)
                self.records.append(record.encode(produce))
                commit(produce)
            log.sync()


def test_a_damaged_segment_is_reported_also_where_a_checkpoint_covers_it(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    shutil.copytree(whole, folder)
    with broker_on(folder) as (broker, log):
        write_checkpoint(broker, log, folder)
    assert verify(folder).problems == []
    flip(folder, 2, 500)
    assert [each.file for each in verify(folder).problems] == [str(folder / file_name(2))]


def test_a_damaged_checksum_inside_a_group_costs_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with broker_on(source, segment_bytes=1 << 16):
        pass
    log = FileLogWithOneGroup(source, 5)
    [place] = [each for each in records_of(source) if each.data == log.records[2]]
    flip(source, place.segment, place.offset - frame.FRAME_BYTES)
    done = repair(source, tmp_path / "new")
    assert len(done.problems) == 1
    kept = [each.data for each in records_of(tmp_path / "new")]
    assert [data in kept for data in log.records] == [True] * 5


def test_a_group_header_that_was_copied_elsewhere_is_no_place_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with broker_on(folder, segment_bytes=1 << 16) as (broker, _):
        for body in ("one", "x" * 500, "three"):
            broker.produce("default", [body])
    path = folder / file_name(1)
    data = bytearray(path.read_bytes())
    at = data.index(b"x" * 500)
    headers = [header.offset for header, _ in groups_in(path)]
    owner = max(offset for offset in headers if offset < at)
    data[owner + 4 : owner + 8] = b"????"  # the header of the group with the long message
    data[at + 100 : at + 140] = data[headers[1] : headers[1] + 40]
    path.write_bytes(data)
    done = repair(folder, tmp_path / "new")
    assert len(done.problems) == 1
    assert [line["message"] for line in export(tmp_path / "new") if line["type"] == "message"] == ["one", "three"]


def test_the_id_of_a_lost_message_is_not_given_to_another(tmp_path: Path) -> None:
    folder, new = tmp_path / "d", tmp_path / "new"
    with broker_on(folder, segment_bytes=1 << 16) as (broker, _):
        broker.produce("default", ["kept"])
        [lost_id] = broker.produce("default", ["lost"])
    path = folder / file_name(1)
    flip(folder, 1, path.read_bytes().index(b"lost"))
    assert repair(folder, new).records == 3
    with broker_on(new, segment_bytes=1 << 16) as (broker, _):
        assert broker.produce("default", ["new"]) != [lost_id]


def test_a_damaged_record_of_a_sealed_segment_is_all_that_is_said(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    shutil.copytree(whole, folder)
    hit = [each for each in records_of(whole) if each.segment == 3][4]
    flip(folder, 3, hit.offset + 3)
    [problem] = verify(folder).problems
    assert "no seal" not in problem.reason
    assert "does not verify" in problem.reason
