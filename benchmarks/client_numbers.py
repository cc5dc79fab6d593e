"""The cost of numbered requests: sends that a repetition cannot add twice, beside the same without numbers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.client_batches import together
from wonderq import Client

NUMBERED, PLAIN = "numbered", "not numbered"

Send = Callable[[int, int], int]
"""Let a number of threads make a number of requests each."""


@contextmanager
def numbered_and_plain(url: str, size: int) -> Iterator[dict[str, Send]]:
    """Yield both sides, which send ``size`` messages a request. They differ in two fields of each request."""
    body: dict[str, Any] = {"messages": [{"message": "x" * 100}] * size}
    with Client(url, pool=64) as client:

        def send(body: Mapping[str, Any]) -> None:
            client.call("POST", "/queues/numbers/messages/produce", dict[str, Any], body)

        def numbered(requests: int) -> int:
            producer = secrets.token_hex(8)
            for number in range(1, requests + 1):
                send({**body, "producer_id": producer, "request_number": number})
            return requests

        def plain(requests: int) -> int:
            for _ in range(requests):
                send(body)
            return requests

        yield {
            NUMBERED: lambda threads, requests: together(lambda _: numbered(requests), threads),
            PLAIN: lambda threads, requests: together(lambda _: plain(requests), threads),
        }
