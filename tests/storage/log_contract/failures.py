"""A confirmation covers what was appended; a log that fails or is lost loses nothing that was acknowledged."""

from __future__ import annotations

import contextlib
import threading

import pytest

from tests.storage.log_contract.logs import OpenLog, Surroundings, numbered, put, reopened, replayed, started
from tests.support.waiting import PATIENCE_S, eventually
from wonderq_storage import LogFailedError, LogLostError, Position, StorageError


class FailuresContract:
    """Confirmation, failure, and another writer."""

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
        with contextlib.suppress(LogFailedError):  # if what failed was to reserve a part, only this write ends the log
            log.close()

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
