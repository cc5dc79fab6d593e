"""Readers of what SNS clients send: forms, filter policies, and JSON that is decoded in turns."""

from __future__ import annotations

import json
from functools import cache
from xml.etree import ElementTree as ET

from tests.fuzz.target import Target
from tests.support.http_client import Client
from tests.support.memory_log import MemoryLog
from wonderq.broker.broker import Broker
from wonderq.model.attributes import Attribute
from wonderq.model.filters import FilterPolicyError, Scope, Subject, compile_filter
from wonderq.model.filters_json import decode

_ARN = b"arn:aws:sns:eu-central-1:000000000000:orders"
_QUEUE = b"arn:aws:sqs:eu-central-1:000000000000:default"
_NAMESPACE = "{http://sns.amazonaws.com/doc/2010-03-31/}"

#: More than is decoded in one step.
_PADDING = " " * (65 << 10)

_BODY = json.dumps({"a": ["x", 1, True, None, {"b": {"c": "10.0.0.1"}}], "b": {"c": [[2.5, "y*z"]]}, "$or": "x"})


@cache
def _client() -> Client:
    return Client(Broker(MemoryLog()))


def check_form(data: bytes) -> str:
    """Check that the answer is XML of SNS, and a known status; the topic is there again afterwards."""
    client = _client()
    client.broker.topics.put("orders")
    reply = client("POST", "/", body=b"Version=2010-03-31&" + data, media_type="application/x-www-form-urlencoded")
    if "doc/2010-03-31" not in reply.text:  # the version or the action was spoiled
        assert reply.status_code in (400, 404)
        return "other service"
    root = ET.fromstring(reply.text)
    if reply.status_code == 200:
        assert root.tag.endswith("Response")
        return "read"
    assert reply.status_code in (400, 404), reply.text
    code, message = (root.find(f"{_NAMESPACE}Error/{_NAMESPACE}{name}") for name in ("Code", "Message"))
    assert code is not None
    assert message is not None
    assert code.text
    assert len(message.text or "") < 2048
    return code.text


_FORMS = [
    b"Action=CreateTopic&Name=orders&Attributes.entry.1.key=DisplayName&Attributes.entry.1.value=x",
    b"Action=Subscribe&Protocol=sqs&TopicArn=" + _ARN + b"&Endpoint=" + _QUEUE,
    b"Action=Publish&TopicArn=" + _ARN + b"&Message=%C3%A9+x&Subject=y&MessageAttributes.entry.1.Name=a"
    b"&MessageAttributes.entry.1.Value.DataType=Number&MessageAttributes.entry.1.Value.StringValue=5",
    b"Action=PublishBatch&TopicArn=" + _ARN + b"&PublishBatchRequestEntries.member.1.Id=a"
    b"&PublishBatchRequestEntries.member.1.Message=x&PublishBatchRequestEntries.member.2.Id=b",
    b"Action=TagResource&ResourceArn=" + _ARN + b"&Tags.member.1.Key=a&Tags.member.1.Value=b",
    b"Action=UntagResource&ResourceArn=" + _ARN + b"&TagKeys.member.1=a&TagKeys.member.2=b",
    b"Action=AddPermission&TopicArn="
    + _ARN
    + b"&Label=l&AWSAccountId.member.1=111111111111&ActionName.member.1=Publish",
    b"Action=SetTopicAttributes&TopicArn=" + _ARN + b"&AttributeName=Policy&AttributeValue=%7B%7D",
    b"Action=ListTopics&NextToken=b3JkZXJz",
    b"Action=DeleteTopic&TopicArn=" + _ARN,
]


def check_policy(data: bytes) -> str:
    """Check that a policy is refused with a sentence, or can be applied to messages and explained."""
    try:
        policy = json.loads(data)
    except (ValueError, RecursionError):
        return "no JSON"
    scopes: tuple[Scope, ...] = ("attributes", "body")
    fates = [_check_compiled(policy, scope) for scope in scopes]
    return "read" if "read" in fates else "refused"


def _check_compiled(policy: object, scope: Scope) -> str:
    try:
        found = compile_filter(policy, scope)
    except FilterPolicyError as error:
        if len(str(error)) >= 1000:
            raise AssertionError(f"a long refusal: {error}") from error
        return "refused"
    attributes: dict[str, Attribute] = {"a": ("String.Array", '["x", 1]'), "b": ("Number", "2.5")}
    matches = found.accepts(Subject(attributes, _BODY))
    assert (found.explain(Subject(attributes, _BODY)) == "") == matches
    return "read"


_POLICIES = [
    {"a": ["x", 1, True, None]},
    {"a": [{"prefix": "x"}, {"suffix": "x"}, {"equals-ignore-case": "X"}], "b": [{"numeric": [">", 0, "<=", 2.5]}]},
    {"a": [{"anything-but": ["x"]}], "c": [{"exists": False}]},
    {"a": {"b": {"c": [{"cidr": "10.0.0.0/8"}]}}, "b": {"c": [{"wildcard": "y*z"}]}},
    {"$or": [{"a": ["y"]}, {"b": {"c": [2.5]}}], "a": [{"anything-but": {"prefix": "y"}}]},
    {"$or": ["x"]},
]


def check_json(data: bytes) -> str:
    """Check that a text has the same value whether it is decoded at once or in turns."""
    text = data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _is_text(data) else ""
    values = []
    for each in (text, _PADDING + text, text + _PADDING):
        try:
            values.append(repr(decode(each, lambda _: None)))
        except ValueError:
            values.append("refused")
    assert values[0] == values[1] == values[2]
    return "refused" if values[0] == "refused" else "read"


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


_TEXTS = [
    b'{"a": [1, -2.5e3, "x\\u00e9", true, false, null, {}], "b": {"c": []}}',
    b' [ [ ] , { } , "" , 0 ] ',
    b'{"a": 1, "a": 2}',
    b'"text"',
    b"1e999",
]


def targets() -> list[Target]:
    return [
        Target("sns_form", check_form, _FORMS, cost=20),
        Target("filter_policy", check_policy, [json.dumps(each).encode() for each in _POLICIES]),
        Target("filter_json", check_json, _TEXTS, cost=2),
    ]
