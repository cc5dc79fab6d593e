from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import Wonderq
from tests.support.queue_client import QueueClient
from tests.support.shared_broker import broker, name_of

__all__ = ["broker", "client", "queue", "wonderq"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A script in the background ignores SIGINT. The commands would inherit that, and Ctrl-C would not end them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return name_of(request.node.nodeid.removeprefix("tests/cli/"), 80)


@pytest.fixture
def client(broker: RunningBroker, queue: str) -> Iterator[QueueClient]:
    with QueueClient(broker.url, queue=queue) as client:
        client.put_queue()
        yield client


@pytest.fixture
def wonderq(client: QueueClient) -> Wonderq:
    return Wonderq(client.url, client.queue)
