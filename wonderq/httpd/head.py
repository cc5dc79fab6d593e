"""The head of a request, as checks before its body see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from wonderq.httpd.errors import RequestError


class Head(NamedTuple):
    """A request, before its body is read."""

    method: str
    path: str
    """Decoded, as the application sees it; without the query."""
    headers: Mapping[str, str]
    """By names in upper case with ``_``, as in ``AUTHORIZATION`` and ``CONTENT_TYPE``."""
    address: str
    """The client's, or that of the proxy it came through."""
    body_bytes: int | None
    """How long the body will be; None if that is not known in advance."""


CheckHead = Callable[[Head], RequestError | None]
"""Refuses a request on its head alone, by returning how to answer it; None lets it go on.

It is called once for each request that is well-formed, on the thread that serves all connections: it must not wait. A
request that it refuses has its connection closed, and its body is never asked for. Of requests that a client sends in a row
it sees the later ones before the earlier ones are served.
"""
