"""`wonderq cluster check`: read each copy of each shard's log, and compare them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from wonderq.cluster_tools.logs import ClusterLogs
from wonderq.state import record, record_contents
from wonderq.state.state import State, UnreadableRecordError
from wonderq_storage import CorruptLogError, LogMovedError, StorageError
from wonderq_storage.jetstream_reader import LogReader
from wonderq_storage.jetstream_replicas import StreamReplicas, replicas_of, servers_that_answer
from wonderq_storage.nats import Connection, JetStream
from wonderq_storage.nats.address import Address

#: Patience with one copy.
_COPY_S = 10.0

_MOST_READINGS = 10


@dataclass
class ShardCheck:
    """What was found in the copies of one shard."""

    shard: int
    epoch: int = 0
    first: int = 0
    """Sequence of the oldest message of the log."""
    last: int = 0
    """Sequence up to which all copies were read."""
    records: int = 0
    messages: int = 0
    replicas: int = 0
    """Number of replicas that the log is to have."""
    current: int = 0
    """Number of replicas that have all of the log up to ``last``."""
    read: list[str] = field(default_factory=list)
    """NATS servers whose copy was read to its end, and is equal."""
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.problems


def check(
    logs: ClusterLogs, servers: Sequence[Address], progress: Callable[[int], object] = lambda _: None
) -> Iterator[ShardCheck]:
    """Yield what is found in each shard. ``servers`` are addresses of NATS.

    Raises:
        StorageError: NATS does not answer.
    """
    logs.hear()
    answering = servers_that_answer(logs.jetstream)
    for shard in range(logs.charter.shards):
        yield _check_shard(logs, shard, servers, answering, progress)


def _check_shard(
    logs: ClusterLogs,
    shard: int,
    servers: Sequence[Address],
    answering: Collection[str],
    progress: Callable[[int], object],
) -> ShardCheck:
    found = ShardCheck(shard)
    stream = logs.charter.stream(shard)
    try:
        replicas = replicas_of(logs.jetstream, stream)
        reader = logs.reader(shard)
        known = logs.known(shard, reader.log_id())
        gone = replicas.gone(answering)
        _note_replicas(found, replicas, gone)
        chain = _read_again(found, reader, known, None, progress)
    except (StorageError, UnreadableRecordError) as error:
        found.problems.append(str(error))
        return found
    for server in sorted(replicas.servers - gone):
        try:
            # A connection of its own: it hears what the owner appends meanwhile, and nothing else shall.
            with closing(Connection(servers, name="wonderq")) as connection:
                copy = LogReader(JetStream(connection), stream, copy_of=server, patience_s=_COPY_S)
                if _read_again(ShardCheck(shard), copy, 0, found.last, progress) != chain:
                    found.problems.append(f"the copy of the server {server} differs from that of the leader")
                else:
                    found.read.append(server)
        except (StorageError, UnreadableRecordError) as error:
            found.problems.append(f"the copy of the server {server}: {error}")
    found.current = len(found.read)
    return found


def _note_replicas(found: ShardCheck, replicas: StreamReplicas, gone: Collection[str]) -> None:
    """Note replicas that nobody has. While the cluster works, one that follows is often behind for a moment."""
    found.replicas = replicas.wanted
    found.problems += [f"the server {each} is not there" for each in sorted(gone)]
    missing = replicas.wanted - 1 - len(replicas.others)
    if missing > 0:
        found.problems.append(f"{missing} of {replicas.wanted} replicas have no server")


def _read_again(
    found: ShardCheck, reader: LogReader, known: int, last: int | None, progress: Callable[[int], object]
) -> int | None:
    """Read a copy to its end; again if the owner drops its beginning meanwhile. Return its chain."""
    for _ in range(_MOST_READINGS - 1):
        try:
            return _read(found, reader, known, last, progress)
        except LogMovedError:
            continue
    return _read(found, reader, known, last, progress)


def _read(
    found: ShardCheck, reader: LogReader, known: int, last: int | None, progress: Callable[[int], object]
) -> int | None:
    reader.begin(known=known, last=last)
    state, found.records = State(), 0
    for group in reader.groups():
        for data in group:
            _apply(state, data, f"shard {found.shard}, message {reader.sequence}")
        found.records += len(group)
        progress(len(group))
    state.check_complete()
    found.first, found.last, found.epoch = reader.first, reader.last, reader.epoch
    found.messages = sum(len(queue.messages) for queue in state.queues.values())
    return reader.chain


def _apply(state: State, data: bytes, place: str) -> None:
    """Apply a record, and check the checksums of its messages.

    Raises:
        CorruptLogError: it cannot be read, or does not fit the records before it.
    """
    try:
        read = record.decode_typed(data)
        for entry in record_contents.entries_of(read):
            if entry.problem:
                raise CorruptLogError(place, 0, entry.problem)
        state.apply(read, 0, len(data))  # this state reads no message again, so any position works
    except ValueError as error:
        raise CorruptLogError(place, 0, str(error)) from error
