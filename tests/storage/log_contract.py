"""Contract of every `wonderq_storage.log.Log` with its callers, as a suite.

Subclass `LogContract` in a test module and give it three fixtures: ``open_log``, a function that opens the log, the same
one at each call, as it is before `replay`; ``open_other_log``, which does so for another log; and ``surroundings``, by
which a test makes room scarce and writes fail. A log is closed before it is opened again, except by the tests of what
that means.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import pytest

from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage import (
    DiskFullError,
    Log,
    LogClosedError,
    LogFailedError,
    LogLostError,
    Mark,
    Position,
    RecordTooLargeError,
    StaleMarkError,
    StorageError,
    TrimmedError,
)

OpenLog = Callable[[], Log]

#: A log may mark a pause in traffic by itself, with at most this many bytes.
_PAUSE_BYTES = 64


class Surroundings(Protocol):
    """The disk or the server below the log of ``open_log``."""

    def limit_room(self, parts: int) -> None:
        """Give a log that is opened after this call room for about this number of parts. Call it before `open_log`."""

    def fail_writes(self) -> None:
        """Let nothing become durable from now on, so that a log that is open fails."""

    def work_again(self) -> None:
        """Take back `limit_room` and `fail_writes`, for logs that are opened after this call."""


def replayed(log: Log, mark: Mark | None = None) -> list[tuple[Position, bytes]]:
    return [(position, bytes(record)) for position, record in log.replay(mark)]


def started(open_log: OpenLog) -> Log:
    log = open_log()
    replayed(log)
    log.start()
    return log


def reopened(open_log: OpenLog, log: Log) -> list[tuple[Position, bytes]]:
    """Close the log, open it again, and return what it holds then."""
    log.close()
    again = open_log()
    found = replayed(again)
    again.close()
    return found


def numbered(count: int, length: int = 0) -> list[bytes]:
    return [f"record {number}".encode().ljust(length, b".") for number in range(count)]


def put(log: Log, records: list[bytes]) -> list[tuple[Position, bytes]]:
    """Append the records, wait for the last, and return them with their positions."""
    placed = [(log.append(record), record) for record in records]
    log.wait(placed[-1][0])
    return placed


def put_parts(log: Log, parts: int) -> list[tuple[Position, bytes]]:
    """Append until the log has about this number of old parts to drop. No two records are equal."""
    placed: list[tuple[Position, bytes]] = []
    length = log.max_record_bytes // 3
    for number in range(10 * parts):
        record = f"part {number}.".encode().ljust(length - number % 5, bytes([65 + number % 26]))
        placed += put(log, [record, b"small %d" % number])
        if len(placed) >= 8 * parts and log.oldest() is not None:
            return placed
    raise AssertionError(f"{len(placed)} records, and no part of the log can be dropped")


def fill(log: Log, length: int, *, leave_bytes: int = 0) -> list[tuple[Position, bytes]]:
    """Append records of about this length until there is no room for another, and wait for them."""
    placed: list[tuple[Position, bytes]] = []
    for number in range(1000):
        record = f"number {number}.".encode().ljust(length, bytes([65 + number % 26]))
        end = log.end()
        try:
            position = log.append(record, leave_bytes=leave_bytes)
        except DiskFullError:
            assert_nothing_appended(log, end)
            return placed
        placed.append((position, record))
        log.wait(position)
    raise AssertionError(f"{len(placed)} records of {length} bytes, and there is room for another")


def assert_nothing_appended(log: Log, end: Position) -> None:
    assert end <= log.end() <= end + _PAUSE_BYTES


def drop_before(log: Log, end: Position) -> None:
    """Trim every part that ends at ``end`` or before."""
    while (found := log.oldest()) is not None and found[0] <= end:
        log.trim(found[0])


def drop_oldest(log: Log) -> Position:
    """Trim the oldest part; returns where it ended."""
    found = log.oldest()
    assert found is not None
    log.trim(found[0])
    return found[0]


class LogContract:
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

    # Marks

    def test_a_mark_replays_all_that_comes_behind_it_and_nothing_before(self, open_log: OpenLog) -> None:
        log = started(open_log)
        chance = random.Random(3)
        placed: list[tuple[Position, bytes]] = []
        marks: list[tuple[Mark, int]] = [(log.mark(), 0)]
        for number in range(120):
            record = b"%d " % number + bytes(chance.randrange(600))
            placed.append((log.append(record), record))
            # Now and then nobody waits, so a mark is taken while records before it are still gathering.
            if chance.random() < 0.4:
                log.wait(placed[-1][0])
            if chance.random() < 0.2:
                marks.append((log.mark(), len(placed)))
        marks.append((log.mark(), len(placed)))
        log.sync()
        log.close()
        assert len(marks) > 15
        for mark, count in marks:
            log = open_log()
            assert replayed(log, mark) == placed[count:]
            log.close()

    def test_the_log_goes_on_after_a_replay_from_a_mark(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(30, length=200))
        mark = log.mark()
        log.sync()
        log.close()
        for run in range(4):
            log = open_log()
            assert replayed(log, mark) == placed[30:]
            log.start()
            placed += put(log, [b"of run %d, number %d" % (run, number) for number in range(25)])
            assert log.read([(position, len(record)) for position, record in placed]) == [each for _, each in placed]
            log.close()
        log = open_log()
        assert replayed(log) == placed
        log.close()

    def test_a_mark_taken_after_a_restart_from_a_mark_is_as_good(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, numbered(20, length=300))
        mark = log.mark()
        log.close()
        for _ in range(3):
            log = open_log()
            assert replayed(log, mark) == []
            log.start()
            assert log.mark().end >= mark.end
            placed += put(log, [b"before the mark"])
            mark = log.mark()
            log.close()
        assert reopened(open_log, started(open_log)) == placed

    def test_a_mark_of_another_log_is_stale_and_the_log_replays_without_it(
        self, open_log: OpenLog, open_other_log: OpenLog
    ) -> None:
        other = started(open_other_log)
        put(other, numbered(5))
        mark = other.mark()
        other.close()
        log = started(open_log)
        placed = put(log, numbered(7))
        log.close()
        log = open_log()
        with pytest.raises(StaleMarkError):
            next(iter(log.replay(mark)))
        assert replayed(log) == placed
        log.start()
        log.close()

    def test_a_mark_from_before_the_oldest_record_is_stale(self, open_log: OpenLog) -> None:
        log = started(open_log)
        first = log.mark()
        put(log, [b"the first record"])
        second = log.mark()
        placed = put_parts(log, 3)
        end = drop_oldest(log)
        log.close()
        for mark in (first, second):
            log = open_log()
            with pytest.raises(StaleMarkError):
                next(iter(log.replay(mark)))
            left = replayed(log)
            assert [pair for pair in left if pair in placed] == [pair for pair in placed if pair[0] >= end]
            log.close()

    def test_sync_covers_what_nobody_waited_for(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = [(log.append(record), record) for record in numbered(50, length=150)]
        log.sync()
        log.sync()
        assert log.read([(position, len(record)) for position, record in placed]) == [record for _, record in placed]
        assert reopened(open_log, log) == placed

    # Dropping the oldest part

    def test_a_log_with_nothing_old_has_no_oldest_part(self, open_log: OpenLog) -> None:
        log = started(open_log)
        assert log.oldest() is None
        put(log, [b"new"])
        assert log.oldest() is None
        log.close()

    def test_the_oldest_part_is_what_was_appended_first(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put_parts(log, 3)
        for _ in range(2):
            found = log.oldest()
            assert found is not None
            end, records = found
            part = [(position, bytes(record)) for position, record in records]
            assert part == [pair for pair in placed if pair[0] < end]
            assert 0 < len(part) < len(placed)
            again = log.oldest()
            assert again is not None
            assert (again[0], [(position, bytes(record)) for position, record in again[1]]) == (end, part)
            assert drop_oldest(log) == end
            placed = placed[len(part) :]
        log.close()

    def test_trim_drops_exactly_the_oldest_part(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put_parts(log, 3)
        used = log.used_bytes()
        end = drop_oldest(log)
        dropped = [pair for pair in placed if pair[0] < end]
        kept = [pair for pair in placed if pair[0] >= end]
        for position, record in dropped:
            with pytest.raises(TrimmedError):
                log.read([(position, len(record))])
        with pytest.raises(TrimmedError):
            log.read([(kept[0][0], 1), (dropped[-1][0], 1), (kept[1][0], 1)])
        assert log.read([(position, len(record)) for position, record in kept]) == [record for _, record in kept]
        # A few records may have been needed to write it down.
        assert log.used_bytes() <= used - sum(len(record) for _, record in dropped) // 2
        log.close()

    def test_trimming_what_was_trimmed_changes_nothing(self, open_log: OpenLog) -> None:
        log = started(open_log)
        put_parts(log, 3)
        end = drop_oldest(log)
        used, oldest = log.used_bytes(), log.oldest()
        log.trim(end)
        log.trim(end)
        after = log.oldest()
        assert used <= log.used_bytes() <= used + _PAUSE_BYTES
        assert (oldest and oldest[0]) == (after and after[0])
        log.close()

    def test_trimming_survives_reopening_again_and_again(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put_parts(log, 4)
        end = drop_oldest(log)
        for run in range(3):
            log.close()
            log = open_log()
            left = replayed(log)
            assert [pair for pair in left if pair in placed] == [pair for pair in placed if pair[0] >= end]
            assert left[0][0] >= end
            log.start()
            for position, record in placed[:3]:
                with pytest.raises(TrimmedError):
                    log.read([(position, len(record))])
            placed += put(log, [b"of run %d" % run])
            if run == 1:
                end = drop_oldest(log)
        log.close()

    def test_all_that_is_old_can_be_dropped_and_the_log_goes_on(self, open_log: OpenLog) -> None:
        log = started(open_log)
        put_parts(log, 3)
        while log.oldest() is not None:
            drop_oldest(log)
        placed = put_parts(log, 2)
        while log.oldest() is not None:
            end = drop_oldest(log)
        assert end > placed[0][0]
        placed += put(log, [b"and on"])
        left = reopened(open_log, log)
        assert [pair for pair in left if pair in placed] == [pair for pair in placed if pair[0] >= end]

    def test_a_mark_from_before_a_trim_that_kept_its_place_is_still_good(self, open_log: OpenLog) -> None:
        log = started(open_log)
        put_parts(log, 3)
        mark = log.mark()
        later = put(log, numbered(3))
        log.sync()
        drop_oldest(log)
        log.close()
        log = open_log()
        left = replayed(log, mark)
        assert left[:3] == later
        log.start()
        log.close()

    def test_reading_while_it_is_dropped_gives_the_right_bytes_or_says_that_they_are_gone(
        self, open_log: OpenLog
    ) -> None:
        log = started(open_log)
        placed = put_parts(log, 6)
        done = threading.Event()
        wrong: list[object] = []
        counts = [0, 0]

        def read(seed: int) -> None:
            chance = random.Random(seed)
            while not done.is_set():
                start = chance.randrange(len(placed))
                chosen = placed[start : start + chance.randint(1, 4)]
                try:
                    found = log.read([(position, len(record)) for position, record in chosen])
                except TrimmedError:
                    counts[1] += 1
                except BaseException as error:
                    wrong.append(error)
                    return
                else:
                    counts[0] += 1
                    if found != [record for _, record in chosen]:
                        wrong.append((chosen[0][0], "other bytes"))
                        return

        readers = [threading.Thread(target=read, args=(seed,), daemon=True) for seed in range(4)]
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + PATIENCE_S
        while (log.oldest() is not None or min(counts) < 20) and not wrong and time.monotonic() < deadline:
            if log.oldest() is not None:
                drop_oldest(log)
            put(log, [b"meanwhile"])
        done.set()
        for reader in readers:
            reader.join(timeout=PATIENCE_S)
            assert not reader.is_alive()
        assert wrong == []
        assert min(counts) >= 20
        assert log.oldest() is None
        log.close()

    # Room

    def test_a_full_log_refuses_a_record_and_changes_nothing(
        self, open_log: OpenLog, surroundings: Surroundings
    ) -> None:
        surroundings.limit_room(3)
        log = started(open_log)
        length = log.max_record_bytes // 3
        placed = fill(log, length)
        assert len(placed) >= 2
        end, used_bytes = log.end(), log.used_bytes()
        for _ in range(3):
            with pytest.raises(DiskFullError):
                log.append(bytes(length))
            with pytest.raises(DiskFullError):
                log.append_together([b"small", bytes(length)])
        assert_nothing_appended(log, end)
        assert log.used_bytes() <= used_bytes + _PAUSE_BYTES
        assert log.failure is None
        assert log.read([(position, len(record)) for position, record in placed]) == [record for _, record in placed]
        assert reopened(open_log, log) == placed

    def test_a_record_that_leaves_room_leaves_it_to_those_that_leave_none(
        self, open_log: OpenLog, surroundings: Surroundings
    ) -> None:
        surroundings.limit_room(3)
        log = started(open_log)
        leave_bytes = log.max_record_bytes // 2
        placed = fill(log, log.max_record_bytes // 8, leave_bytes=leave_bytes)
        assert placed
        record = b"delete".ljust(log.max_record_bytes // 16, b".")
        small: list[tuple[Position, bytes]] = []
        with contextlib.suppress(DiskFullError):
            while len(small) < 1000:
                small.append((log.append(record), record))
        assert 3 * leave_bytes // 4 <= sum(len(each) for _, each in small)
        assert len(small) < 1000
        with pytest.raises(DiskFullError):
            log.append(b"produce", leave_bytes=leave_bytes)
        log.wait(small[-1][0])
        assert reopened(open_log, log) == placed + small

    def test_dropping_the_oldest_part_makes_room(self, open_log: OpenLog, surroundings: Surroundings) -> None:
        surroundings.limit_room(4)
        log = started(open_log)
        length, leave_bytes = log.max_record_bytes // 5, log.max_record_bytes // 2
        placed = fill(log, length, leave_bytes=leave_bytes)
        for _ in range(3):
            end = drop_oldest(log)
            more = fill(log, length, leave_bytes=leave_bytes)
            assert more
            placed = [pair for pair in placed if pair[0] >= end] + more
        assert reopened(open_log, log) == placed

    def test_room_that_comes_back_is_used(self, open_log: OpenLog, surroundings: Surroundings) -> None:
        surroundings.limit_room(2)
        log = started(open_log)
        placed = fill(log, log.max_record_bytes // 3)
        log.close()
        surroundings.work_again()
        log = started(open_log)
        placed += put(log, numbered(20, length=log.max_record_bytes // 3))
        assert reopened(open_log, log) == placed

    def test_free_and_used_bytes_tell_how_full_it_is(self, open_log: OpenLog, surroundings: Surroundings) -> None:
        surroundings.limit_room(4)
        log = started(open_log)
        free_bytes, used_bytes = log.free_bytes(), log.used_bytes()
        assert free_bytes >= 2 * log.max_record_bytes
        placed = fill(log, log.max_record_bytes // 3)
        size = sum(len(record) for _, record in placed)
        assert used_bytes + size <= log.used_bytes() <= used_bytes + 2 * size
        assert log.free_bytes() < 1.25 * log.max_record_bytes < free_bytes
        log.close()

    def test_files_are_those_of_a_folder(self, open_log: OpenLog) -> None:
        log = started(open_log)
        put_parts(log, 2)
        if log.files is not None:
            assert log.files.segments >= 2
            assert log.files.disk_bytes >= log.used_bytes()
        log.close()

    # Ending a part

    def test_what_was_before_a_rotation_can_be_dropped_and_nothing_after_it(self, open_log: OpenLog) -> None:
        log = started(open_log)
        before = put(log, numbered(5, length=30))
        before.append((log.append(b"nobody waits for this one"), b"nobody waits for this one"))
        end = log.rotate()
        assert before[-1][0] < end <= log.end()
        log.sync()
        after = put(log, [b"after"])
        assert after[0][0] >= end
        kept = log.oldest()
        assert kept is not None
        assert [(position, bytes(record)) for position, record in kept[1]] == before
        drop_before(log, end)
        with pytest.raises(TrimmedError):
            log.read([(before[-1][0], 1)])
        assert log.read([(after[0][0], 5)]) == [b"after"]
        assert reopened(open_log, log) == after

    def test_rotations_keep_every_record_in_order(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed = put(log, [b"first"])
        ends = [log.rotate()]
        for number in range(6):
            placed.append((log.append(b"%d" % number), b"%d" % number))
            ends.append(log.rotate())
            if number % 2:
                log.sync()
        placed += put(log, [b"last"])
        assert ends == sorted(ends)
        assert reopened(open_log, log) == placed

    def test_a_full_log_rotates_or_changes_nothing(self, open_log: OpenLog, surroundings: Surroundings) -> None:
        surroundings.limit_room(3)
        log = started(open_log)
        placed = fill(log, log.max_record_bytes // 3)
        end = log.end()
        try:
            assert log.rotate() >= end
        except DiskFullError:
            assert_nothing_appended(log, end)
        assert log.failure is None
        assert reopened(open_log, log) == placed

    def test_a_log_rotates_only_while_it_is_open(self, open_log: OpenLog) -> None:
        log = open_log()
        replayed(log)
        with pytest.raises(LogClosedError):
            log.rotate()
        log.start()
        placed = put(log, [b"record"])
        log.close()
        with pytest.raises(LogClosedError):
            log.rotate()
        assert reopened(open_log, log) == placed

    # Places for people

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

    # Confirmation

    def test_a_new_log_confirms_that_it_is_empty(self, open_log: OpenLog) -> None:
        log = started(open_log)
        log.wait(log.confirm())
        log.wait(log.confirm())
        assert reopened(open_log, log) == []

    def test_a_confirmation_covers_what_was_appended_and_is_no_record(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed: list[tuple[Position, bytes]] = []
        for number in range(30):
            placed += [(log.append(record), record) for record in numbered(number % 3, length=50)]
            confirmed = log.confirm()
            assert all(position <= confirmed for position, _ in placed)
            log.wait(confirmed)
            assert log.read([(position, len(record)) for position, record in placed]) == [each for _, each in placed]
            placed.append((log.append(b"later"), b"later"))
            assert placed[-1][0] > confirmed
            if number % 2:
                log.wait(placed[-1][0])
        mark = log.mark()
        log.wait(log.confirm())
        log.sync()
        log.close()
        log = open_log()
        assert replayed(log, mark) == []
        log.close()
        log = open_log()
        assert replayed(log) == placed
        log.close()

    def test_many_threads_append_and_confirm(self, open_log: OpenLog) -> None:
        log = started(open_log)
        placed: list[tuple[Position, bytes]] = []
        wrong: list[object] = []

        def confirm() -> None:
            for _ in range(50):
                before = list(placed)
                log.wait(log.confirm())
                found = log.read([(position, len(record)) for position, record in before])
                if found != [record for _, record in before]:
                    wrong.append(found)

        readers = [threading.Thread(target=confirm, daemon=True) for _ in range(3)]
        for reader in readers:
            reader.start()
        for number in range(100):
            record = b"%d" % number
            placed.append((log.append(record), record))
            if number % 5 == 0:
                log.wait(placed[-1][0])
        for reader in readers:
            reader.join(timeout=PATIENCE_S)
            assert not reader.is_alive()
        assert wrong == []
        assert reopened(open_log, log) == placed

    # Failure

    def test_a_failed_write_is_the_end_of_writing_and_loses_nothing(
        self, open_log: OpenLog, surroundings: Surroundings
    ) -> None:
        log = started(open_log)
        placed = put(log, numbered(5))
        surroundings.fail_writes()
        unknown = log.append(b"nobody knows")
        with pytest.raises(LogFailedError):
            log.wait(unknown)
        assert log.failure
        for refused in (
            lambda: log.append(b"refused"),
            lambda: log.append_together([b"refused"]),
            lambda: log.wait(unknown),
            lambda: log.wait(log.confirm()),
            log.sync,
            log.rotate,
        ):
            with pytest.raises(LogFailedError):
                refused()
        log.wait(placed[-1][0])
        assert log.read([(position, len(record)) for position, record in placed]) == [record for _, record in placed]
        log.close()
        log.close()
        surroundings.work_again()
        log = open_log()
        found = replayed(log)
        assert found in (placed, [*placed, (unknown, b"nobody knows")])
        log.start()
        found += put(log, [b"it goes on"])
        assert reopened(open_log, log) == found

    def test_a_failure_reaches_everybody_who_waits(self, open_log: OpenLog, surroundings: Surroundings) -> None:
        log = started(open_log)
        failures: list[str] = []
        appended = [0] * 6

        def work(thread: int) -> None:
            try:
                while True:
                    log.wait(log.append(b"of thread %d" % thread))
                    appended[thread] += 1
            except LogFailedError as error:
                failures.append(str(error))

        workers = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(6)]
        for worker in workers:
            worker.start()
        eventually(lambda: min(appended) > 0)
        surroundings.fail_writes()
        for worker in workers:
            worker.join(timeout=PATIENCE_S)
            assert not worker.is_alive()
        assert len(failures) == 6
        assert all(failures)
        log.close()

    # Another writer

    def test_a_log_has_one_writer(self, open_log: OpenLog) -> None:
        """Either it cannot be opened again while it is open, or the one that opens it takes it over."""
        first = started(open_log)
        placed = put(first, numbered(20, length=50))
        lost: list[LogLostError] = []
        first.on_lost(lost.append)
        try:
            second = open_log()
        except StorageError:
            placed += put(first, [b"it is still the writer"])
            assert (first.failure, lost) == (None, [])
            assert reopened(open_log, first) == placed
            return
        assert replayed(second) == placed
        second.start()
        placed += put(second, [b"by the second"])
        with pytest.raises(LogLostError):
            first.wait(first.confirm())
        for refused in (lambda: first.append(b"late"), first.sync, first.rotate, lambda: first.wait(first.confirm())):
            with pytest.raises(LogLostError):
                refused()
        assert first.failure
        first.on_lost(lost.append)
        assert [str(error) for error in lost] == [first.failure] * 2, "each is called once"
        first.close()
        placed += put(second, [b"and it goes on"])
        assert reopened(open_log, second) == placed

    def test_nothing_of_a_lost_log_is_kept_and_everybody_who_waits_for_it_is_told(self, open_log: OpenLog) -> None:
        first = started(open_log)
        placed = put(first, numbered(3))
        try:
            second = open_log()
        except StorageError:
            first.close()
            return
        assert replayed(second) == placed
        second.start()
        lost: list[LogLostError] = []
        held = threading.Lock()

        def is_lost(error: LogLostError) -> None:
            with held:  # as the broker's lock, under which others append
                lost.append(error)

        first.on_lost(is_lost)
        told: list[LogLostError] = []

        def append_late() -> None:
            try:
                with held:
                    position = first.append(b"late")
                first.wait(position)
            except LogLostError as error:
                told.append(error)

        late = [threading.Thread(target=append_late, daemon=True) for _ in range(6)]
        for each in late:
            each.start()
        for each in late:
            each.join(timeout=PATIENCE_S)
            assert not each.is_alive()
        assert (len(told), len(lost)) == (6, 1)
        first.close()
        assert reopened(open_log, second) == placed
