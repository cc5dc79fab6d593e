"""Appending one message to a stream, and finding out what became of it.

Each message is sent with the sequence that the stream must have before it. So it can be appended at one place only,
once, and not after any message of another writer. The next message is sent when this one is acknowledged. That is the
fence: once another writer has appended something, nothing of this writer can be appended any more.

| answer | means |
|---|---|
| acknowledged with the expected sequence | it is in the stream |
| acknowledged with another sequence | the stream is not the one it was |
| none, or a temporary refusal | unknown: the identical message is sent again |
| wrong last sequence | the message at the expected sequence decides, see `Appender._examine` |
| any other refusal | it cannot be appended |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from wonderq_storage.errors import LogFailedError, LogLostError
from wonderq_storage.jetstream_stream import Pauses, Stream, may_pass, remedy
from wonderq_storage.nats import Ack, ApiError, NatsError
from wonderq_storage.nats.jetstream import WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_CONSTANT

_WRONG_LAST_SEQUENCE = (WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_CONSTANT)


class Message(NamedTuple):
    """A message and its place in the stream."""

    subject: str
    data: bytes
    epoch: int
    sequence: int

    @property
    def headers(self) -> dict[str, str]:
        return append_headers(self.epoch, self.sequence)


class Appender:
    """Appends messages, one at a time.

    Threads: one at a time calls `append` or `post`; any may read the figures.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._waiting_since_s: float | None = None
        self.retries = 0
        """Number of messages that were sent again."""

    @property
    def waiting_s(self) -> float:
        """How long the message that is being appended has been waiting for its acknowledgement; 0 without one."""
        since_s = self._waiting_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def post(self, message: Message, proceed: Callable[[bool], None]) -> bool:
        """Send a message without waiting; return False if that is not possible now.

        When it is acknowledged as it must be, ``proceed`` is called with True. With False, nobody knows what became of
        it: `append` finds out. The thread that reads the connection makes the call, or the connection's own thread.
        """
        self._waiting_since_s = time.monotonic()

        def answered(answer: Ack | NatsError) -> None:
            is_acknowledged = isinstance(answer, Ack) and answer.sequence == message.sequence
            if is_acknowledged:
                self._waiting_since_s = None
            else:
                self.retries += 1
            proceed(is_acknowledged)

        try:
            self._stream.post(message.subject, message.data, message.headers, answered)
        except NatsError:
            return False
        return True

    def append(self, message: Message) -> None:
        """Append a message, and wait until it is acknowledged.

        Raises:
            LogLostError: another writer has appended in its place.
            LogFailedError: it was not acknowledged, or the stream has lost acknowledged messages.
        """
        pauses = self._stream.pauses()
        if self._waiting_since_s is None:  # otherwise it was posted before
            self._waiting_since_s = time.monotonic()
        try:
            while not self._attempt(message, pauses):
                self.retries += 1
        finally:
            self._waiting_since_s = None

    def _attempt(self, message: Message, pauses: Pauses) -> bool:
        """Send the message; return False if it is to be sent again."""
        sequence = message.sequence
        try:
            ack = self._stream.publish(message.subject, message.data, message.headers)
        except ApiError as error:
            if error.error_code in _WRONG_LAST_SEQUENCE:
                return self._examine(message.data, sequence, pauses)
            reason: NatsError = error
        except NatsError as error:
            reason = error
        else:
            if ack.sequence != sequence:
                raise self._damaged(f"message {sequence} was acknowledged as {ack.sequence}")
            return True
        if not may_pass(reason):
            raise LogFailedError(f"the stream {self._stream.name} refuses a message: {reason}. {remedy(reason)}.")
        if not pauses.wait():
            raise LogFailedError(
                f"the stream {self._stream.name} acknowledged nothing for {self.waiting_s:.0f} s ({reason}). "
                f"{remedy(reason)}. Whether the last records were written shows when the log is opened again."
            )
        return False

    def _examine(self, message: bytes, sequence: int, pauses: Pauses) -> bool:
        """Find out why the stream does not end where this message belongs.

        A leader that was deposed, and does not know it yet, may know less than was acknowledged. So a stream that seems
        too short is asked again until the time is up; nothing is sent to it meanwhile.
        """
        while True:
            found = self._stream.get(sequence, pauses)
            if found is not None:
                if found.payload == message:
                    return True
                raise self._lost()
            info = self._stream.info(pauses)
            if info.first_sequence > sequence:
                raise self._lost()  # only a writer drops messages
            if info.last_sequence == sequence - 1:
                return False
            if not pauses.wait():
                if info.last_sequence >= sequence:
                    raise self._damaged(f"message {sequence} is missing between others")
                raise self._damaged(f"message {sequence - 1} was acknowledged, and the last is {info.last_sequence}")

    def _lost(self) -> LogLostError:
        return LogLostError(
            f"another process has taken over the log in the stream {self._stream.name}. "
            "This one writes nothing any more."
        )

    def _damaged(self, reason: str) -> LogFailedError:
        return LogFailedError(
            f"the stream {self._stream.name} is damaged: {reason}. JetStream has lost acknowledged records. Stop all "
            "WonderQ processes on it, keep its files, and restore a backup."
        )


def append_headers(epoch: int, sequence: int) -> dict[str, str]:
    """Return the headers of a message: its condition, and an id by which a cluster recognizes a repetition."""
    return {"Nats-Expected-Last-Sequence": str(sequence - 1), "Nats-Msg-Id": f"{epoch}:{sequence}"}
