"""Logs of the contract suite: opening them, filling them, and dropping what is old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wonderq_storage import DiskFullError, Log, Mark, Position

OpenLog = Callable[[], Log]

#: A log may mark a pause in traffic by itself, with at most this many bytes.
PAUSE_BYTES = 64


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
    assert end <= log.end() <= end + PAUSE_BYTES


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
