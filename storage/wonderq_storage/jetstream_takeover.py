"""Taking a log in JetStream over: read it, decide that it is time, append an epoch record, and read up to that.

A process that stands by reads the log all the time, up to what the owner says is acknowledged. So little is left to
read when it takes over. `Turn` decides when that is. The decision is only a wish: the compare-and-set of the epoch
record counts, so a wrong wish costs time and no message.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator

from wonderq_storage import jetstream_frame as frame
from wonderq_storage.errors import CorruptLogError, LogLostError
from wonderq_storage.jetstream_replay import Progress, claim, overtaken, place_of, read_message
from wonderq_storage.jetstream_stream import Stream
from wonderq_storage.log import Mark, Position, Reached, StaleMarkError, Turn
from wonderq_storage.nats import StreamInfo

logger = logging.getLogger("wonderq.storage")


class AtOnce:
    """A `Turn` that waits for nobody."""

    def wait(self, _reached: Reached) -> int | None:
        return None

    def known_sequence(self, _log_id: bytes | None) -> int:
        return 0

    def beaten(self, error: LogLostError) -> None:
        raise error

    def claimed(self, _epoch: int) -> None:
        pass


class Takeover:
    """One attempt of a process, called ``node`` in the epoch record, to take over the log in a stream."""

    def __init__(self, stream: Stream, node: str, turn: Turn, part_bytes: int) -> None:
        self._stream = stream
        self._node = node
        self._turn = turn
        self._part_bytes = part_bytes
        self.epoch_record = b""
        """The own epoch record; empty until `records` was read to its end."""
        self.progress = Progress(stream, 1, part_bytes)
        """The part of the log that was read so far."""

    def records(self, info: StreamInfo, mark: Mark | None) -> Iterator[tuple[Position, memoryview]]:
        """Yield the records of the stream from ``mark`` on, and own the log at the end.

        ``info`` describes the stream, which is open. Raises what `wonderq_storage.log.Log.replay` raises.
        """
        self.progress = Progress(self._stream, info.first_sequence, self._part_bytes)
        if mark is not None:
            log_id, _, _ = self._newest_epoch()
            place = place_of(mark, log_id)
            if place.sequence + 1 < info.first_sequence:
                raise StaleMarkError("the mark is from before the oldest record")
            info = self._reaching(place.sequence)
            self.progress.resume(place, info.first_sequence)
        begin = 0 if mark is None else mark.end
        yield from self.progress.read_up_to(info.last_sequence, begin)
        while not self.epoch_record:
            while (sequence := self._turn.wait(self._reached())) is not None:
                yield from self.progress.read_up_to(sequence, begin)
            yield from self._take(begin)

    def _reached(self) -> Reached:
        return Reached(self.progress.log_id, self.progress.epoch, self.progress.sequence)

    def _take(self, begin: Position) -> Iterator[tuple[Position, memoryview]]:
        """Append the own epoch record, unless another process has appended one since the last look."""
        decided_on = self.progress.epoch  # the turn was about the owner of that epoch
        known = max(self._turn.known_sequence(self.progress.log_id), self.progress.sequence)
        info = self._reaching(known)
        yield from self.progress.read_up_to(info.last_sequence, begin)
        log_id, epoch, after = self._newest_epoch()
        token = secrets.token_hex(16)
        record = frame.pack_epoch(log_id or secrets.token_bytes(16), epoch + 1, frame.Writer(self._node, token))
        try:
            if epoch > decided_on:
                raise overtaken(self._stream)
            own = claim(self._stream, record, token, after)
        except LogLostError as error:
            self._turn.beaten(error)
            yield from self.progress.read_up_to(self._stream.info().last_sequence, begin)
            return
        self._turn.claimed(epoch + 1)
        logger.info("epoch %d of the log in the stream %s begins with message %d", epoch + 1, self._stream.name, own)
        if own <= known:
            raise self._too_short(known, own)
        yield from self.progress.read_up_to(own, begin)
        if self.progress.token != token:
            raise CorruptLogError(self._stream.place(own), 0, "the acknowledged epoch record is not there")
        self.epoch_record = record

    def _newest_epoch(self) -> tuple[bytes | None, int, int]:
        """Return the id of the log, the newest epoch and the sequence of its record; None, 0 and 0 in a new stream."""
        newest = self._stream.newest_epoch()
        if newest is None:
            return None, 0, 0
        message = read_message(self._stream, newest)
        return message.log_id, message.epoch, newest.sequence

    def _reaching(self, sequence: int) -> StreamInfo:
        """Return the state of the stream, which must have the message ``sequence``.

        Raises:
            CorruptLogError: the stream ends before it.
        """
        info = self._stream.info_reaching(sequence)
        if info.last_sequence < sequence:
            raise self._too_short(sequence, info.last_sequence)
        return info

    def _too_short(self, sequence: int, last: int) -> CorruptLogError:
        reason = f"the message was acknowledged, and the stream ends with message {last}"
        return CorruptLogError(self._stream.place(sequence), 0, reason)
