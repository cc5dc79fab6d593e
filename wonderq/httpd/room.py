"""Room in memory for large bodies and large responses of all connections together.

Nothing of a request or a response is ever in a file, so a full disk changes no answer. A body that finds no room is not
read until there is some. A response is made no larger than the room for it, or is refused before anything was done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wonderq.httpd.errors import RequestError

if TYPE_CHECKING:
    from wonderq.httpd.connections import Channel
    from wonderq.httpd.parser import Parser

#: A body up to this size needs no room, and each connection may have this much of one.
LARGE_BODY_BYTES = 512 << 10

#: Key in the WSGI environment of the request's `ResponseShare`.
RESPONSE_SHARE = "wonderq.response_share"

#: A response up to this size needs no room. A listing pauses while this much of it has not been sent.
LARGE_RESPONSE_BYTES = 1 << 20


def whole_body(environ: Mapping[str, Any]) -> bytes:
    """Return the body of a request, given as a WSGI environment. The server has it in memory before the call."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return body


class BodyRoom:
    """Admits large bodies in the order in which they begin, while their sizes together are within a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        self._waiting: deque[tuple[Parser, Channel]] = deque()

    @property
    def is_contended(self) -> bool:
        """Whether a body waits for the room of others."""
        return bool(self._waiting)

    def ask(self, request: Parser, channel: Channel) -> None:
        """Give a request the room for its body, or keep its connection from being read until there is room."""
        request.awaits_room = True
        self._waiting.append((request, channel))
        self._admit()

    def give_back(self, size: int) -> None:
        """Give the room of a body to those that wait."""
        self._left_bytes += size
        self._admit()

    def forget(self, request: Parser) -> None:
        """Remove a request that waits, because its connection has ended."""
        self._waiting = deque(each for each in self._waiting if each[0] is not request)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0].room_needed <= self._left_bytes:
            request, channel = self._waiting.popleft()
            self._left_bytes -= request.room_needed
            request.room_bytes = request.room_needed
            request.awaits_room = False
            channel.server.poll_changes.add(channel)


class ResponseRoom:
    """Bounds the responses that are not sent yet."""

    def __init__(self, limit_bytes: int) -> None:
        self.left_bytes = limit_bytes
        """Bytes that are free; negative if responses became larger than the messages in them."""


class ResponseShare:
    """The part of a `ResponseRoom` that the current response of one connection has."""

    def __init__(self, room: ResponseRoom) -> None:
        self._room = room
        self._taken_bytes = 0
        self._is_promised = False

    @property
    def left_bytes(self) -> int:
        """Size of the messages that may be put into the response. A single message may have more."""
        return LARGE_RESPONSE_BYTES + max(self._room.left_bytes, 0)

    def take(self, size: int) -> None:
        """Take room for messages of ``size`` bytes, which are claimed: from now on, the response is not refused."""
        self._is_promised = True
        if size > LARGE_RESPONSE_BYTES:
            self._room.left_bytes -= size
            self._taken_bytes += size

    def fit(self, size: int) -> None:
        """Take room for a response of ``size`` bytes, in place of the messages in it.

        Raises:
            RequestError: there is no room, and no messages were claimed.
        """
        if size > LARGE_RESPONSE_BYTES and self._room.left_bytes < size and not self._is_promised:
            raise RequestError(
                503,
                "too_many_unsent",
                "Clients have not read large responses yet, and there is no memory for another one. Try again later.",
                headers={"Retry-After": "5"},
            )
        self.give_back()
        self.take(size)

    def give_back(self) -> None:
        """Give back what was taken."""
        self._room.left_bytes += self._taken_bytes
        self._taken_bytes = 0
        self._is_promised = False
