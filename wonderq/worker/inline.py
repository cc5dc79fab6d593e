"""Running handlers in the calling thread, one after another, for tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from wonderq.client.messages import Contents
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.middleware import Middleware, around
from wonderq.worker.outcomes import settle
from wonderq.worker.policy import Policy
from wonderq.worker.source import Source


def run_until_empty(
    source: Source,
    resolve: Callable[[Contents], Job],
    middleware: Sequence[Middleware],
    close_clients: Callable[[], Awaitable[None]],
) -> int:
    """Run the handlers of all available messages, and return their number.

    The first error of a handler is raised after its message was settled, and further messages are left.
    """
    count = 0
    while messages := source.next((), 1, 0).messages:
        [message] = messages
        policy = Policy()
        error: BaseException | None = None
        try:
            job = resolve(message)
            policy = job.policy
            context = Context(message, job.name, lambda: None)
            if job.is_async:
                asyncio.run(_run(job, context, middleware, close_clients))
            else:
                with around(middleware, context):
                    job.call(context)
        except BaseException as raised:  # noqa: BLE001 - it is raised again, after the message was settled
            error = raised
        source.settle([settle(message, error, policy, random.random)])
        if error is not None:
            raise error
        count += 1
    return count


async def _run(
    job: Job, context: Context, middleware: Sequence[Middleware], close_clients: Callable[[], Awaitable[None]]
) -> None:
    try:
        with around(middleware, context):
            await job.call(context)
    finally:
        await close_clients()
