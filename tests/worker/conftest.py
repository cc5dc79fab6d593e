from __future__ import annotations

import pytest

from tests.support.shared_broker import broker, client, name_of

__all__ = ["broker", "client", "name"]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name of a queue that no other test uses."""
    return name_of(request.node.name, 60)
