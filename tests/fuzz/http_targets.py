"""Readers of client input: heads of requests, bodies, query strings, ids and receipts."""

from __future__ import annotations

import math
import re
from functools import cache, cached_property
from io import BytesIO
from typing import Any

import falcon
import msgspec
from falcon.testing import create_environ
from waitress.adjustments import Adjustments

from tests.fuzz.target import Target
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.httpd.errors import JSON, MSGPACK, RequestError, error_object
from wonderq.httpd.head import Head
from wonderq.httpd.parser import MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_TARGET_BYTES, Parser
from wonderq.model.ids import Ids
from wonderq.model.limits import Limits
from wonderq.rest import schemas
from wonderq.rest.bodies import read_body, read_query, render
from wonderq.rest.error_codes import ERROR_CODES
from wonderq.rest.field_types import EXAMPLE_ID, EXAMPLE_RECEIPT

_SCHEMAS: list[type[msgspec.Struct]] = [
    schemas.Produce,
    schemas.Consume,
    schemas.Delete,
    schemas.Update,
    schemas.DeleteBatch,
    schemas.UpdateBatch,
    schemas.PutQueue,
    schemas.Listing,
    schemas.StatusListing,
    schemas.Count,
    schemas.Body,
    schemas.Redrive,
    schemas.PutSchedule,
]

#: An error says no more than this, whatever it is about.
_ERROR_BYTES = 2048


def check_error(error: RequestError) -> str:
    """An error has a code that is known, and can be told."""
    assert error.status in ERROR_CODES[error.code].statuses
    assert str(error).endswith(".")
    for media_type in (JSON, MSGPACK):
        resp = falcon.Response()
        value = error_object(error.status, error.code, str(error), error.field)
        render(falcon.Request(create_environ(headers={"Accept": media_type})), resp, value, error.status)
        assert resp.data is not None
        assert len(resp.data) <= _ERROR_BYTES
        assert (msgspec.json if media_type == JSON else msgspec.msgpack).decode(resp.data) == value
    return error.code


# Fields


@cache
def _options() -> Any:
    return create_app(Broker(MemoryLog())).req_options


@cache
def _environ() -> dict[str, Any]:
    return create_environ(method="POST", path="/x")


def _request(body: bytes = b"", media_type: str = "", query: str = "") -> falcon.Request:
    environ = {
        **_environ(),
        "QUERY_STRING": query,
        "wsgi.input": BytesIO(body),
        "CONTENT_TYPE": media_type,
        "CONTENT_LENGTH": str(len(body)) if body else "",
    }
    return falcon.Request(environ, options=_options())


def _check_value(value: Any, schema: type[msgspec.Struct]) -> None:
    """Check that a value has its type, and survives an encode and decode."""
    assert type(value) is schema
    limit = getattr(value, "limit", 0)
    if isinstance(limit, msgspec.UnsetType) or limit < 1 << 64:  # a larger one can be read, and not be written
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=schema) == value
    for name in ("delay", "wait", "visibility_timeout"):
        number = getattr(value, name, 0)
        assert isinstance(number, msgspec.UnsetType) or math.isfinite(number)


def check_body(data: bytes) -> str:
    """The first byte chooses what is expected, and the media type."""
    choice = data[0] if data else 0
    schema = _SCHEMAS[choice % len(_SCHEMAS)]
    media_type = JSON if choice < 128 else MSGPACK
    try:
        value = read_body(_request(data[1:], media_type), schema, Limits())
    except RequestError as error:
        return check_error(error)
    _check_value(value, schema)
    return "read"


def _body_samples() -> list[bytes]:
    update = {"receipt": EXAMPLE_RECEIPT, "visibility_timeout": 1.5, "delay": 2, "message": "é😀"}
    bodies: list[tuple[int, Any]] = [
        (0, {"message": "x", "delay": 1}),
        (0, {"messages": ["a", {"message": "b", "delay": 2.5}, "c"], "delay": 0}),
        (1, {"max": 10, "wait": 0.5, "visibility_timeout": 60}),
        (2, {"receipt": EXAMPLE_RECEIPT}),
        (3, update),
        (4, {"ids": [EXAMPLE_ID, "x"]}),
        (4, {"receipts": [EXAMPLE_RECEIPT, ""]}),
        (5, {"entries": [{**update, "id": EXAMPLE_ID}, {"id": "x"}]}),
        (6, {"visibility_timeout": 43200, "delay": 0}),
        (7, {"limit": 5, "after": EXAMPLE_ID}),
        (8, {"limit": 5, "status": "delayed"}),
        (9, {"status": "unprocessed"}),
        (10, {}),
        (11, {"destination": "mail", "per_second": 5, "attribute": "a=é", "dry_run": True}),
        (12, {"cron": "30 4 * * MON-FRI", "queue": "mail", "message": "é", "missed": "once", "attributes": {"a": 1}}),
    ]
    samples = [b'\3{"%s":1}' % (b"x" * 3000), b'\x08{"status":"%s"}' % (b"x" * 3000)]
    for number, value in bodies:
        packed = 128 + (number - 128) % len(_SCHEMAS)
        samples += [bytes([number]) + msgspec.json.encode(value), bytes([packed]) + msgspec.msgpack.encode(value)]
    return samples


def check_query(data: bytes) -> str:
    """The first byte chooses what is expected."""
    schema = _SCHEMAS[data[0] % len(_SCHEMAS)] if data else schemas.Body
    query = "".join(chr(each) for each in data[1:] if 0x21 <= each < 0x7F and each != 0x23)  # what a head lets through
    try:
        value = read_query(_request(query=query), schema)
    except RequestError as error:
        return check_error(error)
    _check_value(value, schema)
    return "read"


_QUERY_SAMPLES = [
    b"\1max=10&wait=0.5&visibility_timeout=60",
    b"\2receipt=" + EXAMPLE_RECEIPT.encode(),
    b"\3visibility_timeout=1e3&message=%C3%A9%F0%9F%98%80+x",
    b"\3delay=5&receipt=a,b",
    b"\6visibility_timeout=43200&delay=",
    b"\7limit=5&after=" + EXAMPLE_ID.encode(),
    b"\x08status=processing&limit=1",
    b"\x09status=delayed",
    b"\x0a",
    b"\x0a" + b"x" * 3000 + b"=",
    b"\x0bdestination=mail&limit=5&dry_run=true",
]


# Ids

_IDS = Ids(b"0123456789abcdef")


def check_ids(data: bytes) -> str:
    """Check that an accepted id or receipt is one that the broker creates, except for the case of its letters."""
    text = data.decode("utf-8", "surrogateescape")
    place = _IDS.decode_id(text)
    if place is not None:
        assert _IDS.message_id(*place) == text.lower()
    claim = _IDS.decode_receipt(text)
    if claim is not None:
        assert claim[2] > 0
        assert _IDS.receipt(*claim) == text.lower()
    return "read" if place or claim else "refused"


def _id_samples() -> list[bytes]:
    places = [(0, 0), (1, 5), (2**32 - 1, 2**48 - 1)]
    ids = [_IDS.message_id(*place) for place in places]
    receipts = [_IDS.receipt(*place, token) for place, token in zip(places, (1, 77, 2**32 - 1), strict=True)]
    return [text.encode() for text in (*ids, *receipts, ids[1].upper(), receipts[1].upper())]


# Heads

_ADJUSTMENTS = Adjustments()
_KEY = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Z_]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")


class _Read:
    """Result of parsing the bytes of one request."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.heads: list[Head] = []
        self.parser = Parser(_ADJUSTMENTS, self._note)
        self.consumed = 0
        pieces = 0
        while self.consumed < len(data) and not self.parser.completed:
            size = sizes[pieces % len(sizes)] or len(data)
            piece = data[self.consumed : self.consumed + size]
            taken = self.parser.received(piece)
            assert 0 <= taken <= len(piece)
            assert taken or self.parser.completed, "bytes that nobody takes would come again for ever"
            self.consumed += taken
            pieces += 1
            assert len(self.parser.header_plus) <= MAX_HEAD_BYTES

    def _note(self, head: Head) -> None:
        self.heads.append(head)

    @cached_property
    def body(self) -> bytes:
        receiver = self.parser.body_rcv
        read: bytes = b"" if receiver is None else receiver.getfile().read()
        return read

    def outcome(self) -> tuple[Any, ...]:
        parser = self.parser
        if not parser.completed or parser.error is not None:
            return (parser.completed, parser.error is None)
        return (parser.command, parser.path, parser.query, parser.version, parser.headers, self.body, self.consumed)


def check_head(data: bytes) -> str:
    """A request, which comes at once and in pieces as its first byte says, is read in one way."""
    first = data[0] if data else 1
    data = data[1:]
    whole = _Read(data, [0])
    pieces = _Read(data, [1 + first % 16, 1 + first // 16, 3])
    assert whole.outcome() == pieces.outcome()
    parser = whole.parser
    if parser.error is not None:
        return check_error(parser.error)
    if not parser.headers_finished:
        assert whole.heads == []
        return "unfinished"
    [head] = whole.heads
    assert head.method == parser.command
    assert re.fullmatch("[A-Z][A-Z-]{0,31}", parser.command)
    assert len(parser.request_uri) <= MAX_TARGET_BYTES
    path = parser.path.encode("latin-1").decode()
    assert path.startswith("/")
    assert head.path == path
    assert not re.search("[\x00-\x1f\x7f-\x9f]", path)
    assert "#" not in parser.query
    assert len(parser.headers) <= 101
    assert all(_KEY.fullmatch(name) and _VALUE.fullmatch(value) for name, value in parser.headers.items())
    assert not (parser.chunked and head.body_bytes is not None)
    body = whole.body
    assert len(body) <= min(MAX_BODY_BYTES, len(data))
    if parser.completed and head.body_bytes is not None:
        assert len(body) == head.body_bytes
    return "read" if parser.completed else "unfinished"


_HEAD_SAMPLES = [
    b"\x01GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    (
        b"\x12POST /messages/produce?a=b HTTP/1.1\r\nHost: 127.0.0.1:7979\r\nContent-Type: application/json\r\n"
        b'Content-Length: 15\r\nAuthorization: Bearer wq_1_2\r\n\r\n{"message":"x"}'
    ),
    (
        b"\x45POST /queues/caf%C3%A9/messages/produce HTTP/1.1\r\nhost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n"
    ),
    b"\xffUPDATE http://x/messages/a HTTP/1.0\r\nConnection: keep-alive, close\r\nX-A: \r\nX-A: b \r\n\r\n",
    b"\x33PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\nA_B: c\r\n\r\nabcdef",
    b"\x33\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
]


def targets() -> list[Target]:
    return [
        Target("head", check_head, _HEAD_SAMPLES, cost=5),
        Target("body", check_body, _body_samples(), cost=5),
        Target("query", check_query, _QUERY_SAMPLES, cost=5),
        Target("ids", check_ids, _id_samples()),
    ]
