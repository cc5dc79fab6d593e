"""The log as a stream of NATS JetStream, which replicates it to several machines.

**Ownership.** One writer at a time owns the log. A writer takes over with an epoch record in the stream itself:
JetStream appends it only if no other one came in between (compare-and-set). The writer then replays up to its own epoch
record. The writer before it can append nothing any more, because each of its messages demands the sequence that the
epoch record took (`wonderq_storage.jetstream_appender`). No clock and no lease is part of this.

**Assumptions about JetStream.** It acknowledges a message when it is on the disks of more than half of the stream's
replicas; this needs ``sync_interval: always`` in the configuration of each server. It appends a message only if its
conditions hold at that moment. Everything else is verified: sequences without a gap, and a chain of checksums from
message to message (`wonderq_storage.jetstream_frame`).

**Dropping.** For a replicated stream, nats-server 2.15 syncs its Raft log before it acknowledges a message. It syncs
the files of messages only when it installs a Raft snapshot: every 2 to 3 minutes, or when the Raft log has grown by
8 MiB. Suppose that all files up to the snapshot's last message are dropped, and the power of all servers fails before
the files after it are synced. Then no server has a message that reaches the snapshot. Each one waits for another to
send it, and the stream has no leader any more. So `JetStreamLog.oldest` holds a part back until a message after it must
be synced (`SETTLE_S`). https://github.com/nats-io/nats-server/pull/8447, and pull/6289 for the times.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from wonderq_storage import jetstream_frame as frame
from wonderq_storage.errors import (
    DiskFullError,
    LogClosedError,
    LogFailedError,
    LogLostError,
    LogMovedError,
    RecordTooLargeError,
    TrimmedError,
)
from wonderq_storage.jetstream_appender import Appender, Message, append_headers
from wonderq_storage.jetstream_cache import MessageCache
from wonderq_storage.jetstream_group import FRAME_BYTES, Group, begin_of
from wonderq_storage.jetstream_records import RecordReader
from wonderq_storage.jetstream_replay import (
    Part,
    Place,
    Progress,
    pack_position,
    unpack_position,
)
from wonderq_storage.jetstream_stream import Stream
from wonderq_storage.jetstream_takeover import AtOnce, Takeover
from wonderq_storage.log import Mark, Position, Turn
from wonderq_storage.nats import JetStream, StreamInfo
from wonderq_storage.observer import Observer

logger = logging.getLogger("wonderq.storage")

DEFAULT_MAX_BYTES = 10 << 30
DEFAULT_PART_BYTES = 64 << 20
DEFAULT_CACHE_BYTES = 64 << 20

#: A part can be dropped when the first message after it is so old: Raft snapshots come every 3 minutes at the latest,
#: and a minute later while a replica catches up.
SETTLE_S = 300.0

#: A stream with less room than this part of its `max_bytes` drops parts at once: a full stream accepts nothing.
_SCARCE_SHARE = 4

#: Size of the largest record, and the most that can be set. JetStream does not recommend messages above 8 MiB.
DEFAULT_MAX_RECORD_BYTES, MOST_RECORD_BYTES = 4 << 20, 7 << 20

#: A group that is larger takes no more records, unless the first of them is larger.
_GROUP_BYTES = 1 << 20

#: Bytes of records that a replay reads in the time that it needs for one more message: about 20 microseconds.
_GROUP_COST_BYTES = 2 << 10

#: Size up to which a group is posted. A larger one would delay what else its connection carries.
_MOST_POSTED_BYTES = 256 << 10

#: Eighths of a record's largest size that `confirm` leaves free in a stream. Producing leaves four, compaction two,
#: claiming one: reads must not use up the room that compaction needs to make more.
_CONFIRM_LEAVES_EIGHTHS = 3

#: Part of the stream's `max_bytes` that stays free for epoch records: a 64th, within these bounds.
_RESERVED_SHARE, _LEAST_RESERVED_BYTES, _MOST_RESERVED_BYTES = 64, 1 << 10, 1 << 20

#: Two epoch records must fit the smallest reserve.
_MAX_NODE_BYTES = 64


class JetStreamLog:
    """A `wonderq_storage.log.Log` in a stream, which is made if there is none.

    ``node`` names this process in the epoch record. ``replicas`` and ``max_bytes`` are used when the stream is made.
    ``attempt_s`` limits each call to a server, ``patience_s`` the repetitions of a call. ``turn`` decides when to take
    the log over; without it, `replay` does so as soon as it has read the log. `oldest` holds a part back until the
    first message after it is ``settle_s`` old. The caller owns the connection of ``jetstream``, and closes it after the
    log.

    With ``posting``, `call_when_durable` sends groups over that connection, and the thread that reads it goes on with
    each acknowledgement. It should be the thread that appends: then no group costs a switch between threads. Nothing
    else of the log uses that connection, because whoever waits for its replies must not be the one who reads them.

    Before a stream is restored from a backup, all processes on it must have ended: a former owner must not meet it.

    In a full stream, `confirm` raises `DiskFullError`, because JetStream must append a message for it. Each
    acknowledged record confirms as well.

    Appended records gather in an open group. Whoever first waits for them, or wants to be called, becomes the leader,
    as in `wonderq_storage.file_log.FileLog`. The groups are sent one by one, each when the one before is acknowledged.

    Raises, from the constructor:
        ValueError: ``node`` is too long, ``stream`` is no name of a stream, or ``max_record_bytes`` is too large.

    Raises, from `replay`, besides what the protocol says:
        UnsuitableStreamError: the stream or the server is set up in a way that could lose records.
        LogFailedError: JetStream does not answer.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        *,
        node: str,
        replicas: int = 1,
        max_bytes: int = DEFAULT_MAX_BYTES,
        part_bytes: int = DEFAULT_PART_BYTES,
        max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        attempt_s: float = 2.0,
        patience_s: float = 30.0,
        settle_s: float = SETTLE_S,
        posting: JetStream | None = None,
        observer: Observer | None = None,
        turn: Turn | None = None,
    ) -> None:
        if len(node.encode()) > _MAX_NODE_BYTES:
            raise ValueError(f"the name of a node may have {_MAX_NODE_BYTES} bytes")
        if max_record_bytes > MOST_RECORD_BYTES:
            raise ValueError(f"a record in a stream may have {MOST_RECORD_BYTES:,} bytes")
        self.failure: str | None = None
        self._error: type[LogFailedError] = LogFailedError
        self._stream = Stream(jetstream, stream, attempt_s=attempt_s, patience_s=patience_s, posting=posting)
        self._appender = Appender(self._stream)
        self._node = node
        self._replicas = replicas
        self._max_bytes = max_bytes
        self._part_bytes = part_bytes
        self._max_record_bytes = max_record_bytes
        self._settle_s = settle_s
        self._cache = MessageCache(cache_bytes)
        self._reader = RecordReader(self._stream, self._cache)
        self._observer = observer or Observer()
        self._turn = turn or AtOnce()
        self._callbacks: list[Callable[[LogLostError], None]] = []

        self._replayed_from = 0  # sequence
        self._replayed: Progress | None = None  # once a replay was read to its end
        self._log_id = b""
        self._epoch = 0
        self._token = ""
        self._epoch_record = b""
        self._epoch_sequence = 0
        self._written = (0, 0)  # sequence of the newest acknowledged message, and the chain after it

        self._mutex = threading.Lock()
        self._closed = False
        self._open: Group | None = None  # records gather here; None until `start`
        self._full: deque[Group] = deque()  # gathered earlier, or ended by `rotate` or `trim`
        self._parts: list[Part] = []
        self._used_bytes = 0  # with what gathers
        self._leading = False
        self._callers: list[tuple[Position, Callable[[], None]]] = []  # of `call_when_durable`
        self._committed: Position = 0  # everything before it is acknowledged
        self._taken: Position = 0  # a leader has taken everything before it
        self._gathering = threading.Condition(self._mutex)  # waiters whose records are still gathering
        self._flying = threading.Condition(self._mutex)  # waiters whose records a leader has taken

    @property
    def max_record_bytes(self) -> int:
        return self._max_record_bytes

    @property
    def files(self) -> None:
        """None: the log is not in a folder."""
        return

    @property
    def waiting_s(self) -> float:
        """How long the oldest unacknowledged message has been waiting; 0 without one. Seconds mean an election."""
        return self._appender.waiting_s

    @property
    def append_retries(self) -> int:
        """Number of messages that were sent again."""
        return self._appender.retries

    @property
    def log_id(self) -> bytes:
        """Identity of the log, the same for all of its owners; empty before the log is started."""
        return self._log_id

    @property
    def acknowledged_sequence(self) -> int:
        """Sequence of the newest message that JetStream has acknowledged; 0 before the log is started."""
        return self._written[0]

    @property
    def epoch(self) -> int:
        """Number of this ownership; 0 before the log is started."""
        return self._epoch

    def on_lost(self, callback: Callable[[LogLostError], None]) -> None:
        with self._mutex:
            if self._error is not LogLostError:
                self._callbacks.append(callback)
                return
        callback(LogLostError(self.failure))

    # Replay

    def replay(self, mark: Mark | None = None) -> Iterator[tuple[Position, memoryview]]:
        if self._closed or self._open is not None:
            raise LogClosedError("a log is replayed before it is started and before it is closed")
        self._replayed = None
        return self._replay(mark)

    def prepare(self) -> StreamInfo:
        """Make the stream if there is none, check that it is suitable, and return its state.

        Raises:
            UnsuitableStreamError: the stream or the server is set up in a way that could lose records.
            LogFailedError: JetStream does not answer.
        """
        largest = FRAME_BYTES + frame.LENGTH_BYTES + max(self._max_record_bytes, _GROUP_BYTES)
        return self._stream.open(replicas=self._replicas, max_bytes=self._max_bytes, message_bytes=largest)

    def _replay(self, mark: Mark | None) -> Iterator[tuple[Position, memoryview]]:
        info = self.prepare()
        self._replayed_from = info.first_sequence if mark is None else unpack_position(mark.end)[0]
        takeover = Takeover(self._stream, self._node, self._turn, self._part_bytes)
        yield from takeover.records(info, mark)
        self._epoch_record = takeover.epoch_record
        self._replayed = takeover.progress

    def start(self) -> None:
        progress = self._replayed
        if self._closed or self._open is not None or progress is None:
            raise LogClosedError("a log starts once, after its replay was read to the end and before it is closed")
        info = self._stream.info()
        assert progress.log_id is not None
        assert progress.token is not None
        self._log_id, self._epoch, self._token = progress.log_id, progress.epoch, progress.token
        self._epoch_sequence = progress.epoch_sequence
        assert progress.chain is not None
        self._written = (progress.sequence, progress.chain)
        self._max_bytes = info.config["max_bytes"]
        # Sizes of messages that were read, or came with a mark, are estimates; the stream knows the sum.
        progress.drop_before(info.first_sequence)
        self._parts = progress.parts
        self._used_bytes = info.bytes
        self._parts[-1].bytes = max(info.bytes - sum(each.bytes for each in self._parts[:-1]), 0)
        with self._mutex:
            self._enter(progress.sequence + 1)
            assert self._open is not None
            self._committed = self._taken = self._open.begin_position

    # Appending

    def append(self, record: bytes, *, leave_bytes: int = 0) -> Position:
        return self.append_together((record,), leave_bytes=leave_bytes)[0]

    def append_together(self, records: Sequence[bytes], *, leave_bytes: int = 0) -> list[Position]:
        need = sum(map(len, records)) + frame.LENGTH_BYTES * len(records)
        if need > self._max_record_bytes + frame.LENGTH_BYTES:
            raise RecordTooLargeError(f"{need:,} bytes of records exceed {self._max_record_bytes:,}")
        with self._mutex:
            group = self._gathering_group()
            if group.records and group.length + need > _GROUP_BYTES:
                group = self._end_group(group)
            self._check_room(need + leave_bytes + self._reserved_bytes)
            positions = []
            for record in records:
                positions.append(pack_position(group.sequence, group.end + frame.LENGTH_BYTES))
                group.records.append(record)
                group.length += frame.LENGTH_BYTES + len(record)
            group.is_due = True
            return positions

    @property
    def _reserved_bytes(self) -> int:
        return min(max(self._max_bytes // _RESERVED_SHARE, _LEAST_RESERVED_BYTES), _MOST_RESERVED_BYTES)

    def _check_room(self, need: int) -> None:
        assert self._open is not None
        if need > self._max_bytes - self._used_bytes - self._open.stored_bytes:
            raise DiskFullError(
                f"the stream {self._stream.name} has no room: {self._used_bytes:,} of {self._max_bytes:,} bytes are "
                "used. Consume messages, or raise its max_bytes."
            )

    def _gathering_group(self) -> Group:
        self._check_failure()
        if self._open is None or self._closed:
            raise LogClosedError("the log is not open for appending")
        return self._open

    def _end_group(self, group: Group) -> Group:
        """Let no more records into the open group, which is to be sent; return the next one."""
        self._full.append(group)
        self._used_bytes += group.stored_bytes
        self._parts[-1].bytes += group.stored_bytes
        return self._enter(group.sequence + 1)

    def _enter(self, sequence: int) -> Group:
        if self._parts[-1].bytes >= self._part_bytes:
            self._begin_part(sequence)
        self._open = Group(sequence, self._envelope_bytes(self._stream.log_subject, sequence))
        return self._open

    def _begin_part(self, sequence: int) -> None:
        part = Part(sequence)
        part.began_s = None
        self._parts.append(part)

    def _envelope_bytes(self, subject: str, sequence: int) -> int:
        return self._stream.stored_bytes(subject, append_headers(self._epoch, sequence), 0)

    def end(self) -> Position:
        with self._mutex:
            assert self._open is not None
            return self._open.end_position

    def confirm(self) -> Position:
        with self._mutex:
            group = self._gathering_group()
            if not group.is_due:
                leave_bytes = self._max_record_bytes * _CONFIRM_LEAVES_EIGHTHS // 8
                self._check_room(leave_bytes + self._reserved_bytes)
                group.is_due = True
            return group.end_position

    def wait(self, position: Position) -> None:
        with self._mutex:
            while self._committed <= position:
                self._check_failure()
                if not self._leading:
                    self._leading = True
                    break
                (self._gathering if position >= self._taken else self._flying).wait()
            else:
                return
        self._send_all(self._take())
        self._check_failure()

    def call_when_durable(self, position: Position, callback: Callable[[], None]) -> bool:
        if not self._stream.can_post:
            return False
        with self._mutex:
            assert self._open is not None
            position = min(position, self._due_end())
            is_over = self._committed > position or self.failure is not None
            must_lead = not is_over and not self._leading
            if must_lead:
                self._leading = True
            if not is_over:
                self._callers.append((position, callback))
        if is_over:
            callback()
        elif must_lead:
            self._post(self._take())
        return True

    def _due_end(self) -> Position:
        """Return the position of the newest record or confirmation that was asked for."""
        assert self._open is not None
        return self._open.end_position if self._open.is_due else self._open.begin_position - 1

    def _check_failure(self) -> None:
        if self.failure is not None:
            raise self._error(self.failure)

    # The leader sends the groups one by one. It is a thread that waits for each acknowledgement, or nobody: then the
    # acknowledgement of a group that was posted posts the next one.

    def _take(self) -> deque[Group]:
        """Return all gathered groups. The caller has set ``_leading``."""
        with self._mutex:
            assert self._open is not None
            if self._open.is_due:
                self._end_group(self._open)
            groups, self._full = self._full, deque()
            self._taken = self._open.begin_position
            self._flying, self._gathering = self._gathering, self._flying
            return groups

    def _send_all(self, groups: deque[Group], began_s: float | None = None) -> None:
        """Send groups, and wait for each. ``began_s`` is when the first of them was posted, if it was."""
        with self._leading_on():
            while groups:
                began_s = time.monotonic() if began_s is None else began_s
                message = self._message_of(groups[0])
                self._appender.append(message)
                self._acknowledged(groups.popleft(), message, began_s)
                began_s = None
            self._end_lead(None)

    def _post(self, groups: deque[Group]) -> None:
        """Post the first of these groups; without any, let others lead."""
        with self._leading_on():
            if not groups:
                self._end_lead(None)
            elif groups[0].stored_bytes > _MOST_POSTED_BYTES:
                self._send_on_thread(groups, None)
            else:
                self._post_first(groups)

    def _post_first(self, groups: deque[Group]) -> None:
        began_s = time.monotonic()
        message = self._message_of(groups[0])

        def proceed(is_acknowledged: bool) -> None:
            with self._leading_on():
                if is_acknowledged:
                    self._acknowledged(groups.popleft(), message, began_s)
                    self._post(groups)
                else:
                    self._send_on_thread(groups, began_s)

        if not self._appender.post(message, proceed):
            self._send_on_thread(groups, began_s)

    def _send_on_thread(self, groups: deque[Group], began_s: float | None) -> None:
        """Send groups on a thread of its own: one is large, or nobody knows what became of the first."""
        threading.Thread(target=self._send_all, args=(groups, began_s), name="wonderq-append", daemon=True).start()

    @contextmanager
    def _leading_on(self) -> Iterator[None]:
        """Let the log fail if the leader does. Without this, everybody would wait for ever."""
        try:
            yield
        except Exception as reason:  # noqa: BLE001 - whatever failed, the end of the log is unknown now
            self._end_lead(self._fail(reason))

    def _message_of(self, group: Group) -> Message:
        sequence, chain = self._written[0] + 1, self._written[1]
        assert group.sequence == sequence
        if group.epoch_record:
            return Message(self._stream.epoch_subject, group.epoch_record, self._epoch, sequence)
        data = frame.pack_group(self._log_id, self._epoch, sequence, chain, group.records)
        return Message(self._stream.log_subject, data, self._epoch, sequence)

    def _acknowledged(self, group: Group, message: Message, began_s: float) -> None:
        """A group is durable. Only the leader calls this."""
        sequence, data = message.sequence, message.data
        if group.epoch_record:
            self._epoch_sequence = sequence
        else:
            self._cache.put(sequence, data)
        with self._mutex:
            part = next(each for each in reversed(self._parts) if each.sequence <= sequence)
            if part.began_s is None:
                part.began_s = time.monotonic()
            self._written = (sequence, frame.crc_of(data))
            self._committed = begin_of(sequence + 1)
            self._flying.notify_all()
            callers = self._callers_of_this_moment()
        self._observer.sync(time.monotonic() - began_s)
        if group.records:
            self._observer.group(len(group.records), len(data))
        for each in callers:
            each()

    def _callers_of_this_moment(self) -> list[Callable[[], None]]:
        """Return whom to call now, outside the mutex that the caller of this holds."""
        now, later = [], []
        for position, callback in self._callers:
            if position < self._committed or self.failure is not None:
                now.append(callback)
            else:
                later.append((position, callback))
        self._callers = later
        return now

    def _end_lead(self, lost: LogLostError | None) -> None:
        """Let another one lead, if somebody waits for what has gathered meanwhile."""
        with self._mutex:
            callers = self._callers_of_this_moment()
            must_lead = bool(self._callers)
            self._leading = must_lead
            self._flying.notify_all()
            if self.failure is None:
                # Unless a post does, one of the waiters that came meanwhile leads the next round, and wakes the others.
                self._gathering.notify()
            else:
                self._gathering.notify_all()
            callbacks, self._callbacks = (self._callbacks, []) if lost is not None else ([], self._callbacks)
        for callback in callbacks:
            assert lost is not None
            callback(lost)
        for each in callers:
            each()
        if must_lead:
            self._post(self._take())

    def _fail(self, reason: Exception) -> LogLostError | None:
        """Accept no more records. Returns the error for `on_lost`, if another writer has the log."""
        lost = reason if isinstance(reason, LogLostError) else None
        if lost is None:
            logger.critical("the log cannot be written any more: %s", reason, exc_info=reason)
        else:
            logger.warning("%s", lost)
        with self._mutex:
            self.failure = str(reason)
            self._error = LogFailedError if lost is None else LogLostError
        return lost

    def sync(self) -> None:
        self.wait(self.end() - 1)

    # Marks and parts

    def mark(self) -> Mark:
        with self._mutex:
            assert self._open is not None
            sequence, chain = self._written
            parts = [(each.sequence, each.bytes) for each in self._parts]
            # The replay begins after the newest acknowledged message, and passes over what else is before the end.
            place = Place(self._log_id, sequence, chain, self._epoch, self._token, parts)
            return Mark(self._open.end_position, place.pack())

    def rotate(self) -> Position:
        with self._mutex:
            group = self._gathering_group()
            if group.is_due:
                group = self._end_group(group)
            # While the part before is held back, another short one would be of no use.
            is_held = len(self._parts) > 1 and self._holds_back_before(self._parts[-1])
            if self._parts[-1].sequence < group.sequence and not is_held:
                self._begin_part(group.sequence)
            return begin_of(self._parts[-1].sequence)

    def oldest(self) -> tuple[Position, Iterator[tuple[Position, memoryview]]] | None:
        with self._mutex:
            if len(self._parts) == 1 or begin_of(self._parts[1].sequence) > self._committed:
                return None
            if self._holds_back_before(self._parts[1]):
                return None
            first, last = self._parts[0].sequence, self._parts[1].sequence - 1
        return begin_of(last + 1), self._read_part(first, last)

    def _holds_back_before(self, part: Part) -> bool:
        """Return whether the part before one cannot be dropped yet, without harm in a power cut."""
        if self._max_bytes - self._used_bytes < self._max_bytes // _SCARCE_SHARE:
            return False
        age_s = 0.0 if part.began_s is None else time.monotonic() - part.began_s
        return age_s < self._settle_s

    def _read_part(self, first: int, last: int) -> Iterator[tuple[Position, memoryview]]:
        progress = Progress(self._stream, first, self._part_bytes)
        try:
            yield from progress.read_up_to(last, 0)
        except LogMovedError as error:
            self._adopt_beginning()
            raise TrimmedError(f"records before message {last + 1} were dropped") from error

    def _adopt_beginning(self) -> None:
        """Forget the parts that are not in the stream any more.

        A former owner that was frozen in the middle of `trim` may still purge. All that it drops was rewritten before
        this epoch began.
        """
        first = self._stream.info().first_sequence
        with self._mutex:
            while len(self._parts) > 1 and self._parts[1].sequence <= first:
                self._used_bytes -= self._parts.pop(0).bytes
            self._parts[0].sequence = max(self._parts[0].sequence, first)

    def trim(self, end: Position) -> None:
        sequence, _ = unpack_position(end)
        with self._mutex:
            group = self._gathering_group()
            if sequence <= self._parts[0].sequence:
                return
            # The newest epoch record must stay: the next writer's compare-and-set needs it.
            if self._epoch_sequence < sequence:
                if group.is_due:
                    group = self._end_group(group)
                envelope_bytes = self._envelope_bytes(self._stream.epoch_subject, group.sequence)
                group = Group(group.sequence, envelope_bytes, self._epoch_record)
                self._end_group(group)
            awaited = group.begin_position if group.epoch_record else end - 1
        self.wait(awaited)
        self._stream.purge(sequence)
        with self._mutex:
            while self._parts[0].sequence < sequence:
                self._used_bytes -= self._parts.pop(0).bytes
        self._cache.drop_before(sequence)

    def free_bytes(self) -> int:
        with self._mutex:
            return max(self._max_bytes - self._used_bytes, 0)

    def used_bytes(self) -> int:
        with self._mutex:
            return self._used_bytes

    @property
    def replay_overhead_bytes(self) -> int:
        with self._mutex:
            return _GROUP_COST_BYTES * (self._open.sequence - self._replayed_from) if self._open is not None else 0

    # Reading

    def read(self, spans: Sequence[tuple[Position, int]], *, block: bool = True) -> list[bytes]:
        with self._mutex:
            first = self._parts[0].sequence if self._parts else 0
        return self._reader.read(spans, first=first, block=block)

    def locate(self, position: Position) -> tuple[str, int]:
        sequence, _ = unpack_position(position)
        return f"stream {self._stream.name}, message", sequence

    def close(self) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True  # before the wait below, so that nothing is appended after it
            last = None if self._open is None or self.failure is not None else self._due_end()
        self._reader.close()
        if last is not None:
            self.wait(last)
