"""The decorator that makes a function a task, and checks of its arguments: a wrong one fails where it is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from wonderq.tasks.task import Task
from wonderq.worker.context import Context

P = ParamSpec("P")
R = TypeVar("R")


class Unknown:
    """Type of a value that no function takes, unless its parameter takes anything.

    For type checkers: without it, they would take a first parameter ``Any`` for the context.
    """


class Decorator:
    """Makes a task of a function.

    Type checkers leave a parameter `Context` that comes first out of the arguments of `Task.send`. They do not check
    the arguments of a function whose first parameter takes anything.
    """

    def __init__(self, make: Callable[[Callable[..., Any]], Task[..., Any]]) -> None:
        self._make = make

    @overload
    def __call__(self, function: Callable[Concatenate[Unknown, P], R]) -> Task[..., R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R]) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Task[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Task[..., Any]:
        """Make a task.

        Raises:
            TypeError: this is no function that a message can call.
        """
        _check_function(function)
        return self._make(function)


def check_texts(**options: object) -> None:
    """Check that options are texts, or absent.

    Raises:
        TypeError: one is not.
    """
    for name, value in options.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a text, not {value!r}")


def _check_function(function: object) -> None:
    if isinstance(function, Task):
        raise TypeError(f"{function.name!r} is a task already: decorate it once, with @app.task or with @app.every")
    if not callable(function):
        raise TypeError(
            f"a task is a function, not {function!r}: write @app.task, or name the options, "
            'as in @app.task(queue="jobs")'
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__name__", repr(function))
        raise TypeError(f"{name} contains yield, so a call would run nothing of it: let it return")
