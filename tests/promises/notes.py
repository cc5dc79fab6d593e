"""Journals written by hand, for the tests of the judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.promises.journal import Exchange, Journal

#: Duration of a request unless a test states another one, in seconds.
_TOOK_S = 0.01


class Notes:
    """Writes exchanges. The id of a message is ``id-TEXT``, and the receipt of its nth claim ``TEXT/n``."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []

    def journal(self) -> Journal:
        return Journal(list(self._exchanges))

    def note(
        self,
        kind: str,
        queue: str,
        at: float,
        sent: Mapping[str, Any],
        answer: Any = None,
        *,
        status: int | None = 200,
        took: float = _TOOK_S,
        life: int = 1,
    ) -> None:
        number = len(self._exchanges)
        self._exchanges.append(
            Exchange(
                number, "actor", life, kind, queue, sent, at, at + took, status, None if status is None else answer
            )
        )

    def produce(self, queue: str, at: float, *messages: str | Mapping[str, Any], duplicates: Sequence[int] = (),
                ids: Sequence[str] = (), **how: Any) -> None:  # fmt: skip
        batch = [{"message": each} if isinstance(each, str) else each for each in messages]
        answer = {"ids": list(ids) or [f"id-{each['message']}" for each in batch], "duplicates": list(duplicates)}
        self.note("produce", queue, at, {"messages": batch}, answer, **how)

    def consume(
        self,
        queue: str,
        at: float,
        *texts: str,
        timeout: float = 10,
        most: int = 10,
        claim: int = 1,
        shown: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> None:
        answer = [
            {"id": f"id-{text}", "message": text, "receipt": f"{text}/{claim}", "receive_count": claim, **(shown or {})}
            for text in texts
        ]
        self.note("consume", queue, at, {"max": most, "visibility_timeout": timeout, **(fields or {})}, answer, **how)

    def delete(self, queue: str, at: float, text: str, claim: int = 1, **how: Any) -> None:
        self.note("delete", queue, at, {"id": f"id-{text}", "receipt": f"{text}/{claim}"}, {}, **how)

    def update(
        self, queue: str, at: float, text: str, claim: int = 1, *, fields: Mapping[str, Any], **how: Any
    ) -> None:
        self.note("update", queue, at, {"id": f"id-{text}", "receipt": f"{text}/{claim}", **fields}, {}, **how)

    def listing(self, queue: str, at: float, *messages: str | Mapping[str, Any]) -> None:
        each = [
            {"id": f"id-{m}", "message": m, "status": "unprocessed", "receive_count": 0} if isinstance(m, str) else m
            for m in messages
        ]
        self.note("listing", queue, at, {}, each)
