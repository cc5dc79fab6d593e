"""A client of a cluster for tests: it sends each request to another node, and repeats only what surely was not done.

The client of the product stays with one node, and hides more. A test that looks for lost or doubled messages must see
each lost answer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from tests.support.history.calls import NOT_CARRIED_OUT, OUTCOME_UNKNOWN
from tests.support.queue_client import QueueClient
from wonderq.client.errors import Refused, Unreachable
from wonderq.client.sync import Client

T = TypeVar("T")

_PAUSE_S = 0.05


class AnyNode(Client):
    """Sends each request to any node.

    A request that a node did not get, or surely did not carry out, is sent again until it has taken ``patience_s``. A
    lost answer is a refusal with `OUTCOME_UNKNOWN`, as that of a node that does not know what became of a request.
    """

    def __init__(self, urls: Sequence[str], *, timeout_s: float, patience_s: float) -> None:
        super().__init__(urls[0], retries=0, timeout=timeout_s, read_timeout=timeout_s)
        self._nodes = [Client(url, retries=0, timeout=timeout_s, read_timeout=timeout_s) for url in urls]
        self._patience_s = patience_s

    def close(self) -> None:
        for each in self._nodes:
            each.close()
        super().close()

    def call(
        self,
        method: str,
        target: str,
        answer: type[T],
        body: Any = None,
        *,
        wait: float = 0,
        repeatable: bool | None = None,
    ) -> T:
        """Make any call of the HTTP API; see `Client.call`."""
        until_s = time.monotonic() + self._patience_s
        while True:
            node = random.choice(self._nodes)
            try:
                return node.call(method, target, answer, body, wait=wait, repeatable=repeatable)
            except Refused as error:
                surely_not = error.code in NOT_CARRIED_OUT or error.code == "shutting_down"
                if not surely_not or time.monotonic() > until_s:
                    raise
            except Unreachable as error:
                if error.outcome_unknown:
                    raise Refused(str(error), code=OUTCOME_UNKNOWN) from error
                if time.monotonic() > until_s:
                    raise
            time.sleep(_PAUSE_S)


class AnyNodeClient(QueueClient):
    """A client of one queue of a cluster. ``url`` has the addresses of all nodes, separated by commas."""

    def __init__(
        self,
        url: str,
        *,
        queue: str = "default",
        timeout: float = 60,
        key: str | None = None,
        patience_s: float = 100,
    ) -> None:
        assert key is None, "nodes of tests have no keys"
        self.queue = queue
        self._client = AnyNode(url.split(","), timeout_s=timeout, patience_s=patience_s)
