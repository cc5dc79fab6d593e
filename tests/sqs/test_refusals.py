"""Requests of SQS clients that are refused before they reach an action: in the form of SQS, so that SDKs show the reason.

The forms are those of Smithy's "AWS JSON 1.0 protocol" and "AWS query protocol", and the codes those of "Common Errors"
in the API reference where AWS has such a refusal.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError

from tests.support.http_client import ServedBroker, WireReply, read_reply, serving
from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import FORM, NAMESPACE, boto_client
from tests.support.waiting import PATIENCE_S
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import TrustedHosts
from wonderq.httpd.connections import Timeouts
from wonderq.httpd.parser import MAX_HEAD_BYTES, MAX_HEADERS
from wonderq.sqs.refusals import render_if_for_sqs

JSON_HEADERS = "X-Amz-Target: AmazonSQS.ListQueues\r\nContent-Type: application/x-amz-json-1.0\r\n"
FORM_HEADERS = f"Content-Type: {FORM}\r\n"
LIMIT = 100_000
CREDENTIAL = "Credential=AKID/20260101/r/sqs/aws4_request"


def serve(access: Access | None, **more: Any) -> Any:
    broker = Broker(MemoryLog())
    app = create_app(broker, access, hosts=TrustedHosts())
    settings: dict[str, Any] = {} if access is None else {"check_head": access.check_head}
    return serving(broker, app, render_error=render_if_for_sqs, max_body_bytes=LIMIT, **settings, **more)


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[ServedBroker]:
    with serve(None) as served:
        yield served


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    path: Path = tmp_path_factory.mktemp("refusals") / "keys.json"
    keys.create(path, name="k", roles=["admin"], queues=["*"], for_sqs=True)
    with serve(Access(Keys(path))) as served:
        yield served


def refused(reply: WireReply, *, is_json: bool) -> tuple[int, str, str]:
    """Return status, code and message of an error, and check its form."""
    assert reply.headers["x-amzn-requestid"]
    if is_json:
        assert reply.headers["content-type"] == "application/x-amz-json-1.0"
        code = reply.headers["x-amzn-query-error"].partition(";")[0]
        assert reply.json["__type"].rpartition("#")[2].removesuffix("Exception") == code
        return reply.status, code, reply.json["message"]
    assert reply.headers["content-type"] == "text/xml"
    error = ET.fromstring(reply.content)[0]
    return reply.status, str(error.findtext(f"{NAMESPACE}Code")), str(error.findtext(f"{NAMESPACE}Message"))


Refusal = tuple[str, str, str, int, str, str]
REFUSALS: dict[str, Refusal] = {
    # method and target, more headers, body, status, code, part of the message
    "unknown host": ("POST /", "Host: other.example\r\n", "", 421, "InvalidHttpRequest", "--hosts"),
    "cross-site": ("POST /", "Host: x.localhost\r\nOrigin: http://a.example\r\n", "", 403, "AccessDenied", "--cors-origins"),
    "too large": ("POST /", f"Host: localhost\r\nContent-Length: {LIMIT + 1}\r\n", "", 413, "RequestEntityTooLarge", "Send less"),
    "too large at the address": (
        "POST /000000000000/jobs", f"Host: localhost\r\nContent-Length: {LIMIT + 1}\r\n", "", 413, "RequestEntityTooLarge", "Send less"),
    "compressed": ("POST /", "Host: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n", "x", 415, "InvalidHttpRequest", "Content-Encoding"),
    "no host": ("POST /", "", "", 400, "InvalidHttpRequest", "Host"),
    "two lengths": ("POST /", "Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "", 400, "InvalidHttpRequest", "only once"),
    "coding": ("POST /", "Host: localhost\r\nTransfer-Encoding: gzip\r\n", "", 501, "InvalidHttpRequest", "chunked"),
    "expectation": ("POST /", "Host: localhost\r\nExpect: more\r\n", "", 417, "InvalidHttpRequest", "100-continue"),
    "a percent sign": ("POST /000000000000/%zz", "Host: localhost\r\n", "", 400, "InvalidHttpRequest", "%25"),
    "another method": ("PUT /000000000000/jobs", "Host: localhost\r\n", "", 405, "InvalidAction", "method"),
}  # fmt: skip
ONLY_JSON: dict[str, Refusal] = {  # known by the header X-Amz-Target alone
    "another path": ("POST /a/b", "Host: localhost\r\n", "", 404, "InvalidAddress", "no such path"),
    "a header of two lines": ("POST /", "Host: localhost\r\nX: a\r\n b\r\n", "", 400, "InvalidHttpRequest", "one line"),
    "a bad request line": ("post /", "Host: localhost\r\n", "", 400, "InvalidHttpRequest", "capital"),
}


@pytest.mark.parametrize("is_json", [True, False], ids=["json", "query"])
@pytest.mark.parametrize("name", [*REFUSALS, *ONLY_JSON])
def test_refusals_of_the_http_layer(open_to_all: ServedBroker, name: str, is_json: bool) -> None:
    if name in ONLY_JSON and not is_json:
        pytest.skip("nothing in such a request is of SQS")
    target, headers, body, status, code, message = {**REFUSALS, **ONLY_JSON}[name]
    format_headers = JSON_HEADERS if is_json else FORM_HEADERS
    reply = open_to_all.send(f"{target} HTTP/1.1\r\n{format_headers}{headers}\r\n{body}".encode())
    found = refused(reply, is_json=is_json)
    assert found[:2] == (status, code)
    assert message in found[2]


BODIES_OF_TOO_MANY_VALUES = {
    True: (b'{"Entries": [' + b"0," * 40_000 + b"0]}", 413, "RequestEntityTooLarge", "values"),
    False: (b"Action=SendMessageBatch" + b"&a=b" * 20_000, 400, "MalformedQueryString", "too many fields"),
}


@pytest.mark.parametrize("is_json", [True, False], ids=["json", "query"])
def test_a_body_of_too_many_values(open_to_all: ServedBroker, is_json: bool) -> None:
    """The bounds on what a body holds, which is checked before it is decoded."""
    body, *expected, part = BODIES_OF_TOO_MANY_VALUES[is_json]
    headers = JSON_HEADERS.replace("ListQueues", "SendMessageBatch") if is_json else FORM_HEADERS
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    found = refused(open_to_all.send(head.encode() + body), is_json=is_json)
    assert list(found[:2]) == expected
    assert part in found[2]


@pytest.mark.parametrize("is_json", [True, False], ids=["json", "query"])
@pytest.mark.parametrize("size", [0, 50_000], ids=["small", "large"])
@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "MissingAuthenticationToken"),
        (
            f"Authorization: AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host, Signature={'0' * 64}\r\n",
            "InvalidClientTokenId",
        ),
    ],
)
def test_refusals_of_authorization(
    keyed: ServedBroker, is_json: bool, size: int, authorization: str, code: str
) -> None:
    """The same answer whether the body is read or not."""
    headers = f"Host: localhost\r\nContent-Length: {size}\r\n{JSON_HEADERS if is_json else FORM_HEADERS}{authorization}"
    reply = keyed.send(f"POST / HTTP/1.1\r\n{headers}\r\n".encode() + b"x" * size)
    assert refused(reply, is_json=is_json)[:2] == (403, code)


def test_a_body_that_comes_too_slowly() -> None:
    broker = Broker(MemoryLog())
    with (
        serving(broker, render_error=render_if_for_sqs, timeouts=Timeouts(body_s=0)) as served,
        socket.create_connection(("127.0.0.1", served.port)) as client,
    ):
        client.sendall(f"POST / HTTP/1.1\r\nHost: localhost\r\n{JSON_HEADERS}Content-Length: 5\r\n\r\n".encode())
        answer = b""
        while part := client.recv(4096):
            answer += part
    assert b" 408 " in answer
    assert b'"__type":"com.amazonaws.sqs#RequestTimeout"' in answer


FILLER = f"X-Filler: {'x' * MAX_HEAD_BYTES}\r\n"


@pytest.mark.parametrize("is_json", [True, False], ids=["json", "query"])
@pytest.mark.parametrize("more", [FILLER, "X-Y: z\r\n" * (MAX_HEADERS + 1), "X Y: z\r\n"])
def test_heads_that_are_too_large_or_malformed(open_to_all: ServedBroker, is_json: bool, more: str) -> None:
    """The broker recognizes an SQS request by the headers before the fault, or by its path."""
    for path in ("/", "/000000000000/jobs"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{JSON_HEADERS if is_json else FORM_HEADERS}{more}\r\n"
        found = refused(open_to_all.send(head.encode()), is_json=is_json)
        assert found[:2] in ((431, "InvalidHttpRequest"), (400, "InvalidHttpRequest"))


def test_a_head_whose_beginning_tells_nothing(open_to_all: ServedBroker) -> None:
    reply = open_to_all.send(f"POST /jobs HTTP/1.1\r\nHost: localhost\r\n{FILLER}{JSON_HEADERS}\r\n".encode())
    assert (reply.status, reply.json["error"]["code"]) == (431, "headers_too_large")


#: Headers of a request, and whether its client is one of SQS and speaks JSON.
REQUESTS_AT_THE_LIMIT = [
    (f"POST / HTTP/1.1\r\nHost: x\r\n{JSON_HEADERS}", True),
    ("POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.0; charset=utf-8\r\n", True),
    (f"POST /000000000000/jobs HTTP/1.1\r\nHost: x\r\n{FORM_HEADERS}", False),
    (f"GET /?Action=x HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 {CREDENTIAL}\r\n", False),
    (f"POST /messages/produce HTTP/1.1\r\nHost: x\r\n{FORM_HEADERS}", None),
    ("", None),
]


@pytest.mark.parametrize(("head", "is_json"), REQUESTS_AT_THE_LIMIT)
@pytest.mark.parametrize(
    ("limit", "status", "expected"),
    [
        ("connections", 503, (503, "ServiceUnavailable")),
        ("connections_per_address", 429, (403, "RequestThrottled")),
    ],
)
def test_connections_over_a_limit(
    head: str, is_json: bool | None, limit: str, status: int, expected: tuple[int, str]
) -> None:
    """The server answers as it accepts: what has arrived by then shows whose request it is."""
    limits: dict[str, Any] = {limit: 1}
    with (
        serving(Broker(MemoryLog()), render_error=render_if_for_sqs, **limits) as served,
        socket.create_connection(("127.0.0.1", served.port)) as holder,
    ):
        holder.sendall(b"GET /messages/consume?wait=20 HTTP/1.1\r\nHost: x\r\n\r\n")
        served.wait_for_waiting(1)
        served.server.socket = AcceptsLate(served.server.socket) if head else served.server.socket
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(f"{head}\r\n".encode() if head else b"")
            reply = read_reply(client)
    assert reply.headers["retry-after"] == "5"
    if is_json is None:
        assert (reply.status, reply.json["error"]["code"]) == (status, "too_many_connections")
    else:
        assert refused(reply, is_json=is_json)[:2] == expected


class AcceptsLate:
    """A listening socket whose new connections are accepted when their requests have arrived, as on a busy machine."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening

    def accept(self) -> Any:
        connection, address = self.listening.accept()
        select.select([connection], [], [], PATIENCE_S)
        return connection, address

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listening, name)


def test_an_sdk_shows_the_reason(open_to_all: ServedBroker) -> None:
    client = boto_client(f"http://localhost:{open_to_all.port}")
    client.meta.events.register(
        "before-send.sqs", lambda request, **_: request.headers.__setitem__("Host", "other.example")
    )
    with pytest.raises(ClientError) as caught:
        client.list_queues()
    response: Any = caught.value.response
    assert response["Error"]["Code"] == "InvalidHttpRequest"
    assert "--hosts" in response["Error"]["Message"]


@pytest.mark.parametrize(
    "target", ["GET /queues/none", "POST /queues/123456789012/purge", "GET /nothing", "POST /messages/produce"]
)
def test_other_clients_get_the_errors_of_the_rest_api(open_to_all: ServedBroker, target: str) -> None:
    reply = open_to_all.send(
        f"{target} HTTP/1.1\r\nHost: localhost\r\n{FORM_HEADERS}Content-Length: 1\r\n\r\nx".encode()
    )
    assert reply.status >= 400
    assert reply.json["error"]["code"]
