"""Plain handlers get their message, and the context where they ask for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.worker.script import message
from wonderq.client.messages import Contents
from wonderq.worker.context import Context
from wonderq.worker.handlers import resolver
from wonderq.worker.policy import Policy

MESSAGE = message("m", queue="jobs")
CONTEXT = Context(MESSAGE, "jobs", lambda: None)


def alone(message: Contents) -> tuple[object, ...]:
    return (message,)


def with_an_option(message: Contents, retry: bool = False) -> tuple[object, ...]:
    return message, retry


def second_without_annotation(message, ctx):  # type: ignore[no-untyped-def]
    return message, ctx


def second(message: Contents, ctx: Context) -> tuple[object, ...]:
    return message, ctx


def first(ctx: Context, message: Contents) -> tuple[object, ...]:
    return message, ctx


def last(message: Contents, retry: bool = False, ctx: Context | None = None) -> tuple[object, ...]:
    return message, retry, ctx


def by_name(message: Contents, *, retry: bool = False, ctx: Context) -> tuple[object, ...]:
    return message, retry, ctx


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (alone, (MESSAGE,)),
        (with_an_option, (MESSAGE, False)),
        (second_without_annotation, (MESSAGE, CONTEXT)),
        (second, (MESSAGE, CONTEXT)),
        (first, (MESSAGE, CONTEXT)),
        (last, (MESSAGE, False, CONTEXT)),
        (by_name, (MESSAGE, False, CONTEXT)),
        (partial(with_an_option, retry=True), (MESSAGE, True)),
        (partial(by_name, retry=True), (MESSAGE, True, CONTEXT)),
    ],
)
def test_the_context_is_found_by_its_annotation(handler: Callable[..., Any], expected: tuple[object, ...]) -> None:
    job = resolver({"jobs": handler}, Policy())(MESSAGE)
    assert job.call(CONTEXT) == expected
    assert not job.is_async
