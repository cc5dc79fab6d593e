"""The messages of a broker, by the client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from wonderq.client.messages import Contents
from wonderq.client.sync import Client
from wonderq.worker.outcomes import Settlement
from wonderq.worker.source import Next, Refusal

log = logging.getLogger("wonderq.worker")


class BrokerSource:
    """Queues of one broker."""

    def __init__(
        self,
        client: Client,
        queues: Sequence[str] | Mapping[str, int],
        lease_s: float,
        dead_letters: Mapping[str, str],
        prepare: Callable[[], None],
    ) -> None:
        self._client = client
        self._queues = queues
        self._lease_s = lease_s
        self._dead_letters = dead_letters
        self._prepare = prepare

    def prepare(self) -> None:
        """Create the queues that do not exist, set their dead-letter queues, and call ``prepare``.

        A key may lack the role for this. Then the worker uses what there is.
        """

    def next(self, settlements: Sequence[Settlement], free: int, wait_s: float) -> Next:
        raise NotImplementedError

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Refusal]:
        raise NotImplementedError

    def renew(self, messages: Sequence[Contents], lease_s: float) -> Sequence[bool]:
        raise NotImplementedError

    def cancel(self) -> None:
        raise NotImplementedError
