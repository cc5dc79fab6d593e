"""No body makes a request take much memory, or much work between two turns of other requests, whatever the call.

The work of a turn is counted in calls of functions, Python's and C's. What one call does in C is bounded by the number
of objects that it makes, which the peak of memory shows.
"""

from __future__ import annotations

import io
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http_client import JSON, MSGPACK
from tests.support.memory_log import MemoryLog
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.httpd.errors import RequestError
from wonderq.httpd.structure import UNCHECKED_BYTES, Bounds, check_structure
from wonderq.model.limits import Limits
from wonderq.runtime.fibers import Fiber, Hub
from wonderq.sqs import wire
from wonderq.sqs.endpoint import ACTIONS
from wonderq.sqs.limits import relaxed

#: Far below the defaults, so that a body of 256 KiB is as hostile as one of 33 MiB.
LIMITS = Limits(batch_messages=30, batch_bytes=1 << 18, message_bytes=1 << 14)
BODY_BYTES = 1 << 18

#: A turn of a few milliseconds.
CALLS_PER_TURN = 40_000

#: Without the bounds, the worst of these bodies takes 15 MiB.
PEAK_BYTES = 4 << 20

QUEUE_URL = "http://localhost/000000000000/jobs"

#: Fields in which a client may put a list or an object, by call.
REST_CALLS = {
    ("POST", "/messages/produce"): ("messages", "message", "attributes", "unknown"),
    ("POST", "/messages/consume"): ("max", "attempt_id", "unknown"),
    ("POST", "/messages/next"): ("delete", "release", "dead", "attempt_id", "unknown"),
    ("POST", "/messages/delete"): ("ids", "receipts", "unknown"),
    ("POST", "/messages/update"): ("entries", "unknown"),
    ("POST", "/messages/kick"): ("max",),
    ("POST", "/messages/hand-over"): ("receipts", "produce", "unknown"),
    ("PATCH", "/messages/a7f5325c-e413-8fbc-ada0-759277567d55"): ("message", "attributes", "receipt", "unknown"),
    ("DELETE", "/messages/a7f5325c-e413-8fbc-ada0-759277567d55"): ("receipt",),
    ("PUT", "/queues/a"): ("tags", "retention", "unknown"),
    ("POST", "/queues/a/redrive"): ("contains", "limit"),
    ("PUT", "/topics/a"): ("tags", "unknown"),
    ("PUT", "/topics/a/subscriptions/b"): ("filter", "queue", "unknown"),
    ("POST", "/topics/a/publish"): ("messages", "message", "attributes", "subject", "unknown"),
    ("POST", "/topics/a/match"): ("message", "attributes", "unknown"),
    ("PUT", "/schedules/a"): ("cron", "message", "attributes", "unknown"),
}


def many(each: bytes, size: int = BODY_BYTES) -> bytes:
    return b"[" + b",".join([each] * (size // (len(each) + 1))) + b"]"


def names(value: bytes) -> bytes:
    return b"{" + b",".join(b'"a%d":%s' % (number, value) for number in range(BODY_BYTES // (10 + len(value)))) + b"}"


HOSTILE_JSON = {
    "empty strings": many(b'""'),
    "empty objects": many(b"{}"),
    "empty lists": many(b"[]"),
    "nested empties": many(b'{"":{"":[]}}'),
    "objects with an id": many(b'{"id": ""}'),
    "objects with a message": many(b'{"message":"","attributes":{"a":""}}'),
    "objects with a queue": many(b'{"message":"","queue":"a"}'),
    "numbers": many(b"1"),
    "long numbers": many(b"9" * 4300),
    "a long number": b"9" * BODY_BYTES,
    "a long fraction": b"0." + b"1" * BODY_BYTES,
    "a million names": names(b'""'),
    "a million typed attributes": names(b'{"type":"String","value":""}'),
    "the same name": b"{" + b",".join([b'"a":""'] * (BODY_BYTES // 7)) + b"}",
    "a long string": b'"' + b"a" * BODY_BYTES + b'"',
    "a long string of escapes": b'"' + b"\\u0041" * (BODY_BYTES // 6) + b'"',
    "a long name": b'{"' + b"a" * BODY_BYTES + b'":1}',
    "a long name in an entry": b'[{"' + b"a" * BODY_BYTES + b'":1}]',
    "depth": b"[" * BODY_BYTES,
    "depth of objects": b'{"a":' * (BODY_BYTES // 5),
    "spaces": b" " * BODY_BYTES + b'"x"',
    "quotes": b'"' * BODY_BYTES,
    "backslashes": b'"' + b"\\" * BODY_BYTES + b'"',
    "64 attributes each": many(
        b'{"message":"x","attributes":{'
        + b",".join(b'"attribute%d":{"type":"String","value":""}' % number for number in range(64))
        + b"}}",
        100_000,
    ),
}


def _quick_first(quick: Sequence[str]) -> list[Any]:
    """Return all actions. Those besides ``quick`` are decoded in the same way, and are for the slow tests."""
    return [*quick, *(pytest.param(each, marks=pytest.mark.slow) for each in ACTIONS if each not in quick)]


class Done(NamedTuple):
    """The cost of one request."""

    status: int
    calls: int
    """Most calls of functions in a turn."""
    peak_bytes: int
    """Peak of memory besides the body."""


def run(app: Any, method: str, path: str, body: bytes, media_type: str, headers: Mapping[str, str]) -> Done:
    """Run a request on a fiber."""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "x",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "CONTENT_TYPE": media_type,
        "CONTENT_LENGTH": str(len(body)),
        **headers,
    }
    statuses: list[str] = []
    ended: list[bytes] = []
    hub = Hub(lambda: None)
    hub.spawn(lambda: ended.append(b"".join(app(environ, lambda status, *_: statuses.append(status)))))
    most = calls = 0
    switch = Fiber.switch

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def counted_switch(self: Fiber) -> None:
        nonlocal calls, most
        calls = 0
        switch(self)
        most = max(most, calls)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fiber, "switch", counted_switch)
        tracemalloc.start()
        sys.setprofile(count)
        try:
            while not ended:
                hub.run()
        finally:
            sys.setprofile(None)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    return Done(int(statuses[0][:3]), most, peak)


def check(
    app: Any, method: str, path: str, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> None:
    done = run(app, method, path, body, media_type, headers or {})
    assert done.status in (200, 201, 400, 404, 413), done
    assert done.calls <= CALLS_PER_TURN, done
    assert done.peak_bytes <= PEAK_BYTES, done


@pytest.fixture(scope="module")
def app() -> Any:
    app = create_app(Broker(MemoryLog(), limits=LIMITS), sqs_limits=relaxed(LIMITS))
    for method, path in REST_CALLS:
        for media_type in (JSON, MSGPACK):  # so that no first use of a type counts
            run(app, method, path, b"{}", media_type, {})
    return app


@pytest.mark.parametrize("call", REST_CALLS, ids=str)
def test_in_json(app: Any, call: tuple[str, str]) -> None:
    for value in HOSTILE_JSON.values():
        check(app, *call, value, JSON)
        for field in REST_CALLS[call]:
            check(app, *call, b'{"message":"x","%s":%s}' % (field.encode(), value), JSON)


HOSTILE_MSGPACK = {
    "empty strings": b"\xdd" + BODY_BYTES.to_bytes(4, "big") + b"\xa0" * BODY_BYTES,
    "empty maps": b"\xdd" + BODY_BYTES.to_bytes(4, "big") + b"\x80" * BODY_BYTES,
    "fewer than it says": b"\xdd\xff\xff\xff\xff" + b"\xa0" * BODY_BYTES,
    "fewer names than it says": b"\xdf\xff\xff\xff\xff" + b"\xa1a\xa0" * (BODY_BYTES // 3),
    "a string shorter than it says": b"\xdb\xff\xff\xff\xff" + b"a" * BODY_BYTES,
    "depth": b"\x91" * BODY_BYTES,
    "objects with an id": msgspec.msgpack.encode([{"id": ""}] * (BODY_BYTES // 5)),
    "names": msgspec.msgpack.encode({f"a{number}": "" for number in range(BODY_BYTES // 8)}),
    "a long string": msgspec.msgpack.encode("a" * BODY_BYTES),
    "extensions": b"\xdd" + BODY_BYTES.to_bytes(4, "big") + b"\xc7\x00\x01" * (BODY_BYTES // 3),
    "64 attributes each": msgspec.msgpack.encode(
        [{"message": "x", "attributes": {f"a{number}": {"type": "String", "value": ""} for number in range(64)}}] * 30
    ),
}


@pytest.mark.parametrize("call", REST_CALLS, ids=str)
def test_in_msgpack(app: Any, call: tuple[str, str]) -> None:
    for value in HOSTILE_MSGPACK.values():
        check(app, *call, value, MSGPACK)
        for field in REST_CALLS[call]:
            check(app, *call, b"\x81" + msgspec.msgpack.encode(field) + value, MSGPACK)


@pytest.mark.parametrize("action", _quick_first(["SendMessageBatch", "ReceiveMessage", "TagQueue"]))
def test_in_json_of_sqs(app: Any, action: str) -> None:
    target = {"HTTP_X_AMZ_TARGET": f"AmazonSQS.{action}"}
    for value in HOSTILE_JSON.values():
        for field in ("Entries", "MessageAttributes"):
            body = b'{"QueueUrl":"%s","%s":%s}' % (QUEUE_URL.encode(), field.encode(), value)
            check(app, "POST", "/", body, wire.JSON_TYPE, target)


HOSTILE_FORMS = {
    "a long escaped value": b"MessageBody=" + b"%41" * (BODY_BYTES // 3),
    "a long escaped name": b"%41" * (BODY_BYTES // 3) + b"=1",
    "escapes between letters": b"MessageBody=" + b"a%41" * (BODY_BYTES // 4),
    "percent signs": b"MessageBody=" + b"%" * BODY_BYTES,
    "fields": b"&".join([b"a=1"] * 20_000),
    "different fields": b"&".join(b"a%d=1" % number for number in range(10_000)),
    "separators": b"&" * 30_000,
    "nested names": b"&".join(b"Tag.%d.b.c.d.e.f=1" % number for number in range(3000)),
    "entries": b"&".join(b"SendMessageBatchRequestEntry.%d.Id=" % number for number in range(3000)),
    "dots": b"a" + b"." * BODY_BYTES + b"=1",
    "actions": b"&".join([b"Action=ListQueues"] * (BODY_BYTES // 18)),
}


@pytest.mark.parametrize(
    "action",
    ["", "%41" * (BODY_BYTES // 3), *_quick_first(["SendMessageBatch"])],
    ids=lambda action: action[:20],
)
def test_in_forms_of_sqs(app: Any, action: str) -> None:
    for form in HOSTILE_FORMS.values():
        body = b"Action=%s&QueueUrl=%s&%s" % (action.encode(), quote(QUEUE_URL).encode(), form)
        check(app, "POST", "/", body, wire.FORM_TYPE)


def test_large_batches_that_are_allowed_take_turns(app: Any) -> None:
    attributes = {f"attribute{number}": {"type": "String", "value": "x" * 20} for number in range(64)}
    messages = [{"message": "x", "attributes": attributes}] * LIMITS.batch_messages
    for media_type, body in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
        check(app, "POST", "/messages/produce", body({"messages": messages}), media_type)


@pytest.mark.parametrize(("names", "status"), [(100, 400), (255, 400), (300, 413)])
@pytest.mark.parametrize(("media_type", "encode"), [(JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)])
def test_the_attributes_of_a_single_message_are_counted_before_they_are_decoded(
    app: Any, media_type: str, encode: Callable[[Any], bytes], names: int, status: int
) -> None:
    """The bound of a batch, whose entries are counted one by one, would leave room for a quarter of a million."""
    attributes = {f"{number:0255}": "x" * 500 for number in range(names)}
    body = encode({"message": "x", "attributes": attributes})
    assert len(body) > UNCHECKED_BYTES
    assert run(app, "POST", "/messages/produce", body, media_type, {}).status == status


# The checks agree with the decoders


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\{[,', max_size=4), inner, max_size=4),
    max_leaves=30,
)


def count_values(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(count_values, value))
    if isinstance(value, dict):
        return 1 + sum(map(count_values, value.values()))
    return 1


@settings(max_examples=50)
@given(values, st.integers(1, 40))
def test_a_body_is_refused_only_if_it_has_more_values(value: Any, window: int) -> None:
    count = count_values(value)
    for media_type, body in ((JSON, msgspec.json.encode(value)), (MSGPACK, msgspec.msgpack.encode(value))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("wonderq.httpd.structure._WINDOW_BYTES", window)
            check_structure(body, media_type, Bounds(2 * count, 1000))
            if count > 4:
                with pytest.raises(RequestError):
                    check_structure(body, media_type, Bounds(count // 4, 1000))


@settings(max_examples=50)
@given(st.text(), st.integers(1, 40))
def test_a_text_has_no_values(text: str, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wonderq.httpd.structure._WINDOW_BYTES", window)
        check_structure(msgspec.json.encode([text]), JSON, Bounds(1, 10_000))
        check_structure(msgspec.msgpack.encode([text]), MSGPACK, Bounds(1, 10_000))


@settings(max_examples=100)
@given(st.text() | st.text("%4aA+=&\r\n é") | st.text().map(quote), st.integers(1, 40))
def test_forms_are_decoded_as_python_does(text: str, window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_WINDOW_BYTES", window + 2)
        data = text.encode()
        try:
            expected = unquote_plus(data.decode(), errors="strict")
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                wire._unquote(data)
        else:
            assert wire._unquote(data) == expected
