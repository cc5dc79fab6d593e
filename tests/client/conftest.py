from __future__ import annotations

import pytest

from tests.support.shared_broker import broker, client, name_of
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue

__all__ = ["broker", "client", "queue"]


@pytest.fixture
def queue(client: Client, request: pytest.FixtureRequest) -> Queue:
    """A queue that no other test uses."""
    return client.queue(name_of(request.node.nodeid.removeprefix("tests/client/"), 80))
