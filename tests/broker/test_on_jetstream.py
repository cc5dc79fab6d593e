"""A broker on a log in JetStream: the next one has the same state, and the one before can change nothing any more."""

from __future__ import annotations

import random

import pytest

from tests.support.clock import FakeClock
from tests.support.log_streams import LogStream
from tests.support.nats_servers import needs_nats
from tests.support.random_life import live_a_random_life
from tests.support.shared_nats import connection, stream
from tests.support.states import state_view
from wonderq.broker.broker import Broker
from wonderq.broker.compaction import compact_oldest
from wonderq.model.limits import Limits
from wonderq.model.messages import Target
from wonderq_storage import LogFailedError

__all__ = ["connection", "stream"]

pytestmark = needs_nats

LIMITS = Limits(message_bytes=1000, batch_messages=200, batch_bytes=3000)


def start(stream: LogStream, clock: FakeClock) -> Broker:
    return Broker(stream.open(), clock=clock, limits=LIMITS)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_next_owner_has_the_same_state(stream: LogStream, seed: int) -> None:
    chance, clock = random.Random(seed), FakeClock()
    broker = start(stream, clock)
    compacted = 0
    for round_number in range(4):
        live_a_random_life(broker, clock, chance, 80)
        compacted += sum(compact_oldest(broker, broker.core.log) for _ in range(round_number))
        broker.core.log.sync()
        view = state_view(broker.core.state, clock.now_ms())
        former, broker = broker, start(stream, clock)  # which is not closed, as after a frozen process
        assert state_view(broker.core.state, clock.now_ms()) == view
        with pytest.raises(LogFailedError):
            former.produce("default", ["late"])
        former.close()
    assert compacted > 0
    broker.close()


def test_receipts_of_the_former_owner_are_valid(stream: LogStream) -> None:
    clock = FakeClock()
    former = start(stream, clock)
    former.produce("default", ["a", "b"])
    claimed = former.claim("default", limit=2)
    broker = start(stream, clock)
    with pytest.raises(LogFailedError):
        former.delete("default", Target(receipt=claimed[0].receipt))
    for message in claimed:
        broker.delete("default", Target(receipt=message.receipt))
    assert broker.claim("default", limit=2) == []
    broker.close()
