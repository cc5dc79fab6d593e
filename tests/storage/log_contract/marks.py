"""A mark lets a replay begin where a checkpoint ends."""

from __future__ import annotations

import random

import pytest

from tests.storage.log_contract.logs import OpenLog, drop_oldest, numbered, put, put_parts, reopened, replayed, started
from wonderq_storage import Mark, Position, StaleMarkError


class MarksContract:
    """Marks and the replays that begin at them."""

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
