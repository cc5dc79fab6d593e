"""A broker that delivers to endpoints on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.hook_server import HookServer, hook_server
from tests.support.memory_log import MemoryLog
from tests.support.waiting import eventually
from wonderq.broker.broker import Broker
from wonderq.model.messages import NewMessage
from wonderq.model.push_hosts import PushHosts
from wonderq.model.topics import Publication, SubscriptionInfo
from wonderq.push import line
from wonderq.push.pusher import Pusher, PushLimits

HOSTS = ("127.0.0.0/8", "localhost")


class Pushing:
    """A broker with a topic `orders`, and its pusher."""

    def __init__(self, broker: Broker, clock: FakeClock) -> None:
        self.broker = broker
        self.clock = clock
        self.pusher: Pusher | None = None
        broker.topics.put("orders")

    def wait_for_start(self) -> None:
        """Wait until the push thread has looked for subscriptions, so that it must hear of all others."""
        pusher = self.pusher
        assert pusher is not None
        eventually(lambda: pusher._stopped._waiters)

    def subscribe(self, name: str, url: str, **fields: Any) -> SubscriptionInfo:
        return self.broker.topics.subscribe("orders", name, endpoint=url, **fields)[0]

    def publish(self, *bodies: str, subject: str = "", **fields: Any) -> list[str]:
        publications = [Publication(NewMessage(body, **fields), subject) for body in bodies]
        return [each.id for each in self.broker.topics.publish("orders", publications)]

    def advance(self, seconds: float) -> None:
        """Move the broker's clock, and let it look at its deadlines."""
        self.clock.advance(seconds)
        with self.broker.locked():
            self.broker.core.consumers.wake_all()

    def counts(self, name: str) -> dict[str, int]:
        """Return the number of messages by status in the queue of a subscription, without those that are zero."""
        queue = self.broker.topics.subscription("orders", name).queue
        return {status: count for status, count in self.broker.queue(queue).counts.items() if count}

    def bodies(self, queue: str) -> list[str]:
        return [each.body for each in self.broker.messages(queue)]


@contextmanager
def pushing(
    broker: Broker, clock: FakeClock, limits: PushLimits | None = None, hosts: tuple[str, ...] = HOSTS, **parts: Any
) -> Iterator[Pushing]:
    """Run a pusher."""
    broker.pushes.hosts = PushHosts(hosts)
    served = Pushing(broker, clock)
    served.pusher = Pusher(broker, limits, **parts)
    served.pusher.start()
    try:
        yield served
    finally:
        served.pusher.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock) -> Iterator[Broker]:
    broker = Broker(MemoryLog(), clock=clock)
    yield broker
    broker.close()


@pytest.fixture
def push(broker: Broker, clock: FakeClock) -> Iterator[Pushing]:
    with pushing(broker, clock) as served:
        yield served


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with hook_server() as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let endpoints that fail be tried again at once, so that a test need not wait."""
    monkeypatch.setattr(line, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(line, "_LONGEST_PAUSE_S", 0.01)
