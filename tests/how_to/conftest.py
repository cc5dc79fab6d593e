from __future__ import annotations

import pytest

from wonderq.client.sync import Client
from wonderq.testing import Broker


@pytest.fixture
def running(wonderq_broker: Broker) -> Broker:
    """A broker that the blocks find by WONDERQ_URL."""
    return wonderq_broker


@pytest.fixture
def client(wonderq_client: Client) -> Client:
    return wonderq_client
