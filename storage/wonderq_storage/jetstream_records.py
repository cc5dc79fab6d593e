"""Reading single records of a stream: from memory, or from JetStream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wonderq_storage import jetstream_frame as frame
from wonderq_storage.errors import CorruptLogError, LogClosedError, LogMovedError, TrimmedError
from wonderq_storage.jetstream_cache import MessageCache
from wonderq_storage.jetstream_replay import read_message, unpack_position
from wonderq_storage.jetstream_stream import Stream
from wonderq_storage.log import Position
from wonderq_storage.nats import StoredMessage


class RecordReader:
    """Reads the records at given positions. Messages from JetStream are verified, and kept in the cache.

    Threads: any number may call `read`.
    """

    def __init__(self, stream: Stream, cache: MessageCache) -> None:
        self._stream = stream
        self._cache = cache
        self._is_closed = False

    def close(self) -> None:
        """Ask JetStream for nothing any more."""
        self._is_closed = True

    def read(self, spans: Sequence[tuple[Position, int]], *, first: int, block: bool) -> list[bytes]:
        """Return the bytes of each ``(position, length)``. Messages before the sequence ``first`` are dropped already.

        Raises:
            BlockingIOError: the bytes are not in memory, and ``block`` is false.
            TrimmedError: a record was dropped.
            CorruptLogError: the bytes are not those of a record.
            LogFailedError: JetStream does not answer.
            LogClosedError: the bytes are not in memory, and `close` was called.
        """
        found: list[bytes] = [b""] * len(spans)
        wanted: dict[int, list[int]] = {}  # indexes of spans by the message that has them
        for index, (position, _) in enumerate(spans):
            wanted.setdefault(unpack_position(position)[0], []).append(index)
        missing = []
        for sequence, indexes in wanted.items():
            if sequence < first:
                raise TrimmedError(f"the record in message {sequence} was dropped")
            data = self._cache.get(sequence)
            if data is None:
                missing.append(sequence)
            else:
                self._cut(sequence, data, spans, indexes, found)
        if missing and not block:
            raise BlockingIOError("the records are not in memory")
        for begin, last in _runs(sorted(missing)):
            for stored in self._fetch(begin, last):
                self._cut(stored.sequence, stored.payload, spans, wanted[stored.sequence], found)
                self._cache.put(stored.sequence, stored.payload)
        return found

    def _fetch(self, first: int, last: int) -> Iterator[StoredMessage]:
        """Yield messages of the stream, verified."""
        if self._is_closed:
            raise LogClosedError("the log is closed")
        try:
            for stored in self._stream.messages(first, last):
                read_message(self._stream, stored)
                yield stored
        except LogMovedError as error:
            raise TrimmedError(f"the record in message {first} was dropped") from error

    def _cut(
        self, sequence: int, data: bytes, spans: Sequence[tuple[Position, int]], indexes: list[int], found: list[bytes]
    ) -> None:
        """Copy the spans of one message to their places in the result."""
        for index in indexes:
            position, length = spans[index]
            _, offset = unpack_position(position)
            if offset + length > len(data) - frame.CRC_BYTES:
                raise CorruptLogError(self._stream.place(sequence), offset, f"{length} bytes should be here")
            found[index] = data[offset : offset + length]


def _runs(sequences: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of consecutive sequences."""
    first = last = None
    for each in sequences:
        if last is not None and each == last + 1:
            last = each
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = each
    if first is not None and last is not None:
        yield first, last
