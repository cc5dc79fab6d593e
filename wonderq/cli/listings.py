"""Listings of a running broker, a page at a time, as the objects of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the client is loaded by the commands that call a broker, when they run
    from wonderq.client.calls import Call
    from wonderq.client.sync import Client


def listed(client: Client, page: Callable[[str], Call[Any]], name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a listing by name.

    ``page`` returns the call for the page after a name; empty for the first one. ``name`` is the field with the name.
    """
    from wonderq.client.calls import PAGE  # noqa: PLC0415

    after = ""
    while True:
        found = client.do(page(after).as_json())
        yield from found
        if len(found) < PAGE:
            return
        after = found[-1][name]
