"""Reading messages from the log, outside the broker's lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, compress, pairwise, repeat
from typing import Any, NamedTuple

from wonderq.broker.core import Core
from wonderq.model.envelope import Envelope, envelope_of
from wonderq.model.messages import Message, new_tuple
from wonderq.model.status import CLAIMED, DELAYED, STATUS_NAMES
from wonderq.model.topics import PUBLISHED_HEADER, EnvelopeWriter, as_delivered, write_envelope
from wonderq.runtime.fibers import Hub, took
from wonderq.runtime.offload import BlockingPool
from wonderq.state import record
from wonderq.state.page import NO_TOKEN, MessageColumns, MessageView
from wonderq.state.state import Queue
from wonderq_storage import CorruptLogError, Position, TrimmedError

#: Threads that read entries from the disk when the page cache does not have them.
_READERS = 4

#: Most bytes of entries to read at a time. A larger message is read alone.
_PORTION_BYTES = 1 << 18

#: Bytes of entries that are read, verified and decoded in a step of `took`: bodies alone, and with headers.
_BYTES_PER_STEP, _HEADER_BYTES_PER_STEP = 500, 100

#: Steps of `took` for each envelope.
_STEPS_PER_ENVELOPE = 10

#: The statuses that end by themselves.
_WITH_DEADLINE = (CLAIMED, DELAYED)


Headers = dict[str, Any]
"""Contents of a message besides its body; see `wonderq.model.messages`. Do not change one: messages may share it."""


class Batch(NamedTuple):
    """Messages of one queue that were read together, as columns: a large batch makes no object for each message."""

    queue: str
    state: MessageColumns
    bodies: Sequence[str]
    headers: Mapping[int, Headers]
    """Headers by index, for the messages that have any."""
    ids: Sequence[bytes]
    receipts: Sequence[bytes]
    """Receipts of the claim that delivers the messages; empty if none does."""
    consumers: Sequence[str]
    """Names of the consumers that hold the messages; empty if none gave its name."""

    def messages(self) -> Iterator[Message]:
        """Yield the messages as clients see them. Each is made when it is asked for."""
        state = self.state
        ends_ms: Iterable[int | None] = state.due_ms
        if not self.receipts:
            ends_ms = map(_end_of, state.status, state.due_ms)
        envelopes: Iterable[Envelope | None] = repeat(None)
        if self.headers or any(state.updates):
            envelopes = (envelope_of(self.headers.get(index, {}), count) for index, count in enumerate(state.updates))
        columns = (
            map(bytes.decode, self.ids),
            self.bodies,
            map(STATUS_NAMES.__getitem__, state.status),
            map(bytes.decode, self.receipts) if self.receipts else repeat(None),
            state.receives,
            state.produced_ms,
            ends_ms,
            repeat(self.queue),
            state.sequence,
            state.first_claimed_ms,
            envelopes,
            self.consumers or repeat(""),
        )
        return map(new_tuple, repeat(Message), zip(*columns, strict=False))


def _names(state: MessageColumns, consumers: Mapping[int, str], token: int) -> Sequence[str]:
    """Return the name of the consumer that holds each message."""
    if token:
        return [consumers.get(token, "")] * len(state.token)
    return [
        consumers.get(each, "") if status == CLAIMED else ""
        for each, status in zip(state.token, state.status, strict=True)
    ]


def _end_of(status: int, due_ms: int) -> int | None:
    return due_ms if status in _WITH_DEADLINE else None


class LoadedMessage(NamedTuple):
    """Contents of a message that was read to be moved or rewritten."""

    view: MessageView
    """The message's state when it was read."""
    body: str
    headers: Headers


class Reader:
    """Reads the entries of durable messages, and verifies them. Others have their turn while it reads many.

    Every method raises `CorruptLogError` if an entry does not verify; the broker does no more work then.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pool = BlockingPool(_READERS)
        self.write_envelope: EnvelopeWriter = write_envelope
        """Makes the body of a published message for a queue that wants an envelope."""

    def read(self, queue: Queue, state: MessageColumns, consumers: Mapping[int, str], token: int = NO_TOKEN) -> Batch:
        """Return messages, without those that were deleted and dropped from the log meanwhile.

        ``consumers`` are the names of those that held them when the views were made, by token: claims may have ended.
        ``token`` is that of the claim which delivers them; the messages then have receipts.
        """
        state, bodies, headers = self.contents(queue, state)
        for index, each in headers.items():
            if PUBLISHED_HEADER in each:
                bodies[index], headers[index] = self.enveloped(queue, bodies[index], each)
        ids = self._core.ids
        receipts: Sequence[bytes] = ()
        if token:
            message_ids, receipts = ids.ids_and_receipts(queue.number, state.sequence, token)
        else:
            message_ids = ids.ids(queue.number, state.sequence)
        names = _names(state, consumers, token) if consumers else ()
        return new_tuple(Batch, (queue.name, state, bodies, headers, message_ids, receipts, names))

    def messages(self, queue: Queue, views: Sequence[MessageView], consumers: Mapping[int, str]) -> list[Message]:
        """Return messages as `read` does, one by one. There must be at least one view."""
        return list(self.read(queue, MessageColumns.of(views), consumers).messages())

    def enveloped(self, queue: Queue, body: str, headers: Headers) -> tuple[str, Headers]:
        """Return the body and the headers of a message as consumers get it; see `as_delivered`."""
        took(_STEPS_PER_ENVELOPE)
        return as_delivered(body, headers, queue.name, self.write_envelope)

    def load(self, queue: Queue, views: Sequence[MessageView]) -> list[LoadedMessage]:
        """Return the contents of messages, once they are durable, without those that were deleted meanwhile."""
        self._core.wait_until_durable()  # only durable entries can be read
        if not views:
            return []
        state, bodies, headers = self.contents(queue, MessageColumns.of(views))
        loaded = zip(map(MessageView._make, zip(*state, strict=True)), bodies, strict=True)
        return [LoadedMessage(view, body, headers.get(at, {})) for at, (view, body) in enumerate(loaded)]

    def contents(self, queue: Queue, state: MessageColumns) -> Contents:
        """Return the messages that are still there, their bodies, and by index the headers of those that have any."""
        if sum(state.length) <= _PORTION_BYTES:
            return self._read_portion(queue, state)
        parts = [self._read_portion(queue, portion) for portion in _portions(state)]
        bodies: list[str] = []
        headers: dict[int, Headers] = {}
        for part in parts:
            headers.update((len(bodies) + index, each) for index, each in part.headers.items())
            bodies += part.bodies
        return Contents(MessageColumns.join([part.state for part in parts]), bodies, headers)

    def _read_portion(self, queue: Queue, state: MessageColumns) -> Contents:
        """Do what `contents` does for messages that one turn can read.

        A message that compaction has moved meanwhile is found again, and one that was deleted is left out.
        """
        while state.sequence:
            try:
                data = self._read(state)
            except TrimmedError:
                state = self._find_again(queue, state)
                continue
            except CorruptLogError as error:
                raise self._core.mark_damaged(error.file, error.offset, error.reason) from error
            try:
                bodies, headers = record.decode_entries(data, state.length)
            except ValueError as error:
                raise self._core.mark_damaged(*self._core.log.locate(state.position[0]), str(error)) from error
            took(len(bodies) + len(data) // (_HEADER_BYTES_PER_STEP if headers else _BYTES_PER_STEP))
            return new_tuple(Contents, (state, bodies, headers))
        return Contents(state, [], {})

    def _find_again(self, queue: Queue, state: MessageColumns) -> MessageColumns:
        """Return messages of which some have left the place where they were, without those that were deleted."""
        core = self._core
        with core.lock:
            found = [queue.messages.find(sequence) for sequence in state.sequence]
        core.confirm()  # another writer may have dropped them
        left = [view for view in found if view is not None]
        positions = [view.position for view in left]
        if positions == list(state.position):
            place = core.log.locate(positions[0])
            raise core.mark_damaged(*place, "messages were dropped that had not been copied") from None
        kept = MessageColumns(*(list(compress(column, found)) for column in state))
        return kept._replace(position=positions, length=[view.length for view in left])

    def _read(self, state: MessageColumns) -> bytes:
        """Return the entries of messages, one after the other."""
        first = state.position[0]
        starts = list(accumulate(state.length, initial=first))
        end = starts.pop()
        if starts == list(state.position):  # they were produced together
            spans = [(first, end - first)]
        else:
            spans = list(zip(state.position, state.length, strict=True))
        return b"".join(self._read_spans(spans))

    def _read_spans(self, spans: Sequence[tuple[Position, int]]) -> list[bytes]:
        try:
            return self._core.log.read(spans, block=Hub.current() is None)
        except BlockingIOError:
            return self._pool.run(lambda: self._core.log.read(spans))

    def close(self) -> None:
        """End the threads."""
        self._pool.close()


class Contents(NamedTuple):
    """Messages as they are stored: without envelopes."""

    state: MessageColumns
    bodies: list[str]
    headers: dict[int, Headers]


def _portions(state: MessageColumns) -> Sequence[MessageColumns]:
    """Split messages into portions, each of which a turn can read."""
    borders, size = [0], 0
    for index, length in enumerate(state.length):
        size += length
        if size > _PORTION_BYTES and index > borders[-1]:
            borders.append(index)
            size = length
    borders.append(len(state.length))
    return [MessageColumns(*(column[start:stop] for column in state)) for start, stop in pairwise(borders)]
