"""Runs the handler of one claim, with its middleware and its span, and reports how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from wonderq.worker.claims import Claim
from wonderq.worker.context import Context
from wonderq.worker.executor import EventLoop, Threads
from wonderq.worker.middleware import Middleware, around

Ended = Callable[[Claim, BaseException | None], None]
"""Called with a claim and the error of its handler, on the handler's thread."""


class Runner:
    """Runs handlers on threads or on an event loop."""

    def __init__(
        self,
        middleware: Sequence[Middleware],
        check: Callable[[Claim], None],
        ended: Ended,
        close_clients: Callable[[], Awaitable[None]],
    ) -> None:
        self._middleware = middleware
        self._check = check
        self._ended = ended
        self._threads = Threads()
        self._loop = EventLoop(close_clients)
        self._cancels: dict[Claim, Callable[[], None]] = {}

    def start(self, claim: Claim) -> None:
        """Start the handler of a claim."""
        context = Context(claim.message, claim.job.name, lambda: self._check(claim))
        if claim.job.is_async:
            self._cancels[claim] = self._loop.run(self._run_coroutine(claim, context))
        else:
            self._threads.run(lambda: self._run_function(claim, context))

    def cancel(self, claim: Claim) -> bool:
        """Cancel a coroutine. Returns False for a function, which nobody can interrupt."""
        cancel = self._cancels.get(claim)
        if cancel is not None:
            cancel()
        return cancel is not None

    def close(self) -> None:
        """End the threads and the event loop."""
        self._threads.close()
        self._loop.close()

    def _run_function(self, claim: Claim, context: Context) -> None:
        error: BaseException | None = None
        try:
            with around(self._middleware, context):
                claim.job.call(context)
        except BaseException as raised:  # noqa: BLE001 - also SystemExit: the message decides, not the handler
            error = raised
        self._ended(claim, error)

    async def _run_coroutine(self, claim: Claim, context: Context) -> None:
        error: BaseException | None = None
        try:
            with around(self._middleware, context):
                await claim.job.call(context)
        except BaseException as raised:  # noqa: BLE001 - also CancelledError: the worker raised it, or the handler did
            error = raised
        self._cancels.pop(claim, None)
        self._ended(claim, error)
