"""Answers of batches: a result for each entry."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wonderq.client.errors import NotFound, Refused, StaleReceipt, refused
from wonderq.client.messages import Sent
from wonderq.client.requests import ErrorObject


class Produced(msgspec.Struct):
    """Answer to sends."""

    ids: list[str]
    duplicates: list[int] = []
    """Indexes of the messages that were not added again."""

    def sent(self) -> list[Sent]:
        """Return a result for each message."""
        duplicates = frozenset(self.duplicates)
        return [Sent(message_id, index in duplicates) for index, message_id in enumerate(self.ids)]


class Result(msgspec.Struct, rename="camel"):
    """Result of one entry."""

    success: bool
    status_code: int = 200
    error: ErrorObject | None = None

    def to_error(self, *, is_repeated: bool = False) -> Refused | None:
        """Return the entry's error, or None if it was carried out.

        With ``is_repeated``, the first request may have ended the claim. Then an ended claim is no error.
        """
        if self.success or self.error is None:
            return None
        error = refused(self.status_code, self.error.code, self.error.message, self.error.field)
        return None if is_repeated and isinstance(error, NotFound | StaleReceipt) else error


class Results(msgspec.Struct):
    """Answer to deletes and updates."""

    results: list[Result]


def errors_of(results: Sequence[Result], *, is_repeated: bool = False) -> list[Refused | None]:
    """Return the error of each entry, or None."""
    return [each.to_error(is_repeated=is_repeated) for each in results]


for _answer in (Produced, Results):  # see `wonderq.client.requests`
    msgspec.json.Decoder(_answer)
