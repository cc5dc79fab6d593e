"""Apps and tasks, without a broker: declarations and the errors of wrong ones."""

from __future__ import annotations

import asyncio
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


def test_options_of_a_task_are_its_policy() -> None:
    app = App()

    @app.task(name="work", queue="other", retries=3, backoff=(2, 20), timeout=60, lease=15)
    def function() -> None: ...

    assert (function.name, function.queue) == ("work", "other")
    assert function.policy == Policy(3, (2, 20), 60, 15)
    assert app.queues == ["other"]
    assert App().queues == ["default"]


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
        beside: list[dict[str, Any]] = [{"url": "http://127.0.0.1:2"}, {"key": "k"}]
        for more in beside:
            with pytest.raises(ValueError, match="pass either the client, or url and key"):
                App(client=client, **more)
