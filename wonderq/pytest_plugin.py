"""Fixtures for pytest, which loads this module by its entry point in every run: it imports nothing that takes time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wonderq.client.sync import Client
    from wonderq.testing.broker import Broker


@pytest.fixture
def wonderq_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker that only this test uses, with nothing in it.

    During the test, ``WONDERQ_URL`` names it, so that a client without an address reaches it and no other broker.
    """
    from wonderq.testing.broker import broker  # noqa: PLC0415

    with broker() as running:
        monkeypatch.setenv("WONDERQ_URL", running.url)
        monkeypatch.delenv("WONDERQ_KEY", raising=False)
        yield running


@pytest.fixture
def wonderq_client(wonderq_broker: Broker) -> Client:
    """A client of `wonderq_broker`."""
    return wonderq_broker.client()
