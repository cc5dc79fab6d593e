"""Apps and tasks, without a broker: declarations and the errors of wrong ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.worker.script import message
from wonderq.client.sync import Client
from wonderq.tasks.app import App, UnknownTask
from wonderq.worker.context import Context
from wonderq.worker.outcomes import Dead
from wonderq.worker.policy import Policy


def context(text: str) -> Context:
    return Context(message("m", text=text), "t", lambda: None)


def run(app: App, text: str) -> Any:
    """Run the task of a message as a worker does."""
    job = app.job_of(message("m", text=text))
    result = job.call(context(text))
    return asyncio.run(result) if job.is_async else result


def test_a_task_is_still_a_function() -> None:
    app = App(queue="jobs")

    @app.task()
    def double(number: int) -> int:
        """Return twice the number."""
        return 2 * number

    @app.task()
    async def triple(number: int) -> int:
        return 3 * number

    assert double(4) == 8
    assert asyncio.run(triple(4)) == 12
    assert (double.name, double.__doc__) == ("double", "Return twice the number.")
    assert repr(double) == "<Task 'double' of queue 'jobs'>"
    assert run(app, '{"task": "double", "args": [4]}') == 8
    assert run(app, '{"task": "triple", "kwargs": {"number": 4}}') == 12


def test_brackets_without_options_may_be_left_out() -> None:
    app = App(queue="jobs")

    @app.task
    def double(number: int) -> int:
        return 2 * number

    @app.task
    async def triple(context: Context, number: int) -> tuple[int, int]:
        return context.tries, 3 * number

    assert (double.queue, double.policy) == ("jobs", Policy())
    assert double(4) == 8
    assert run(app, '{"task": "double", "args": [4]}') == 8
    assert run(app, '{"task": "triple", "args": [4]}') == (1, 12)


def yields() -> Iterator[int]:
    yield 7


async def yields_and_awaits() -> AsyncIterator[int]:
    yield 7


@pytest.mark.parametrize(
    ("decorate", "problem"),
    [
        (lambda app: app.task("jobs"), "a task is a function, not 'jobs': .*queue=\"jobs\""),
        (lambda app: app.task()("jobs"), "a task is a function, not 'jobs'"),
        (lambda app: app.task(app.task(run)), "'run' is a task already"),
        (lambda app: app.every("0 4 * * *")(app.task(run)), "'run' is a task already"),
        (lambda app: app.task(yields), "yields contains yield"),
        (lambda app: app.task(yields_and_awaits), "yields_and_awaits contains yield"),
        (lambda app: app.every(run), "needs a cron expression"),
        (lambda app: app.every(("0 4 * * *",)), "needs a cron expression"),
        (lambda app: app.every("0 4 * * *", timezone=2), "timezone must be a text, not 2"),
        (lambda app: app.task(name=7), "name must be a text, not 7"),
        (lambda app: app.task(queue=["jobs"]), "queue must be a text, not \\['jobs'\\]"),
        (lambda app: app.task(dead_letters=True), "dead_letters must be a text, not True"),
        (lambda app: app.task(retries="5"), "retries must be a whole number, not '5'"),
        (lambda app: app.task(backoff=5), "backoff must be \\(shortest, longest\\) in seconds, not 5"),
        (lambda app: app.task(backoff=(1, 2, 3)), "backoff must be"),
        (lambda app: app.task(backoff=("1", 2)), "backoff must be in seconds, as a number"),
        (lambda app: app.task(timeout="60"), "timeout must be in seconds, as a number, not '60'"),
        (lambda app: app.task(lease=None), "lease must be in seconds, as a number, not None"),
        (lambda app: app.task(retrys=5), "unexpected keyword argument 'retrys'"),
    ],
)
def test_a_wrong_use_of_a_decorator_fails_with_a_sentence_and_adds_no_task(
    decorate: Callable[[Any], object], problem: str
) -> None:
    app = App()
    with pytest.raises(TypeError, match=problem):
        decorate(app)
    app.tasks.pop("run", None)
    assert (app.tasks, app._schedules) == ({}, [])


def test_a_schedule_s_way_with_missed_times_is_one_of_three_words() -> None:
    with pytest.raises(ValueError, match="missed must be one of skip, once, all, not 'never'"):
        App().every("0 4 * * *", missed="never")  # type: ignore[arg-type]


def test_a_function_without_a_name_needs_one() -> None:
    app = App()
    with pytest.raises(ValueError, match="'' cannot be the name of a task"):
        app.task(partial(run, app))
    assert app.task(name="run")(partial(run, app)).name == "run"


def test_a_schedule_of_a_task_with_arguments_is_refused_before_a_broker_is_asked() -> None:
    app = App("http://127.0.0.1:1")

    @app.every("0 4 * * *")
    def nightly(day: str) -> None: ...

    with pytest.raises(ValueError, match="nightly: missing a required argument: 'day'\\. A schedule"):
        app.worker()


def test_options_of_a_task_are_its_policy() -> None:
    app = App()

    @app.task(name="work", queue="other", retries=3, backoff=(2, 20), timeout=60, lease=15)
    def function() -> None: ...

    assert (function.name, function.queue) == ("work", "other")
    assert function.policy == Policy(3, (2, 20), 60, 15)
    assert app.queues == ["other"]
    assert App().queues == ["default"]


def test_a_closed_app_makes_another_client_at_the_address_that_then_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        monkeypatch.setenv("WONDERQ_URL", url)
        assert app.client.url == url
        app.close()


def test_a_closed_app_keeps_the_client_that_it_was_given() -> None:
    given = Client("http://127.0.0.1:1")
    app = App(client=given)
    app.close()
    assert app.client is given


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"retries": -1}, "retries must be 0 or more"),
        ({"backoff": (5, 1)}, "backoff must be"),
        ({"timeout": 0}, "timeout must be positive"),
        ({"lease": 0.5}, "lease must be at least one second"),
        ({"name": "with space"}, "cannot be the name of a task"),
        ({"name": "taken"}, "another task 'taken'"),
        ({"dead_letters": "other-dead"}, "go to 'dead'"),
    ],
)
def test_wrong_options_are_refused_where_they_are_written(options: Any, problem: str) -> None:
    app = App()

    @app.task(name="taken", dead_letters="dead")
    def taken() -> None: ...

    with pytest.raises(ValueError, match=problem):

        @app.task(**options)
        def function() -> None: ...


def test_a_schedule_needs_a_name_that_the_broker_takes() -> None:
    app = App(name="a" * 78)
    with pytest.raises(ValueError, match="cannot be the name of a schedule"):

        @app.every("0 4 * * *")
        def nightly() -> None: ...


def test_messages_that_no_task_can_take() -> None:
    app = App()

    @app.task()
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(Dead, match="not that of a task"):
        run(app, "hello")
    with pytest.raises(Dead, match="argument 'number': Expected `int`, got `str`"):
        run(app, '{"task": "double", "args": ["4"]}')
    with pytest.raises(UnknownTask, match="no task 'treble'"):
        run(app, '{"task": "treble"}')


def test_a_type_error_of_the_function_itself_is_no_wrong_argument() -> None:
    app = App()

    @app.task()
    def broken(number: int) -> int:
        return number + ""  # type: ignore[operator]

    with pytest.raises(TypeError):
        run(app, '{"task": "broken", "args": [4]}')


def test_a_wrong_argument_is_refused_before_a_broker_is_asked() -> None:
    app = App("http://127.0.0.1:1")

    @app.task()
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(TypeError, match="Expected `int`"):
        double.send("4")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Expected `int`"), app.batch():
        double.send("4")  # type: ignore[arg-type]


def test_a_client_beside_a_url_or_a_key_is_refused() -> None:
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="pass either the client, or url and key"):
            App("http://127.0.0.1:2", client=client)
        with pytest.raises(ValueError, match="pass either the client, or url and key"):
            App(key="k", client=client)
