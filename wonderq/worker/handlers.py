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
    takes_context = {queue: _takes_context(handler) for queue, handler in handlers.items()}

    def resolve(message: Contents) -> Job:
        handler = handlers[message.queue]

        def call(context: Context) -> Any:
            return handler(message, context) if takes_context[message.queue] else handler(message)

        return Job(message.queue, call, inspect.iscoroutinefunction(handler), policy)

    return resolve


def _takes_context(handler: Handler) -> bool:
    parameters = list(inspect.signature(handler).parameters.values())
    if len(parameters) < 2:
        return False
    return (
        get_type_hints(handler).get(parameters[1].name) is Context or parameters[1].default is inspect.Parameter.empty
    )
