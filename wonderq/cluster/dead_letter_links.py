"""Asks the other shards which of their queues send their dead letters to queues of this shard, for the overview."""

from __future__ import annotations

import time
from functools import partial

from wonderq.broker.background import TICK_S, BackgroundLoop
from wonderq.broker.broker import Broker
from wonderq.cluster import shard_calls
from wonderq.cluster.crosser import Try

#: Time between two rounds of questions while somebody looks at the overview. Nobody asks otherwise.
REST_S = 20.0


class DeadLetterLinks(BackgroundLoop):
    """Keeps `wonderq.broker.overview.Overview.elsewhere` up to date while it is read."""

    def __init__(
        self, broker: Broker, try_once: Try, shards: int, own: int, *, tick_s: float = TICK_S, rest_s: float = REST_S
    ) -> None:
        """``own`` is the number of the broker's shard, of ``shards``."""
        super().__init__(broker, "dead-letter-links", tick_s)
        self._try = try_once
        self._own = own
        self._shards = shards
        self._rest_s = rest_s
        self._due_s = 0.0

    def stop(self) -> None:
        """End the loop. A call that is under way is not waited for, because the next owner may be waiting."""
        self._stop.set()
        if self._rounds is not None:
            self._rounds.hurry(self)

    def turn(self) -> float:
        elsewhere = self._broker.overview.elsewhere
        if elsewhere.is_wanted and time.monotonic() >= self._due_s:
            elsewhere.is_wanted = False
            for shard in range(self._shards):
                if shard != self._own and not self.is_stopping:
                    self.attempt(partial(self._ask, shard), None)
            self._due_s = time.monotonic() + self._rest_s
        return self._tick_s

    def _ask(self, shard: int) -> None:
        """Ask one shard. One that does not answer keeps its last answer."""
        outcome = self._try(shard, shard_calls.dead_letters_request(self._own, self._shards))
        if outcome.verdict == "done" and outcome.response is not None and outcome.response.code == 200:
            found = shard_calls.dead_letters_of(outcome.response.read())
            self._broker.overview.elsewhere.by_shard[shard] = found
