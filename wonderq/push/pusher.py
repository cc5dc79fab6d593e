"""The push thread: it claims messages for endpoints, sends them, and settles the outcomes.

The thread runs an event loop, so thousands of requests may wait at a time for the price of their memory. Calls of the
broker block until the log is durable, so a few threads make them. All of that is outside the thread that serves
requests, and holds the broker's lock no longer than the claims and deletions of a consumer.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from wonderq.broker.broker import Broker
from wonderq.broker.counters import PushCounters
from wonderq.broker.notices import Notice
from wonderq.broker.pushes import PushClaim, Pushed, PushedMessage, PushKey
from wonderq.model.errors import BrokerError
from wonderq.model.push import DeliveryPolicy, parse_endpoint
from wonderq.model.topics import LastAttempt
from wonderq.push.connections import ConnectionLimits, Connections
from wonderq.push.delivery import Outcome, Sender, Settlement, released, settlement_of
from wonderq.push.line import Line
from wonderq.push.notices import NoticeSender
from wonderq.push.resolver import Lookup, Resolver, look_up
from wonderq.push.webhook import Webhooks
from wonderq_storage import StorageError

logger = logging.getLogger("wonderq.push")

T = TypeVar("T")

#: Threads that call the broker. Their writes share syncs, so more would not be faster.
_BROKER_THREADS = 4

#: Most bytes of messages that are held at a time. One message per endpoint is claimed in any case.
_MOST_BYTES = 32 << 20

#: Time by which a claim outlasts the timeout of its request: for the wait before its lookup, the body of its response
#: and its settlement.
_MARGIN_S = 10

#: Shortest wait for a deadline, so that one that is nearly due does not make the thread spin.
_SHORTEST_WAIT_S = 0.02

#: Time that requests under way have to end when the broker stops. After it, their messages are given back.
_GRACE_S = 3.0


class PushLimits(NamedTuple):
    """Bounds of the requests under way."""

    requests: int = 200
    """Most requests at a time."""
    requests_per_endpoint: int = 10
    """Most requests at a time to one endpoint."""


class Pusher:
    """Delivers messages to endpoints until it is stopped."""

    def __init__(self, broker: Broker, limits: PushLimits | None = None, *, lookup: Lookup = look_up) -> None:
        """Deliver for a broker, whose `Pushes.hosts` must be set. ``lookup`` finds addresses of hosts."""
        self._broker = broker
        self._pushes = broker.pushes
        self._limits = limits or PushLimits()
        self._lookup = lookup
        self._counters: PushCounters = broker.counters.push
        self._thread = threading.Thread(target=self._run, name="wonderq-push", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._lines: dict[PushKey, Line] = {}
        self._waiting: deque[Line] = deque()
        self._free = self._limits.requests
        self._free_bytes = _MOST_BYTES
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._sender: Sender
        self._notices: NoticeSender | None = None  # once the thread runs
        self._pool = ThreadPoolExecutor(_BROKER_THREADS, "wonderq-push-broker")
        self._resolver = Resolver(self._pushes.hosts, self._limits.requests, lookup)
        self._stopped = asyncio.Event()
        self._pushes.composers.setdefault("webhook", Webhooks())

    def start(self) -> None:
        """Start the thread."""
        self._pushes.listener = self._heard
        self._broker.notices.listener = lambda notice: self._call(self._tell, notice)
        self._thread.start()

    def stop(self) -> None:
        """Claim nothing more, let requests under way end for a short time, and give back the other messages."""
        self._pushes.listener = lambda _: None
        self._broker.notices.listener = lambda _: None
        if self._thread.is_alive():
            self._call(self._stopped.set)
            self._thread.join()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the push thread, from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *arguments)

    def _heard(self, key: PushKey) -> None:
        self._call(self._add, key)

    # The push thread

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except Exception:
            logger.critical("push ends until the broker is restarted", exc_info=True)
        finally:
            self._resolver.close()
            self._pool.shutdown()
            self._loop.close()

    async def _main(self) -> None:
        of_connections = ConnectionLimits(self._limits.requests, self._limits.requests_per_endpoint)
        connections = Connections(ssl.create_default_context(), of_connections)
        self._sender = Sender(self._resolver, connections)
        self._notices = NoticeSender(self._broker, self._sender, self._in_broker)
        for notice in await self._in_broker(self._broker.notices.waiting):
            self._notices.add(notice)
        for key in await self._in_broker(self._pushes.keys):
            self._add(key)
        await self._stopped.wait()
        self._is_stopping = True
        await self._notices.stop()
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=_GRACE_S)
        for each in self._deliveries:
            each.cancel()
        while self._tasks or self._deliveries:
            await asyncio.wait([*self._tasks, *self._deliveries])
        connections.close()
        for line in list(self._lines.values()):
            await self._in_broker(partial(self._pushes.forget, line.key, line.waiter))

    async def _in_broker(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._pool, call)

    def _spawn(self, work: Coroutine[Any, Any, None], into: set[asyncio.Task[None]] | None = None) -> None:
        tasks = self._tasks if into is None else into
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _tell(self, notice: Notice) -> None:
        if self._notices is not None and not self._is_stopping:  # else it is found at the start
            self._notices.add(notice)

    def _add(self, key: PushKey) -> None:
        line = self._lines.get(key)
        if line is None:
            line = Line(key, self._limits.requests_per_endpoint, lambda: self._call(self._kick, key))
            self._lines[key] = line
            self._counters.endpoints = len(self._lines)
        elif line.is_filling:
            line.waiter.wake.set()  # what its claim has found may be out of date, so it claims once more
        self._kick(key)

    def _kick(self, key: PushKey) -> bool:
        """Let an endpoint claim messages, unless it does or may not; return whether it begins to."""
        line = self._lines.get(key)
        if line is None or self._is_stopping or line.is_filling or line.is_queued:
            return False
        pause_s = line.pause_s(time.monotonic())
        if pause_s:
            self._pause(line, pause_s)
            return False
        if not line.room:
            return False
        if self._free < 1 or self._free_bytes <= 0:
            self._queue(line)
        else:
            line.is_filling = True
            self._spawn(self._fill(line))
        return line.is_filling

    def _pause(self, line: Line, wait_s: float) -> None:
        """Kick an endpoint after its pause, and let it step aside until then."""
        self._kick_later(line, wait_s)
        if line.has_place:
            line.has_place, line.is_filling = False, True
            self._spawn(self._step_aside(line))

    async def _step_aside(self, line: Line) -> None:
        """Give up the place of an endpoint among the consumers of its queue.

        A message wakes only one of them. One that wakes an endpoint during its pause would reach no other consumer.
        """
        try:
            await self._in_broker(partial(self._pushes.forget, line.key, line.waiter))
        finally:
            line.is_filling = False
        self._kick(line.key)  # the pause may have ended meanwhile

    def _kick_later(self, line: Line, wait_s: float) -> None:
        """Kick an endpoint after a time, unless it is due sooner."""
        at_s = self._loop.time() + max(wait_s, _SHORTEST_WAIT_S)
        if line.timer is not None:
            if line.timer.when() <= at_s:
                return
            line.timer.cancel()
        line.timer = self._loop.call_at(at_s, self._kick_in_time, line)

    def _kick_in_time(self, line: Line) -> None:
        line.timer = None
        self._kick(line.key)

    def _queue(self, line: Line) -> None:
        line.is_queued = True
        self._waiting.append(line)

    async def _fill(self, line: Line) -> None:
        """Claim as many messages as an endpoint may get, and begin to deliver them."""
        wait_s: float | None = None
        try:
            wait_s = await self._claim(line)
        except (BrokerError, StorageError, OSError) as error:
            level = logging.WARNING if self._broker.unready is None else logging.DEBUG  # others report that
            logger.log(level, "push of %s pauses: %s", line.key.subscription, error)
            line.hold(time.monotonic())
            wait_s = 0  # to see the pause
        finally:
            line.is_filling = False
        if wait_s:
            self._kick_later(line, wait_s)
        if wait_s == 0 or line.waiter.wake.is_set():
            self._kick(line.key)
        self._serve_waiting()

    async def _claim(self, line: Line) -> float | None:
        """Claim messages, and begin to deliver them. Return the seconds after which to try again, if that is known."""
        line.waiter.rearm()
        pushed = await self._in_broker(partial(self._pushes.find, line.key))
        if pushed is None:
            self._remove(line)
            return None
        if not self._pushes.hosts.permits_host(parse_endpoint(pushed.push.url).host):
            if not line.reason:
                line.reason = "its host is not named by --push-hosts"
                logger.warning("%s gets nothing: %s", _name(pushed), line.reason)
            return None
        policy = self._policy(pushed)
        if self._free < 1 or self._free_bytes <= 0:  # others were faster
            self._queue(line)
            return None
        wanted = min(line.room, self._free)
        wanted, wait_s = line.permitted(policy.max_per_second, wanted, time.monotonic())
        if not wanted:
            return wait_s
        most_bytes = max(self._free_bytes // 4, 1)
        self._free -= wanted
        self._free_bytes -= most_bytes
        claim: PushClaim | None = None
        line.has_place = True
        try:
            claim = await self._in_broker(
                partial(
                    self._pushes.claim,
                    line.key,
                    line.waiter,
                    limit=wanted,
                    timeout_ms=1000 * (policy.timeout + _MARGIN_S),
                    most_bytes=most_bytes,
                )
            )
        finally:
            self._free += wanted - (len(claim.messages) if claim is not None else 0)
            self._free_bytes += most_bytes
        if claim is None:
            self._remove(line)
            return None
        if claim.pushed != pushed:  # it changed meanwhile, but the claim is made for the timeout from before
            changed = self._policy(claim.pushed)
            policy = replace(changed, timeout=min(changed.timeout, policy.timeout))
        line.count(policy.max_per_second, len(claim.messages), time.monotonic())
        for message in claim.messages:
            line.running += 1
            self._free_bytes -= message.length
            self._spawn(self._deliver(line, claim.pushed, policy, message), self._deliveries)
        self._counters.in_flight = len(self._deliveries)
        return claim.wait_s

    def _policy(self, pushed: Pushed) -> DeliveryPolicy:
        return self._pushes.composers[pushed.push.style].policy(pushed)

    def _remove(self, line: Line) -> None:
        """Forget an endpoint whose subscription was not found."""
        if line.waiter.wake.is_set():
            return  # the subscription may have begun again meanwhile: `_fill` has it looked for once more
        self._lines.pop(line.key, None)
        self._counters.last.pop(line.key, None)
        if line.timer is not None:
            line.timer.cancel()
        self._counters.endpoints = len(self._lines)
        self._count_failing()

    async def _deliver(self, line: Line, pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage) -> None:
        """Make one attempt, and have its outcome settled."""
        started_s = time.monotonic()
        settlement = released(pushed, message)
        try:
            if not self._is_stopping:
                outcome = await self._attempt(pushed, policy, message)
                if outcome is not None:
                    settlement = settlement_of(pushed, policy, message, outcome)
                    self._learn(line, pushed, outcome, settlement, started_s)
        finally:
            self._free += 1
            self._free_bytes += message.length
            line.settlements.append(settlement)
            if not line.is_settling:
                line.is_settling = True
                self._spawn(self._settle(line))
            self._counters.in_flight = len(self._deliveries) - 1
            self._serve_waiting()

    async def _attempt(self, pushed: Pushed, policy: DeliveryPolicy, message: PushedMessage) -> Outcome | None:
        if message.is_confirmation and pushed.push.confirmed:
            return Outcome()  # it was confirmed meanwhile
        try:
            request = self._pushes.composers[pushed.push.style].compose(pushed, policy, message)
            return await self._sender.send(pushed.push.url, request, policy.timeout)
        except Exception:
            logger.exception("a request for %s cannot be made", _name(pushed))
            return Outcome("The request cannot be made. The broker's log has the reason.")

    def _learn(self, line: Line, pushed: Pushed, outcome: Outcome, settlement: Settlement, started_s: float) -> None:
        now_s = time.monotonic()
        changes = line.learn(outcome, started_s, now_s)
        self._counters.last[line.key] = LastAttempt(self._broker.core.clock.now_ms(), outcome.reason)
        is_dead = settlement.failed is not None and settlement.failed[1].dead
        self._counters.count(
            "delivered" if outcome.is_delivered else "dead" if is_dead else "failed", now_s - started_s
        )
        if changes:
            self._count_failing()
            if line.reason:
                logger.warning("%s fails: %s", _name(pushed), line.reason)
            else:
                logger.info("%s works again", _name(pushed))
        if outcome.is_final:
            logger.info("%s refuses a message: %s", _name(pushed), outcome.reason)

    def _count_failing(self) -> None:
        self._counters.failing = sum(bool(each.reason) for each in self._lines.values())

    async def _settle(self, line: Line) -> None:
        """Settle the outcomes of an endpoint, all that there are at a time."""
        try:
            while line.settlements:
                settled, line.settlements = line.settlements, []
                for queue in {each.queue for each in settled}:  # only one, unless the subscription began again
                    await self._settle_in(queue, [each for each in settled if each.queue == queue], line.key)
                line.running -= len(settled)
                self._kick(line.key)
        finally:
            line.is_settling = False

    async def _settle_in(self, queue: str, settled: Sequence[Settlement], key: PushKey) -> None:
        delivered = [each.delivered for each in settled if each.delivered is not None]
        failed = [each.failed for each in settled if each.failed is not None]
        try:
            errors = await self._in_broker(partial(self._pushes.settle, queue, delivered, failed))
            for error in errors[:1]:
                logger.warning("%d outcomes for %s are not stored: %s", len(errors), key.subscription, error)
        except (BrokerError, StorageError, OSError) as error:
            # The claims end by themselves, and the messages are delivered again.
            logger.warning("outcomes for %s are not stored: %s", key.subscription, error)

    def _serve_waiting(self) -> None:
        """Give free slots to the endpoints that have waited longest, one each."""
        left = self._free if self._free_bytes > 0 else 0
        while self._waiting and left > 0:
            line = self._waiting.popleft()
            line.is_queued = False
            left -= self._kick(line.key)


def _name(pushed: Pushed) -> str:
    """Return an endpoint for a log line. The path of its URL may be secret."""
    return f"the endpoint {parse_endpoint(pushed.push.url).origin} of {pushed.topic}/{pushed.subscription.name}"
