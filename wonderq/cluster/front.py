"""The WSGI application of a node: it sends each request to the application of the shard that has its queue.

A request that this node cannot carry out goes to ``forward``. Without forwarding, it is refused with the owner's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from wonderq.cluster.node import Node
from wonderq.cluster.shard_map import shard_of
from wonderq.httpd.errors import RequestError

#: Paths, by their first part, that each node answers by itself.
_OF_THE_NODE = ("healthz", "readyz", "metrics", "cluster", "docs", "openapi.json", "ui")

#: Paths of one queue, topic or schedule, by their first part: its name is the second part.
_OF_A_NAME = ("queues", "topics", "schedules")

#: Paths of the queue `default`, by their first part.
_OF_DEFAULT = ("messages", "dev")

_ACCOUNT_DIGITS = 12

#: Key of the error in a WSGI environment with which the node's own application refuses the request.
REFUSAL = "wonderq.cluster.refusal"

_UNKNOWN_SHARD = RequestError(
    503,
    "not_owner",
    "This node answers requests for one queue, topic or schedule whose shard it owns. GET /cluster shows the shards.",
)

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Forward(Protocol):
    """Carries out a request of another node's shard, or of several shards."""

    def __call__(self, environ: dict[str, Any], start_response: Any, shard: int | None) -> Iterable[bytes]:
        """Answer a request. ``shard`` is None if the path does not tell it, or if it is about all shards."""


class ClusterFront:
    """The application of a node. Call `set_up` before the first request.

    Threads: the server's.
    """

    def __init__(self, node: Node, forward: Forward | None = None) -> None:
        self._node = node
        self._forward: Forward = forward or self._refuse
        self._own: WsgiApp

    def set_up(self, own: WsgiApp) -> None:
        """Set the node's own application. It refuses what it does not answer with the error in ``environ[REFUSAL]``."""
        self._own = own

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        parts = environ["PATH_INFO"].split("/")
        if len(parts) < 2 or parts[1] in _OF_THE_NODE:
            return self._own(environ, start_response)
        shard = self._shard(parts)
        app: WsgiApp | None = None if shard is None else self._node.app(shard)
        if app is None or (shard is not None and not self._node.has_quorum_for(shard)):
            return self._forward(environ, start_response, shard)
        return app(environ, start_response)

    def _shard(self, parts: list[str]) -> int | None:
        """Return the shard that a path names, or None."""
        name = name_in(parts)
        if name is None:
            return 0 if self._node.count == 1 else None
        return shard_of(name, self._node.count)

    def _refuse(self, environ: dict[str, Any], start_response: Any, shard: int | None) -> Iterable[bytes]:
        environ[REFUSAL] = _UNKNOWN_SHARD if shard is None else self._node.refusal(shard)
        return self._own(environ, start_response)


def name_in(parts: list[str]) -> str | None:
    """Return the name of the queue, topic or schedule in a path that was split at each ``/``, or None."""
    first = parts[1]
    second = parts[2] if len(parts) > 2 else ""
    if first in _OF_DEFAULT:
        return "default"
    if first in _OF_A_NAME:
        return second or None
    if first == "queue":  # an old address of SQS: /queue/NAME, or /queue/REGION/ACCOUNT/NAME
        return (parts[4] if len(parts) > 4 else second) or None
    if len(first) == _ACCOUNT_DIGITS and first.isdigit():
        return second or None
    return None
