"""Failures: what a consumer reports of a message that it could not process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wonderq.model.bounds import MAX_CONSUMER_CHARACTERS
from wonderq.model.errors import InvalidValueError

#: Most bytes of the texts of an error together, in UTF-8.
MAX_ERROR_BYTES = 8192

#: Header of a message (`wonderq.model.messages`) that holds the fields of its last `Failure`.
FAILURE_HEADER = "failure"


class ReportedError(NamedTuple):
    """The error with which a consumer failed."""

    message: str
    type: str = ""
    """Such as the name of an exception's class."""
    traceback: str = ""

    def check(self) -> None:
        """Check the size and the characters.

        Raises:
            InvalidValueError: the texts are too long together, or are not Unicode text.
        """
        try:
            size = sum(len(text.encode()) for text in self)
        except UnicodeEncodeError as error:
            raise InvalidValueError("error", "error must be text: it holds a lone surrogate.") from error
        if size > MAX_ERROR_BYTES:
            raise InvalidValueError(
                "error",
                f"error has {size} bytes of text, and at most {MAX_ERROR_BYTES} are allowed. Shorten the traceback.",
            )


def check_consumer(field: str, name: str) -> None:
    """Check the name of a consumer; an empty one stands for none.

    Raises:
        InvalidValueError: it is too long, or has characters that cannot be printed.
    """
    if name and (len(name) > MAX_CONSUMER_CHARACTERS or not name.isprintable()):
        raise InvalidValueError(field, f"{field} must have 1 to {MAX_CONSUMER_CHARACTERS} printable characters.")


class Failure(NamedTuple):
    """The last reported error of a message."""

    error: ReportedError
    at_ms: int
    attempt: int
    """Receive count of the message when the error was reported."""
    consumer: str
    """Name of the consumer that held the message, or that reported the error; empty if it gave none."""

    def to_header(self) -> list[Any]:
        """Return the value of the header `FAILURE_HEADER`."""
        return [*self.error, self.at_ms, self.attempt, self.consumer]

    @classmethod
    def from_headers(cls, headers: Mapping[str, Any]) -> Failure | None:
        """Return the failure in the headers of a message, or None if it has none."""
        value: Sequence[Any] | None = headers.get(FAILURE_HEADER)
        return None if value is None else cls(ReportedError(*value[:3]), *value[3:])
