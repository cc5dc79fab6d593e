"""The shop of `wonderq demo --stay`, with an hour behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.http_client import ServedBroker, serving
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.broker.history import SAMPLE_MS
from wonderq.broker.housekeeping import Housekeeper
from wonderq.client.sync import Client
from wonderq.demo.shop import Shop
from wonderq.runtime.clock import Clock

#: The name under which the broker shows who has a message.
CONSUMER = "packing-2:4711"

#: Turns of traffic between two samples of the history.
_TURNS = 3


class LateClock(Clock):
    """A clock that begins in the past, and comes to the present when somebody moves it."""

    def __init__(self, behind_ms: int) -> None:
        super().__init__()
        self._offset_ns -= behind_ms * 1_000_000

    def move(self, by_ms: int) -> None:
        self._advance(by_ms)

    def catch_up(self) -> None:
        self._advance(-self.ahead_ms())


@contextmanager
def open_shop(samples: int) -> Iterator[ServedBroker]:
    """Serve a broker with the queues of a shop, and a history of so many samples."""
    clock = LateClock(samples * SAMPLE_MS)
    broker = Broker(MemoryLog(), clock=clock)
    with serving(broker, create_app(broker)) as served:
        with Client(f"http://{served.host}:{served.port}", consumer=CONSUMER) as client:
            shop = Shop(client)
            shop.open()
            for number in range(samples):
                for _ in range(_TURNS + (number // 17) % 3):  # there are calm and busy times
                    shop.run()
                clock.move(SAMPLE_MS)
                broker.history.run()
            clock.catch_up()
        housekeeper = Housekeeper(broker)
        housekeeper.start()
        yield served
        housekeeper.stop()
    broker.close()
