"""Logs in streams of a NATS server, whose answers a test can withhold, replace or hold back."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator
from typing import Any

from tests.support.waiting import PATIENCE_S
from wonderq_storage import Mark, Position
from wonderq_storage.jetstream_log import JetStreamLog
from wonderq_storage.jetstream_stream import Stream
from wonderq_storage.nats import Ack, ApiError, Connection, JetStream, NatsError, NatsUnreachableError, StoredMessage

#: Small, so that tests reach the borders of parts and groups soon.
PART_BYTES, MAX_RECORD_BYTES = 4500, 4000

_LARGE_BYTES = 1 << 26

#: Publishes a message, or does something else.
Publish = Callable[[], Ack]


class ControlledJetStream(JetStream):
    """A JetStream that lets a test come between a message and its acknowledgement."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.interfere: Callable[[Publish], Ack] | None = None
        """Called in place of each `publish` and `post`, with the publish itself."""
        self.published: list[tuple[str, bytes, dict[str, str]]] = []
        """Subject, payload and headers of each message that was to be sent."""
        self.tamper: Callable[[StoredMessage], StoredMessage | None] = lambda message: message
        """Changes or hides a message that is read."""
        self.replica_has = 1 << 62
        """Sequence of the last message that replicas have, if they are asked for a batch."""
        self.batch_error: NatsError | None = None
        """Error of each batch, if any."""
        self.read_from_leader = 0
        """Number of messages that the leader was asked for."""

    def publish(self, stream: str, subject: str, payload: bytes, headers: dict[str, str], *, timeout_s: float) -> Ack:
        self.published.append((subject, payload, headers))
        parent = super().publish

        def publish() -> Ack:
            return parent(stream, subject, payload, headers, timeout_s=timeout_s)

        return publish() if self.interfere is None else self.interfere(publish)

    def post(
        self,
        stream: str,
        subject: str,
        payload: bytes,
        headers: dict[str, str],
        callback: Callable[[Ack | NatsError], None],
        *,
        timeout_s: float,
    ) -> None:
        if self.interfere is None:
            self.published.append((subject, payload, headers))
            super().post(stream, subject, payload, headers, callback, timeout_s=timeout_s)
            return
        answer: Ack | NatsError
        try:
            answer = self.publish(stream, subject, payload, headers, timeout_s=timeout_s)
        except NatsUnreachableError:
            raise
        except NatsError as error:
            answer = error
        callback(answer)

    def get(self, stream: str, sequence: int, *, timeout_s: float) -> StoredMessage | None:
        found = super().get(stream, sequence, timeout_s=timeout_s)
        self.read_from_leader += 1
        return None if found is None else self.tamper(found)

    def get_batch(self, stream: str, first_sequence: int, **options: Any) -> Generator[StoredMessage, None, None]:
        if self.batch_error is not None:
            raise self.batch_error
        for found in super().get_batch(stream, first_sequence, **options):
            if found.sequence > self.replica_has:
                return
            if (changed := self.tamper(found)) is not None:
                yield changed


class PostingLog(JetStreamLog):
    """A log whose groups are posted while a thread waits, as while a fiber does."""

    def wait(self, position: Position) -> None:
        ended = threading.Event()
        assert self.call_when_durable(position, ended.set)
        assert ended.wait(PATIENCE_S)
        super().wait(position)


class LogStream:
    """The stream of one log. Its methods without an underscore are the surroundings of the contract suite.

    With ``posts``, its logs are `PostingLog`s.
    """

    def __init__(self, connection: Connection, *, replicas: int = 1, posts: bool = False) -> None:
        self.name = f"T{secrets.token_hex(6)}"
        self.jetstream = ControlledJetStream(connection)
        self._replicas = replicas
        self._posts = posts
        self._max_bytes = _LARGE_BYTES

    @staticmethod
    def config_of(name: str, replicas: int) -> dict[str, Any]:
        """Return the configuration with which a log makes its stream."""
        stream = Stream(JetStream.__new__(JetStream), name, attempt_s=1, patience_s=1)
        return stream.config(replicas, _LARGE_BYTES)

    def open(self, *, jetstream: JetStream | None = None, node: str = "test", **options: Any) -> JetStreamLog:
        """Open the log, over another connection than the stream's own if one is given."""
        options = {
            "max_bytes": self._max_bytes,
            "part_bytes": PART_BYTES,
            "max_record_bytes": MAX_RECORD_BYTES,
            "settle_s": 0,
            **options,
        }
        jetstream = jetstream or self.jetstream
        if self._posts:
            return PostingLog(jetstream, self.name, node=node, replicas=self._replicas, posting=jetstream, **options)
        return JetStreamLog(jetstream, self.name, node=node, replicas=self._replicas, **options)

    def start(self, **options: Any) -> JetStreamLog:
        """Open the log, replay it, and start it."""
        log = self.open(**options)
        replayed(log)
        log.start()
        return log

    def limit_room(self, parts: int) -> None:
        """Give a stream that is made after this call room for this number of parts."""
        self._max_bytes = parts * PART_BYTES

    def fail_writes(self) -> None:
        """Have each message refused."""

        def refuse(_publish: Publish) -> Ack:
            raise ApiError(500, 0, "refused by the test")

        self.jetstream.interfere = refuse

    def work_again(self) -> None:
        """Take back `limit_room` and `fail_writes`."""
        self.jetstream.interfere = None
        if self._max_bytes != _LARGE_BYTES:
            self._max_bytes = _LARGE_BYTES
            config = self.jetstream.stream_info(self.name, timeout_s=PATIENCE_S).config
            self.call("UPDATE", {**config, "max_bytes": _LARGE_BYTES})

    def call(self, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the API of streams."""
        return self.jetstream.call(f"STREAM.{verb}.{self.name}", body, timeout_s=PATIENCE_S)


def replayed(log: JetStreamLog, mark: Mark | None = None) -> list[tuple[Position, bytes]]:
    return [(position, bytes(record)) for position, record in log.replay(mark)]
