"""Replaying a stream: each message must follow on the one before, and each group be from the writer of its epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import msgpack

from wonderq_storage import jetstream_frame as frame
from wonderq_storage.errors import CorruptLogError, LogLostError, UnsupportedFormatError
from wonderq_storage.jetstream_appender import append_headers
from wonderq_storage.jetstream_stream import Stream
from wonderq_storage.log import Mark, Position, StaleMarkError
from wonderq_storage.nats import Ack, ApiError, StoredMessage
from wonderq_storage.nats.jetstream import WRONG_LAST_SEQUENCE

#: A position is the sequence of a message and the offset in it. So a message has less than 16 MiB.
OFFSET_BITS = 24


def pack_position(sequence: int, offset: int) -> Position:
    """Return the position of a byte in the stream."""
    return sequence << OFFSET_BITS | offset


def unpack_position(position: Position) -> tuple[int, int]:
    """Return the sequence of a position's message, and the offset in it."""
    return position >> OFFSET_BITS, position & (1 << OFFSET_BITS) - 1


class Part:
    """A run of messages that `trim` drops together."""

    def __init__(self, sequence: int, size: int = 0) -> None:
        self.sequence = sequence
        """Sequence of its first message."""
        self.bytes = size
        self.began_s: float | None = time.monotonic()
        """When its first message was acknowledged, or found by a replay; None as long as it has no message."""


class Place(NamedTuple):
    """The place of a mark: everything that a replay from there must know of what comes before."""

    log_id: bytes
    sequence: int
    """Sequence of the newest message that was acknowledged."""
    chain: int
    """Checksum of that message."""
    epoch: int
    token: str
    parts: list[tuple[int, int]]
    """First sequence and size of each part so far."""

    def pack(self) -> bytes:
        """Encode the place for `Mark.place`."""
        packed: bytes = msgpack.packb(self)
        return packed


class Progress:
    """The results of a replay so far, and the parts that it consists of."""

    def __init__(self, stream: Stream, first_sequence: int, part_bytes: int) -> None:
        self._stream = stream
        self._part_bytes = part_bytes
        self.sequence = first_sequence - 1
        """Sequence of the newest message that was read."""
        self.log_id: bytes | None = None
        self.epoch = 0
        self.token: str | None = None
        """Token of the epoch's writer. None if its record was dropped from the beginning."""
        self.chain: int | None = None
        """Chain that the next group must have. None at the beginning of the stream, where any is right."""
        self.epoch_sequence = 0
        """Sequence of the newest epoch record, or 0 if it is before a mark."""
        self.parts = [Part(first_sequence)]

    def resume(self, place: Place, first_sequence: int) -> None:
        """Continue after a mark, in a stream that begins with ``first_sequence`` now."""
        self.sequence, self.chain = place.sequence, place.chain
        self.log_id, self.epoch, self.token = place.log_id, place.epoch, place.token
        parts = [Part(*each) for each in place.parts]
        later = [each for each in parts if first_sequence < each.sequence <= place.sequence]
        begun = [each for each in parts if each.sequence <= first_sequence]
        self.parts = [Part(first_sequence, begun[-1].bytes if begun else 0), *later]

    def read_up_to(self, last: int, begin: Position) -> Iterator[tuple[Position, memoryview]]:
        """Yield the records up to the message ``last`` that are at ``begin`` or after it.

        Raises: as `read` and `wonderq_storage.jetstream_stream.Stream.messages`.
        """
        for stored in self._stream.messages(self.sequence + 1, last):
            base = pack_position(stored.sequence, 0)
            records = self.read(stored)
            try:
                for offset, record in records:
                    if base + offset >= begin:
                        yield base + offset, record
            except frame.FrameError as error:
                raise CorruptLogError(self._stream.place(stored.sequence), error.offset, error.reason) from error

    def read(self, stored: StoredMessage) -> Iterator[tuple[int, memoryview]]:
        """Verify the next message, and return the offsets and the records in it.

        Raises:
            CorruptLogError: it is not what must follow.
            UnsupportedFormatError: a newer program wrote it.
        """
        message = read_message(self._stream, stored)
        if self.log_id not in (None, message.log_id):
            raise self._corrupt(stored, "it belongs to another log")
        if message.kind == frame.EPOCH:
            self._read_epoch(stored, message)
        else:
            self._check_group(stored, message)
        self.log_id, self.epoch, self.chain = message.log_id, message.epoch, message.crc
        self.sequence = stored.sequence
        self._count(stored)
        return message.records() if message.kind == frame.GROUP else iter(())

    def _read_epoch(self, stored: StoredMessage, message: frame.Message) -> None:
        try:
            token = frame.writer_of(message).token
        except frame.FrameError as error:
            raise self._corrupt(stored, error.reason, error.offset) from error
        is_repeated = message.epoch == self.epoch and self.token in (None, token)
        if message.epoch <= self.epoch and not is_repeated:
            raise self._corrupt(stored, f"epoch {message.epoch} begins after epoch {self.epoch}")
        self.token = token
        self.epoch_sequence = stored.sequence

    def _check_group(self, stored: StoredMessage, message: frame.Message) -> None:
        if self.epoch and message.epoch != self.epoch:
            raise self._corrupt(stored, f"it is of epoch {message.epoch}, after epoch {self.epoch} had begun")
        if self.chain not in (None, message.chain):
            raise self._corrupt(stored, f"it does not follow on message {self.sequence}")

    def drop_before(self, first_sequence: int) -> None:
        """Forget the parts that were dropped from the stream, which begins with ``first_sequence`` now."""
        while len(self.parts) > 1 and self.parts[1].sequence <= first_sequence:
            self.parts.pop(0)
        self.parts[0].sequence = max(self.parts[0].sequence, first_sequence)

    def _count(self, stored: StoredMessage) -> None:
        if self.parts[-1].bytes >= self._part_bytes:
            self.parts.append(Part(stored.sequence))
        headers = append_headers(self.epoch, stored.sequence)
        self.parts[-1].bytes += self._stream.stored_bytes(stored.subject, headers, len(stored.payload))

    def _corrupt(self, stored: StoredMessage, reason: str, offset: int = 0) -> CorruptLogError:
        return CorruptLogError(self._stream.place(stored.sequence), offset, reason)


def read_message(stream: Stream, stored: StoredMessage) -> frame.Message:
    """Verify a message by itself.

    Raises:
        CorruptLogError: it does not verify, or is not one of the log.
        UnsupportedFormatError: a newer program wrote it.
    """
    place = stream.place(stored.sequence)
    try:
        message = frame.unpack(stored.payload)
    except frame.FrameError as error:
        raise CorruptLogError(place, error.offset, error.reason) from error
    except frame.NewerVersionError as error:
        raise UnsupportedFormatError(f"{place}: {error}. Install a newer WonderQ.") from error
    expected = stream.epoch_subject if message.kind == frame.EPOCH else stream.log_subject
    if stored.subject != expected:
        raise CorruptLogError(place, 0, f"it has the subject {stored.subject}, and should have {expected}")
    if message.kind == frame.GROUP and message.sequence != stored.sequence:
        raise CorruptLogError(place, 0, f"it was written as message {message.sequence}")
    return message


def place_of(mark: Mark, log_id: bytes | None) -> Place:
    """Decode the place of a mark.

    Raises:
        StaleMarkError: it is a mark of another log.
    """
    try:
        place = Place(*msgpack.unpackb(mark.place))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise StaleMarkError("the mark is not one of a stream") from error
    if place.log_id != log_id:
        raise StaleMarkError("the mark belongs to another log")
    return place


def claim(stream: Stream, record: bytes, token: str, after: int) -> int:
    """Append an epoch record if ``after`` is still the sequence of the newest one; return its sequence.

    Raises:
        LogLostError: another writer was faster.
        LogFailedError: JetStream does not answer.
    """
    headers = {"Nats-Expected-Last-Subject-Sequence": str(after), "Nats-Msg-Id": token}

    def attempt() -> Ack | None:
        try:
            return stream.publish(stream.epoch_subject, record, headers)
        except ApiError as error:
            if error.error_code == WRONG_LAST_SEQUENCE:
                return None
            raise

    ack = stream.patiently(attempt)
    if ack is not None:
        return ack.sequence
    newest = stream.newest_epoch()
    if newest is None or newest.payload != record:
        raise overtaken(stream)
    return newest.sequence


def overtaken(stream: Stream) -> LogLostError:
    """Return the error of a process that was not fast enough."""
    return LogLostError(f"another process has just taken over the log in the stream {stream.name}. Try again.")
