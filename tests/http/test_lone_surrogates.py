"""Text with a lone surrogate, which JSON can spell: each protocol refuses it with a sentence, or accepts it.

No protocol fails with an error of the server, and everything stays readable afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.http_client import Client
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.sqs.errors import SqsError
from wonderq.sqs.wire import FORM_TYPE, JSON_TYPE, write_error

TEXTS = st.one_of(
    st.just("\ud800"),
    st.text(st.sampled_from(["a", '"', "\\", "é", "😀", "\ud83d", "\ude00", "\udfff"]), min_size=1, max_size=9),
)

_QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:"
_TOPIC = "arn:aws:sns:us-east-1:000000000000:t"
_QUEUE = {"QueueUrl": "http://x/000000000000/q"}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    broker = Broker(MemoryLog(), clock=FakeClock())
    broker.put_queue("q")
    broker.topics.put("t")
    broker.topics.subscribe("t", "s", queue="q")
    broker.topics.subscribe("t", "body", queue="default", filter={"a": ["x"]}, filter_scope="body")
    yield Client(broker)
    broker.close()


def rest_requests(text: str) -> Iterator[tuple[str, str, Any]]:
    """Yield requests as method, path and body."""
    attributes = {"list": {"type": "String.Array", "value": json.dumps([text])}}
    for value in ({"a": [text]}, {"a": [{"prefix": text}]}, {"a": {text: ["x"]}}, {"a": [[text]]}, {"a": [{text: 1}]}):
        yield "PUT", "/topics/t/subscriptions/s", {"filter": value, "filter_scope": "body"}
    for path in ("/topics/t/match", "/topics/t/publish"):
        for message in (text, json.dumps({"a": text}), json.dumps({"a": [text, 1], text: {}})):
            yield "POST", path, {"message": message}
        yield "POST", path, {"message": "x", "attributes": attributes, "subject": text}
    yield "PUT", "/topics/t", {"tags": {"a": text}}
    yield "PUT", "/queues/q", {"tags": {text: "a"}}
    yield "PUT", "/queues/q", {text: text}
    yield "PUT", "/schedules/s", {"cron": text, "queue": "q", "message": text}
    yield "POST", "/queues/q/messages/produce", {"message": text, "idempotency_key": text, "group": text}
    yield "POST", "/queues/q/redrive", {"to": text}


def policies(text: str) -> Iterator[tuple[str, str]]:
    """Yield attributes of queues, topics and subscriptions, with values that are JSON texts."""
    targets: list[Any] = [text, _QUEUE_ARN + text, [text], {text: 1}]
    for value in targets:
        yield "RedrivePolicy", json.dumps({"deadLetterTargetArn": value, "maxReceiveCount": 1})
        yield "RedriveAllowPolicy", json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [value]})
    yield "RedrivePolicy", json.dumps({"deadLetterTargetArn": f"{_QUEUE_ARN}q", "maxReceiveCount": text})
    values: list[Any] = [text, {"Statement": [{"Sid": text}]}, {text: text}]
    for value in values:
        yield "Policy", json.dumps(value)
    values = [{"a": [text]}, {text: ["x"]}, {"a": [{text: "x"}]}, {"a": [{"numeric": [text, 1]}]}, text]
    for value in values:
        yield "FilterPolicy", json.dumps(value)
    yield "DeliveryPolicy", json.dumps({"http": {"defaultRequestPolicy": {"headerContentType": text}}})
    yield "DeliveryPolicy", json.dumps({"requestPolicy": {"headerContentType": text}, text: text})


def sqs_calls(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in (*policies(text), ("VisibilityTimeout", text), (text, text)):
        yield "SetQueueAttributes", {**_QUEUE, "Attributes": {name: value}}
        yield "CreateQueue", {"QueueName": "other", "Attributes": {name: value}}
    yield "CreateQueue", {"QueueName": text}
    yield "GetQueueUrl", {"QueueName": text}
    yield "TagQueue", {**_QUEUE, "Tags": {text: text}}
    yield "UntagQueue", {**_QUEUE, "TagKeys": [text]}
    yield "SendMessage", {**_QUEUE, "MessageBody": text}
    yield "SendMessage", {"QueueUrl": text, "MessageBody": "x"}
    yield "DeleteMessage", {**_QUEUE, "ReceiptHandle": text}
    yield "ReceiveMessage", {**_QUEUE, "MessageAttributeNames": [text], "AttributeNames": [text]}
    yield "AddPermission", {**_QUEUE, "Label": text, "AWSAccountIds": [text], "Actions": [text]}
    yield "StartMessageMoveTask", {"SourceArn": _QUEUE_ARN + text}


def sns_calls(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    arn = f"{_TOPIC}:s"
    for name, value in (*policies(text), ("DisplayName", text), (text, text)):
        set_to = {"AttributeName": name, "AttributeValue": value}
        yield "SetSubscriptionAttributes", {"SubscriptionArn": arn, **set_to}
        yield "SetTopicAttributes", {"TopicArn": _TOPIC, **set_to}
        entry = {"Attributes.entry.1.key": name, "Attributes.entry.1.value": value}
        yield "CreateTopic", {"Name": "other", **entry}
        for protocol, endpoint in (("sqs", f"{_QUEUE_ARN}default"), ("http", f"http://hooks.example/{text}")):
            yield "Subscribe", {"TopicArn": _TOPIC, "Protocol": protocol, "Endpoint": endpoint, **entry}
    yield "Subscribe", {"TopicArn": _TOPIC, "Protocol": text, "Endpoint": text}
    yield "Publish", {"TopicArn": _TOPIC, "Message": text, "Subject": text}
    for parts in ({"default": text}, {"default": "x", "http": text}, {"default": "x", text: text}):
        yield "Publish", {"TopicArn": _TOPIC, "Message": json.dumps(parts), "MessageStructure": "json"}
    yield "TagResource", {"ResourceArn": _TOPIC, "Tags.member.1.Key": text, "Tags.member.1.Value": text}
    yield "UntagResource", {"ResourceArn": _TOPIC, "TagKeys.member.1": text}
    yield "ConfirmSubscription", {"TopicArn": _TOPIC, "Token": text}


def in_form(members: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields of a call of SQS in a form, whose lists and maps have names of their own."""
    maps = {"Attributes": ("Attribute", "Name"), "Tags": ("Tag", "Key")}
    lists = {"MessageAttributeNames": "MessageAttributeName", "AWSAccountIds": "AWSAccountId", "Actions": "ActionName"}
    for name, value in members.items():
        if isinstance(value, dict):
            item, key_name = maps[name]
            for key, each in value.items():
                yield from ((f"{item}.1.{key_name}", key), (f"{item}.1.Value", each))
        elif isinstance(value, list):
            yield from ((f"{lists.get(name, name.removesuffix('s'))}.{at}", each) for at, each in enumerate(value, 1))
        else:
            yield prefix + name, value


def readings() -> Iterator[tuple[str, str, bytes | None, str]]:
    """Yield requests that read what can be read: method, path, body and its type."""
    for path in (
        "/topics",
        "/topics/t",
        "/topics/t/subscriptions",
        "/topics/t/subscriptions/s",
        "/queues",
        "/queues/q",
    ):
        yield "GET", path, None, ""
    for path in ("/queues/q?figures=true", "/queues/q/dev/messages", "/schedules", "/overview"):
        yield "GET", path, None, ""
    asked = [("Action", "GetQueueAttributes"), *_QUEUE.items(), ("AttributeName.1", "All")]
    yield "POST", "/", urlencode(asked).encode(), FORM_TYPE
    for form in (
        {"Action": "GetSubscriptionAttributes", "SubscriptionArn": f"{_TOPIC}:s"},
        {"Action": "GetTopicAttributes", "TopicArn": _TOPIC},
        {"Action": "ListTagsForResource", "ResourceArn": _TOPIC},
    ):
        yield "POST", "/", urlencode(form).encode(), FORM_TYPE


def check(client: Client, text: str, path: str, body: bytes, kind: str, method: str = "POST", **headers: str) -> None:
    reply = client(method, path, body=body, media_type=kind, headers=headers)
    assert reply.status_code < 500, (text, method, path, body, reply.text)


def check_readable(client: Client, text: str) -> None:
    for method, path, body, kind in readings():
        reply = client(method, path, body=body, media_type=kind)
        assert reply.status_code == 200, (text, method, path, body, reply.text)


SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(TEXTS)
def test_of_the_rest_api(client: Client, text: str) -> None:
    for method, path, value in rest_requests(text):
        check(client, text, path, json.dumps(value).encode(), "application/json", method)
    check_readable(client, text)


@SETTINGS
@given(TEXTS)
def test_of_sqs(client: Client, text: str) -> None:
    for action, members in sqs_calls(text):
        target = {"X-Amz-Target": f"AmazonSQS.{action}"}
        check(client, text, "/", json.dumps(members).encode(), JSON_TYPE, **target)
        form = urlencode([("Action", action), *in_form(members)], errors="surrogatepass").encode()
        check(client, text, "/", form, FORM_TYPE)
    check_readable(client, text)


@SETTINGS
@given(TEXTS)
def test_of_sns(client: Client, text: str) -> None:
    for action, members in sns_calls(text):
        form = urlencode({"Action": action, "Version": "2010-03-31", **members}, errors="surrogatepass").encode()
        check(client, text, "/", form, FORM_TYPE)
    check_readable(client, text)


REFUSED = {
    "SetSubscriptionAttributes": ({"SubscriptionArn": f"{_TOPIC}:s"}, "FilterPolicy", {"a": ["\ud800"]}),
    "SetTopicAttributes": ({"TopicArn": _TOPIC}, "Policy", {"a": "\ud800"}),
}


@pytest.mark.parametrize("action", REFUSED)
def test_a_policy_with_one_is_refused(client: Client, action: str) -> None:
    given, name, value = REFUSED[action]
    form = {"Action": action, **given, "AttributeName": name, "AttributeValue": json.dumps(value)}
    reply = client("POST", "/", body=urlencode(form), media_type=FORM_TYPE)
    assert reply.status_code == 400
    assert "without lone surrogates" in reply.text


@pytest.mark.parametrize("is_json", [True, False])
def test_an_error_of_sqs_whose_text_has_one_can_be_sent(is_json: bool) -> None:
    data, _ = write_error(SqsError("Name", "a\ud800b"), "id", is_json=is_json)
    assert "a\ufffdb" in data.decode()
