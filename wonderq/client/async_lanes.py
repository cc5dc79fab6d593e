"""Batching for tasks: a task of each lane sends for all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from wonderq.client.errors import Unreachable
from wonderq.client.operations import Batcher, Operation


class TaskLane:
    """Carries out the operations of one batcher, one request at a time, in a task that ends when nothing waits.

    A task of its own sends the requests: cancelling one caller must not cancel the calls of the others.
    """

    def __init__(self, batcher: Batcher, carry_out: Callable[[Batcher, Sequence[Operation]], Awaitable[None]]) -> None:
        self._batcher = batcher
        self._carry_out = carry_out
        self._waiting: dict[Operation, asyncio.Future[None]] = {}
        self._sender: asyncio.Task[None] | None = None

    @property
    def load(self) -> int:
        """Number of operations that wait or are under way."""
        return len(self._waiting)

    async def run(self, operation: Operation, timeout_s: float) -> Any:
        """Carry out an operation, and return its result or raise its error.

        Raises:
            Unreachable: the operations of others took longer than ``timeout_s``.
        """
        loop = asyncio.get_running_loop()
        done = self._waiting[operation] = loop.create_future()
        self._batcher.add(operation)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="wonderq-lane")
        timer = loop.call_later(timeout_s, self._give_up, operation, timeout_s)  # asyncio.timeout() takes far longer
        try:
            await done
        finally:
            timer.cancel()
        if operation.error is not None:
            raise operation.error
        return operation.result

    def _give_up(self, operation: Operation, timeout_s: float) -> None:
        """End the wait for an operation that took too long, unless it has just ended."""
        done = self._waiting.get(operation)
        if done is None or done.done():
            return
        withdrawn = self._batcher.withdraw(operation)
        if withdrawn:
            del self._waiting[operation]
        done.set_exception(Unreachable(f"no answer came within {timeout_s:g} s", outcome_unknown=not withdrawn))

    async def close(self) -> None:
        """Wait until nothing waits. Cancelling this wait does not cancel the operations of others."""
        if self._sender is not None:
            await asyncio.wait([self._sender])

    async def _send(self) -> None:
        try:
            while len(self._batcher):
                taken = self._batcher.take()
                try:
                    await self._carry_out(self._batcher, taken)
                finally:
                    for operation in taken:
                        self._finish(operation)
        finally:
            self._sender = None

    def _finish(self, operation: Operation) -> None:
        if not operation.done:
            operation.fail(Unreachable("the event loop ended before the broker answered", outcome_unknown=True))
        future = self._waiting.pop(operation)
        if not future.done():
            future.set_result(None)
