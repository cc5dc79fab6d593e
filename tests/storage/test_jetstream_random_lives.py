"""Slices of random lives of a log in JetStream."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.storage.jetstream_lives import MECHANISMS, live
from tests.support.nats_servers import needs_nats
from tests.support.shared_nats import connection
from wonderq_storage import jetstream_stream
from wonderq_storage.nats import Connection

__all__ = ["connection"]

pytestmark = needs_nats


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have messages sent again without a long pause."""
    monkeypatch.setattr(jetstream_stream, "_FIRST_PAUSE_S", 0.0005)


def live_many(connection: Connection, lives: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    counts: Counter[str] = Counter()
    for number in range(lives):
        counts += live(connection, seed + number)
    assert all(counts[each] for each in MECHANISMS), counts


def test_random_lives(connection: Connection) -> None:
    live_many(connection, 8)


@pytest.mark.slow
def test_many_random_lives(connection: Connection) -> None:
    live_many(connection, 300)
