"""`App`: the tasks of a program, and the broker that they are sent to."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypedDict, TypeVar, Unpack, get_args, overload

from wonderq.client.messages import Contents
from wonderq.client.sync import Client
from wonderq.tasks import batch, schedules, subscriptions
from wonderq.tasks.arguments import read_call
from wonderq.tasks.batch import Batch
from wonderq.tasks.decorator import Decorator, Unknown, check_texts
from wonderq.tasks.schedules import Missed, Schedule
from wonderq.tasks.subscriptions import FilterScope, Subscription, WhenFull
from wonderq.tasks.task import Handler, Task
from wonderq.worker.claims import Job
from wonderq.worker.context import Context
from wonderq.worker.middleware import Middleware
from wonderq.worker.outcomes import Dead
from wonderq.worker.policy import Policy
from wonderq.worker.reports import Metrics
from wonderq.worker.worker import JobWorker, Work

if TYPE_CHECKING:
    from wonderq.client.asynchronous import AsyncClient

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


class UnknownTask(Exception):  # noqa: N818 - is the type of an error that people read
    """This code has no task of the name that a message has."""


class TaskOptions(TypedDict, total=False):
    """Options of a task, as `App.task` describes them."""

    name: str | None
    queue: str | None
    retries: int
    backoff: tuple[float, float]
    timeout: float | None
    lease: float
    dead_letters: str | None


class App:
    """The tasks of a program."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        queue: str = "default",
        name: str | None = None,
        client: Client | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        """Make an app. This asks the broker nothing.

        Args:
            url: address of the broker; default: ``WONDERQ_URL``, or else http://127.0.0.1:7979.
            key: API key; default: ``WONDERQ_KEY``.
            queue: queue of the tasks that name none.
            name: name of the app, which its schedules have as a prefix; default: its queue.
            client: a client to use instead of a new one, with a URL and a key of its own. `Task.asend` uses these too.
            middleware: runs around every task.

        Raises:
            ValueError: there is a client, and a URL or a key beside it.
        """
        if client is not None and (url is not None or key is not None):
            raise ValueError("a client has its own URL and key: pass either the client, or url and key")
        self.queue = queue
        self.name = name or queue
        self.middleware = list(middleware)
        self.tasks: dict[str, Task[..., Any]] = {}
        self._url, self._key = url, key
        self._client = client
        self._makes_client = client is None
        self._lock = threading.Lock()
        self._async_clients: dict[asyncio.AbstractEventLoop, AsyncClient] = {}
        self._schedules: list[tuple[Task[..., Any], str, str, Missed]] = []
        self._subscriptions: list[tuple[Handler[..., Any], Subscription]] = []
        self._handlers: dict[str, Handler[..., Any]] = {}  # by queue
        self._dead_letters: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<App {self.name!r} with {len(self.tasks)} tasks>"

    # Tasks

    @overload
    def task(self, function: Callable[Concatenate[Unknown, P], R], /) -> Task[..., R]: ...
    @overload
    def task(self, function: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, **options: Unpack[TaskOptions]) -> Decorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        queue: str | None = None,
        retries: int = 5,
        backoff: tuple[float, float] = (1, 600),
        timeout: float | None = None,
        lease: float = 30,
        dead_letters: str | None = None,
    ) -> Decorator | Task[..., Any]:
        """Return a decorator that makes a function a task. All durations are in seconds.

        Without options, the brackets may be left out: ``@app.task``.

        Args:
            function: the function, if there are no brackets.
            name: name in messages; default: the function's name.
            queue: queue of the messages; default: that of the app.
            retries: number of tries after the first one.
            backoff: shortest and longest pause before a retry; it doubles with each try, and has random jitter.
            timeout: longest time of a try. A coroutine is cancelled then. A function in a thread cannot be: the try has
                failed, but the thread occupies its slot until the function returns.
            lease: time after which others get the message if this worker was killed. It is renewed by itself while the
                task runs.
            dead_letters: queue for messages whose tries have all failed. Without one they stay in their queue, buried.

        Raises:
            ValueError: a value is out of range, the name is taken, or the queue has another dead-letter queue.
            TypeError: a value is of the wrong type, or the decorated object is no function that a message can call.
        """
        check_texts(name=name, queue=queue, dead_letters=dead_letters)
        policy = Policy(retries, backoff, timeout, lease)

        def make(function: Callable[..., Any]) -> Task[..., Any]:
            return self._add(function, name, queue or self.queue, policy, dead_letters)

        decorate = Decorator(make)
        return decorate if function is None else decorate(function)

    def every(
        self, cron: str, *, timezone: str = "UTC", missed: Missed = "skip", **options: Unpack[TaskOptions]
    ) -> Decorator:
        """Return a decorator for a task without arguments that a schedule of the broker calls.

        The workers of the app create the schedule when they start, change it when the code does, and remove it when it
        is no longer in the code. Each time gives exactly one message, however many workers there are.

        Args:
            cron: minute, hour, day of month, month, day of week.
            timezone: IANA time zone of these.
            missed: what happens to times at which the broker was not running: ``skip``, ``once`` or ``all``.
            **options: as `task` takes them.

        Raises:
            ValueError: ``missed`` is another word, or as `task` raises it.
            TypeError: there is no cron expression, or as `task` raises it.
        """
        if not isinstance(cron, str):
            raise TypeError(f'@app.every needs a cron expression, such as @app.every("30 4 * * *"), not {cron!r}')
        check_texts(timezone=timezone)
        if missed not in get_args(Missed):
            raise ValueError(f"missed must be one of {', '.join(get_args(Missed))}, not {missed!r}")
        decorate = self.task(**options)

        def make(function: Callable[..., Any]) -> Task[..., Any]:
            task: Task[..., Any] = decorate(function)
            schedules.schedule_name(self.name, task.name)
            self._schedules.append((task, cron, timezone, missed))
            return task

        return Decorator(make)

    def on(
        self,
        topic: str,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the field's name everywhere
        filter_scope: FilterScope = "attributes",
        when_full: WhenFull = "fail",
        **options: Unpack[TaskOptions],
    ) -> Decorator:
        """Return a decorator for a function that is called with the messages of a topic that a filter chooses, or all.

        The function has one argument: the body as text if its annotation is ``str``, or else the decoded JSON, checked
        against the annotation. A `Context` parameter has the attributes. The messages come by a queue of the function.

        The workers of the app subscribe the queue when they start, change the subscription when the code does, and
        remove it when it is no longer in the code. Messages that were published before the first start do not come.

        Args:
            topic: name of the topic. It is created if it does not exist.
            filter: condition on the messages; see docs/TOPICS.md.
            filter_scope: part of a message that the filter is about.
            when_full: effect if the queue refuses a message: ``fail`` refuses the publish, ``skip`` passes over it.
            **options: as `task` takes them. The default queue has the names of the app and the function, and no other
                task may have the same queue.

        Raises:
            ValueError: the queue has another task, or as `task` raises it.
            TypeError: there is no topic, or as `task` raises it.
        """
        if not isinstance(topic, str):
            raise TypeError(f'@app.on needs the name of a topic, such as @app.on("orders"), not {topic!r}')
        for option, value, allowed in (
            ("filter_scope", filter_scope, get_args(FilterScope)),
            ("when_full", when_full, get_args(WhenFull)),
        ):
            if value not in allowed:
                raise ValueError(f"{option} must be one of {', '.join(allowed)}, not {value!r}")
        of_policy: dict[str, Any] = {**options}
        name, queue, dead_letters = (of_policy.pop(each, None) for each in ("name", "queue", "dead_letters"))
        check_texts(name=name, queue=queue, dead_letters=dead_letters)
        policy = Policy(**of_policy)

        def make(function: Callable[..., Any]) -> Task[..., Any]:
            task = self._name_of(function, name)
            own = queue or subscriptions.queue_name(self.name, task, topic)
            if any(each.queue == own for each in self.tasks.values()):
                raise ValueError(f"the queue {own!r} has another task: a function of a topic has a queue of its own")
            wanted = Subscription(schedules.schedule_name(self.name, task), topic, own, filter, filter_scope, when_full)
            handler: Handler[..., Any] = Handler(self, function, task, own, policy)
            self._register(handler, dead_letters)
            self._handlers[own] = handler
            self._subscriptions.append((handler, wanted))
            return handler

        return Decorator(make)

    def _add(
        self, function: Callable[..., Any], name: str | None, queue: str, policy: Policy, dead_letters: str | None
    ) -> Task[..., Any]:
        if queue in self._handlers:
            other = self._handlers[queue].name
            raise ValueError(f"the queue {queue!r} has the messages of a topic, for {other!r}: use another queue")
        task: Task[..., Any] = Task(self, function, self._name_of(function, name), queue, policy)
        self._register(task, dead_letters)
        return task

    def _name_of(self, function: Callable[..., Any], name: str | None) -> str:
        """Return the name of a new task.

        Raises:
            ValueError: it is malformed, or taken.
        """
        name = name or str(getattr(function, "__name__", ""))
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} cannot be the name of a task: it has 1 to 80 characters of A-Z a-z 0-9 _ . and -"
            )
        if name in self.tasks:
            raise ValueError(f"there is another task {name!r}: give one of them a name, @app.task(name=...)")
        return name

    def _register(self, task: Task[..., Any], dead_letters: str | None) -> None:
        queue = task.queue
        if dead_letters is not None and self._dead_letters.setdefault(queue, dead_letters) != dead_letters:
            other = self._dead_letters[queue]
            raise ValueError(f"the dead letters of queue {queue!r} go to {other!r}: a queue has one dead-letter queue")
        self.tasks[task.name] = task

    # Sending

    @property
    def client(self) -> Client:
        """The client that tasks are sent with."""
        with self._lock:
            if self._client is None:
                self._client = Client(self._url, key=self._key)
            return self._client

    @property
    def async_client(self) -> AsyncClient:
        """The client of the running event loop.

        Raises:
            ImportError: aiohttp is not installed; the message names the extra.
        """
        from wonderq.client.asynchronous import AsyncClient  # noqa: PLC0415 - a worker runs without aiohttp

        loop = asyncio.get_running_loop()
        model = self.client
        with self._lock:
            client = self._async_clients.get(loop)
            if client is None:
                # A client of a loop that has ended starts anew here. It holds its loop, so neither would ever go.
                ended = [self._async_clients.pop(each) for each in list(self._async_clients) if each.is_closed()]
                alike = [each for each in ended if each.options == model.options]
                client = alike[0] if alike else AsyncClient.like(model)
                self._async_clients[loop] = client
            return client

    def batch(self) -> Batch:
        """Return a block whose sends go in one request at its end: all or none."""
        return Batch(self)

    @property
    def open_batch(self) -> Batch | None:
        """The batch of this app whose block the caller is in."""
        found = batch.open_batch()
        return found if found is not None and found.app is self else None

    def close(self) -> None:
        """Close the client for threads. If the app made it, the next use makes another one, as tests need it."""
        with self._lock:
            client = self._client
            if self._makes_client:
                self._client = None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop. Call it before the loop ends if you used `Task.asend`."""
        with self._lock:
            client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    # Working

    @property
    def queues(self) -> list[str]:
        """Queues of the tasks."""
        return list(dict.fromkeys(task.queue for task in self.tasks.values())) or [self.queue]

    def worker(
        self,
        *,
        queues: Sequence[str] | Mapping[str, int] | None = None,
        concurrency: int = 4,
        grace: float = 30,
        metrics: Metrics | None = None,
    ) -> JobWorker:
        """Return a worker for this app; see `wonderq.Worker`.

        ``queues`` are the queues of one poll: a list in strict order, or weights by name; by default all of the tasks.

        Raises:
            ValueError: an option is out of range, a task of a schedule needs arguments, or a function of a topic does
                not take one.
        """
        # The checks; a worker without a broker would find the mistakes only later.
        self._wanted_schedules()
        self._wanted_subscriptions()
        work = Work(
            queues=self.queues if queues is None else queues,
            resolve=self.job_of,
            lease_s=min((task.policy.lease for task in self.tasks.values()), default=Policy().lease),
            dead_letters=self._dead_letters,
            prepare=self.prepare,
            close_clients=self.aclose,
        )
        return JobWorker(
            self.client, work, concurrency=concurrency, grace=grace, middleware=self.middleware, metrics=metrics
        )

    def prepare(self) -> None:
        """Make the broker's schedules and subscriptions those of the code. A worker does this when it starts."""
        self.keep_schedules()
        self.keep_subscriptions()

    def keep_subscriptions(self) -> None:
        """Make the broker's subscriptions those of the code, with the topics and queues that they need."""
        subscriptions.keep_subscriptions(self.client, self.name, self._wanted_subscriptions())

    def _wanted_subscriptions(self) -> list[Subscription]:
        """Return the subscriptions of the code.

        Raises:
            ValueError: a function does not take one argument.
        """
        for handler, _ in self._subscriptions:
            handler.arguments.check()
        return [each for _, each in self._subscriptions]

    def keep_schedules(self) -> None:
        """Make the broker's schedules those of the code. A worker does this when it starts."""
        schedules.keep_schedules(self.client, self.name, self._wanted_schedules())

    def _wanted_schedules(self) -> list[Schedule]:
        """Return the schedules of the code.

        Raises:
            ValueError: a task needs arguments, which a schedule does not have.
        """
        found = []
        for task, cron, timezone, missed in self._schedules:
            try:
                text = task.arguments.to_text(task.name, (), {})
            except TypeError as error:
                raise ValueError(f"{error}. A schedule gives no arguments: give each parameter a default") from error
            found.append(Schedule(task.name, task.queue, text, cron, timezone, missed))
        return found

    def run_until_empty(self) -> int:
        """Run tasks here until no queue has an available message; return their number. For tests.

        Raises:
            Exception: a task raised it. The message was settled as a worker would have done it.
        """
        return self.worker().run_until_empty()

    def job_of(self, message: Contents) -> Job:
        """Return the task of a message as a job of a worker.

        Raises:
            Dead: the message is not that of a task.
            UnknownTask: the code has no such task. A later version may have it, so the message is tried again.
        """
        handler = self._handlers.get(message.queue)
        try:
            call = read_call(message.text) if handler is None else handler.arguments.read(handler.name, message)
        except ValueError as error:
            raise Dead(str(error)) from error
        task = self.tasks.get(call.task)
        if task is None:
            raise UnknownTask(f"this worker's code has no task {call.task!r}")
        return Job(task.name, lambda context: task.run(call, context), task.is_async, task.policy)
