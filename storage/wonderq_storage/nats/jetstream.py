"""The calls of JetStream that a log needs: publish with conditions, and make, read, purge and describe a stream."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from wonderq_storage.nats.connection import Connection
from wonderq_storage.nats.errors import ApiError, NatsError, NatsTimeoutError, NoRespondersError, ProtocolError
from wonderq_storage.nats.replies import Reply

#: Reasons of `ApiError` (`error_code`).
WRONG_LAST_SEQUENCE = 10071
WRONG_LAST_SEQUENCE_CONSTANT = 10164
STREAM_DIFFERS = 10058
STREAM_NOT_FOUND = 10059
STREAM_OFFLINE = 10118
STREAM_NOT_MADE = 10049
NO_PEERS = 10005
MESSAGE_NOT_FOUND = 10037
STORE_FAILED = 10077
NO_RESOURCES = 10023
NO_STORAGE = 10047
NO_LEADER = 10008
NOT_LEADER = 10009
DUPLICATE_IN_PROCESS = 10158

#: Answers of servers that start, stop or elect a leader. STREAM_NOT_MADE also has causes that last.
_TEMPORARY = (NOT_LEADER, DUPLICATE_IN_PROCESS, STREAM_OFFLINE, STREAM_NOT_MADE)

#: Subject of the servers' system account, which other accounts may have to import.
_SETTINGS = "$SYS.REQ.SERVER.PING.JSZ"

_END_OF_BATCH = 204
_NOT_FOUND = 404
_UNAVAILABLE = 503

#: Silence after which a request that only reads is sent again.
_REPEAT_S = 0.25


class Ack(NamedTuple):
    """JetStream's acknowledgement of a message."""

    sequence: int
    is_duplicate: bool
    """Whether an earlier message had the same id, and this one was dropped."""


class StoredMessage(NamedTuple):
    """A message of a stream."""

    sequence: int
    subject: str
    payload: bytes


class StreamInfo(NamedTuple):
    """The state of a stream, as its leader knows it."""

    first_sequence: int
    """Sequence of the oldest message. That of the next one, if the stream is empty."""
    last_sequence: int
    """Sequence of the newest message that ever was; 0 in a new stream."""
    bytes: int
    config: dict[str, Any]
    leader: str | None
    """Name of the server that leads the stream's replicas, or None during an election."""
    replicas_current: int = 1
    """Number of replicas that have all that was acknowledged, the leader's included."""
    now: str = ""
    """Time on the leader's clock, as in RFC 3339."""


class ServerSettings(NamedTuple):
    """The settings that a server tells accounts that may ask."""

    name: str
    version: str
    syncs_always: bool
    """Whether it syncs each message before it acknowledges it."""


class JetStream:
    """The calls, over a connection that the caller owns.

    The connection leaves a server over which JetStream does not answer for about ten seconds, if it has others.

    All raise what `Connection.request` raises, and `ApiError` if JetStream refuses.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.watch("$JS.API.INFO", _has_leader)

    def call(self, name: str, body: dict[str, Any] | None = None, *, timeout_s: float) -> dict[str, Any]:
        """Call the API by the end of its subject, such as ``STREAM.INFO.name``, and return the answer."""
        payload = b"" if body is None else json.dumps(body).encode()
        return _answer(self.connection.request(f"$JS.API.{name}", payload, timeout_s=timeout_s))

    def read(self, name: str, body: dict[str, Any] | None = None, *, timeout_s: float) -> dict[str, Any]:
        """Do what `call` does, for a call that changes nothing.

        Servers pass over requests in silence while a stream has no leader. So the call is sent again until one answers.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        subject = f"$JS.API.{name}"
        return _answer(self.connection.request(subject, payload, timeout_s=timeout_s, repeat_s=_REPEAT_S))

    def publish(self, stream: str, subject: str, payload: bytes, headers: dict[str, str], *, timeout_s: float) -> Ack:
        """Append a message to a stream, and return its acknowledgement. `headers` has the conditions."""
        return self._noted_ack(stream, subject, self.connection.request(subject, payload, headers, timeout_s=timeout_s))

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
        """Do what `publish` does without waiting, and have its result or its error passed on.

        Raises: as `Connection.ask_once`, which says who calls ``callback``.
        """

        def answered(reply: Reply | NatsError) -> None:
            result: Ack | NatsError
            try:
                result = reply if isinstance(reply, NatsError) else self._noted_ack(stream, subject, reply)
            except NatsError as error:
                result = error
            callback(result)

        self.connection.ask_once(subject, payload, headers, answered, timeout_s=timeout_s)

    def _noted_ack(self, stream: str, subject: str, reply: Reply) -> Ack:
        """Return the acknowledgement in a reply, which shows that the server does its work."""
        ack = _ack(stream, subject, reply)
        self.connection.note_service()
        return ack

    def server_settings(self, *, timeout_s: float) -> list[ServerSettings]:
        """Return the settings of all servers with JetStream. Without any, the account may not ask.

        ``timeout_s`` limits the wait for each server, and so delays every call that finds some.
        """
        found = []
        replies = self.connection.request_many(_SETTINGS, b"", timeout_s=timeout_s)
        with contextlib.closing(replies), contextlib.suppress(NoRespondersError, NatsTimeoutError):
            for reply in replies:
                answer = _answer(reply)
                try:
                    server, config = answer["server"], answer["data"]["config"]
                    settings = ServerSettings(
                        str(server["name"]), str(server["ver"]), config.get("sync_always") is True
                    )
                except (KeyError, TypeError, AttributeError) as error:
                    raise ProtocolError("a server does not tell its settings") from error
                found.append(settings)
        return found

    def create_stream(self, config: dict[str, Any], *, timeout_s: float) -> None:
        """Make a stream. If one with exactly this configuration exists, nothing happens."""
        self.call(f"STREAM.CREATE.{config['name']}", config, timeout_s=timeout_s)

    def stream_info(self, stream: str, *, timeout_s: float) -> StreamInfo:
        """Return the state of a stream."""
        answer = self.read(f"STREAM.INFO.{stream}", timeout_s=timeout_s)
        state, config = answer.get("state"), answer.get("config")
        if not isinstance(state, dict) or not isinstance(config, dict):
            raise ProtocolError("the description of a stream has no state")
        last = _number(state, "last_seq")
        first = _number(state, "first_seq") if _number(state, "messages") else last + 1
        cluster = answer.get("cluster") or {}
        leader, replicas = cluster.get("leader"), cluster.get("replicas") or []
        current = sum(bool(each.get("current")) and not each.get("offline") for each in replicas) + bool(leader)
        return StreamInfo(first, last, _number(state, "bytes"), config, leader, current, str(answer.get("ts", "")))

    def purge(self, stream: str, before_sequence: int, *, timeout_s: float) -> None:
        """Delete all messages before a sequence."""
        self.call(f"STREAM.PURGE.{stream}", {"seq": before_sequence}, timeout_s=timeout_s)

    def get(self, stream: str, sequence: int, *, timeout_s: float) -> StoredMessage | None:
        """Return a message as the leader has it, or None."""
        return self._get(stream, {"seq": sequence}, timeout_s)

    def get_last(self, stream: str, subject: str, *, timeout_s: float) -> StoredMessage | None:
        """Return the newest message of a subject as the leader has it, or None."""
        return self._get(stream, {"last_by_subj": subject}, timeout_s)

    def _get(self, stream: str, body: dict[str, Any], timeout_s: float) -> StoredMessage | None:
        try:
            message: Any = self.read(f"STREAM.MSG.GET.{stream}", body, timeout_s=timeout_s).get("message")
        except ApiError as error:
            if error.error_code == MESSAGE_NOT_FOUND:
                return None
            raise
        try:
            return StoredMessage(
                _number(message, "seq"), message["subject"], base64.b64decode(message.get("data", ""), validate=True)
            )
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ProtocolError("the answer to a request for a message has none") from error

    def get_batch(
        self,
        stream: str,
        first_sequence: int,
        *,
        messages: int,
        max_bytes: int,
        timeout_s: float,
        subject: str = ">",
    ) -> Generator[StoredMessage, None, None]:
        """Yield the messages of a stream from a sequence on, as any of its replicas has them.

        ``subject`` leaves out those of other subjects.

        A replica may lag behind its leader, and then yields fewer messages. The batch ends after about ``max_bytes``,
        or after ``messages``. ``timeout_s`` limits the wait for each message.
        """
        body = {"seq": first_sequence, "batch": messages, "max_bytes": max_bytes, "next_by_subj": subject}
        replies = self.connection.request_many(
            f"$JS.API.DIRECT.GET.{stream}", json.dumps(body).encode(), timeout_s=timeout_s
        )
        with contextlib.closing(replies):
            for reply in replies:
                if reply.status in (_END_OF_BATCH, _NOT_FOUND):
                    return
                if reply.status:
                    raise ApiError(reply.status, 0, reply.description)
                yield _stored(reply)


def is_temporary(error: ApiError) -> bool:
    """Return whether a refusal is the fault of an election or a start, so that the same request may succeed later.

    The request may have been carried out nevertheless.
    """
    if error.error_code == STORE_FAILED:
        return "maximum" not in error.description  # also the answer of a server that shuts down
    if error.error_code == NO_PEERS:
        return "peer offline" in error.description and not is_full(error)
    return error.code == _UNAVAILABLE or error.error_code in _TEMPORARY


def is_full(error: NatsError) -> bool:
    """Return whether JetStream has no room for what was asked."""
    if not isinstance(error, ApiError):
        return False
    if error.error_code == NO_PEERS:  # the answer of several servers where a single one says NO_STORAGE
        return "insufficient storage" in error.description
    return error.error_code in (NO_RESOURCES, NO_STORAGE)


def _ack(stream: str, subject: str, reply: Reply) -> Ack:
    answer = _answer(reply)
    if answer.get("stream") != stream:
        raise ProtocolError(f"the subject {subject} belongs to the stream {answer.get('stream')}, not to {stream}")
    return Ack(_number(answer, "seq"), answer.get("duplicate") is True)


def _stored(reply: Reply) -> StoredMessage:
    try:
        return StoredMessage(int(reply.headers["Nats-Sequence"]), reply.headers["Nats-Subject"], reply.payload)
    except (KeyError, ValueError) as error:
        raise ProtocolError("a message of a stream has no sequence") from error


def _has_leader(reply: Reply) -> bool:
    """Return whether the server that replied is in touch with the others that elect the leader of JetStream."""
    try:
        _answer(reply)
    except NatsError as error:
        return not (isinstance(error, ApiError) and error.error_code == NO_LEADER)
    return True


def _answer(reply: Reply) -> dict[str, Any]:
    try:
        answer = json.loads(reply.payload)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("an answer of JetStream is not JSON") from error
    if not isinstance(answer, dict):
        raise ProtocolError("an answer of JetStream is not a JSON object")
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        raise ApiError(_number(refusal, "code"), refusal.get("err_code") or 0, str(refusal.get("description", "")))
    return answer


def _number(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, int):
        raise ProtocolError(f"an answer of JetStream has no {name}")
    return value
