"""`wonderq repair`: copy all that verifies of a damaged log into a new folder, and say what had to be left behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wonderq.folder.lock import FolderError, check_outside, held
from wonderq.folder.lost_messages import Losses
from wonderq.model.ids import Ids
from wonderq.state import record
from wonderq.state.record import Record
from wonderq.state.replay import replay_log
from wonderq.state.state import Queue, State, UnreadableRecordError, queue_record
from wonderq_storage import FileLog, Position
from wonderq_storage.disk import Disk
from wonderq_storage.salvage import Found, Problem, Salvage, Span

#: Records are synced when so many bytes have been written.
_SYNC_BYTES = 4 << 20

#: The fewest bytes that a message, and a queue's naming record, take in a log.
_LEAST_ENTRY_BYTES = 5
_LEAST_QUEUE_BYTES = 32

#: What stands in the place of a message that does not match its own checksum; the message is deleted right behind.
_EMPTY_ENTRY = record.encode_entry("")

#: The new log's segments are as large as the source's, so that any record fits, but not smaller than this.
_LEAST_SEGMENT_BYTES = 64 << 10

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
        return _lost_bytes(self.problems)

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
    with held(source):
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
    log = FileLog(unfinished, segment_bytes=max(salvage.capacity, _LEAST_SEGMENT_BYTES))
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


def _lost_bytes(problems: list[Problem]) -> int:
    return sum(span.length for problem in problems for span in problem.lost)


class _Writer:
    """Appends records to the new log and applies them."""

    def __init__(self, log: FileLog, state: State) -> None:
        self._log = log
        self._state = state
        self._unsynced = 0

    def put(self, written: Record, data: bytes | None = None) -> Position:
        """Append a record, if it can be applied.

        Raises:
            UnreadableRecordError: it contradicts the ones before it; it was not written.
        """
        if data is None:
            data = record.encode(written)
        # Where it will be follows only from appending it, and that must not be done before it is known to fit. Nothing
        # here looks at positions, so any will do.
        self._state.apply(written, 0, len(data))
        position = self._log.append(data)
        self._unsynced += len(data)
        if self._unsynced > _SYNC_BYTES:
            self._log.wait(position)
            self._unsynced = 0
        return position


def _take(found: Found, done: Repair, writer: _Writer) -> bool:
    try:
        read, rotten = _replace_rotten(found, record.decode_typed(found.data))
        if isinstance(read, record.DefineQueue):
            _drop_namesake(read, done, writer)
        elif isinstance(read, record.Identity) and done.state.key not in (None, read.key):
            raise UnreadableRecordError("the log has another identity already")
        writer.put(read, None if rotten else bytes(found.data))
        done.losses.add(read, damaged=bool(done.problems))
        if rotten and isinstance(read, record.Produce | record.Send | record.Update):
            # Also where it is an update: what the message said before is not what was asked for last.
            writer.put(record.Delete(record.DELETE, read.at_ms, read.queue, record.to_runs(rotten)))
            done.losses.lose(read.queue, rotten)
            done.rotten += rotten.values()
    except (ValueError, LookupError, TypeError, UnreadableRecordError) as error:
        done.left_out.append(Problem(str(found.path), found.offset, str(error)))
        return False
    return True


def _replace_rotten(found: Found, read: Record) -> tuple[Record, dict[int, Problem]]:
    """Put empty messages in the places of those that do not match their checksums.

    Returns the record after that, and the problem of each replaced message, by its sequence number.
    """
    rotten: dict[int, Problem] = {}
    if not isinstance(read, record.Produce | record.Send | record.Update):
        return read, rotten
    entries: list[bytes] = []
    at = found.offset + len(found.data) - len(read.entries)
    for entry in record.entries_of(read):
        if problem := entry.problem:
            rotten[entry.sequence] = Problem(str(found.path), found.offset, problem, [Span(at, len(entry.data))])
        at += len(entry.data)
        entries.append(_EMPTY_ENTRY if problem else entry.data)
    if rotten:
        read = read._replace(lengths=[len(entry) for entry in entries], entries=b"".join(entries))
    return read, rotten


def _drop_namesake(read: record.DefineQueue, done: Repair, writer: _Writer) -> None:
    """A name is used again only when the queue that had it is gone; if no record says so, that one is lost."""
    known = done.state.queues.get(read.name)
    if known is not None and known.number != read.queue:
        drop = record.Drop(record.DROP, read.at_ms, known.number)
        writer.put(drop)
        done.losses.add(drop, damaged=True)


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
    next_queue = state.next_queue + lost_bytes // _LEAST_QUEUE_BYTES
    writer.put(record.Identity(record.IDENTITY, now_ms, state.key or os.urandom(16), next_queue))
    for queue in _queues(done):
        if not queue.name:
            queue.name = done.renamed[queue.number] = _free_name(state, queue.number)
            queue.created_ms = now_ms
        messages = queue.messages
        known = max(messages.next_sequence, done.losses.next_sequence.get(queue.number, 0))
        messages.next_sequence = known + lost_bytes // _LEAST_ENTRY_BYTES
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
        replay_log(log)
    finally:
        log.close()


def report(done: Repair) -> Iterator[str]:
    """Put into lines what was left behind, and what it means."""
    for problem in done.problems:
        yield f"damaged   {problem.file}, byte {problem.offset}: {problem.reason}"
        for span in problem.lost:
            yield f"  left    {problem.file}, byte {span.offset}, {span.length} bytes"
    for problem in (*done.left_out, *done.rotten):
        yield f"left out  {problem}"
    if done.torn:
        size = sum(span.length for span in done.torn.lost)
        yield f"torn tail {done.torn.file}, byte {done.torn.offset}, {size} bytes that were never acknowledged: left"
    for number, runs in sorted(done.losses.lost.items()):
        for first, end in runs:
            yield f"lost      queue {done.queue_name(number)}: {_name_run(done, number, first, end)}"
    if done.unknown_below:
        for number, first in sorted(done.losses.unknown_below.items()):
            yield f"lost      queue {done.queue_name(number)}: whatever was left of its messages before number {first}"
    if done.new_identity:
        yield "identity  the record that ids are made from is lost: all ids and receipts are new"
    for number, name in done.renamed.items():
        yield f"renamed   queue number {number}, whose name and settings are lost, is called {name} now"
    if done.lost_bytes or done.missing_bytes or done.left_out:
        yield "note      claims, deletions and updates that stood there are undone: messages may be delivered again"
    yield f"records   {done.records:,} taken over, {len(done.left_out):,} left out"
    damage = done.problems + done.rotten
    places = "1 place" if len(damage) == 1 else f"{len(damage):,} places"
    yield f"damage    {places}, {_lost_bytes(damage):,} bytes that do not verify"
    messages = sum(len(queue.messages) for queue in done.state.queues.values())
    yield f"messages  {messages:,} in {len(done.state.queues):,} queues, {done.losses.count():,} known to be lost"


def _name_run(done: Repair, queue: int, first: int, end: int) -> str:
    if end - first == 1:
        return f"message {done.message(queue, first)}"
    return f"{end - first:,} messages, {done.message(queue, first)} to {done.message(queue, end - 1)}"
