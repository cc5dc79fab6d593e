"""The messages by which a node passes a request on to the node that owns its shard, and gets the response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from wonderq.httpd.forwarded import BASE_URL, REGION, WAITED_S
from wonderq.httpd.room import RESPONSE_SHARE

#: Bytes of a response that one message has.
PART_BYTES = 1 << 20

#: Headers that the owner's application reads. The check of the key, and of the page that sent the request, is done.
_HEADERS = (
    *("CONTENT_TYPE", "HTTP_ACCEPT", "HTTP_CACHE_CONTROL", "HTTP_IDEMPOTENCY_KEY", "HTTP_IF_NONE_MATCH"),
    *("HTTP_TRACEPARENT", "HTTP_TRACESTATE", "HTTP_X_AMZ_TARGET", "HTTP_X_AMZN_TRACE_ID"),
)


class ForwardedRequest(msgspec.Struct, array_like=True):
    """A request. Newer nodes may add fields at the end, which others ignore."""

    id: str
    """Random text, for `Cancel`."""
    shard: int
    method: str
    path: str
    """Decoded path, as in WSGI's ``PATH_INFO``."""
    query: str
    headers: dict[str, str]
    """Headers by their names in WSGI."""
    body: bytes
    key_id: str | None
    """Key that the edge has found valid; None if it needs none, or makes the request for itself."""
    address: str
    """Address of the client."""
    base_url: str
    """Address under which the client reached the edge."""
    region: str
    """Region for which an SQS client signed the request; empty if none."""
    is_of_ui: bool
    """Whether a page of the dashboard made it."""
    waited_s: float
    """Seconds of the request's ``wait`` that have passed."""
    room_bytes: int
    """Size of the messages that the response may have. A single message may be larger."""
    deadline_ms: int
    """Wall clock of the node that gets it, in ms since 1970, after which nobody waits for the response."""
    token: str = ""
    """Token of the process that it is for. Others with the same name are silent. Older nodes leave it empty."""
    former_ids: list[str] = []
    """Ids of earlier tries whose outcome is unknown. Nobody reads their responses, so those that wait are to end."""

    @classmethod
    def of(
        cls, environ: Mapping[str, Any], body: bytes, *, key_id: str | None, base_url: str, region: str, is_of_ui: bool
    ) -> ForwardedRequest:
        """Return the request of a WSGI environment; `id`, `shard` and the deadline are still to be set."""
        share = environ.get(RESPONSE_SHARE)
        return cls(
            "",
            0,
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("QUERY_STRING", ""),
            {name: environ[name] for name in _HEADERS if name in environ},
            body,
            key_id,
            environ.get("REMOTE_ADDR", ""),
            base_url,
            region,
            is_of_ui,
            0.0,
            MOST_ROOM_BYTES if share is None else min(share.left_bytes, MOST_ROOM_BYTES),
            0,
        )

    def environ(self, authorization: str, stream: Any, client_gone: Callable[[], bool]) -> dict[str, Any]:
        """Return the request as a WSGI environment. ``authorization`` stands for the key."""
        return {
            **_ENVIRON,
            **self.headers,
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query,
            "CONTENT_LENGTH": str(len(self.body)),
            "REMOTE_ADDR": self.address,
            "HTTP_AUTHORIZATION": authorization,
            "wsgi.input": stream,
            "waitress.client_disconnected": client_gone,
            RESPONSE_SHARE: _Share(self.room_bytes),
            BASE_URL: self.base_url,
            REGION: self.region or None,
            WAITED_S: self.waited_s,
        }


#: Most bytes of messages in a response that is passed on.
MOST_ROOM_BYTES = 4 << 20

_ENVIRON = {
    "SERVER_NAME": "node",
    "SERVER_PORT": "0",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": None,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


class _Share:
    """Room for a response; the edge accounts for it. See `wonderq.httpd.room.ResponseShare`."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def take(self, size: int) -> None:
        """Do nothing: the messages are sent in parts."""

    def fit(self, size: int) -> None:
        """Do nothing: the response is sent in parts."""


class Part(msgspec.Struct, array_like=True):
    """A part of a response, or the reason why there is none."""

    number: int
    """Number of the part, from 0, so that a lost one is noticed."""
    verdict: str
    """``more``: parts follow. ``done``: this is the last one. ``not_done``: this node does not own the shard, or lost
    it before it did anything. ``unknown``: it lost the shard while the request was under way."""
    body: bytes = b""
    status: str = ""
    """Status line, such as ``200 OK``, in the last part. ``not_done`` may have none."""
    headers: list[tuple[str, str]] = []


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(ForwardedRequest).decode
decode_part = msgspec.msgpack.Decoder(Part).decode


def node_subject(prefix: str, node: str, what: str) -> str:
    """Return the subject of NATS on which a node gets messages. ``what`` is ``requests`` or ``cancels``.

    A name may have characters that a subject must not have.
    """
    return f"{prefix}.{what}.{node.encode().hex()}"
