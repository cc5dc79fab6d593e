from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import Wonderq
from tests.support.queue_client import QueueClient

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A script in the background ignores SIGINT. The commands would inherit that, and Ctrl-C would not end them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="package")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with RunningBroker(tmp_path_factory.mktemp("broker") / "data") as running:
        yield running


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", request.node.nodeid.removeprefix("tests/cli/"))[-80:]


@pytest.fixture
def client(broker: RunningBroker, queue: str) -> Iterator[QueueClient]:
    with QueueClient(broker.url, queue=queue) as client:
        client.put_queue()
        yield client


@pytest.fixture
def wonderq(client: QueueClient) -> Wonderq:
    return Wonderq(client.url, client.queue)
