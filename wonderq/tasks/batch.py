"""Sends of a block that go together, all or none."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from wonderq.client.fields import MessageOptions
from wonderq.client.messages import Sent

if TYPE_CHECKING:
    from wonderq.tasks.app import App

_current: ContextVar[Batch | None] = ContextVar("wonderq_batch", default=None)
"""The batch of the running block. Tasks and threads that the block starts inherit it."""

_Caller = tuple[int, "asyncio.Task[object] | None"]


def _caller() -> _Caller:
    """Return the running thread and task."""
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return threading.get_ident(), None


def open_batch() -> Batch | None:
    """Return the batch whose block the caller is in, if it entered the block itself."""
    found = _current.get()
    return found if found is not None and found.is_of_caller else None


class Batch:
    """A block whose sends go in one request at its end: all are added, or none. An exception in the block sends none.

    Sends of other threads and tasks do not take part, also if the block starts them. All messages are for one queue.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.sent: list[Sent] = []
        """A result for each send. The ids are empty until the block ends."""
        self._queue: str | None = None
        self._messages: list[tuple[str, MessageOptions]] = []
        self._token: Token[Batch | None] | None = None
        self._entered_by: _Caller | None = None
        """The thread and task that entered the block; None outside it."""
        self._has_ended = False

    @property
    def is_of_caller(self) -> bool:
        """Whether the running thread and task are in the block."""
        return self._entered_by == _caller()

    def add(self, queue: str, text: str, options: MessageOptions) -> Sent:
        """Add a message.

        Raises:
            ValueError: the batch has messages for another queue.
            RuntimeError: the block has ended.
        """
        self._check_open()
        if self._queue not in (None, queue):
            raise ValueError(f"this batch is for the queue {self._queue!r}; use another batch for {queue!r}")
        self._queue = queue
        self._messages.append((text, options))
        self.sent.append(Sent(""))
        return self.sent[-1]

    def __enter__(self) -> Self:
        self._check_open()
        if open_batch() is not None:
            raise RuntimeError("batches cannot be nested: end the outer one first")
        self._token = _current.set(self)
        self._entered_by = _caller()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._leave()
        if kind is None and self._queue is not None:
            self._fill(self.app.client.queue(self._queue).send_together(self._messages))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._leave()
        if kind is None and self._queue is not None:
            self._fill(await self.app.async_client.queue(self._queue).send_together(self._messages))

    def _leave(self) -> None:
        assert self._token is not None
        _current.reset(self._token)
        self._entered_by = None
        self._has_ended = True

    def _check_open(self) -> None:
        if self._has_ended:
            raise RuntimeError("this batch has ended, and its messages are sent or dropped: make another one")

    def _fill(self, results: list[Sent]) -> None:
        for mine, result in zip(self.sent, results, strict=True):
            msgspec.structs.force_setattr(mine, "id", result.id)
            msgspec.structs.force_setattr(mine, "duplicate", result.duplicate)
