"""A disk that gets full, as a client sees it."""

from __future__ import annotations

from tests.support.queue_client import QueueClient
from wonderq.client.errors import Refused


def produce_until_refused(client: QueueClient, body: str) -> tuple[list[str], Refused]:
    """Return the ids of what was produced, and how the next one was refused."""
    ids: list[str] = []
    while len(ids) < 1000:
        try:
            ids.append(client.produce(body))
        except Refused as refused:
            return ids, refused
    raise AssertionError("nothing was refused")
