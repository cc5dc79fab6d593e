"""Reading a log in JetStream without taking it over, while its owner works: for copies and checks."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from wonderq_storage.errors import CorruptLogError, LogFailedError, LogMovedError
from wonderq_storage.jetstream_log import DEFAULT_PART_BYTES
from wonderq_storage.jetstream_replay import Place, Progress, place_of, read_message, unpack_position
from wonderq_storage.jetstream_stream import Stream
from wonderq_storage.log import Mark, StaleMarkError
from wonderq_storage.nats import JetStream, NatsError, StoredMessage

#: Repetitions of a call end after this time, unless the caller wants another one.
PATIENCE_S = 30.0

#: Messages between two acknowledgements of a consumer. It sends three times as many ahead.
_ACK_EVERY = 4

_ACK_WAIT_S = 60

#: Beginning of the subjects to which consumers deliver.
_INBOX = "wonderq.copy."

#: Most attempts to have a consumer on a server.
_MOST_CONSUMERS = 60


class LogReader:
    """Reads the log in a stream from one place to the newest message at the moment of `begin`.

    Each message is verified, and must follow on the one before. ``copy_of`` names a server whose own copy is read, over
    a connection that does nothing else; otherwise any server answers, and the leader decides.

    Raises, from all methods:
        LogFailedError: JetStream does not answer, or there is no such stream.
        CorruptLogError, UnsupportedFormatError: a message cannot be read.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        *,
        copy_of: str | None = None,
        attempt_s: float = 2.0,
        patience_s: float | None = None,
    ) -> None:
        patience_s = PATIENCE_S if patience_s is None else patience_s
        self._stream = (
            Stream(jetstream, stream, attempt_s=attempt_s, patience_s=patience_s)
            if copy_of is None
            else _CopyOf(jetstream, stream, copy_of, attempt_s=attempt_s, patience_s=patience_s)
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


class _CopyOf(Stream):
    """A stream as one server has it: a consumer with one replica reads what the server has on which it is."""

    def __init__(self, jetstream: JetStream, name: str, server: str, *, attempt_s: float, patience_s: float) -> None:
        super().__init__(jetstream, name, attempt_s=attempt_s, patience_s=patience_s)
        self._server = server
        self._silence_s = patience_s

    def messages(self, first: int, last: int) -> Iterator[StoredMessage]:
        if first > last:
            return
        received: SimpleQueue[StoredMessage] = SimpleQueue()
        connection = self._jetstream.connection
        replies: dict[int, str] = {}
        consumer = self._make_consumer(first)

        def receive(subject: str, payload: bytes, reply_to: str) -> None:
            if f".{consumer}." in reply_to:  # otherwise it is what the owner appends
                sequence = _sequence_in(reply_to)
                replies[sequence] = reply_to
                received.put(StoredMessage(sequence, subject, payload))

        try:
            # NATS delivers to the inbox, which comes last, under the subject that a message has in the stream.
            for each in (self.log_subject, self.epoch_subject, _INBOX + consumer):
                connection.subscribe_to_requests(each, partial(receive, each))
            for sequence in range(first, last + 1):
                yield self._next(received, sequence)
                reply_to = replies.pop(sequence)
                if sequence % _ACK_EVERY == 0:
                    # Its receipt is confirmed: the servers may not know yet where the consumer is.
                    self.patiently(partial(connection.request, reply_to, b"", timeout_s=self._attempt_s))
        finally:
            self._remove_consumer(consumer)

    def _next(self, received: SimpleQueue[StoredMessage], sequence: int) -> StoredMessage:
        """Return the message with a sequence. Those before it come again if they are not acknowledged in time."""
        try:
            while (message := received.get(timeout=self._silence_s)).sequence < sequence:
                pass
        except Empty:
            message = None
        if message is not None and message.sequence == sequence:
            return message
        if self.info().first_sequence > sequence:
            raise LogMovedError(f"the stream {self.name} begins later now")
        reason = "the copy ends before this message" if message is None else f"message {message.sequence} follows"
        raise CorruptLogError(self.place(sequence), 0, f"the message is missing: {reason}")

    def _make_consumer(self, first: int) -> str:
        """Make a consumer on the server, and return its name. JetStream places it at random.

        It waits for a subscription of its inbox, so those that were placed elsewhere have delivered nothing.

        Raises:
            LogFailedError: it is never placed there, as if the server were not there.
        """
        for _ in range(_MOST_CONSUMERS):
            name = secrets.token_hex(8)
            config = {
                "name": name,
                "deliver_subject": _INBOX + name,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": first,
                "ack_policy": "all",
                "ack_wait": _ACK_WAIT_S * 10**9,
                "max_ack_pending": 3 * _ACK_EVERY,
                "replay_policy": "instant",
                "num_replicas": 1,
                "mem_storage": True,
            }
            body = {"stream_name": self.name, "config": config, "action": "create"}
            answer = self.patiently(partial(self._call, f"CONSUMER.CREATE.{self.name}.{name}", body))
            place = (answer.get("cluster") or {}).get("leader")
            if place in (None, self._server):  # a server without a cluster has no leader
                return name
            self._remove_consumer(name)
        raise LogFailedError(f"the server {self._server} does not read its copy of the stream {self.name}")

    def _call(self, subject: str, body: dict[str, Any] | None) -> dict[str, Any]:
        return self._jetstream.call(subject, body, timeout_s=self._attempt_s)

    def _remove_consumer(self, name: str) -> None:
        with contextlib.suppress(NatsError):
            self._call(f"CONSUMER.DELETE.{self.name}.{name}", None)


def _sequence_in(reply_to: str) -> int:
    """Return the sequence of the message that an acknowledgement is for. Newer servers add a domain and an account."""
    parts = reply_to.split(".")
    return int(parts[5 if len(parts) == 9 else 7])
