"""Listings: streams of messages that change nothing."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain

import falcon

from wonderq.httpd.errors import JSON, encode_json
from wonderq.model.messages import Message
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.rest import schemas
from wonderq.rest.bodies import read_query
from wonderq.rest.objects import MessageObject, message_object
from wonderq.rest.queues import check_status
from wonderq.rest.resource import Resource
from wonderq.rest.values import (
    message_filter,
    set_value,
)


class Listing(Resource):
    """Streams a JSON array, whatever the client accepts: msgpack would need the number of messages in advance."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        self._list(resp, queue, read_query(req, schemas.Listing), None)

    def on_get_status(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        asked = read_query(req, schemas.StatusListing)
        self._list(resp, queue, asked, check_status(asked.status))

    def _list(self, resp: falcon.Response, queue: str, asked: schemas.Listing, status: str | None) -> None:
        messages = self.broker.messages(
            queue,
            status=status,
            after=set_value(asked.after),
            limit=set_value(asked.limit),
            matches=message_filter(asked),
        )
        pieces = _stream(map(message_object, messages))
        first = next(pieces)  # what can be refused is refused here, while the status is still open
        resp.content_type = JSON
        resp.set_header("Cache-Control", "no-store")
        resp.stream = _Stream(first, pieces, messages)


class _Stream:
    """The pieces of a listing. The server closes it, also when the client has gone, and with that the listing ends."""

    def __init__(self, first: bytes, rest: Iterator[bytes], messages: Generator[Message]) -> None:
        self._pieces = chain((first,), rest)
        self._messages = messages

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._messages.close()


def _stream(values: Iterator[MessageObject]) -> Iterator[bytes]:
    """Write a JSON array in pieces of some tens of kilobytes."""
    pieces: list[bytes] = []
    size, separator = 0, b"["
    for value in values:
        data = encode_json(value)
        pieces += (separator, data)
        separator = b","
        size += len(data)
        if size > 1 << 15:
            yield b"".join(pieces)
            pieces, size = [], 0
    pieces.append(b"]\n" if separator == b"," else b"[]\n")
    yield b"".join(pieces)
