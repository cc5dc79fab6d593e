"""Listings and counts of messages. They read messages without claiming them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Any

import falcon

from wonderq.httpd.errors import JSON, RequestError, ResponseCutError, encode_json
from wonderq.model.errors import BrokerError
from wonderq.model.messages import Message
from wonderq.model.queue_names import DEFAULT_QUEUE
from wonderq.rest import schemas
from wonderq.rest.bodies import read_query, render
from wonderq.rest.errors import STORAGE_CODES
from wonderq.rest.masks import mask_of, shown_object
from wonderq.rest.objects import MessageObject
from wonderq.rest.resource import Resource
from wonderq.rest.shared_answers import Answer, etag_of
from wonderq.rest.values import check_status, message_filter, period_of, set_value

#: Bytes after which a piece of a stream ends, and the most pieces of an array that is sent whole: a page of a list.
_PIECE_BYTES = 1 << 15
_PIECES_OF_A_WHOLE = 4

#: End of an array's last piece, and of no other: the values are objects.
_END = b"]\n"

#: Errors that are no bugs, and that have a response of their own if nothing was sent yet.
_REASONS: tuple[type[Exception], ...] = (RequestError, BrokerError, *STORAGE_CODES)


class Listing(Resource):
    """Stream messages as JSON. ``Accept`` is ignored: a msgpack array starts with its length, unknown until the end."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        self._list(req, resp, queue, read_query(req, schemas.Listing), None)

    def on_get_status(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        query = read_query(req, schemas.StatusListing)
        self._list(req, resp, queue, query, check_status(query.status))

    def _list(
        self, req: falcon.Request, resp: falcon.Response, queue: str, query: schemas.Listing, status: str | None
    ) -> None:
        mask = mask_of(req)
        messages = self.broker.messages(
            queue,
            status=status,
            after=set_value(query.after),
            limit=set_value(query.limit),
            matches=message_filter(query, mask),
            newest_first=query.order == "newest",
            produced=period_of(query),
        )
        most = set_value(query.preview)
        stream(req, resp, (shown_object(message, mask, most) for message in messages), messages.close)
        resp.set_header("Cache-Control", "no-store")


class Search(Resource):
    """``/dev/messages/search``: look for messages a part of the queue at a time."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        query = read_query(req, schemas.Search)
        messages = self.broker.messages(
            queue,
            status=_wanted_status(query),
            after=set_value(query.after),
            newest_first=query.order == "newest",
            produced=period_of(query),
        )
        _search(req, resp, query, messages)


class SearchAll(Resource):
    """``/search``: look for messages in all queues that the key opens, a part at a time."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.SearchAll)
        messages = self.broker.messages_of_all(
            status=_wanted_status(query),
            after=set_value(query.after),
            produced=period_of(query),
            permits=self.permits(req),
        )
        _search(req, resp, query, messages)


def _wanted_status(query: schemas.SearchAll) -> str | None:
    status = set_value(query.status)
    return None if status is None else check_status(status)


def _search(req: falcon.Request, resp: falcon.Response, query: schemas.SearchAll, messages: Generator[Message]) -> None:
    """Respond with those of the next messages that match."""
    mask = mask_of(req)
    matches = message_filter(query, mask)
    found: list[MessageObject] = []
    examined, last = 0, None
    with closing(messages):
        for message in islice(messages, query.examine):
            examined, last = examined + 1, message.id
            if matches is None or matches(message):
                found.append(shown_object(message, mask, query.preview))
                if len(found) == query.limit:
                    break
    is_over = examined < query.examine and len(found) < query.limit
    render(req, resp, {"messages": found, "examined": examined, "next_after": None if is_over else last})
    resp.set_header("Cache-Control", "no-store")


class _Stream:
    """The pieces of a listing. The server closes it, also after a disconnect, and closing it ends the listing.

    The iterator raises `ResponseCutError` if the rest of the listing cannot be read.
    """

    def __init__(self, pieces: Iterator[bytes], close: Callable[[], None]) -> None:
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces
        except _REASONS as error:
            raise ResponseCutError(str(error)) from error


def stream(req: falcon.Request, resp: falcon.Response, values: Iterator[Any], close: Callable[[], None]) -> None:
    """Set the response to a JSON array of values, which are taken one by one while they are sent.

    A short array is sent with its length, so that the connection stays open, and with an ETag. Every error that the
    first value raises is raised here. ``close`` is called when the response ends, however it ends.
    """
    pieces = _pieces(values)
    first = list(islice(pieces, _PIECES_OF_A_WHOLE))  # raises every error while the status can still be set
    if first[-1].endswith(_END):
        close()
        data = b"".join(first)
        Answer(data, JSON, etag_of(data)).send(req, resp)
    else:
        resp.content_type = JSON
        resp.stream = _Stream(chain(first, pieces), close)


def _pieces(values: Iterator[Any]) -> Iterator[bytes]:
    """Yield a JSON array in pieces of about 32 KiB."""
    pieces: list[bytes] = []
    size, separator = 0, b"["
    for value in values:
        data = encode_json(value)
        pieces += (separator, data)
        separator = b","
        size += len(data)
        if size > _PIECE_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    pieces.append(_END if separator == b"," else b"[" + _END)
    yield b"".join(pieces)


class Count(Resource):
    """``/dev/messages/count``: the number of messages of one status."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = DEFAULT_QUEUE) -> None:
        status = check_status(read_query(req, schemas.Count).status)
        render(req, resp, {"count": self.broker.count(queue, status), "status": status})
        resp.set_header("Cache-Control", "no-store")
