"""A disk that gets full, as a client sees it."""

from __future__ import annotations

from wonderq.client.simple import Client, RefusedError


def produce_until_refused(client: Client, body: str) -> tuple[list[str], RefusedError]:
    """Return the ids of what was produced, and how the next one was refused."""
    ids: list[str] = []
    while len(ids) < 1000:
        try:
            ids.append(client.produce(body))
        except RefusedError as refused:
            return ids, refused
    raise AssertionError("nothing was refused")
