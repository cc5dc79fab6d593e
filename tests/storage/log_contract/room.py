"""A full log refuses records and changes nothing."""

from __future__ import annotations

import contextlib

import pytest

from tests.storage.log_contract.logs import (
    PAUSE_BYTES,
    OpenLog,
    Surroundings,
    assert_nothing_appended,
    drop_oldest,
    fill,
    numbered,
    put,
    reopened,
    started,
)
from wonderq_storage import DiskFullError, Position


class RoomContract:
    """Logs that have little room."""

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
        assert log.used_bytes() <= used_bytes + PAUSE_BYTES
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
