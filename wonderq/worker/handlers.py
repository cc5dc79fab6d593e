"""Plain handlers: one function for each queue."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_type_hints

from wonderq.client.messages import Contents
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.policy import Policy

Handler: TypeAlias = Callable[..., Any]
"""A function or coroutine function that takes a message, and a `Context` if it has a second parameter."""


def resolver(handlers: Mapping[str, Handler], policy: Policy) -> Callable[[Contents], Job]:
    """Return a function that finds the handler of a message by its queue."""
    jobs = {queue: _job(queue, handler, policy) for queue, handler in handlers.items()}
    return lambda message: jobs[message.queue]


def _job(queue: str, handler: Handler, policy: Policy) -> Job:
    takes_context = _takes_context(handler)

    def call(context: Context) -> Any:
        return handler(context.message, context) if takes_context else handler(context.message)

    return Job(queue, call, inspect.iscoroutinefunction(handler), policy)


def _takes_context(handler: Handler) -> bool:
    parameters = list(inspect.signature(handler).parameters.values())
    if len(parameters) < 2:
        return False
    return (
        get_type_hints(handler).get(parameters[1].name) is Context or parameters[1].default is inspect.Parameter.empty
    )
