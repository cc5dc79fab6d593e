"""Requests and answers of the HTTP API, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from wonderq.client.errors import Refused, Unreachable, refused

T = TypeVar("T")

#: Seconds that an answer may take, besides the time that the request asks the broker to wait.
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    target: str
    body: bytes | None = None
    wait_s: float = 0.0
    """Seconds that the request asks the broker to wait before it answers."""
    repeatable: bool = True
    """Whether sending it twice does the same as sending it once."""

    @property
    def timeout_s(self) -> float:
        """Seconds without an answer after which the request is given up."""
        return self.wait_s + ANSWER_S


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    attempts: int = 1
    """Number of times that the request was sent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """There is no response."""

    reason: str
    outcome_unknown: bool
    """Whether the request may have arrived."""


class ErrorObject(msgspec.Struct):
    """The error of a response, or of an entry of a batch."""

    code: str
    message: str
    field: str | None = None


class _Refusal(msgspec.Struct):
    error: ErrorObject


def queue_path(queue: str, path: str = "", query: Mapping[str, Any] | None = None) -> str:
    """Return the target of a request about a queue."""
    return with_query(f"/queues/{quote(queue, safe='')}{path}", query)


def with_query(path: str, query: Mapping[str, Any] | None) -> str:
    """Return a path with a query string of the values that are not None."""
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def encode(fields: Any) -> bytes:
    """Return the JSON of a body."""
    return msgspec.json.encode(fields)


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


def retry_after_of(header: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header. The broker sends no dates."""
    return float(header) if header is not None and header.isdecimal() else None
