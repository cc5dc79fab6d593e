"""The oldest part of a log can be dropped, and a rotation ends a part."""

from __future__ import annotations

import random
import threading
import time

import pytest

from tests.storage.log_contract.logs import (
    PAUSE_BYTES,
    OpenLog,
    Surroundings,
    assert_nothing_appended,
    drop_before,
    drop_oldest,
    fill,
    numbered,
    put,
    put_parts,
    reopened,
    replayed,
    started,
)
from tests.support.waiting import PATIENCE_S
from wonderq_storage import DiskFullError, LogClosedError, TrimmedError


class OldPartsContract:
    """Dropping the oldest part, and ending one."""

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
        assert used <= log.used_bytes() <= used + PAUSE_BYTES
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
