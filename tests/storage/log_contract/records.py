"""Records are appended, waited for, replayed and read."""

from __future__ import annotations

import contextlib
import random
import threading
from itertools import pairwise

import pytest

from tests.storage.log_contract.logs import OpenLog, drop_oldest, numbered, put, put_parts, reopened, replayed, started
from tests.support.waiting import PATIENCE_S
from wonderq_storage import Log, LogClosedError, Position, RecordTooLargeError


class RecordsContract:
    """Appending, waiting, replaying, reading and closing."""

    def test_a_new_log_is_empty(self, open_log: OpenLog) -> None:
        log = open_log()
        assert replayed(log) == []
        log.start()
        assert log.failure is None
        assert reopened(open_log, log) == []

    def test_replay_returns_records_in_order_at_the_positions_that_append_returned(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(200, length=100))
        assert reopened(open_log, log) == placed

    def test_records_of_every_length_come_back(self, open_log: OpenLog) -> None:
        log = started(open_log)
        chance = random.Random(11)
        lengths = [0, 1, 0, 7, 8, 9, log.max_record_bytes, 0, log.max_record_bytes - 1, 100]
        placed = put(log, [chance.randbytes(length) for length in lengths] + [bytes(500)])
        assert log.read([(position, len(record)) for position, record in placed]) == [record for _, record in placed]
        assert reopened(open_log, log) == placed

    def test_the_log_goes_on_after_it_was_reopened(self, open_log: OpenLog) -> None:
        placed: list[tuple[Position, bytes]] = []
        chance = random.Random(5)
        for run in range(12):
            log = open_log()
            assert replayed(log) == placed
            log.start()
            for _ in range(chance.randrange(4)):
                placed += put(log, [chance.randbytes(chance.randrange(900)) for _ in range(chance.randrange(1, 9))])
            assert log.read([(position, len(record)) for position, record in placed]) == [each for _, each in placed], (
                run
            )
            log.close()
        assert len(placed) > 30

    def test_a_log_that_was_opened_and_not_started_is_unchanged(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(5))
        log.close()
        log = open_log()
        log.close()
        log = open_log()
        assert replayed(log) == placed
        log.close()

    def test_a_waited_record_can_be_read(self, open_log: OpenLog) -> None:
        log = started(open_log)
        for record in numbered(50, length=300):
            position = log.append(record)
            log.wait(position)
            assert log.read([(position, len(record))]) == [record]
        log.close()

    def test_a_read_that_may_not_block_returns_the_same_or_nothing(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(50, length=300))
        spans = [(position, len(record)) for position, record in placed]
        with contextlib.suppress(BlockingIOError):
            assert log.read(spans, block=False) == [record for _, record in placed]
        log.close()

    def test_records_of_an_earlier_run_can_be_read(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(60, length=200))
        log.close()
        log = started(open_log)
        assert log.read([(position, len(record)) for position, record in placed]) == [record for _, record in placed]
        log.close()

    def test_spans_are_read_in_the_order_asked_for(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, [bytes([number]) * (number * 7 % 400) for number in range(250)])
        chance = random.Random(7)
        far_apart = placed[::60]
        neighbours = placed[100:140]
        shuffled = chance.sample(placed, len(placed))
        backwards = placed[::-1]
        repeated = [placed[3], placed[3], placed[2], placed[3]]
        for chosen in (placed, far_apart, neighbours, shuffled, backwards, repeated, far_apart + neighbours):
            assert log.read([(position, len(record)) for position, record in chosen]) == [
                record for _, record in chosen
            ]
        assert log.read([]) == []
        log.close()

    def test_a_span_may_be_part_of_a_record(self, open_log: OpenLog) -> None:
        log = started(open_log)
        ((position, _),) = put(log, [b"abcdefghij"])
        assert log.read(
            [(position + 3, 4), (position, 2), (position + 1, 5), (position + 9, 1), (position + 5, 0)]
        ) == [
            b"defg",
            b"ab",
            b"bcdef",
            b"j",
            b"",
        ]
        log.close()

    def test_positions_grow(self, open_log: OpenLog) -> None:
        log = started(open_log)
        positions = [position for position, _ in put(log, numbered(100, length=90))]
        log.close()
        log = started(open_log)
        positions += [position for position, _ in put(log, numbered(100, length=90))]
        log.close()
        assert all(one < other for one, other in pairwise(positions))

    def test_end_is_behind_what_was_appended_and_not_behind_what_is_to_come(self, open_log: OpenLog) -> None:
        log = started(open_log)
        for record in numbered(80, length=200):
            end = log.end()
            position = log.append(record)
            assert end <= position
            assert log.end() >= position + len(record)
        log.close()
        log = started(open_log)
        end = log.end()
        assert end >= position + len(record)
        assert log.append(b"later") >= end
        log.close()

    def test_waiting_for_a_record_covers_all_before_it_and_can_be_repeated(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(30, length=300))
        for position, _ in reversed(placed):
            log.wait(position)
        log.close()

    def test_close_keeps_what_nobody_waited_for(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = [(log.append(record), record) for record in numbered(40, length=200)]
        assert reopened(open_log, log) == placed

    def test_append_before_start_is_refused(self, open_log: OpenLog) -> None:
        log = open_log()
        with pytest.raises(LogClosedError):
            log.append(b"early")
        replayed(log)
        with pytest.raises(LogClosedError):
            log.append(b"early")
        log.start()
        placed = put(log, [b"in time"])
        assert reopened(open_log, log) == placed

    def test_append_after_close_is_refused(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, [b"in time"])
        log.close()
        with pytest.raises(LogClosedError):
            log.append(b"late")
        assert reopened(open_log, log) == placed

    def test_start_before_the_end_of_replay_is_refused(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(90, length=100))
        log.close()
        for steps in (0, 1, 89):
            log = open_log()
            records = log.replay()
            for _ in range(steps):
                next(records)
            with pytest.raises(LogClosedError):
                log.start()
            assert reopened(open_log, log) == placed

    def test_a_record_that_is_too_large_is_refused_and_leaves_nothing(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, [b"before"])
        with pytest.raises(RecordTooLargeError):
            log.append(bytes(log.max_record_bytes + 1))
        assert log.failure is None
        placed += put(log, [b"x" * log.max_record_bytes, b"after"])
        assert reopened(open_log, log) == placed

    def test_records_appended_together_stand_one_behind_the_other(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, [b"before"])
        for number in range(40):
            records = numbered(1 + number % 4, length=log.max_record_bytes // 9)
            positions = log.append_together(records)
            placed += zip(positions, records, strict=True)
            log.wait(positions[-1])
            assert log.read([(position, len(record)) for position, record in placed[-len(records) :]]) == records
        assert reopened(open_log, log) == placed

    def test_records_that_are_too_large_together_leave_nothing(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, [b"before"])
        half = bytes(log.max_record_bytes // 2)
        with pytest.raises(RecordTooLargeError):
            log.append_together([half, half, b"x"])
        assert log.failure is None
        placed += put(log, [b"after"])
        assert reopened(open_log, log) == placed

    def test_close_is_idempotent(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(3))
        log.close()
        log.close()
        assert reopened(open_log, log) == placed
        never_started = open_log()
        never_started.close()
        never_started.close()

    def test_many_threads_append_and_wait(self, open_log: OpenLog) -> None:
        threads, records = 8, 60
        log = started(open_log)
        placed: list[list[tuple[Position, bytes]]] = [[] for _ in range(threads)]
        wrong: list[object] = []

        def work(thread: int) -> None:
            chance = random.Random(thread)
            for number in range(records):
                record = f"{thread} {number} ".encode().ljust(chance.randrange(10, 400), b"#")
                position = log.append(record)
                if chance.random() < 0.8:
                    log.wait(position)
                    if (found := log.read([(position, len(record))])) != [record]:
                        wrong.append((record, found))
                placed[thread].append((position, record))

        workers = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=PATIENCE_S)
            assert not worker.is_alive()
        assert wrong == []
        # Each thread saw its own records go in one after the other, and the log's order is that of the positions.
        for own in placed:
            assert own == sorted(own)
        together = sorted(pair for own in placed for pair in own)
        assert len(together) == threads * records
        assert reopened(open_log, log) == together

    def test_closing_while_others_append_loses_nothing_that_was_waited_for(self, open_log: OpenLog) -> None:
        for _ in range(5):
            log = open_log()
            before = replayed(log)
            log.start()
            waited: list[tuple[Position, bytes]] = []
            unexpected: list[BaseException] = []
            busy = threading.Barrier(4)

            def work(log: Log, waited: list[tuple[Position, bytes]], unexpected: list[BaseException]) -> None:
                busy.wait(timeout=PATIENCE_S)  # noqa: B023 - the thread ends within the loop's round
                try:
                    while True:
                        position = log.append(b"some record")
                        log.wait(position)
                        waited.append((position, b"some record"))
                except LogClosedError:
                    pass
                except BaseException as error:
                    unexpected.append(error)

            workers = [threading.Thread(target=work, args=(log, waited, unexpected), daemon=True) for _ in range(3)]
            for worker in workers:
                worker.start()
            busy.wait(timeout=PATIENCE_S)
            while len(waited) < 20 and any(worker.is_alive() for worker in workers):
                pass
            log.close()
            for worker in workers:
                worker.join(timeout=PATIENCE_S)
                assert not worker.is_alive()
            assert unexpected == []
            found = reopened(open_log, log)
            assert found[: len(before)] == before
            assert set(waited) <= set(found)

    def test_files_are_those_of_a_folder(self, open_log: OpenLog) -> None:
        log = started(open_log)
        put_parts(log, 2)
        if log.files is not None:
            assert log.files.segments >= 2
            assert log.files.disk_bytes >= log.used_bytes()
        log.close()

    def test_each_record_has_a_place_for_people(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put_parts(log, 2)
        found = [log.locate(position) for position, _ in placed]
        assert all(name and number >= 0 for name, number in found)
        names = list(dict.fromkeys(name for name, _ in found))
        for name in names:
            numbers = [number for each, number in found if each == name]
            assert numbers == sorted(numbers), name
        assert [name for name, _ in found] == [name for name in names for each, _ in found if each == name]
        end = drop_oldest(log)
        assert log.locate(placed[0][0]) == found[0], f"also of what was dropped before {end:#x}"
        log.close()

    def test_whoever_is_called_finds_the_records_durable(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed: list[tuple[Position, bytes]] = []
        for record in numbered(10):
            placed.append((log.append(record), record))
            for position in (placed[-1][0], log.end() - 1):
                called = threading.Event()
                if log.call_when_durable(position, called.set):
                    assert called.wait(PATIENCE_S)
                log.wait(position)
        assert reopened(open_log, log) == placed
