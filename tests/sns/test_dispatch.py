"""Requests to the one path are told apart: those of SNS, those of SQS, and browsers."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.support.http_client import Client
from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import FORM
from wonderq.broker.broker import Broker

SNS, SQS = "http://sns.amazonaws.com/doc/2010-03-31/", "http://queue.amazonaws.com/doc/2012-11-05/"
SCOPE = "AWS4-HMAC-SHA256 Credential=AKID/20250101/eu-west-1/%s/aws4_request, SignedHeaders=host, Signature=00"


@pytest.fixture(scope="module")
def client() -> Client:
    broker = Broker(MemoryLog())
    broker.topics.put("orders")
    return Client(broker)


CASES = [
    ({"Action": "AddPermission", "Version": "2010-03-31"}, None, SNS),
    ({"Version": "2010-03-31", "Action": "AddPermission"}, "sqs", SNS),
    ({"Action": "AddPermission", "Version": "2012-11-05"}, "sns", SQS),
    ({"Action": "AddPermission"}, None, SQS),
    ({"Action": "AddPermission"}, "sqs", SQS),
    ({"Action": "AddPermission"}, "sns", SNS),
    ({"Action": "ListTopics"}, None, SNS),
    ({"Action": "Unsubscribe"}, None, SNS),
    ({"Action": "ListQueues"}, None, SQS),
    ({"Action": "Nonsense"}, None, SQS),
    ({"Action": ""}, None, SQS),
    ({"XVersion": "2010-03-31", "Action": "ListQueues"}, None, SQS),
    ({"Version": "2010-03-31-and-more", "Action": "ListQueues"}, None, SQS),
    ({"Version": "", "Action": "ListTopics"}, None, SNS),
]


@pytest.mark.parametrize(("fields", "service", "expected"), CASES)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_request_is_of_one_service(
    client: Client, method: str, fields: dict[str, str], service: str | None, expected: str
) -> None:
    headers = {} if service is None else {"Authorization": SCOPE % service}
    query = urlencode(fields)
    if method == "GET":
        reply = client("GET", f"/?{query}", headers=headers)
    else:
        reply = client("POST", "/", body=query, media_type=FORM, headers=headers)
    if fields["Action"] and service is None and method == "GET" and reply.status_code == 302:
        pytest.fail("an action is no visit of a browser")
    assert f'xmlns="{expected}"' in reply.text


def test_other_requests_are_not_of_sns(client: Client) -> None:
    assert client("GET", "/").status_code == 302
    json = client(
        "POST",
        "/",
        body="{}",
        media_type="application/x-amz-json-1.0",
        headers={"X-Amz-Target": "AmazonSQS.ListQueues"},
    )
    assert "QueueUrls" in json.json
    text = client("POST", "/", body="Action=ListTopics&Version=2010-03-31", media_type="text/plain").text
    assert f'xmlns="{SQS}"' in text


def test_a_presigned_get_is_of_the_service_in_its_scope(client: Client) -> None:
    credential = "X-Amz-Credential=AKID%2F20250101%2Feu-west-1%2Fsns%2Faws4_request"
    assert f'xmlns="{SNS}"' in client("GET", f"/?Action=ListTopics&{credential}").text


def test_a_page_of_another_site_ends_no_subscription(client: Client) -> None:
    headers = {"User-Agent": "Mozilla/5.0"}
    reply = client("GET", "/?Action=DeleteTopic&TopicArn=arn:aws:sns:x:0:orders", headers=headers)
    assert reply.status_code == 403
    assert "<Code>AuthorizationError</Code>" in reply.text
    assert len(client.broker.topics.list()) == 1


@pytest.mark.parametrize(
    "form",
    [
        "Action=CreateTopic&Name=a&Name.b=c",
        "Action=CreateTopic&Name.x=a",
        "Action=CreateTopic&Name=a&Attributes.entry.1.value=c",
        "Action=CreateTopic&Name=a&Attributes=x",
        "Action=CreateTopic&Name=a&Attributes.member.1=x",
        "Action=CreateTopic&Name=a&Tags=x",
        "Action=CreateTopic&Name=a&Tags.member.1=x",
        "Action=UntagResource&ResourceArn=arn:aws:sns:x:0:orders&TagKeys.member.1.x=a",
        "Action=CreateTopic&Name=%FF",
        "Action=Publish&TopicArn=arn:aws:sns:x:0:orders&Message=x&MessageAttributes=y",
        "Action=Publish&TopicArn=arn:aws:sns:x:0:orders&Message=x&MessageAttributes.entry.1.Name=y",
        "Action=Publish&TopicArn=arn:aws:sns:x:0:orders&Message.a=x",
        "Action=Publish&TopicArn=arn:aws:sns:x:0:orders&Message=x&Subject.a=x",
        "Action=PublishBatch&TopicArn=arn:aws:sns:x:0:orders&PublishBatchRequestEntries.member.1=x",
    ],
)
def test_a_malformed_form_is_refused(client: Client, form: str) -> None:
    reply = client("POST", "/", body=f"Version=2010-03-31&{form}", media_type=FORM)
    assert reply.status_code == 400
    assert "<Type>Sender</Type>" in reply.text
    assert [each.name for each in client.broker.topics.list()] == ["orders"]
