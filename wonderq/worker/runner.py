"""Runs the handler of one claim, with its middleware and its span, and reports how it ended."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from wonderq.worker.claims import Claim
from wonderq.worker.context import Context
from wonderq.worker.executor import Places
from wonderq.worker.middleware import Middleware, around
from wonderq.worker.tracing import is_set_up

Ended = Callable[[Claim, BaseException | None], None]
"""Called with a claim and the error of its handler, on the handler's thread."""

_NOTHING_AROUND = nullcontext()


class Runner:
    """Runs handlers on threads or on an event loop."""

    def __init__(
        self,
        middleware: Sequence[Middleware],
        check: Callable[[Claim], None],
        ended: Ended,
        places: Places,
    ) -> None:
        self._middleware = middleware
        self._check = check
        self._ended = ended
        self._threads = places.threads
        self._loop = places.loop
        self._traces = False
        """Whether the program records spans. Asked once for all claims of a poll, since it takes as long as a task."""
        self._tasks: dict[Claim, asyncio.Task[None]] = {}
        """Tasks of the event loop. Only its thread uses them."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Start the handlers of claims."""
        self._traces = is_set_up()
        coroutines = [claim for claim in claims if claim.job.is_async]
        if coroutines:
            self._loop.call(self._start_tasks, coroutines)
        for claim in claims:
            if not claim.job.is_async:
                self._threads.run(partial(self._run_function, claim))

    def cancel(self, claim: Claim) -> bool:
        """Cancel a coroutine. Returns False for a function, which nobody can interrupt."""
        if claim.job.is_async:
            self._loop.call(self._cancel_task, claim)
        return claim.job.is_async

    def _context(self, claim: Claim) -> Context:
        return Context(claim.message, claim.job.name, partial(self._check, claim))

    def _around(self, context: Context) -> AbstractContextManager[None]:
        if self._middleware or self._traces or context.message.traceparent is not None:
            return around(self._middleware, context)
        return _NOTHING_AROUND

    def _run_function(self, claim: Claim) -> None:
        error: BaseException | None = None
        context = self._context(claim)
        try:
            with self._around(context):
                claim.job.call(context)
        except BaseException as raised:  # noqa: BLE001 - also SystemExit: the message decides, not the handler
            error = raised
        self._ended(claim, error)

    # In the thread of the event loop

    def _start_tasks(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._tasks[claim] = asyncio.create_task(self._run_coroutine(claim))

    def _cancel_task(self, claim: Claim) -> None:
        task = self._tasks.get(claim)
        if task is not None:
            coroutine = task.get_coro()
            assert inspect.iscoroutine(coroutine)
            has_begun = inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED
            task.cancel()
            if not has_begun:
                self._task_ended(claim, asyncio.CancelledError())

    async def _run_coroutine(self, claim: Claim) -> None:
        error: BaseException | None = None
        context = self._context(claim)
        try:
            with self._around(context):
                await claim.job.call(context)
        except BaseException as raised:  # noqa: BLE001 - also CancelledError: the worker raised it, or the handler did
            error = raised
        self._task_ended(claim, error)

    def _task_ended(self, claim: Claim, error: BaseException | None) -> None:
        del self._tasks[claim]
        self._ended(claim, error)
