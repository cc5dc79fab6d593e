"""One broker after another on the same folder, each ended by a signal, and what its clients have to know of that."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from tests.support.broker_process import BrokerProcess
from tests.support.waiting import PATIENCE_S


class Lives:
    """The lives of a broker. One thread starts and ends them; clients in other threads wait for the next one."""

    def __init__(self, data: Path, *, segment_bytes: int) -> None:
        self._data = data
        self._segment_bytes = segment_bytes
        self._changed = threading.Condition()
        self._process: BrokerProcess | None = None
        self._address: tuple[str, int] | None = None
        self.life = 0
        self._ended = 0

    def start(self) -> None:
        """Start a broker and wait until it accepts requests.

        Raises:
            BrokerDidNotStartError: it ended instead.
        """
        self._process = BrokerProcess(self._data, segment_bytes=self._segment_bytes)
        url = self._process.ready()
        host, _, port = url.removeprefix("http://").rpartition(":")
        with self._changed:
            self.life += 1
            self._address = host, int(port)
            self._changed.notify_all()

    def start_and_kill(self, rng: random.Random) -> None:
        """Kill a broker while it still starts."""
        process = BrokerProcess(self._data, segment_bytes=self._segment_bytes)
        time.sleep(rng.uniform(0.1, 1.5))
        process.kill()

    def end(self, *, is_clean: bool = False) -> None:
        """Kill the broker, or stop it cleanly."""
        assert self._process is not None
        with self._changed:
            self._address = None
        if is_clean:
            self._process.terminate()
        else:
            self._process.kill()
        self._process = None
        with self._changed:
            self._ended = self.life
            self._changed.notify_all()

    def close(self) -> None:
        """Kill the broker if it still runs."""
        if self._process is not None:
            self._process.kill()

    def current(self) -> tuple[str, int, int]:
        """Wait for a broker that accepts requests; return its host, its port and the number of its life."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._address is not None, PATIENCE_S), "no broker was started"
            assert self._address is not None
            return *self._address, self.life

    def wait_for_end(self, life: int) -> bool:
        """Wait until a life has ended, and return whether it did within a long time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended >= life, PATIENCE_S)
