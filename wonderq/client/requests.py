"""Requests and answers of the HTTP API, without any I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from wonderq.client.errors import Refused, Unreachable, refused

T = TypeVar("T")

JSON, MSGPACK = "application/json", "application/msgpack"

#: A larger body is sent as msgpack, which escapes no characters: as JSON, a message that the broker accepts could be
#: six times as large, and so exceed the limit on the size of a request.
_LARGEST_JSON_BYTES = 2 << 20

_FIFO = ".fifo"

#: Statuses that only a proxy in front of a broker answers with.
_OF_PROXIES = (502, 504)

#: The method and the target of a request: a path with a query, without a host.
_LINE = re.compile("[A-Z]+ /(?!/)[!-~]*")

#: The name in a target, up to the ``--`` after which it does not matter which node of a cluster it belongs to.
_STEM = re.compile("/(?:queues|topics|schedules)/((?:(?!--)[^/?])+)")


class Request(msgspec.Struct, frozen=True):
    """One HTTP request."""

    method: str
    target: str
    body: bytes | None = None
    media_type: str = JSON
    """Type of the body."""
    wait_s: float = 0.0
    """Seconds that the request asks the broker to wait before it answers."""
    repeatable: bool = True
    """Whether sending it twice does the same as sending it once."""
    timeout_s: float = 30.0
    """Seconds without an answer after which it is given up."""
    follows_wait: bool = False
    """Whether it asks for what a request that waits, and was cut off, has got."""
    queue: str | None = None
    """The queue that decides which node of a cluster answers, if only the body names it."""

    @property
    def stem(self) -> str | None:
        """The part of a name up to ``--``, without ``.fifo``.

        One node of a cluster owns all queues, topics and schedules that share it. None if the request is about no
        particular one.
        """
        if self.queue is not None:
            return self.queue.partition("--")[0].removesuffix(_FIFO)
        found = _STEM.match(self.target)
        return None if found is None else found[1].removesuffix(_FIFO)

    @property
    def waits(self) -> bool:
        """Whether it takes a connection of those that wait.

        A request that follows one takes a new connection, where the broker does not find it before the one cut off.
        """
        return self.wait_s > 0 or self.follows_wait

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        fields: Any = None,
        *,
        wait_s: float = 0.0,
        repeatable: bool = True,
        queue: str | None = None,
    ) -> Request:
        """Return a request whose body has these fields.

        Raises:
            ValueError: the method or the target is malformed. To another host in it, the key would go.
        """
        line = f"{method} {target}"
        if not _LINE.fullmatch(line):
            raise ValueError(f"{line!r} is not a request: percent-encode the path, and begin it with one '/'")
        data, media_type = (None, JSON) if fields is None else _encode(fields)
        return cls(method, target, data, media_type, wait_s, repeatable, queue=queue)


class Answer(msgspec.Struct, frozen=True):
    """One HTTP response."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    is_repeated: bool = False
    """Whether an earlier attempt of the request may have been carried out."""
    owner: str | None = None
    """Address of the node that owns the queue, if the node that was asked had to pass the request on to it."""

    @property
    def outcome_unknown(self) -> bool:
        """Whether the request may have been carried out although the answer is an error.

        The broker failed while it wrote its log; or a proxy answers, which may have passed the request on before.
        """
        if self.status < 500:
            return False
        try:
            return self.status in _OF_PROXIES or refusal_of(self).outcome_unknown
        except msgspec.DecodeError:  # it is the answer of a proxy, too
            return True


class NoAnswer(msgspec.Struct, frozen=True):
    """There is no response."""

    reason: str
    outcome_unknown: bool
    """Whether the request may have arrived."""
    cause: Exception | None = None
    is_local: bool = False
    """Whether the client had no free connection. That says nothing about the broker."""


class ErrorObject(msgspec.Struct):
    """The error of a response, or of an entry of a batch."""

    code: str
    message: str
    field: str | None = None


class _Refusal(msgspec.Struct):
    error: ErrorObject


# msgspec builds its decoder for a type at the first use, and crashes if two threads do so at once (0.22).
msgspec.json.Decoder(_Refusal)


def queue_path(queue: str | None, path: str = "", query: Mapping[str, Any] | None = None) -> str:
    """Return the target of a request about a queue; of one about several queues if it is None."""
    prefix = "" if queue is None else f"/queues/{quote(queue, safe='')}"
    return with_query(f"{prefix}{path}", query)


def with_query(path: str, query: Mapping[str, Any] | None) -> str:
    """Return a path with a query string of the values that are not None."""
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def read_answer(answer: Answer, kind: type[T]) -> T:
    """Return the body of an answer.

    Raises:
        Refused: the broker answered with an error.
        Unreachable: the answer is not from a WonderQ broker.
    """
    try:
        if answer.status >= 400:
            raise refusal_of(answer)
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise Unreachable(
            f"this is not a WonderQ broker: it answered {answer.status} {answer.body[:60]!r}", outcome_unknown=True
        ) from error


def refusal_of(answer: Answer) -> Refused:
    """Return the error of an answer whose status is 400 or more."""
    error = msgspec.json.decode(answer.body, type=_Refusal).error
    return refused(answer.status, error.code, error.message, error.field, answer.retry_after_s or 0.0)


def code_of(answer: Answer) -> str | None:
    """Return the code of an answer whose status is 400 or more; None if it is not that of a broker."""
    try:
        return refusal_of(answer).code
    except msgspec.DecodeError:
        return None


def retry_after_of(header: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header. The broker sends no dates."""
    return float(header) if header is not None and header.isdecimal() else None


def _encode(fields: Any) -> tuple[bytes, str]:
    """Return the body of a request, and its media type."""
    data = msgspec.json.encode(fields)
    if len(data) > _LARGEST_JSON_BYTES:
        try:
            return msgspec.msgpack.encode(msgspec.json.decode(data)), MSGPACK
        except OverflowError:  # msgpack has no integer of more than 64 bits
            pass
    return data, JSON
