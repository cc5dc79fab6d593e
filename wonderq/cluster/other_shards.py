"""The other shards of the cluster, as the broker of one shard asks them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import merge

from wonderq.cluster import shard_calls
from wonderq.cluster.applications import Response
from wonderq.cluster.carrying import Carrier
from wonderq.cluster.shard_map import shard_of
from wonderq.cluster.wire import ForwardedRequest
from wonderq.httpd.errors import RequestError
from wonderq.model.errors import ShardUnavailableError
from wonderq.runtime.fibers import Hub


class RemoteShards:
    """`wonderq.broker.core.OtherShards` over a `Carrier`."""

    def __init__(self, carrier: Carrier, shards: int, own: int) -> None:
        """``own`` is the shard of the broker that asks, of ``shards``."""
        self._carrier = carrier
        self._shards = shards
        self._own = own

    def attributes_of(self, queue: str) -> Mapping[str, str] | None:
        request = shard_calls.attributes_request(queue)
        return shard_calls.attributes_of(self._ask(shard_of(queue, self._shards), request, queue))

    def sources_of(self, queue: str, after: str) -> Iterator[str]:
        return merge(*(self._sources_in(shard, queue, after) for shard in range(self._shards) if shard != self._own))

    def _sources_in(self, shard: int, queue: str, after: str) -> Iterator[str]:
        while True:
            page = shard_calls.sources_of(self._ask(shard, shard_calls.sources_request(queue, after), queue))
            yield from page
            if len(page) < shard_calls.PAGE:
                return
            after = page[-1]

    def _ask(self, shard: int, request: ForwardedRequest, queue: str) -> bytes:
        response = self._response(shard, request, queue)
        body = response.read()
        if response.code != 200:
            raise ShardUnavailableError(queue, body.decode(errors="replace"))
        return body

    def _response(self, shard: int, request: ForwardedRequest, queue: str) -> Response:
        """Return a response. A request of a client waits for the next owner; background work tries it later."""
        if Hub.current() is None:
            outcome = self._carrier.try_once(shard, request)
            if outcome.verdict != "done" or outcome.response is None:
                raise ShardUnavailableError(queue, outcome.reason)
            return outcome.response
        try:
            return self._carrier.carry_out(shard, request, lambda: False, lambda: True)
        except RequestError as error:
            raise ShardUnavailableError(queue, str(error)) from error
