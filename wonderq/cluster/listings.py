"""Listings over all shards, merged in their order, and long listings of one shard, a page at a time.

A listing never leaves a shard out: if one does not answer, the request fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urlencode

import falcon
import msgspec

from wonderq.cluster.edge import Forwarding
from wonderq.cluster.wire import ForwardedRequest
from wonderq.httpd.errors import RequestError
from wonderq.rest import schemas, topic_schemas
from wonderq.rest.bodies import accepts_msgpack, read_query, render
from wonderq.rest.listing import stream
from wonderq.rest.shared_answers import Answer, SharedAnswers, answer_of
from wonderq.rest.values import set_value

#: Entries of a page that the edge asks a shard for.
PAGE = 256

#: Bytes of messages that a page should have. A page of large messages has fewer of them.
_PAGE_BYTES = 1 << 20

#: Queues of the largest answer that readers share.
_MOST_SHARED = 200

_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Queue(msgspec.Struct):
    queue: str


class _Topic(msgspec.Struct):
    topic: str


class _Named(msgspec.Struct):
    name: str


class _Message(msgspec.Struct):
    id: str


class Item(NamedTuple):
    """An entry of a listing."""

    name: str
    """What the listing is ordered by."""
    data: msgspec.Raw
    """The entry in JSON."""


def shard_request(forwarding: Forwarding, req: falcon.Request) -> ForwardedRequest:
    """Return the request of a client, as the edge asks the shards for their parts of the answer: in JSON."""
    request = forwarding.request_of(req, forwarding.key_of(req))
    for name in ("HTTP_ACCEPT", "HTTP_IF_NONE_MATCH"):
        request.headers.pop(name, None)
    return request


def with_query(request: ForwardedRequest, query: dict[str, Any], **changes: Any) -> ForwardedRequest:
    """Return a copy of a request with another query string. Changes that are None or empty leave a field out."""
    fields = {name: value for name, value in {**query, **changes}.items() if value not in (None, "")}
    return msgspec.structs.replace(request, query=urlencode(fields))


def given_query(req: falcon.Request) -> dict[str, Any]:
    """Return the fields of a query string, each of which is given once."""
    return dict(req.params)


class Listings:
    """Reads listings of shards a page at a time."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding

    def merged(
        self, request: ForwardedRequest, query: dict[str, Any], kind: type[msgspec.Struct], limit: int | None
    ) -> Iterator[Item]:
        """Return the entries of all shards in the order of their names, at most ``limit``.

        Raises, from the iterator: as `Forwarding.ask_for`.
        """
        size = PAGE if limit is None else min(limit, PAGE)
        shards = range(self._forwarding.shards)
        parts = [self._pages(shard, request, query, kind, size) for shard in shards]
        items = merge(*parts, key=lambda item: item.name)
        return items if limit is None else islice(items, min(limit, sys.maxsize))

    def _pages(
        self, shard: int, request: ForwardedRequest, query: dict[str, Any], kind: type[msgspec.Struct], size: int
    ) -> Iterator[Item]:
        (field,) = kind.__struct_fields__
        name_of = msgspec.json.Decoder(kind).decode
        after = query.get("after", "")
        while True:
            page = self._page(shard, with_query(request, query, after=after, limit=size))
            for each in page:
                after = getattr(name_of(each), field)
                yield Item(after, each)
            if len(page) < size:
                return

    def _page(self, shard: int, request: ForwardedRequest) -> list[msgspec.Raw]:
        return _raws(self._forwarding.ask_for(shard, request))

    def messages(
        self, shard: int, request: ForwardedRequest, query: dict[str, Any], limit: int | None
    ) -> Iterator[msgspec.Raw]:
        """Return the messages of a listing of one shard, at most ``limit``. Raises as `merged`."""
        decode = msgspec.json.Decoder(_Message).decode
        after, left, size = query.get("after", ""), limit, 16
        while left is None or left > 0:
            size = size if left is None else min(size, left)
            page = self._page(shard, with_query(request, query, after=after, limit=size))
            yield from page
            if len(page) < size:
                return
            left = None if left is None else left - len(page)
            after = decode(page[-1]).id
            per_message = max(sum(len(memoryview(each)) for each in page) // len(page), 1)
            size = max(min(_PAGE_BYTES // per_message, PAGE), 1)

    def everything(self, request: ForwardedRequest) -> list[Any]:
        """Return the entries of a listing without pages, of all shards."""
        return [each for body in self._forwarding.ask_all(request) for each in msgspec.json.decode(body)]


class _ListingResource:
    def __init__(self, forwarding: Forwarding) -> None:
        self.forwarding = forwarding
        self.listings = Listings(forwarding)
        self._answers = SharedAnswers()

    def reader_of(self, req: falcon.Request) -> Hashable:
        """Return what the answer to a request depends on besides the request itself."""
        key = self.forwarding.key_of(req)
        return None if key is None else key.id

    def send(self, req: falcon.Request, resp: falcon.Response, values: Iterator[Any]) -> None:
        """Set the response to an array of entries in JSON, taken while they are sent, or to one in msgpack."""
        if accepts_msgpack(req):
            answer_of(req, [msgspec.json.decode(each) for each in values]).send(req, resp)
        else:
            stream(req, resp, values, lambda: None)

    def share(self, req: falcon.Request, resp: falcon.Response, make: Callable[[], list[Any]]) -> None:
        """Set the response to a short array, which equal readers may share."""
        self._answers.respond(req, resp, self.reader_of(req), lambda: _answer(req, make()))


def _answer(req: falcon.Request, values: list[Any]) -> Answer:
    decoded = [msgspec.json.decode(each) if isinstance(each, msgspec.Raw) else each for each in values]
    return answer_of(req, decoded)


class Queues(_ListingResource):
    """``/queues``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.QueueListing)
        limit = set_value(query.limit)
        if query.sort != "name":
            self.share(req, resp, lambda: self._ranked(req, query, limit))
            return
        items = self.listings.merged(shard_request(self.forwarding, req), given_query(req), _Queue, limit)
        values = (each.data for each in items)
        if limit is not None and limit <= _MOST_SHARED:
            self.share(req, resp, lambda: list(values))
        else:
            self.send(req, resp, values)

    def _ranked(self, req: falcon.Request, query: schemas.QueueListing, limit: int | None) -> list[Any]:
        """Return the queues with the largest figures. Each shard gives as many as the answer may have."""
        given = given_query(req)
        request = with_query(shard_request(self.forwarding, req), given, figures="true")
        found = self.listings.everything(request)
        found.sort(key=lambda each: (-_figure(each, query.sort), each["queue"]))
        if not query.figures:
            for each in found:
                each.pop("figures", None)
        return found[:limit]


def _figure(queue: dict[str, Any], order: str) -> float:
    """Return the figure of a queue by which it is ordered; see `wonderq.broker.overview.ORDERS`.

    A queue of a node that does not tell it, because it has another version, has the smallest.
    """
    figures = queue.get("figures") or {}
    if order == "oldest_waiting":
        age = figures.get("oldest_waiting_age")
        return -1.0 if age is None else float(age)
    known = {**(figures.get("per_second") or {}), "bytes": queue.get("bytes", 0), **queue.get("counts", {})}
    return float(known.get(order, 0))


class Topics(_ListingResource):
    """``/topics``."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, topic_schemas.TopicListing)
        request = shard_request(self.forwarding, req)
        values = [each.data for each in self.listings.merged(request, given_query(req), _Topic, query.limit)]
        self.send(req, resp, iter(values))


class Schedules(_ListingResource):
    """``/schedules``: those of all shards, by name."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.ScheduleListing)
        request = shard_request(self.forwarding, req)
        values = [each.data for each in self.listings.merged(request, given_query(req), _Named, query.limit)]
        self.send(req, resp, iter(values))


class Redrives(_ListingResource):
    """``/redrives``: those of all shards, the newest first."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_query(req, schemas.Body)
        found = self.listings.everything(shard_request(self.forwarding, req))
        render(req, resp, sorted(found, key=lambda each: (each.get("started_at", ""), each["id"]), reverse=True))


class Messages(_ListingResource):
    """``/dev/messages`` and ``/dev/messages/status`` of one queue, which may be long."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, queue: str = "default") -> None:
        self._list(req, resp, queue, schemas.Listing)

    def on_get_status(self, req: falcon.Request, resp: falcon.Response, queue: str = "default") -> None:
        self._list(req, resp, queue, schemas.StatusListing)

    def _list(self, req: falcon.Request, resp: falcon.Response, queue: str, kind: type[schemas.Listing]) -> None:
        limit = set_value(read_query(req, kind).limit)
        shard = self.forwarding.shard_of(queue)
        values = self.listings.messages(shard, shard_request(self.forwarding, req), given_query(req), limit)
        stream(req, resp, values, lambda: None)
        resp.set_header("Cache-Control", "no-store")


class SearchAll(_ListingResource):
    """``/search``: one shard after the other. ``next_after`` says in which shard the search goes on."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = read_query(req, schemas.SearchAll)
        request, given = shard_request(self.forwarding, req), given_query(req)
        shard, after = self._place(set_value(query.after))
        found: list[Any] = []
        examined, next_after = 0, None
        while shard < self.forwarding.shards:
            limits = {"limit": query.limit - len(found), "examine": query.examine - examined}
            body = self.forwarding.ask_for(shard, with_query(request, given, after=after, **limits))
            part = msgspec.json.decode(body)
            found += part["messages"]
            examined += part["examined"]
            is_over = part["next_after"] is None
            shard, after = (shard + 1, "") if is_over else (shard, part["next_after"])
            if not is_over or examined >= query.examine or len(found) >= query.limit:
                next_after = f"{shard}~{after}" if shard < self.forwarding.shards else None
                break
        render(req, resp, {"messages": found, "examined": examined, "next_after": next_after})
        resp.set_header("Cache-Control", "no-store")

    def _place(self, after: str | None) -> tuple[int, str]:
        """Return the shard in which a search goes on, and the message after which it does; empty for the first."""
        if after is None:
            return 0, ""
        shard, separator, message_id = after.partition("~")
        if not separator or not (shard.isdecimal() and len(shard) < 9):
            raise RequestError(400, "invalid_value", "after must be the next_after of an earlier search.", "after")
        return int(shard), message_id
