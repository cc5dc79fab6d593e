"""Reading a log in JetStream without taking it over, while its owner works: for copies and checks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wonderq_storage.errors import CorruptLogError, LogFailedError, LogMovedError
from wonderq_storage.jetstream_log import DEFAULT_PART_BYTES
from wonderq_storage.jetstream_replay import Place, Progress, place_of, read_message, unpack_position
from wonderq_storage.jetstream_stream import Stream, may_pass
from wonderq_storage.log import Mark, StaleMarkError
from wonderq_storage.nats import JetStream, NatsError, StoredMessage

#: Repetitions of a call end after this time, unless the caller wants another one.
PATIENCE_S = 30.0


class LogReader:
    """Reads the log in a stream from one place to the newest message at the moment of `begin`.

    Each message is verified, and must follow on the one before. ``own_copy`` reads what the connected server itself has
    of the stream, which must have a replica there; otherwise any server answers, and the leader decides.

    Raises, from all methods:
        LogFailedError: JetStream does not answer, or there is no such stream.
        CorruptLogError, UnsupportedFormatError: a message cannot be read.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        *,
        own_copy: bool = False,
        attempt_s: float = 2.0,
        patience_s: float | None = None,
    ) -> None:
        kind = _OwnCopy if own_copy else Stream
        self._stream = kind(
            jetstream, stream, attempt_s=attempt_s, patience_s=PATIENCE_S if patience_s is None else patience_s
        )
        self._progress = Progress(self._stream, 1, DEFAULT_PART_BYTES)
        self.first = 0
        """Sequence of the oldest message of the stream."""
        self.last = 0
        """Sequence of the newest message that is read."""
        self.stream_bytes = 0
        """Size of the whole stream."""

    @property
    def sequence(self) -> int:
        """Sequence of the newest message that was read so far."""
        return self._progress.sequence

    @property
    def epoch(self) -> int:
        """Number of the newest ownership that was read so far."""
        return self._progress.epoch

    @property
    def chain(self) -> int | None:
        """Checksum of the newest message that was read so far. It depends on all messages before it."""
        return self._progress.chain

    def log_id(self) -> str:
        """Return the identity of the log in hexadecimal; empty if nobody ever owned it."""
        newest = self._stream.newest_epoch()
        return "" if newest is None else read_message(self._stream, newest).log_id.hex()

    def begin(self, *, known: int = 0, after: bytes | None = None, last: int | None = None) -> None:
        """Decide what to read: all messages, or those after the place where another reader ended.

        ``known`` is the sequence of a message that is known to be acknowledged. ``last`` ends the reading there.

        Raises:
            CorruptLogError: the stream ends before a message that was acknowledged.
            StaleMarkError: the place is one of another log, or messages after it were dropped meanwhile.
        """
        place = None if after is None else place_of(Mark(0, after), bytes.fromhex(self.log_id()))
        known = max(known, 0 if place is None else place.sequence)
        info = self._stream.info_reaching(known)
        if info.last_sequence < known:
            reason = f"the message was acknowledged, and the stream ends with message {info.last_sequence}"
            raise CorruptLogError(self._stream.place(known), 0, reason)
        self.first, self.stream_bytes = info.first_sequence, info.bytes
        self.last = info.last_sequence if last is None else last
        self._progress = Progress(self._stream, info.first_sequence, DEFAULT_PART_BYTES)
        if place is not None:
            if place.sequence + 1 < info.first_sequence:
                raise StaleMarkError("messages after this place were dropped")
            self._progress.resume(place, info.first_sequence)

    def groups(self) -> Iterator[list[bytes]]:
        """Yield the records of each message that has some.

        Raises:
            LogMovedError: the owner dropped the beginning of the log meanwhile. Call `begin` again.
        """
        group: list[bytes] = []
        sequence = 0
        for position, record in self._progress.read_up_to(self.last, 0):
            of_message, _ = unpack_position(position)
            if group and of_message != sequence:
                yield group
                group = []
            sequence = of_message
            group.append(bytes(record))
        if group:
            yield group

    def place(self) -> bytes:
        """Return the place after what was read, for ``after`` of another reader."""
        progress = self._progress
        return Place(
            progress.log_id or b"", progress.sequence, progress.chain or 0, progress.epoch, progress.token or "", []
        ).pack()


class _OwnCopy(Stream):
    """A stream as the connected server has it: a server answers direct requests for its own replicas itself."""

    def messages(self, first: int, last: int) -> Iterator[StoredMessage]:
        pauses = self.pauses()
        while first <= last:
            begin, problem = first, ""
            try:
                with contextlib.closing(self._batch(first, last)) as batch:
                    for message in batch:
                        if message.sequence != first:
                            problem = f"the copy goes on with message {message.sequence}"
                            break
                        yield message
                        first += 1
            except NatsError as error:
                if not may_pass(error):
                    raise LogFailedError(f"the copy of the stream {self.name} cannot be read: {error}") from error
                problem = str(error)
            if first > begin:
                pauses = self.pauses()
            elif not pauses.wait():
                if self.info().first_sequence > first:
                    raise LogMovedError(f"the stream {self.name} begins later now")
                raise CorruptLogError(self.place(first), 0, problem or "the copy ends before this message")
