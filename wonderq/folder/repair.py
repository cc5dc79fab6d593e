"""`wonderq folder repair`: copy all valid records of a damaged log into a new folder, and report what is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wonderq.folder.lock import FolderError, check_can_be_replaced, check_outside, locked, resolve
from wonderq.folder.lost_messages import Losses
from wonderq.model.ids import Ids
from wonderq.state import record, record_contents
from wonderq.state.record import Record
from wonderq.state.replay import replay_log
from wonderq.state.state import Queue, State, UnreadableRecordError, queue_record
from wonderq.state.topics import Topic, topic_record
from wonderq_storage import FileLog, Position
from wonderq_storage.disk import Disk
from wonderq_storage.salvage import Found, Problem, Salvage, Span

#: Bytes written between syncs.
_SYNC_BYTES = 4 << 20

#: Smallest size of a message, and of the record that names a queue, in a log.
_SMALLEST_ENTRY_BYTES = 5
_SMALLEST_QUEUE_RECORD_BYTES = 32

#: Replaces a message that does not match its own checksum. The next record deletes the message.
_EMPTY_ENTRY = record.encode_entry("")

#: The new log's segments are as large as the source's, so that any record fits, but at least this large.
_SMALLEST_TARGET_SEGMENT_BYTES = 64 << 10

UNFINISHED_SUFFIX = ".unfinished"


class TargetError(FolderError):
    """The new folder cannot be used."""


@dataclass
class Repair:
    """Result of a repair."""

    source: Path
    target: Path
    problems: list[Problem] = field(default_factory=list)
    """Damage in the source."""
    left_out: list[Problem] = field(default_factory=list)
    """Records that verify, but contradict the remaining ones."""
    rotten: list[Problem] = field(default_factory=list)
    """Messages in valid records that do not match their own checksums."""
    torn: Problem | None = None
    records: int = 0
    """Number of records copied."""
    state: State = field(default_factory=State)
    losses: Losses = field(default_factory=lambda: Losses(from_beginning=True))
    unknown_below: bool = False
    """Whether the log's beginning is missing, so that `Losses.unknown_below` names losses."""
    new_identity: bool = False
    """Whether ids and receipts have changed."""
    renamed: dict[int, str] = field(default_factory=dict)
    """New names of the queues whose naming record is lost, by number."""
    renamed_topics: dict[int, str] = field(default_factory=dict)
    """The same of the topics."""

    @property
    def lost_bytes(self) -> int:
        """Size of the unreadable ranges in the source's files."""
        return unreadable_bytes(self.problems)

    @property
    def missing_bytes(self) -> int:
        """Upper limit of the bytes lost outside the source's files."""
        return sum(problem.missing for problem in self.problems)

    def message(self, queue: int, sequence: int) -> str:
        """Describe a message by its number and, unless ids have changed, its id."""
        if self.new_identity or self.state.key is None:
            return f"number {sequence}"
        return f"number {sequence} (id {Ids(self.state.key).message_id(queue, sequence)})"

    def queue_name(self, number: int) -> str:
        queue = self.state.find(number)
        return queue.name if queue is not None and queue.name else f"number {number}, whose name is lost"


def repair(source: Path, target: Path, progress: Callable[[], None] = lambda: None) -> Repair:
    """Salvage the log in ``source`` into ``target``, which must be empty or missing. The source is only read.

    Raises:
        FolderError: the target is not empty, or cannot be replaced.
        NoLogError, FolderLockedError, UnsupportedFormatError: the source cannot be read.
        DiskFullError, LogFailedError: the target cannot be written. Its unfinished folder can be removed.
    """
    target = resolve(target)
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
            raise TargetError(f"{each} exists and is not empty. Choose a new folder, or remove it")
    check_outside(source, target)
    check_can_be_replaced(target)


def _unfinished(target: Path) -> Path:
    return target.with_name(target.name + UNFINISHED_SUFFIX)


def _copy(salvage: Salvage, source: Path, target: Path, progress: Callable[[], None]) -> Repair:
    done = Repair(source, target, salvage.problems, losses=Losses(from_beginning=salvage.oldest == 1))
    # The folder has another name until it is complete, so that an interrupted repair cannot pass for one.
    unfinished, disk = _unfinished(target), Disk()
    disk.make_folder(unfinished, like=target if target.is_dir() else source)
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
            _complete(done, writer)
        log.sync()
    finally:
        log.close()
    _check_starts(unfinished)
    os.rename(unfinished, target)
    disk.sync_folder(target.parent)
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

    def put(self, written: Record, data: bytes | None = None) -> Position:
        """Append a record, if it can be applied.

        Raises:
            UnreadableRecordError: the record contradicts earlier ones. It was not written.
        """
        if data is None:
            data = record.encode(written)
        # The record gets its position when it is appended, and it may be appended only if the state accepts it. This
        # state does not use positions, so any value works.
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
        if isinstance(read, record.DefineQueue | record.DefineTopic):
            _drop_namesake(read, done, writer)
        elif isinstance(read, record.Identity) and done.state.key not in (None, read.key):
            raise UnreadableRecordError("the log already has another identity")
        writer.put(read, None if rotten else bytes(found.data))
        done.losses.add(read, damaged=bool(done.problems))
        # A damaged update deletes the message too: its earlier contents are not the ones last requested.
        for queue, problems in rotten.items():
            writer.put(record.Delete(record.DELETE, read.at_ms, queue, record.to_runs(sorted(problems))))
            done.losses.lose(queue, problems)
            done.rotten += problems.values()
    except (ValueError, LookupError, TypeError, UnreadableRecordError) as error:
        done.left_out.append(Problem(str(found.path), found.offset, str(error)))
        return False
    return True


_Rotten = dict[int, dict[int, Problem]]
"""Problems of messages by queue and sequence number."""


def _replace_rotten(found: Found, read: Record) -> tuple[Record, _Rotten]:
    """Replace messages that do not match their checksums by empty ones.

    Returns the changed record, and the problem of each replaced message.
    """
    if isinstance(read, record.Publish | record.Restate):
        return _replace_rotten_shared(found, read)
    rotten: dict[int, Problem] = {}
    if not isinstance(read, record.Produce | record.Send | record.Update):
        return read, {}
    entries: list[bytes] = []
    at = found.offset + len(found.data) - len(read.entries)
    for entry in record_contents.entries_of(read):
        if problem := entry.problem:
            rotten[entry.sequence] = Problem(str(found.path), found.offset, problem, [Span(at, len(entry.data))])
        at += len(entry.data)
        entries.append(_EMPTY_ENTRY if problem else entry.data)
    if rotten:
        read = read._replace(lengths=[len(entry) for entry in entries], entries=b"".join(entries))
    return read, {read.queue: rotten} if rotten else {}


def _replace_rotten_shared(
    found: Found, read: record.Publish | record.Restate
) -> tuple[record.Publish | record.Restate, _Rotten]:
    """Do what `_replace_rotten` does, for messages that several queues have."""
    entries, spans = bytes(read.entries), record_contents.spans_of(read)
    begin = found.offset + len(found.data) - len(entries)
    heads, lengths, pieces = list(read.heads), list(read.lengths), list[bytes]()
    rotten: _Rotten = {}
    damaged: set[int] = set()
    for queue, flags, indexes, sequences in record_contents.sharers_of(read):
        for index, sequence in zip(indexes, sequences, strict=True):
            start, end = spans[index].start(flags), spans[index].end
            problem = record_contents.Entry(queue, sequence, entries[start:end]).problem
            if problem:
                damaged.add(index)
                where = [Span(begin + start, end - start)]
                rotten.setdefault(queue, {})[sequence] = Problem(str(found.path), found.offset, problem, where)
    for index, span in enumerate(spans):
        head, entry = entries[span.head : span.entry], entries[span.entry : span.end]
        if index in damaged:
            head = b""
            entry = _EMPTY_ENTRY if record_contents.Entry(0, 0, entry).problem else entry
            lengths[index] = len(entry)
            if heads:
                heads[index] = 0
        pieces += [head, entry]
    return read._replace(heads=heads, lengths=lengths, entries=b"".join(pieces)), rotten


def _drop_namesake(read: record.DefineQueue | record.DefineTopic, done: Repair, writer: _Writer) -> None:
    """Delete an earlier queue or topic with the same name: the record of its deletion is lost."""
    is_queue = isinstance(read, record.DefineQueue)
    known: Queue | Topic | None = (done.state.queues if is_queue else done.state.topics).get(read.name)
    if known is not None and known.number != read[2]:
        drop = record.Drop(record.DROP, read.at_ms, known.number)
        writer.put(drop)
        done.losses.add(drop, damaged=True)


def _is_complete(state: State) -> bool:
    try:
        state.check_complete()
    except UnreadableRecordError:
        return False
    return True


def _complete(done: Repair, writer: _Writer) -> None:
    """Write the records that the log lacks, and skip numbers that lost records may have used."""
    state, now_ms = done.state, done.state.last_ms
    lost_bytes = done.lost_bytes + done.missing_bytes
    done.new_identity = state.key is None
    next_queue = state.next_queue + lost_bytes // _SMALLEST_QUEUE_RECORD_BYTES
    writer.put(record.Identity(record.IDENTITY, now_ms, state.key or os.urandom(16), next_queue))
    for queue in _queues(done):
        if not queue.name:
            queue.name = done.renamed[queue.number] = _free_name(state.queues, queue.number)
            queue.created_ms = now_ms
        messages = queue.messages
        known = max(messages.next_sequence, done.losses.next_sequence.get(queue.number, 0))
        messages.next_sequence = known + lost_bytes // _SMALLEST_ENTRY_BYTES
        writer.put(queue_record(queue, queue.settings, now_ms))
    for topic in done.state.all_topics():
        if not topic.name:
            topic.name = done.renamed_topics[topic.number] = _free_name(state.topics, topic.number)
            topic.created_ms = now_ms
        topic.next_sequence += lost_bytes // _SMALLEST_ENTRY_BYTES
        writer.put(topic_record(topic, topic.settings, now_ms))


def _queues(done: Repair) -> Iterator[Queue]:
    for number in sorted({*done.losses.next_sequence, *(queue.number for queue in done.state.queues.values())}):
        queue = done.state.find(number)
        if queue is not None:
            yield queue


def _free_name(taken: Container[str], number: int) -> str:
    name = f"recovered-{number}"
    while name in taken:
        name += "-"
    return name


def _check_starts(folder: Path) -> None:
    """Replay the new log as a start would."""
    log = FileLog(folder)
    try:
        replay_log(log)
    finally:
        log.close()
