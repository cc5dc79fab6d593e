"""The head of a request, for checks that run before its body is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from wonderq.httpd.errors import RequestError


class Head(NamedTuple):
    """A request without its body."""

    method: str
    """Method in upper case."""
    path: str
    """Decoded path without the query, as the application receives it."""
    headers: Mapping[str, str]
    """Values by header name, in upper case with ``_`` for ``-``: ``AUTHORIZATION``, ``CONTENT_TYPE``."""
    address: str
    """Address of the client, or of the proxy in front of the broker."""
    body_bytes: int | None
    """Length of the body, or None if it is chunked and so not known in advance."""


CheckHead = Callable[[Head], RequestError | None]
"""Checks a request by its head alone: returns the error to respond with, or None to accept the request.

The server calls it once for each well-formed request, on the thread that serves all connections, so it must not block.
When it returns an error, the server closes the connection without reading the body. Pipelined requests may be checked
before earlier ones are served.
"""
