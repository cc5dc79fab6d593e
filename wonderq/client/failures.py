"""Failures of work: what the broker keeps with a message that was given back, buried or made a dead letter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

#: Most bytes of type, message and traceback in UTF-8, which is the broker's limit, and the shares of the first two.
MOST_BYTES = 8 << 10
_MOST_TYPE_BYTES, _MOST_MESSAGE_BYTES = 256, 2 << 10

_CUT = "..."


class Failure(msgspec.Struct, frozen=True):
    """Failure of the work on a message."""

    type: str
    """Type of the exception, with its module unless it is a built-in one."""
    message: str
    traceback: str = ""
    at: datetime | None = None
    """Time at which the broker noted the failure; None in one that you make."""
    attempt: int | None = None
    """Number of times that the message had been received then."""
    consumer: str | None = None
    """Name of the client that had received it."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure that an exception stands for, within the 8 KiB that the broker keeps.

        Of a long traceback, the end remains: it names the line that failed.
        """
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        try:
            message = str(error)
        except Exception:  # noqa: BLE001 - the exception is not ours
            message = "the exception cannot be written as text"
        from traceback import format_exception  # noqa: PLC0415 - few programs that send report failures

        return cls(name, message, "".join(format_exception(error))).bounded()

    def bounded(self) -> Failure:
        """Return this failure, shortened to the 8 KiB that the broker keeps."""
        kind, message = _head(self.type, _MOST_TYPE_BYTES), _head(self.message, _MOST_MESSAGE_BYTES)
        left = MOST_BYTES - len(kind.encode()) - len(message.encode())
        return Failure(kind, message, _tail(self.traceback, left), self.at, self.attempt, self.consumer)


ErrorLike: TypeAlias = Failure | BaseException | Mapping[str, str] | str
"""A failure, an exception, a sentence, or a mapping of ``message`` and optionally ``type`` and ``traceback``."""


def error_fields(error: ErrorLike, consumer: str | None = None) -> dict[str, Any]:
    """Return a failure as an object of the HTTP API.

    ``consumer`` is the name of the claim. The broker knows it too, but only until the claim ends.

    Raises:
        ValueError: a mapping has no ``message``, or other names.
    """
    if isinstance(error, str):
        failure = Failure("", _head(error, MOST_BYTES))
    elif isinstance(error, BaseException):
        failure = Failure.of(error)
    elif isinstance(error, Failure):
        failure = error.bounded()
    else:
        if "message" not in error or not error.keys() <= {"type", "message", "traceback"}:
            raise ValueError("an error has a message, and optionally a type and a traceback")
        failure = Failure(error.get("type", ""), error["message"], error.get("traceback", "")).bounded()
    fields = {
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback,
        "consumer": consumer,
    }
    return {name: value for name, value in fields.items() if value or name == "message"}


def _head(text: str, most_bytes: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= most_bytes:
        return data.decode()
    return data[: most_bytes - len(_CUT)].decode(errors="ignore") + _CUT


def _tail(text: str, most_bytes: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= most_bytes:
        return data.decode()
    return _CUT + data[len(data) - most_bytes + len(_CUT) :].decode(errors="ignore")
