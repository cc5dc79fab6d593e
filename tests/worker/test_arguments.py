"""Arguments of tasks: checked when they are sent and when they are received, and JSON in between."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Optional

import msgspec
import pytest

from tests.worker.script import message
from wonderq.tasks.arguments import Arguments, read_call
from wonderq.worker.context import Context


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Address:
    name: str
    host: str = "example.org"


CONTEXT = Context(message("m"), "t", lambda: None)


def sent(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Send arguments, receive them, call the function with them, and return its result."""
    arguments = Arguments(function)
    bound_args, bound_kwargs = arguments.bind(read_call(arguments.to_text("t", args, kwargs)), CONTEXT)
    return function(*bound_args, **bound_kwargs)


def resize(path: str, width: int = 200) -> tuple[str, int]:
    return path, width


def test_the_message_is_json_that_any_program_can_write() -> None:
    text = Arguments(resize).to_text("resize", ("cat.png",), {"width": 400})
    assert msgspec.json.decode(text) == {"task": "resize", "args": ["cat.png"], "kwargs": {"width": 400}}
    for more in ('"args": ["cat.png"]', '"kwargs": {"path": "cat.png"}, "from": "Go"'):
        args, kwargs = Arguments(resize).bind(read_call(f'{{"task": "resize", {more}}}'), CONTEXT)
        assert resize(*args, **kwargs) == ("cat.png", 200)


def test_defaults_are_those_of_the_receiver() -> None:
    assert "width" not in Arguments(resize).to_text("resize", ("cat.png",), {})
    assert sent(resize, "cat.png") == ("cat.png", 200)


def test_values_arrive_as_the_annotated_types() -> None:
    def task(
        when: dt.datetime, which: uuid.UUID, size: Size, price: Decimal, to: Address, tags: set[str], data: bytes
    ) -> list[Any]:
        return [when, which, size, price, to, tags, data]

    values = [
        dt.datetime(2026, 11, 29, tzinfo=dt.UTC),
        uuid.UUID(int=7),
        Size.LARGE,
        Decimal("1.20"),
        Address("anna"),
        {"a", "b"},
        b"\0\xff",
    ]
    assert sent(task, *values) == values


def test_keyword_variable_and_positional_only_parameters() -> None:
    def task(first: int, /, second: int, *more: int, named: int = 0, **others: int) -> Any:
        return first, second, more, named, others

    assert sent(task, 1, 2, 3, 4, named=5, x=6) == (1, 2, (3, 4), 5, {"x": 6})
    with pytest.raises(TypeError, match="more"):
        sent(task, 1, 2, "3")
    with pytest.raises(TypeError, match="others"):
        sent(task, 1, 2, x="6")


@pytest.mark.parametrize(
    "where",
    [
        lambda ctx, day: (ctx, day),
        lambda day, ctx: (ctx, day),
        lambda *, day, ctx: (ctx, day),
    ],
)
def test_the_context_may_stand_anywhere_and_is_not_sent(where: Any) -> None:
    where.__annotations__ = {"ctx": Context, "day": str}
    arguments = Arguments(where)
    assert "ctx" not in arguments.to_text("t", (), {"day": "monday"})
    assert sent(where, day="monday") == (CONTEXT, "monday")


def test_a_context_that_may_be_absent_is_given_too() -> None:
    def report(day: str, ctx: Context | None = None) -> tuple[object, str]:
        return ctx, day

    def other(day: str, ctx: Annotated[Optional[Context], "why"] = None) -> tuple[object, str]:  # noqa: UP045
        return ctx, day

    for function in (report, other):
        assert sent(function, "monday") == (CONTEXT, "monday")
        with pytest.raises(TypeError, match="too many positional arguments"):
            sent(function, "monday", None)


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'path'"),
        ((1,), {}, "argument 'path': Expected `str`, got `int`"),
        (("a",), {"width": "400"}, "argument 'width': Expected `int`, got `str`"),
        (("a",), {"height": 1}, "unexpected keyword argument 'height'"),
        (("a", 1, 2), {}, "too many positional arguments"),
        ((object(),), {}, "JSON cannot express an argument"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_where_they_are_sent(args: Any, kwargs: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=f"resize: .*{problem}"):
        Arguments(resize).to_text("resize", args, kwargs)


def test_a_type_that_json_cannot_express_is_refused_by_name() -> None:
    def task(when: dt.datetime | uuid.UUID) -> None: ...

    with pytest.raises(TypeError, match="task: JSON cannot express the type of 'when'"):
        Arguments(task)


@pytest.mark.parametrize("text", ["", "hello", "[]", '{"args": []}', '{"task": 7}', '{"task": "t", "args": {}}'])
def test_other_messages_are_not_taken_for_calls(text: str) -> None:
    with pytest.raises(ValueError, match="not that of a task"):
        read_call(text)
