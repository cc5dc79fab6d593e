"""Requests that tell endpoints that they were unsubscribed; see `wonderq.broker.notices`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any

from wonderq.broker.broker import Broker
from wonderq.broker.notices import Notice
from wonderq.broker.pushes import PushRequest
from wonderq.model.errors import BrokerError
from wonderq.model.push import DeliveryPolicy, parse_endpoint
from wonderq.push.delivery import Sender
from wonderq_storage import StorageError

logger = logging.getLogger("wonderq.push")

#: Requests at a time, besides those that deliver messages.
_SLOTS = 10

InBroker = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Makes a call of the broker, which may block, outside the push thread."""


class NoticeSender:
    """Sends each notice with the retries of its subscription's policy. Only the push thread uses it.

    A retry waits in memory. After a restart, a notice that was not sent begins with its first attempt.
    """

    def __init__(self, broker: Broker, sender: Sender, in_broker: InBroker) -> None:
        self._broker = broker
        self._sender = sender
        self._in_broker = in_broker
        self._slots = asyncio.Semaphore(_SLOTS)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_stopping = False

    def add(self, notice: Notice) -> None:
        """Begin to send a notice, unless it is being sent."""
        if notice.id not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._send(notice))
            self._tasks[notice.id] = task
            task.add_done_callback(lambda _: self._tasks.pop(notice.id))

    async def stop(self) -> None:
        """Send nothing more. The next start sends what is left."""
        self._is_stopping = True
        tasks = list(self._tasks.values())
        for each in tasks:
            each.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _send(self, notice: Notice) -> None:
        try:
            if await self._try(notice):
                await self._in_broker(partial(self._broker.notices.end, notice))
        except (BrokerError, StorageError, OSError) as error:
            logger.warning("the notice of %s/%s is sent again later: %s", notice.topic, notice.subscription, error)
        except Exception:
            logger.exception("the notice of %s/%s cannot be sent", notice.topic, notice.subscription)

    async def _try(self, notice: Notice) -> bool:
        """Send a notice until the endpoint has it or the policy ends; return whether nothing is left to send."""
        notices, pushes = self._broker.notices, self._broker.pushes
        pushed = notice.pushed(await self._in_broker(partial(notices.settings_of, notice)))
        host = parse_endpoint(pushed.push.url).host
        if notices.compose is None or not pushes.hosts.permits_host(host):
            return False
        policy, request = pushes.composers["sns"].policy(pushed), notices.compose(notice)
        for attempts in count(1):
            delay_ms = await self._attempt(pushed.push.url, request, policy, attempts)
            if delay_ms is None:
                return True
            if self._is_stopping:  # the cancellation may have come when the outcome was known
                break
            await asyncio.sleep(delay_ms / 1000)
        return False

    async def _attempt(self, url: str, request: PushRequest, policy: DeliveryPolicy, attempts: int) -> int | None:
        """Make an attempt; return the delay before the next one in ms, or None if there is no further one."""
        outcome = None
        while outcome is None:  # its lookup may have to wait
            async with self._slots:
                started_s = time.monotonic()
                outcome = await self._sender.send(url, request, policy.timeout)
        delay_ms = None if outcome.is_delivered or outcome.is_final else policy.delay_ms(attempts)
        counted = "delivered" if outcome.is_delivered else "dead" if delay_ms is None else "failed"
        self._broker.counters.push.count(counted, time.monotonic() - started_s)
        return delay_ms
