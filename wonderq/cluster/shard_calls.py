"""Calls that the owner of one shard makes of the owner of another one, besides the requests of clients.

They go the way of requests (`wonderq.cluster.carrying`), with a method that no client can use.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wonderq.broker.broker import Broker
from wonderq.broker.crossings import Crossing
from wonderq.broker.outboxes import Departure
from wonderq.cluster.shard_map import shard_of
from wonderq.cluster.wire import ForwardedRequest
from wonderq.model.errors import BrokerError, QueueNotFoundError

METHOD = "SHARD"
"""Method of the calls."""

_CROSS, _ATTRIBUTES, _SOURCES, _DEAD_LETTERS = "/crossings", "/attributes", "/sources", "/dead-letters"

#: Names in a page of `_SOURCES`.
PAGE = 1000


class _Cross(msgspec.Struct, array_like=True):
    queue: str
    source: str
    creates: bool
    messages: list[Crossing]


class _Sources(msgspec.Struct, array_like=True):
    queue: str
    after: str


class _DeadLetters(msgspec.Struct, array_like=True):
    shard: int
    shards: int


_encode = msgspec.msgpack.Encoder().encode
_decode_cross = msgspec.msgpack.Decoder(_Cross).decode
_decode_sources = msgspec.msgpack.Decoder(_Sources).decode
_decode_dead_letters = msgspec.msgpack.Decoder(_DeadLetters).decode
_decode_links = msgspec.msgpack.Decoder(dict[str, list[str]]).decode
_decode_name = msgspec.msgpack.Decoder(str).decode
_decode_names = msgspec.msgpack.Decoder(list[str]).decode
_decode_number = msgspec.msgpack.Decoder(int).decode
_decode_attributes = msgspec.msgpack.Decoder(list[dict[str, str]]).decode


def cross_request(departure: Departure, *, creates: bool) -> ForwardedRequest:
    """Return the call that adds messages of an outbox to their queue; see `Crossings.accept`."""
    return _request(_CROSS, _Cross(departure.queue, departure.source, creates, list(departure.messages)))


def last_of(body: bytes) -> int:
    """Return the answer to a `cross_request`: the number of the last message that the queue has."""
    return _decode_number(body)


def attributes_request(queue: str) -> ForwardedRequest:
    """Return the call that asks for `QueueSettings.sqs` of a queue, which may not exist."""
    return _request(_ATTRIBUTES, queue)


def attributes_of(body: bytes) -> Mapping[str, str] | None:
    """Return the answer to an `attributes_request`."""
    found = _decode_attributes(body)
    return found[0] if found else None


def sources_request(queue: str, after: str) -> ForwardedRequest:
    """Return the call that asks for a page of the queues of a shard whose dead letters go to a queue."""
    return _request(_SOURCES, _Sources(queue, after))


def sources_of(body: bytes) -> list[str]:
    """Return the answer to a `sources_request`."""
    return _decode_names(body)


def dead_letters_request(shard: int, shards: int) -> ForwardedRequest:
    """Return the call that asks which queues of a shard, of ``shards``, get dead letters of the asked one."""
    return _request(_DEAD_LETTERS, _DeadLetters(shard, shards))


def dead_letters_of(body: bytes) -> dict[str, list[str]]:
    """Return the answer to a `dead_letters_request`; see `wonderq.broker.overview.Elsewhere.by_shard`."""
    return _decode_links(body)


def _request(path: str, value: object) -> ForwardedRequest:
    environ = {"REQUEST_METHOD": METHOD, "PATH_INFO": path}
    return ForwardedRequest.of(environ, _encode(value), key_id=None, base_url="", region="", is_of_ui=False)


def answer(broker: Broker, request: ForwardedRequest) -> tuple[str, bytes]:
    """Carry a call out at the owner of a shard. Return the status and the body of the response.

    Raises:
        StorageError: the shard was lost, or its log has failed.
    """
    try:
        return "200 OK", _encode(_result(broker, request))
    except QueueNotFoundError as error:
        return "404 Not Found", str(error).encode()
    except BrokerError as error:
        return "409 Conflict", str(error).encode()
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        return "400 Bad Request", f"The nodes have different versions of WonderQ: {error}".encode()


def _result(broker: Broker, request: ForwardedRequest) -> object:
    if request.path == _CROSS:
        found = _decode_cross(request.body)
        return broker.crossings.accept(found.queue, found.source, found.messages, creates=found.creates)
    if request.path == _ATTRIBUTES:
        settings = broker.settings_of(_decode_name(request.body))
        broker.core.confirm()
        return [] if settings is None else [dict(settings.sqs)]
    if request.path == _SOURCES:
        asked = _decode_sources(request.body)
        return broker.sources_of(asked.queue, after=asked.after, limit=PAGE, everywhere=False)
    if request.path == _DEAD_LETTERS:
        link = _decode_dead_letters(request.body)
        return broker.overview.sources_of_others(lambda name: shard_of(name, link.shards) == link.shard)
    raise msgspec.ValidationError(f"unknown call {request.path}")
