"""Plain handlers: one function for each queue."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias, get_type_hints

from wonderq.client.messages import Contents
from wonderq.worker.claims import Job
from wonderq.worker.context import Context, is_context
from wonderq.worker.policy import Policy

Handler: TypeAlias = Callable[..., Any]
"""A function or coroutine function that takes a message.

A parameter with the annotation `Context`, or else a second one that needs a value, gets the context.
"""


def resolver(handlers: Mapping[str, Handler], policy: Policy) -> Callable[[Contents], Job]:
    """Return a function that finds the handler of a message by its queue."""
    jobs = {queue: _job(queue, handler, policy) for queue, handler in handlers.items()}
    return lambda message: jobs[message.queue]


def _job(queue: str, handler: Handler, policy: Policy) -> Job:
    return Job(queue, _caller(handler), inspect.iscoroutinefunction(handler), policy)


def _caller(handler: Handler) -> Callable[[Context], Any]:
    """Return a function that calls a handler with its message, and with the context where the handler has it."""
    parameters = inspect.signature(handler).parameters
    name = _context_name(handler, parameters)
    if name is None:
        return lambda context: handler(context.message)
    place = list(parameters).index(name)
    if place > 1 or parameters[name].kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda context: handler(context.message, **{name: context})
    if place == 0:
        return lambda context: handler(context, context.message)
    return lambda context: handler(context.message, context)


def _context_name(handler: Handler, parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """Return the parameter with the annotation `Context`, or else the second one if it needs a value."""
    if len(parameters) < 2:
        return None
    hints = get_type_hints(handler.func if isinstance(handler, partial) else handler)
    annotated = next((name for name in parameters if is_context(hints.get(name))), None)
    if annotated is not None:
        return annotated
    second = list(parameters.values())[1]
    return second.name if second.default is inspect.Parameter.empty else None
