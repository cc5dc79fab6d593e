"""The query protocol as older clients write it: lists without numbers, both headers, and GET.

Requests are those that boto3 1.26 and the older SDKs for Perl and PHP send; that AWS takes them is a recorded fact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.sqs.test_messages import ATTRIBUTES, receive
from tests.support.http_client import ServedBroker, WireReply, serving
from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import FORM, Sqs, post, post_form
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.auth.access import Access
from wonderq.auth.keys import Keys
from wonderq.broker.broker import Broker
from wonderq.sqs.refusals import render_if_for_sqs

PATH = "/000000000000/jobs"


def ask(sqs: Sqs, action: str, *fields: tuple[str, str], path: str = PATH) -> str:
    reply = post_form(sqs.served, [("Action", action), *fields], path)
    assert reply.status == 200, reply.content
    return reply.content.decode()


@pytest.mark.parametrize("number", ["", ".1", ".7"])
def test_a_list_of_one_needs_no_number(sqs: Sqs, queue: str, number: str) -> None:
    sqs.boto("SendMessage", QueueUrl=queue, MessageBody="x", MessageAttributes=ATTRIBUTES)
    assert "<Name>VisibilityTimeout</Name>" in ask(sqs, "GetQueueAttributes", (f"AttributeName{number}", "All"))
    given = ("VisibilityTimeout", "0"), (f"MessageAttributeName{number}", "raw"), (f"AttributeName{number}", "SenderId")
    answer = ask(sqs, "ReceiveMessage", *given)
    assert answer.count("<MessageAttribute>") == answer.count("<Attribute>") == 1
    ask(sqs, "TagQueue", (f"Tag{number}.Key", "a"), (f"Tag{number}.Value", "b"))
    assert sqs.boto("ListQueueTags", QueueUrl=queue) == {"Tags": {"a": "b"}}
    ask(sqs, "UntagQueue", (f"TagKey{number}", "a"))
    assert sqs.boto("ListQueueTags", QueueUrl=queue) == {}
    ask(sqs, "SetQueueAttributes", (f"Attribute{number}.Name", "DelaySeconds"), (f"Attribute{number}.Value", "7"))
    ask(sqs, "AddPermission", ("Label", "l"), (f"AWSAccountId{number}", "1" * 12), (f"ActionName{number}", "*"))
    found = sqs.boto("GetQueueAttributes", QueueUrl=queue, AttributeNames=["DelaySeconds", "Policy"])["Attributes"]
    assert (found["DelaySeconds"], json.loads(found["Policy"])["Statement"][0]["Action"]) == ("7", "SQS:*")


@pytest.mark.parametrize("number", ["", ".1"])
def test_a_batch_and_an_attribute_of_one_need_no_number(sqs: Sqs, queue: str, number: str) -> None:
    entry, attribute = f"SendMessageBatchRequestEntry{number}", f"MessageAttribute{number}"
    ask(
        sqs,
        "SendMessageBatch",
        (f"{entry}.Id", "a"),
        (f"{entry}.MessageBody", "x"),
        (f"{entry}.{attribute}.Name", "n.o"),
        (f"{entry}.{attribute}.Value.DataType", "String"),
        (f"{entry}.{attribute}.Value.StringValue", "v"),
    )
    [message] = receive(sqs.boto, queue, MessageAttributeNames=["n.*"])
    assert message["MessageAttributes"] == {"n.o": {"DataType": "String", "StringValue": "v"}}


@pytest.mark.parametrize("action", ["ReceiveMessage", "GetQueueAttributes"])
@pytest.mark.parametrize("name", ["AttributeName", "AttributeNames", "MessageAttributeName", "MessageAttributeNames"])
def test_an_empty_list_is_none(sqs: Sqs, queue: str, action: str, name: str) -> None:
    """boto3 1.26 writes an empty list as its name in the model, without a value."""
    sqs.boto("SendMessage", QueueUrl=queue, MessageBody="x", MessageAttributes=ATTRIBUTES)
    answer = ask(sqs, action, (name, ""))
    assert "Attribute>" not in answer


def test_a_form_is_a_form_whatever_the_other_headers(sqs: Sqs, queue: str) -> None:
    body = urlencode({"Action": "SendMessage", "MessageBody": "x"}).encode()
    both = {"X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": f"{FORM}; charset=utf-8"}
    reply = post(sqs.served, body, both, PATH)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/xml")
    assert len(receive(sqs.boto, queue)) == 1
    reply = post(sqs.served, b"Action=Unknown", both, PATH)
    assert (reply.status, b"<Code>InvalidAction</Code>" in reply.content) == (400, True)


@pytest.mark.parametrize("kind", ["application/x-amz-json-1.0", "application/json", "text/plain", None])
def test_other_types_are_json_if_the_target_says_so(sqs: Sqs, queue: str, kind: str | None) -> None:
    headers = {"X-Amz-Target": "AmazonSQS.GetQueueUrl", **({} if kind is None else {"Content-Type": kind})}
    assert post(sqs.served, b'{"QueueName":"jobs"}', headers).json["QueueUrl"].endswith(PATH)


# GET


def get(served: ServedBroker, target: str, **headers: str) -> WireReply:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return served.send(f"GET {target} HTTP/1.1\r\nHost: localhost:{served.port}\r\n{lines}\r\n".encode())


@pytest.mark.parametrize("path", ["/", PATH, "/queue/jobs"])
def test_get(sqs: Sqs, queue: str, path: str) -> None:
    reply = get(sqs.served, f"{path}?Action=SendMessage&QueueUrl={quote(queue)}&MessageBody=gr%C3%B6%C3%9Fer+x")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/xml"), reply.content
    assert receive(sqs.boto, queue)[0]["Body"] == "größer x"


@pytest.mark.parametrize("target", [PATH, f"{PATH}?x=y", "/?Action=", "/queue/jobs"])
def test_get_without_an_action(sqs: Sqs, queue: str, target: str) -> None:
    reply = get(sqs.served, target)
    assert (reply.status, b"<Code>UnknownOperationException</Code>" in reply.content) == (404, True)


def test_a_browser_at_the_root_still_finds_the_documentation(sqs: Sqs) -> None:
    reply = get(sqs.served, "/")
    assert (reply.status, reply.headers["location"]) == (302, "/docs")


BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"User_Agent": "libwww-perl/6.67"}, 200),
        ({"User_Agent": BROWSER}, 403),
        ({"User_Agent": BROWSER, "Referer": "http://localhost/"}, 403),
        ({"User_Agent": BROWSER, "Sec_Fetch_Site": "cross-site"}, 403),
        ({"User_Agent": BROWSER, "Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "http://other.example"}, 403),
        ({"User_Agent": BROWSER, "Sec_Fetch_Site": "none"}, 200),
        ({"User_Agent": BROWSER, "Sec_Fetch_Site": "same-origin"}, 200),
    ],
    ids=str,
)
def test_no_page_of_another_site_makes_a_browser_get(sqs: Sqs, headers: dict[str, str], status: int) -> None:
    """Without keys, only this keeps a link or an image of any page from purging a queue."""
    reply = get(sqs.served, "/?Action=CreateQueue&QueueName=made", **headers)
    assert reply.status == status, reply.content
    assert (sqs.broker.settings_of("made") is not None) == (status == 200)
    if status != 200:
        assert b"<ErrorResponse" in reply.content or b"cross_site_request" in reply.content


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedBroker, Credentials]]:
    path: Path = tmp_path_factory.mktemp("get") / "keys.json"
    key, _ = keys.create(path, name="k", roles=["admin"], queues=["*"], for_sqs=True)
    broker, access = Broker(MemoryLog()), Access(Keys(path))
    broker.produce("jobs", ["x"] * 10)
    checks: dict[str, Any] = {"check_head": access.check_head, "render_error": render_if_for_sqs}
    with serving(broker, create_app(broker, access), **checks) as served:
        yield served, Credentials(key.access_key_id, str(key.sqs_secret))


def signed(served: ServedBroker, auth: Any, credentials: Credentials, **more: Any) -> tuple[str, dict[str, str]]:
    url = f"http://localhost:{served.port}{PATH}?Action=ReceiveMessage"
    request = AWSRequest(method="GET", url=url, headers={"Host": f"localhost:{served.port}"})
    auth(credentials, "sqs", "eu-central-1", **more).add_auth(request)
    parts = urlsplit(request.url)
    kept = {name: value for name, value in request.headers.items() if name in ("Authorization", "X-Amz-Date")}
    return f"{parts.path}?{parts.query}", kept


@pytest.mark.parametrize("user_agent", ["Boto/2.49.0", BROWSER])
def test_a_signed_get(keyed: tuple[ServedBroker, Credentials], user_agent: str) -> None:
    served, credentials = keyed
    for auth, more in ((SigV4Auth, {}), (SigV4QueryAuth, {"expires": 60})):
        target, headers = signed(served, auth, credentials, **more)
        reply = get(served, target, **{"User-Agent": user_agent}, **headers)
        assert (reply.status, b"<Body>x</Body>" in reply.content) == (200, True), reply.content
        wrong, headers = signed(served, auth, Credentials(credentials.access_key, "wrong"), **more)
        reply = get(served, wrong, **headers)
        assert (reply.status, b"<Code>SignatureDoesNotMatch</Code>" in reply.content) == (403, True)
        reply = get(served, target.replace("ReceiveMessage", "PurgeQueue"), **headers)
        assert (reply.status, b"<Code>SignatureDoesNotMatch</Code>" in reply.content) == (403, True)


def test_a_get_that_nobody_signed(keyed: tuple[ServedBroker, Credentials]) -> None:
    reply = get(keyed[0], f"{PATH}?Action=ReceiveMessage")
    assert (reply.status, b"<Code>MissingAuthenticationToken</Code>" in reply.content) == (403, True)
    reply = get(keyed[0], f"{PATH}?Action=ReceiveMessage&X-Amz-Signature=x")
    assert (reply.status, b"<Code>IncompleteSignature</Code>" in reply.content) == (403, True)


CREDENTIAL = "Credential=AKID/20260101//sqs/aws4_request"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("AWS4-HMAC-SHA256 nonsense", "IncompleteSignature"),
        ("AWS AKID:signature", "IncompleteSignature"),
        (f"AWS4-HMAC-SHA256 {CREDENTIAL}, SignedHeaders=host;x_y, Signature={'0' * 64}", "InvalidClientTokenId"),
        ("Bearer wq_nonsense", "MissingAuthenticationToken"),
    ],
)
def test_what_is_wrong_with_a_signature(keyed: tuple[ServedBroker, Credentials], authorization: str, code: str) -> None:
    served, _ = keyed
    for size in (1, 20_000):
        headers = {"Authorization": authorization, "Content-Type": FORM}
        reply = post(served, b"Action=ListQueues" + b"&x=" + b"x" * size, headers)
        assert (reply.status, f"<Code>{code}</Code>".encode() in reply.content) == (403, True), reply.content
