"""`Worker`: what a program or the command line runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from wonderq.client.errors import Refused
from wonderq.client.sync import Client
from wonderq.worker.broker_source import BrokerSource
from wonderq.worker.crew import Crew, Queues, groups_of, is_divided
from wonderq.worker.engine import Engine, Resolve
from wonderq.worker.executor import Places, no_clients
from wonderq.worker.handlers import Handler, resolver
from wonderq.worker.inline import run_until_empty
from wonderq.worker.middleware import Middleware
from wonderq.worker.policy import Policy
from wonderq.worker.reports import Metrics, Reports
from wonderq.worker.signals import stop_signals
from wonderq.worker.slots import Share

log = logging.getLogger("wonderq.worker")


def _nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a worker."""

    queues: Sequence[str] | Mapping[str, int]
    """Queues of one poll: a sequence in strict order, or weights by name."""
    resolve: Resolve
    """Finds the handler of a message."""
    lease_s: float
    """Time of the first claim, in seconds."""
    dead_letters: Mapping[str, str] = field(default_factory=dict)
    """Dead-letter queues by queue."""
    prepare: Callable[[], None] = _nothing
    """Called before the first poll, after the queues were made."""
    default: Policy = field(default_factory=Policy)
    """Policy of messages that have no handler."""
    close_clients: Callable[[], Awaitable[None]] = no_clients
    """Awaited before an event loop of handlers ends."""


class JobWorker:
    """Receives messages, and runs a handler for each. It holds no more messages than it has slots."""

    def __init__(
        self,
        client: Client,
        work: Work,
        *,
        concurrency: int,
        grace: float,
        middleware: Sequence[Middleware] = (),
        metrics: Metrics | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
        if not work.queues:
            raise ValueError("a worker needs a queue: pass a handler, or name a queue")
        self._client = client
        # In a cluster, each group has a poll of its own, and none may wait for the end of another. Connections that are
        # not needed are not made.
        self._engine_client = client.with_pool(len(groups_of(work.queues)))
        self._work = work
        self._grace_s = grace
        self._middleware = middleware
        self._reports = Reports(metrics)
        self._places = Places(work.close_clients)
        self._engine = Crew(self._make_engine, work.queues, concurrency, self._places)

    def _source(self, client: Client, queues: Queues) -> BrokerSource:
        work = self._work
        return BrokerSource(client, queues, work.lease_s, work.dead_letters, work.prepare)

    def _make_engine(self, queues: Queues, slots: Share) -> Engine:
        return Engine(
            self._source(self._engine_client, queues),
            self._work.resolve,
            slots=slots,
            places=self._places,
            lease_s=self._work.lease_s,
            grace_s=self._grace_s,
            default=self._work.default,
            middleware=self._middleware,
            reports=self._reports,
        )

    def run(self, *, second_hurries: bool = True) -> None:
        """Run until `stop` is called, or SIGTERM or SIGINT comes. A second signal gives all messages back at once.

        Signals are handled only if this is the main thread. Without ``second_hurries``, further signals have no effect.
        """
        if threading.current_thread() is not threading.main_thread():
            self._run_engine()
            return
        events: SimpleQueue[bool] = SimpleQueue()
        error: list[BaseException] = []

        def run() -> None:
            try:
                self._run_engine()
            except BaseException as raised:  # noqa: BLE001 - raised again below
                error.append(raised)
            finally:
                events.put(True)

        with stop_signals(lambda _: events.put(False)):
            threading.Thread(target=run, name="wonderq-engine", daemon=True).start()
            while not events.get():
                is_second = self._engine.is_stopping
                if is_second and not second_hurries:
                    continue
                if is_second:
                    log.info("second signal: giving all messages back")
                else:
                    log.info("stopping: %d handlers have %g s to finish", self._engine.running, self._grace_s)
                self._engine.stop(at_once=is_second)
        if error:
            raise error[0]

    def _run_engine(self) -> None:
        """Run until the end. What still runs then, such as a handler that hangs, was given up and needs no client."""
        try:
            self._engine.run()
        finally:
            if self._engine_client is not self._client:
                self._engine_client.close()

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more messages, let handlers finish within the grace, give the others back. Any thread may call it.

        A second call with ``at_once`` gives them back without waiting.
        """
        self._engine.stop(at_once=at_once)

    def run_until_empty(self) -> int:
        """Run handlers here until no queue has an available message; return their number. For tests.

        Raises:
            Exception: a handler raised it.
        """
        source = self._source(self._client, self._work.queues)
        source.prepare()
        try:
            return self._run_until_empty(source)
        except Refused as error:
            groups = groups_of(self._work.queues)
            if not is_divided(error) or len(groups) == 1:
                raise
        sources = [self._source(self._client, group) for group in groups]
        total = 0
        while count := sum(map(self._run_until_empty, sources)):  # a handler may have sent to a queue that was empty
            total += count
        return total

    def _run_until_empty(self, source: BrokerSource) -> int:
        return run_until_empty(source, self._work.resolve, self._middleware, self._work.close_clients)


class Worker(JobWorker):
    """A worker for plain messages: a handler for each queue."""

    def __init__(
        self,
        client: Client,
        handlers: Mapping[str, Handler],
        *,
        concurrency: int = 4,
        lease: float = 30,
        retries: int = 5,
        backoff: tuple[float, float] = (1, 600),
        timeout: float | None = None,
        grace: float = 30,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        """Make a worker. All durations are in seconds.

        Args:
            client: client of the broker.
            handlers: a function for each queue. It takes the message, and a `Context` if one of its parameters has
                this annotation. The message is deleted when it returns. Queues that come first have precedence.
            concurrency: number of handlers that run at a time, functions in threads and coroutines together.
            lease: time after which others get a message if this worker was killed. It is renewed while handlers run.
            retries: number of tries after the first one. Then a message is a dead letter.
            backoff: shortest and longest pause before a retry.
            timeout: longest time of a handler.
            grace: time that handlers have to finish when the worker stops.
            middleware: runs around every handler.

        Raises:
            ValueError: a value is out of range.
        """
        policy = Policy(retries, backoff, timeout, lease)
        work = Work(list(handlers), resolver(handlers, policy), lease, default=policy)
        super().__init__(client, work, concurrency=concurrency, grace=grace, middleware=middleware)
