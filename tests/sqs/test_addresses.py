"""URLs of queues: those that clients send, and those that the broker returns, also behind a proxy with TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.http_client import serving
from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import FORM, Boto, Sqs, post, post_form
from wonderq.app import create_app
from wonderq.broker.broker import Broker
from wonderq.httpd.addresses import PublicAddress

#: Shapes that SQS used over the years, and that clients have stored; recorded facts of AWS.
PATHS = (
    "/000000000000/jobs",
    "/000000000000/jobs/",
    "/123456789012/jobs",
    "/queue/jobs",
    "/queue/jobs/",
    "/queue/eu-central-1/000000000000/jobs",
    "/queue/eu-central-1/000000000000/jobs/",
)


@pytest.mark.parametrize(
    "url", ["jobs", "jobs/", "/jobs", *PATHS, *(f"https://sqs.eu-west-1.amazonaws.com{path}" for path in PATHS)]
)
@pytest.mark.parametrize("protocol", ["json", "query"])
def test_a_queue_is_found_by_a_url_of_any_shape(sqs: Sqs, queue: str, protocol: str, url: str) -> None:
    if protocol == "json":
        # boto3 would refuse some of them, or send the request there.
        body = json.dumps({"QueueUrl": url, "MessageBody": "x"}).encode()
        headers = {"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"}
        reply = post(sqs.served, body, headers)
    else:
        reply = post_form(sqs.served, {"Action": "SendMessage", "QueueUrl": url, "MessageBody": "x"})
    assert reply.status == 200, reply.content
    assert sqs.broker.queue("jobs").counts["unprocessed"] == 1


@pytest.mark.parametrize("path", PATHS)
def test_a_form_can_go_to_an_address_of_any_shape(sqs: Sqs, queue: str, path: str) -> None:
    reply = post_form(sqs.served, {"Action": "SendMessage", "MessageBody": "x"}, path)
    assert reply.status == 200, reply.content
    assert sqs.broker.queue("jobs").counts["unprocessed"] == 1


@pytest.mark.parametrize("path", ["/jobs", "/jobs/", "/jobs?x=y", "/j%6fbs"])
@pytest.mark.parametrize("protocol", ["json", "query"])
def test_the_path_may_be_just_a_name(sqs: Sqs, queue: str, protocol: str, path: str) -> None:
    """A recorded fact of AWS."""
    if protocol == "json":
        headers = {"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"}
        reply = post(sqs.served, b'{"MessageBody":"x"}', headers, path)
    else:
        reply = post_form(sqs.served, {"MessageBody": "x", "Action": "SendMessage"}, path)
    assert reply.status == 200, reply.content
    assert sqs.broker.queue("jobs").counts["unprocessed"] == 1


def test_a_path_that_names_no_queue(sqs: Sqs) -> None:
    reply = post_form(sqs.served, {"Action": "SendMessage", "MessageBody": "x"}, "/unknown")
    assert (reply.status, b"NonExistentQueue" in reply.content) == (400, True)


@pytest.mark.parametrize("name", ["queues", "schedules", "docs", "metrics", "healthz", "readyz"])
def test_paths_of_the_rest_api_go_before_names(sqs: Sqs, name: str) -> None:
    sqs.broker.put_queue(name)
    reply = post_form(sqs.served, {"Action": "SendMessage", "MessageBody": "x"}, f"/{name}")
    assert reply.status == 405
    assert sqs.broker.queue(name).counts["unprocessed"] == 0


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("POST", "/jobs", f"Content-Type: {FORM}", b'{"message":"x"}'),  # as curl -d sends it
        ("POST", "/jobs", "Content-Type: application/json", b'{"MessageBody":"x"}'),
        ("POST", "/jobs/x", f"Content-Type: {FORM}", b"Action=SendMessage&MessageBody=x"),
        ("PUT", "/jobs", f"Content-Type: {FORM}", b"Action=SendMessage&MessageBody=x"),
        ("GET", "/jobs?Action=SendMessage&MessageBody=x", "Accept: */*", b""),
    ],
)
def test_other_requests_for_a_name_find_nothing(
    sqs: Sqs, queue: str, method: str, path: str, headers: str, body: bytes
) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n"
    reply = sqs.served.send(head.encode() + body, method=method)
    assert (reply.status, reply.json["error"]["code"]) == (404, "path_not_found")


@pytest.mark.parametrize("path", ["/000000000000/", "/queue/", "/queue/eu-central-1/000000000000/"])
def test_an_address_without_a_queue(sqs: Sqs, path: str) -> None:
    reply = post_form(sqs.served, {"Action": "SendMessage", "MessageBody": "x"}, path)
    assert reply.status in (400, 404)
    assert b"<Code>" in reply.content


def test_the_parameter_goes_before_the_path(sqs: Sqs, queue: str) -> None:
    fields = {"Action": "SendMessage", "QueueUrl": "unknown", "MessageBody": "x"}
    reply = post_form(sqs.served, fields, "/000000000000/jobs")
    assert b"NonExistentQueue" in reply.content


# Behind a proxy


def url_with(sqs: Sqs, headers: dict[str, str]) -> str:
    target = {"X-Amz-Target": "AmazonSQS.GetQueueUrl", "Content-Type": "application/x-amz-json-1.0"}
    reply = post(sqs.served, b'{"QueueName":"jobs"}', {**target, **headers})
    url: str = reply.json["QueueUrl"]
    return url


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ({}, "http"),
        ({"X-Forwarded-Proto": "https"}, "https"),
        ({"X-Forwarded-Proto": "HTTPS, http"}, "https"),
        ({"X-Forwarded-Proto": "http"}, "http"),
        ({"X-Forwarded-Proto": "ftp"}, "http"),
        ({"X-Forwarded-Proto": ""}, "http"),
        ({"Forwarded": "for=192.0.2.1;proto=https;by=203.0.113.43"}, "https"),
        ({"Forwarded": 'for=192.0.2.1; Proto="https", proto=http'}, "https"),
        ({"Forwarded": "for=192.0.2.1, proto=https"}, "http"),
        ({"Forwarded": "for=xproto=https"}, "http"),
    ],
    ids=str,
)
def test_the_scheme_is_that_which_the_proxy_saw(sqs: Sqs, queue: str, headers: dict[str, str], scheme: str) -> None:
    """SDKs that send requests to the URL of a queue would otherwise send bodies in the clear, or fail."""
    assert url_with(sqs, headers) == f"{scheme}://localhost:{sqs.served.port}/000000000000/jobs"


@pytest.mark.parametrize(
    ("proxies", "remote", "is_trusted"),
    [
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["127.0.0.0/8"], "192.0.2.1", False),
        (["10.0.0.0/8", "fd00::/8"], "fd00::1%eth0", True),
        (["10.1.2.3"], "10.1.2.3", True),
        (["10.1.2.3"], "10.1.2.4", False),
        ([], "127.0.0.1", False),
        (["127.0.0.0/8"], "", False),
    ],
)
def test_only_trusted_proxies_are_believed(proxies: list[str], remote: str, is_trusted: bool) -> None:
    environ = {
        "REMOTE_ADDR": remote,
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_HOST": "queue.example",
        "wsgi.url_scheme": "http",
    }
    found = PublicAddress("", proxies).of(environ)
    assert found == ("https://queue.example" if is_trusted else "http://queue.example")


def test_a_public_url_is_in_every_url(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data", "--public-url", "https://queue.example.com/") as broker:
        call = Boto(broker.url)
        url = call("CreateQueue", QueueName="jobs")["QueueUrl"]
        assert url == "https://queue.example.com/000000000000/jobs"
        assert url in call("ListQueues")["QueueUrls"]
        call("SendMessage", QueueUrl=url, MessageBody="x")


def test_an_application_with_an_address() -> None:
    broker = Broker(MemoryLog())
    broker.put_queue("jobs")
    app: Any = create_app(broker, address=PublicAddress("https://q.example:8443"))
    with serving(broker, app) as served:
        found = Boto(f"http://127.0.0.1:{served.port}")("GetQueueUrl", QueueName="jobs")
    assert found == {"QueueUrl": "https://q.example:8443/000000000000/jobs"}
