"""One stream of JetStream: how it must be set up, and calls that are repeated while JetStream elects a leader."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from wonderq_storage.errors import CorruptLogError, LogFailedError, LogMovedError, UnsuitableStreamError
from wonderq_storage.nats import (
    Ack,
    ApiError,
    ClientClosedError,
    JetStream,
    NatsError,
    PayloadTooLargeError,
    StoredMessage,
    StreamInfo,
)
from wonderq_storage.nats.headers import encode_headers
from wonderq_storage.nats.jetstream import STREAM_NOT_FOUND, is_full, is_temporary

T = TypeVar("T")

#: Bounds of one batch of messages.
_BATCH_MESSAGES, _BATCH_BYTES = 1000, 4 << 20

#: Longest wait for a message from a replica. For some seconds after a cut, requests reach replicas that cannot answer.
_REPLICA_S = 0.5

#: Most messages to read from the leader before a replica is tried again.
_MOST_FROM_LEADER = 256

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.25

#: Room in a message beside its payload, for headers.
_HEADERS_BYTES = 1024

#: Size that JetStream stores of a message beside its subject, its headers and its payload.
_STORED_BYTES = 34

#: A repeated message with the same id is recognized for this long.
_DUPLICATE_WINDOW_S = 120

#: Settings that a stream must have. Any other value could drop, change or reorder messages that the log still needs.
_REQUIRED: dict[str, Any] = {
    "storage": "file",
    "retention": "limits",
    "discard": "new",
    "max_age": 0,
    "max_msgs": -1,
    "max_msgs_per_subject": -1,
    "allow_direct": True,
    "deny_delete": True,
    "deny_purge": False,
    "no_ack": False,
    "allow_rollup_hdrs": False,
    "allow_msg_ttl": False,
    "sealed": False,
}

_ABSENT = {name: False for name, value in _REQUIRED.items() if isinstance(value, bool)}


#: Versions of nats-server that the tests run with, by their beginning.
TESTED_VERSION = "2.15."

#: Longest wait for another server to tell its settings.
_SETTINGS_S = 0.3


def check_servers(jetstream: JetStream) -> bool:
    """Check that all servers sync before they acknowledge; return whether this account may ask them.

    Raises:
        UnsuitableStreamError: one of them does not.
        NatsError: no server can be reached.
    """
    found = jetstream.server_settings(timeout_s=_SETTINGS_S)
    for each in found:
        check_version(each.name, each.version)
        if not each.syncs_always:
            raise UnsuitableStreamError(
                f"the NATS server {each.name} acknowledges messages before they are on its disk, so a power cut could "
                "lose them. Set sync_interval: always in the jetstream block of its configuration."
            )
    return bool(found)


def check_version(name: object, version: object) -> None:
    """Check the version of a server.

    Raises:
        UnsuitableStreamError: WonderQ was not tested with it.
    """
    if not str(version).startswith(TESTED_VERSION):
        raise UnsuitableStreamError(
            f"the NATS server {name} has version {version}, and this WonderQ is tested with {TESTED_VERSION}x. Install "
            "that version of nats-server, or another version of WonderQ."
        )


class Stream:
    """A stream of one log.

    ``attempt_s`` limits each call to a server; ``patience_s`` limits the repetitions of a call. ``posting`` is the
    connection of `post`.
    """

    def __init__(
        self,
        jetstream: JetStream,
        name: str,
        *,
        attempt_s: float,
        patience_s: float,
        posting: JetStream | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise ValueError("the name of a stream must consist of 1 to 64 letters, digits, - and _")
        self.name = name
        self.log_subject = f"{name}.log"
        self.epoch_subject = f"{name}.epoch"
        self._jetstream = jetstream
        self._posting = posting
        self._attempt_s = attempt_s
        self._patience_s = patience_s

    def config(self, replicas: int, max_bytes: int) -> dict[str, Any]:
        """Return the configuration with which the stream is made."""
        return {
            "name": self.name,
            "subjects": [self.log_subject, self.epoch_subject],
            "num_replicas": replicas,
            "max_bytes": max_bytes,
            "duplicate_window": _DUPLICATE_WINDOW_S * 10**9,
            **_REQUIRED,
        }

    def open(self, *, replicas: int, max_bytes: int, message_bytes: int) -> StreamInfo:
        """Make the stream if there is none, and return its state.

        Raises:
            UnsuitableStreamError: the stream or the server is not set up as the log needs.
            LogFailedError: no server can be reached.
        """
        server = self.patiently(lambda: self._jetstream.connection.server_info(timeout_s=self._attempt_s))
        check_version(server.get("server_name"), server.get("version"))
        if server["max_payload"] < message_bytes + _HEADERS_BYTES:
            raise UnsuitableStreamError(
                f"the NATS server takes messages of {server['max_payload']:,} bytes, and the log needs "
                f"{message_bytes + _HEADERS_BYTES:,}. Set max_payload: 8MB in its configuration."
            )
        info = self.patiently(self._find)
        if info is None:
            config = self.config(replicas, max_bytes)
            self.patiently(lambda: self._jetstream.create_stream(config, timeout_s=self._attempt_s))
            info = self.info()
        if wrong := self._wrong_settings(info.config, replicas):
            raise UnsuitableStreamError(
                f"the stream {self.name} has settings with which records could be lost: {wrong}. "
                "Correct them, or choose another name."
            )
        return info

    def _find(self) -> StreamInfo | None:
        try:
            return self._jetstream.stream_info(self.name, timeout_s=self._attempt_s)
        except ApiError as error:
            if error.error_code == STREAM_NOT_FOUND:
                return None
            raise

    def _wrong_settings(self, config: dict[str, Any], replicas: int) -> dict[str, Any]:
        """Return the settings that are not as they must be. JetStream leaves out some that are false."""
        found = {name: config.get(name, _ABSENT.get(name, value)) for name, value in _REQUIRED.items()}
        wrong = {name: value for name, value in found.items() if value != _REQUIRED[name]}
        wrong |= {name: config[name] for name in ("mirror", "sources") if config.get(name)}
        if sorted(config.get("subjects", [])) != sorted((self.log_subject, self.epoch_subject)):
            wrong["subjects"] = config.get("subjects")
        if config.get("num_replicas", 1) < replicas:
            wrong["num_replicas"] = config.get("num_replicas")
        if config.get("max_bytes", -1) <= 0:
            wrong["max_bytes"] = config.get("max_bytes")
        return wrong

    def info(self, pauses: Pauses | None = None) -> StreamInfo:
        """Return the state of the stream, as its leader knows it."""
        return self.patiently(lambda: self._jetstream.stream_info(self.name, timeout_s=self._attempt_s), pauses)

    def info_reaching(self, sequence: int) -> StreamInfo:
        """Return the state of the stream; ask again, for some time, while it ends before a sequence.

        A leader that was deposed, and does not know it yet, may know less than was acknowledged.
        """
        pauses = self.pauses()
        while True:
            info = self.info(pauses)
            if info.last_sequence >= sequence or not pauses.wait():
                return info

    def get(self, sequence: int, pauses: Pauses | None = None) -> StoredMessage | None:
        """Return a message as the leader has it, or None."""
        return self.patiently(lambda: self._jetstream.get(self.name, sequence, timeout_s=self._attempt_s), pauses)

    def newest_epoch(self) -> StoredMessage | None:
        """Return the newest epoch record as the leader has it, or None."""
        return self.patiently(
            lambda: self._jetstream.get_last(self.name, self.epoch_subject, timeout_s=self._attempt_s)
        )

    def purge(self, before_sequence: int) -> None:
        """Delete all messages before a sequence."""
        self.patiently(lambda: self._jetstream.purge(self.name, before_sequence, timeout_s=self._attempt_s))

    def stored_bytes(self, subject: str, headers: dict[str, str], payload_bytes: int) -> int:
        """Return the size that a message has in the stream's `max_bytes`."""
        return _STORED_BYTES + len(subject) + len(encode_headers(self._with_stream(headers))) + payload_bytes

    def _with_stream(self, headers: dict[str, str]) -> dict[str, str]:
        return {"Nats-Expected-Stream": self.name, **headers}

    def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> Ack:
        """Append a message once, without a repetition.

        Raises:
            NatsError: see `wonderq_storage.nats.JetStream.publish`.
        """
        headers = self._with_stream(headers)
        return self._jetstream.publish(self.name, subject, payload, headers, timeout_s=self._attempt_s)

    @property
    def can_post(self) -> bool:
        """Whether there is a connection for `post`."""
        return self._posting is not None

    def post(
        self, subject: str, payload: bytes, headers: dict[str, str], callback: Callable[[Ack | NatsError], None]
    ) -> None:
        """Append a message once, without waiting for its acknowledgement.

        Raises:
            NatsError: see `wonderq_storage.nats.JetStream.post`.
        """
        assert self._posting is not None
        headers = self._with_stream(headers)
        self._posting.post(self.name, subject, payload, headers, callback, timeout_s=self._attempt_s)

    def messages(self, first: int, last: int) -> Iterator[StoredMessage]:
        """Yield the messages from one sequence to another, without a gap.

        A replica reads faster than the leader, but may lag behind it, or may not answer. The leader decides then.

        Raises:
            LogMovedError: messages were deleted at the beginning of the stream meanwhile.
            CorruptLogError: a message is missing.
            LogFailedError: no server can be reached.
        """
        from_leader = 0
        while first <= last:
            begin = first
            try:
                with contextlib.closing(self._batch(first, last)) as batch:
                    for message in batch:
                        if message.sequence != first:
                            break
                        yield message
                        first += 1
                from_leader = 0 if first > begin else min(2 * from_leader or 1, _MOST_FROM_LEADER)
            except NatsError:
                from_leader = _MOST_FROM_LEADER
            for _ in range(min(from_leader, last + 1 - first)):
                found = self.get(first)
                if found is None:
                    self._check_missing(first)
                    break
                yield found
                first += 1

    def _batch(self, first: int, last: int) -> Generator[StoredMessage, None, None]:
        count = min(last + 1 - first, _BATCH_MESSAGES)
        return self._jetstream.get_batch(
            self.name, first, messages=count, max_bytes=_BATCH_BYTES, timeout_s=min(self._attempt_s, _REPLICA_S)
        )

    def _check_missing(self, sequence: int) -> None:
        """Return if a message is there that the leader did not have: it was just elected, or does not lead any more.

        Raises:
            LogMovedError, CorruptLogError: it is really missing.
        """
        info = self.info_reaching(sequence)
        self._check_begins_by(sequence, info)
        if info.last_sequence < sequence:
            reason = f"the message is missing: the stream ends with message {info.last_sequence}"
            raise CorruptLogError(self.place(sequence), 0, reason)
        if self.get(sequence) is None:
            self._check_begins_by(sequence, self.info())  # the owner may have dropped it between the two answers
            raise CorruptLogError(self.place(sequence), 0, "the message is missing between others")

    def _check_begins_by(self, sequence: int, info: StreamInfo) -> None:
        if info.first_sequence > sequence:
            raise LogMovedError(f"the stream {self.name} begins with message {info.first_sequence} now")

    def place(self, sequence: int) -> str:
        """Return the name of a message, for people."""
        return f"stream {self.name}, message {sequence}"

    def patiently(self, call: Callable[[], T], pauses: Pauses | None = None) -> T:
        """Repeat a call as `patiently` does. ``pauses`` is what is left of a caller's patience."""
        return patiently(self.name, call, pauses or self.pauses())

    def pauses(self) -> Pauses:
        """Return new pauses, for as long as the stream is patient."""
        return Pauses(self._patience_s)


def patiently(stream: str, call: Callable[[], T], pauses: Pauses) -> T:
    """Repeat a call that changes nothing, or the same each time, while it fails for a reason that may pass.

    Raises:
        LogFailedError: JetStream refuses, or the reason has not passed in time.
    """
    while True:
        try:
            return call()
        except NatsError as error:
            if not may_pass(error) or not pauses.wait():
                raise LogFailedError(f"the stream {stream} does not work: {error}. {remedy(error)}.") from error


def remedy(error: NatsError) -> str:
    """Return what to do about an error of NATS, as a sentence without its full stop."""
    if is_full(error):
        return "Make a smaller stream (max_bytes), or give JetStream more storage (max_file_store)"
    return "Check the NATS servers, of which more than half must be connected with each other"


def may_pass(error: NatsError) -> bool:
    """Return whether another attempt may not meet this error."""
    if isinstance(error, ApiError):
        return is_temporary(error)
    return not isinstance(error, (ClientClosedError, PayloadTooLargeError))


class Pauses:
    """Pauses between attempts, for a limited time. They grow, and are random so that several clients do not meet."""

    def __init__(self, patience_s: float) -> None:
        self._deadline_s = time.monotonic() + patience_s
        self._next_s = _FIRST_PAUSE_S

    def wait(self) -> bool:
        """Pause, or return False if the time is up."""
        if time.monotonic() >= self._deadline_s:
            return False
        time.sleep(self._next_s * random.uniform(0.5, 1))  # noqa: S311 - no secret
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)
        return True
