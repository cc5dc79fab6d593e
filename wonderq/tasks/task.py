"""A task: a function that a message calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack

from wonderq.client.fields import MessageOptions
from wonderq.client.messages import Sent
from wonderq.tasks.arguments import Arguments, Call
from wonderq.tasks.subscriptions import BodyArguments
from wonderq.worker.context import Context
from wonderq.worker.outcomes import Dead
from wonderq.worker.policy import Policy
from wonderq.worker.tracing import current_trace

if TYPE_CHECKING:
    from wonderq.tasks.app import App

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A function that messages call. Calling the task itself calls the function here and now."""

    def __init__(self, app: App, function: Callable[..., R], name: str, queue: str, policy: Policy) -> None:
        self.app = app
        self.function = function
        self.name = name
        self.queue = queue
        self.policy = policy
        self.is_async = inspect.iscoroutinefunction(function)
        update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<Task {self.name!r} of queue {self.queue!r}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @cached_property
    def arguments(self) -> Arguments:
        """The arguments that messages give. Made at the first use, when all annotated names are defined."""
        return Arguments(self.function)

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Sent:
        """Send a message that calls the function with these arguments, and return once it is durable.

        Raises:
            TypeError: the arguments do not fit the signature or the annotations.
            WonderQError: the message was not sent, or it is unknown whether it was; see `Queue.send`.
        """
        return Options(self, self.queue, {}).send(*args, **kwargs)

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> Sent:
        """Do the same as `send` without blocking the event loop."""
        return await Options(self, self.queue, {}).asend(*args, **kwargs)

    def options(self, *, queue: str | None = None, **options: Unpack[MessageOptions]) -> Options[P]:
        """Return this task with options for its messages: ``resize.options(delay=60).send("cat.png")``."""
        return Options(self, queue or self.queue, options)

    def run(self, call: Call, context: Context) -> Any:
        """Call the function with the arguments of a message.

        Raises:
            Dead: the arguments do not fit, so another try is of no use.
        """
        try:
            args, kwargs = self.arguments.bind(call, context)
        except TypeError as error:
            raise Dead(str(error)) from error
        return self.function(*args, **kwargs)


class Handler(Task[P, R]):
    """A task for the messages of a topic. `send` sends it one that was not published."""

    @cached_property
    def arguments(self) -> BodyArguments:
        """The argument that messages give: their body."""
        return BodyArguments(self.function)


class Options(Generic[P]):
    """A task with options for its messages."""

    def __init__(self, task: Task[P, Any], queue: str, options: MessageOptions) -> None:
        self._task = task
        self._queue = queue
        self._options = options

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Sent:
        """Send a message; see `Task.send`."""
        text, options = self._message(args, kwargs)
        batch = self._task.app.open_batch
        if batch is not None:
            return batch.add(self._queue, text, options)
        return self._task.app.client.queue(self._queue).send(text, **options)

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> Sent:
        """Send a message without blocking the event loop; see `Task.send`."""
        text, options = self._message(args, kwargs)
        batch = self._task.app.open_batch
        if batch is not None:
            return batch.add(self._queue, text, options)
        return await self._task.app.async_client.queue(self._queue).send(text, **options)

    def _message(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, MessageOptions]:
        text = self._task.arguments.to_text(self._task.name, args, kwargs)
        options = self._options.copy()
        options["attributes"] = {"content_type": "application/json", **options.get("attributes", {})}
        if "traceparent" not in options:
            options.update(current_trace())  # type: ignore[typeddict-item]  # traceparent and tracestate
        return text, options
