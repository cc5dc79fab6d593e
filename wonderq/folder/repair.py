"""`wonderq repair`: copy all that verifies of a damaged log into a new folder, and say what had to be left behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wonderq.folder.lock import FolderError, check_outside, locked
from wonderq.folder.lost_messages import Losses
from wonderq.folder.verify import entries_of, entry_problem
from wonderq.model.ids import Ids
from wonderq.state import record
from wonderq.state.replay import rebuild
from wonderq.state.state import Queue, State, UnreadableRecordError, queue_record
from wonderq_storage import FileLog, Position
from wonderq_storage.disk import Disk
from wonderq_storage.salvage import Found, Problem, Salvage, Span

#: Records are synced when so many bytes have been written.
_SYNC_BYTES = 4 << 20

#: The fewest bytes that a message, and a queue's naming record, take in a log.
_SMALLEST_ENTRY_BYTES = 5
_SMALLEST_QUEUE_RECORD_BYTES = 32

#: What stands in the place of a message that does not match its own checksum; the message is deleted right behind.
_EMPTY_ENTRY = record.encode_entry("")

#: The new log's segments are as large as the source's, so that any record fits, but not smaller than this.
_SMALLEST_TARGET_SEGMENT_BYTES = 64 << 10

UNFINISHED_SUFFIX = ".unfinished"


class TargetError(FolderError):
    """The new folder cannot be used."""


@dataclass
class Repair:
    """What was done."""

    source: Path
    target: Path
    problems: list[Problem] = field(default_factory=list)
    """Where the source is damaged."""
    left_out: list[Problem] = field(default_factory=list)
    """Records that verify, and contradict what is left."""
    rotten: list[Problem] = field(default_factory=list)
    """Messages that do not match their own checksums, in records that verify."""
    torn: Problem | None = None
    records: int = 0
    """How many were taken over."""
    state: State = field(default_factory=State)
    losses: Losses = field(default_factory=lambda: Losses(from_beginning=True))
    unknown_below: bool = False
    """Whether the log's beginning is missing, so that `Losses.unknown_below` names losses."""
    new_identity: bool = False
    """Whether ids and receipts have changed."""
    renamed: dict[int, str] = field(default_factory=dict)
    """Queues whose naming record is lost, and what they are called now."""

    @property
    def lost_bytes(self) -> int:
        """How much of the log cannot be read: whatever stood there is unknown."""
        return unreadable_bytes(self.problems)

    @property
    def missing_bytes(self) -> int:
        """How many bytes of the log may be lost besides."""
        return sum(problem.missing for problem in self.problems)

    def message(self, queue: int, sequence: int) -> str:
        """Name a message by its id, if ids are what they were."""
        if self.new_identity or self.state.key is None:
            return f"number {sequence}"
        return f"number {sequence} (id {Ids(self.state.key).message_id(queue, sequence)})"

    def queue_name(self, number: int) -> str:
        queue = self.state.find(number)
        return queue.name if queue is not None and queue.name else f"number {number}, whose name is not known"


def repair(source: Path, target: Path, progress: Callable[[], None] = lambda: None) -> Repair:
    """Salvage the log in ``source`` into ``target``, which must be empty or not there; the source is only read.

    Raises:
        TargetError: there is something in the target.
        NoLogError, FolderLockedError, UnsupportedFormatError: the source cannot be read.
        DiskFullError, LogFailedError: the target cannot be written; what is there of it can be removed.
    """
    _check_target(source, target)
    with locked(source):
        salvage = Salvage(source)
        try:
            return _copy(salvage, source, target, progress)
        finally:
            salvage.close()


def _check_target(source: Path, target: Path) -> None:
    unfinished = _unfinished(target)
    for each in (target, unfinished):
        if each.exists() and not each.is_dir():
            raise TargetError(f"{each} is not a folder")
        if each.exists() and any(each.iterdir()):
            raise TargetError(f"{each} exists and is not empty: give the name of a folder to be made, or remove it")
    check_outside(source, target)


def _unfinished(target: Path) -> Path:
    resolved = target.resolve()
    return resolved.with_name(resolved.name + UNFINISHED_SUFFIX)


def _copy(salvage: Salvage, source: Path, target: Path, progress: Callable[[], None]) -> Repair:
    done = Repair(source, target, salvage.problems, losses=Losses(from_beginning=salvage.oldest == 1))
    # Under another name until it is whole: half a repair must not look like one.
    unfinished = _unfinished(target)
    log = FileLog(unfinished, segment_bytes=max(salvage.capacity, _SMALLEST_TARGET_SEGMENT_BYTES))
    try:
        for _ in log.replay():
            pass
        log.start()
        writer = _Writer(log, done.state)
        for found in salvage.records():
            if _take(found, done, writer):
                done.records += 1
            progress()
        done.torn = salvage.torn
        done.unknown_below = salvage.missing_front
        if done.problems or done.left_out or not _is_complete(done.state):
            _mend(done, writer)
        log.sync()
    finally:
        log.close()
    _check_starts(unfinished)
    disk = Disk()
    disk.make_folder(target.resolve().parent)
    os.rename(unfinished, target)
    disk.sync_folder(target.resolve().parent)
    return done


def unreadable_bytes(problems: list[Problem]) -> int:
    """Return how many bytes of the source's files cannot be read."""
    return sum(span.length for problem in problems for span in problem.lost)


class _Writer:
    """Appends records to the new log and applies them."""

    def __init__(self, log: FileLog, state: State) -> None:
        self._log = log
        self._state = state
        self._unsynced = 0

    def put(self, fields: Any, data: bytes | None = None) -> Position:
        """Append a record, if it can be applied.

        Raises:
            UnreadableRecordError: it contradicts the ones before it; it was not written.
        """
        if data is None:
            data = record.encode(fields)
        # Where it will be follows only from appending it, and that must not be done before it is known to fit. Nothing
        # here looks at positions, so any will do.
        self._state.apply(fields, 0, len(data))
        position = self._log.append(data)
        self._unsynced += len(data)
        if self._unsynced > _SYNC_BYTES:
            self._log.wait(position)
            self._unsynced = 0
        return position


def _take(found: Found, done: Repair, writer: _Writer) -> bool:
    try:
        fields = record.decode(found.data)
        rotten = _replace_rotten(found, fields)
        if fields[0] == record.QUEUE:
            _drop_namesake(fields, done, writer)
        elif fields[0] == record.IDENTITY and done.state.key not in (None, fields[2]):
            raise UnreadableRecordError("the log has another identity already")
        writer.put(fields, None if rotten else bytes(found.data))
        done.losses.add(fields, damaged=bool(done.problems))
        if rotten:
            # Also where it is an update: what the message said before is not what was asked for last.
            writer.put((record.DELETE, fields[1], fields[2], record.to_runs(rotten)))
            done.losses.lose(fields[2], rotten)
            done.rotten += rotten.values()
    except (ValueError, LookupError, TypeError, UnreadableRecordError) as error:
        done.left_out.append(Problem(str(found.path), found.offset, str(error)))
        return False
    return True


def _replace_rotten(found: Found, fields: list[Any]) -> dict[int, Problem]:
    """Put empty messages in the places of those that do not match their checksums; returns which, by number."""
    rotten: dict[int, Problem] = {}
    entries: list[bytes] = []
    at = found.offset + len(found.data)
    for queue, sequence, entry in entries_of(fields):
        if not entries:
            at -= len(fields[-1])
        if problem := entry_problem(queue, sequence, entry):
            rotten[sequence] = Problem(str(found.path), found.offset, problem, [Span(at, len(entry))])
        at += len(entry)
        entries.append(_EMPTY_ENTRY if problem else entry)
    if rotten:
        fields[6 if fields[0] == record.UPDATE else 5] = [len(entry) for entry in entries]
        fields[-1] = b"".join(entries)
    return rotten


def _drop_namesake(fields: list[Any], done: Repair, writer: _Writer) -> None:
    """A name is used again only when the queue that had it is gone; if no record says so, that one is lost."""
    number, name = fields[2], fields[3]
    known = done.state.queues.get(name)
    if known is not None and known.number != number:
        writer.put((record.DROP, fields[1], known.number))
        done.losses.add((record.DROP, fields[1], known.number), damaged=True)


def _is_complete(state: State) -> bool:
    try:
        state.check_complete()
    except UnreadableRecordError:
        return False
    return True


def _mend(done: Repair, writer: _Writer) -> None:
    """Write what the log needs to be whole again, and keep clear of numbers that what is lost may have used."""
    state, now_ms = done.state, done.state.last_ms
    lost_bytes = done.lost_bytes + done.missing_bytes
    done.new_identity = state.key is None
    next_queue = state.next_queue + lost_bytes // _SMALLEST_QUEUE_RECORD_BYTES
    writer.put((record.IDENTITY, now_ms, state.key or os.urandom(16), next_queue))
    for queue in _queues(done):
        if not queue.name:
            queue.name = done.renamed[queue.number] = _free_name(state, queue.number)
            queue.created_ms = now_ms
        messages = queue.messages
        known = max(messages.next_sequence, done.losses.next_sequence.get(queue.number, 0))
        messages.next_sequence = known + lost_bytes // _SMALLEST_ENTRY_BYTES
        writer.put(queue_record(queue, queue.settings, now_ms))


def _queues(done: Repair) -> Iterator[Queue]:
    for number in sorted({*done.losses.next_sequence, *(queue.number for queue in done.state.queues.values())}):
        queue = done.state.find(number)
        if queue is not None:
            yield queue


def _free_name(state: State, number: int) -> str:
    name = f"recovered-{number}"
    while name in state.queues:
        name += "-"
    return name


def _check_starts(folder: Path) -> None:
    """Read the new log as a start would."""
    log = FileLog(folder)
    try:
        rebuild(log)
    finally:
        log.close()
