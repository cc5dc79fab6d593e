"""Subscriptions of SNS: queues, attributes, lists."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest

from tests.support.sns_clients import Sns, queue_arn, topic_arn
from tests.support.sqs_clients import RefusedError
from wonderq.broker.topics import Topics
from wonderq.model.topics import TopicInfo
from wonderq.sns.context import PAGE

POLICY = json.dumps({"kind": ["a", {"prefix": "b"}]})


def refused(sns: Sns, action: str, code: str = "InvalidParameter", **members: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        sns(action, **members)
    assert caught.value.code == code
    return str(caught.value).partition(": ")[2]


def attributes(sns: Sns, arn: str) -> dict[str, str]:
    found: dict[str, str] = sns("GetSubscriptionAttributes", SubscriptionArn=arn)["Attributes"]
    return found


def change(sns: Sns, arn: str, name: str, value: str) -> None:
    sns("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName=name, AttributeValue=value)


def test_a_queue_is_subscribed_once(sns: Sns) -> None:
    topic, queue = sns.topic(), sns.queue()
    arn = sns.subscribe(topic, queue)
    assert arn.startswith(f"{topic}:")
    assert sns.subscribe(topic, queue) == arn
    assert sns.subscribe(topic, queue, RawMessageDelivery="false") == arn
    assert "different attributes" in refused(
        sns,
        "Subscribe",
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=queue,
        Attributes={"RawMessageDelivery": "true"},
    )
    listed = {
        "SubscriptionArn": arn,
        "Owner": "000000000000",
        "Protocol": "sqs",
        "Endpoint": queue,
        "TopicArn": topic,
    }
    assert sns("ListSubscriptionsByTopic", TopicArn=topic) == {"Subscriptions": [listed]}
    assert sns("ListSubscriptions") == {"Subscriptions": [listed]}
    assert attributes(sns, arn) == {
        **listed,
        "ConfirmationWasAuthenticated": "true",
        "PendingConfirmation": "false",
        "RawMessageDelivery": "false",
        "SubscriptionPrincipal": "arn:aws:iam::000000000000:root",
    }
    assert sns("GetTopicAttributes", TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "1"
    sns("Unsubscribe", SubscriptionArn=arn)
    sns("Unsubscribe", SubscriptionArn=arn)  # deleted already
    assert sns("ListSubscriptions") == {"Subscriptions": []}
    assert refused(sns, "GetSubscriptionAttributes", "NotFound", SubscriptionArn=arn) == "Subscription does not exist"
    refused(
        sns,
        "SetSubscriptionAttributes",
        "NotFound",
        SubscriptionArn=arn,
        AttributeName="FilterPolicy",
        AttributeValue="",
    )


def test_all_attributes_of_a_new_subscription(sns: Sns) -> None:
    sns.queue("dead")
    given = {
        "RawMessageDelivery": "true",
        "FilterPolicy": POLICY,
        "FilterPolicyScope": "MessageBody",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": queue_arn("dead")}),
        "DeliveryPolicy": '{"healthyRetryPolicy": {}}',
    }
    arn = sns.subscribe(sns.topic(), sns.queue(), **given)
    assert given.items() <= attributes(sns, arn).items()
    assert sns.subscribe(topic_arn("orders"), queue_arn("jobs"), **given) == arn


def test_attributes_are_changed_and_removed(sns: Sns) -> None:
    sns.queue("dead")
    arn = sns.subscribe(sns.topic(), sns.queue())
    redrive = json.dumps({"deadLetterTargetArn": queue_arn("dead")})
    for name, value in {"RawMessageDelivery": "true", "FilterPolicy": POLICY, "RedrivePolicy": redrive}.items():
        change(sns, arn, name, value)
        assert attributes(sns, arn)[name] == value
    assert attributes(sns, arn)["FilterPolicyScope"] == "MessageAttributes"
    change(sns, arn, "FilterPolicyScope", "MessageBody")
    assert attributes(sns, arn)["FilterPolicyScope"] == "MessageBody"
    for name in ("FilterPolicy", "RedrivePolicy", "DeliveryPolicy"):
        change(sns, arn, name, "")
        assert name not in attributes(sns, arn)
    assert "FilterPolicyScope" not in attributes(sns, arn)
    change(sns, arn, "FilterPolicy", "{}")
    assert "FilterPolicy" not in attributes(sns, arn)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RawMessageDelivery", "maybe", "RawMessageDelivery: Invalid value [maybe]. Must be true or false."),
        ("FilterPolicy", "no JSON", "FilterPolicy: failed to parse JSON."),
        ("FilterPolicy", "[]", "FilterPolicy: failed to parse JSON."),
        ("FilterPolicy", '{"a": []}', "FilterPolicy: Empty arrays are not allowed."),
        ("FilterPolicy", '{"a": {"b": ["c"]}}', "FilterPolicy: Filter policy scope MessageAttributes does not support"),
        ("FilterPolicyScope", "Body", "FilterPolicyScope: Invalid value [Body]. Please use either MessageBody or"),
        ("RedrivePolicy", "no JSON", "RedrivePolicy: failed to parse JSON."),
        ("RedrivePolicy", '{"deadLetterTargetArn": "dead"}', "RedrivePolicy: deadLetterTargetArn Reason: It must be"),
        (
            "RedrivePolicy",
            json.dumps({"deadLetterTargetArn": queue_arn("d.fifo")}),
            "RedrivePolicy: must use same type",
        ),
        ("DeliveryPolicy", "no JSON", "DeliveryPolicy: failed to parse JSON."),
        ("SubscriptionRoleArn", "arn", "AttributeName Reason: This broker has no settable attribute"),
        ("Owner", "me", "AttributeName Reason: This broker has no settable attribute"),
    ],
)
def test_a_bad_attribute_is_refused(sns: Sns, name: str, value: str, expected: str) -> None:
    topic, queue = sns.topic(), sns.queue()
    given: dict[str, Any] = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue, "Attributes": {name: value}}
    assert refused(sns, "Subscribe", **given).startswith(f"Invalid parameter: Attributes Reason: {expected}")
    assert sns("ListSubscriptions") == {"Subscriptions": []}
    arn = sns.subscribe(topic, queue)
    before = attributes(sns, arn)
    text = refused(sns, "SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName=name, AttributeValue=value)
    assert text.startswith(f"Invalid parameter: {expected}")
    assert attributes(sns, arn) == before


def test_a_scope_that_does_not_fit_the_policy_is_refused(sns: Sns) -> None:
    nested = json.dumps({"a": {"b": ["c"]}})
    arn = sns.subscribe(sns.topic(), sns.queue(), FilterPolicy=nested, FilterPolicyScope="MessageBody")
    with pytest.raises(RefusedError, match="does not support nested"):
        change(sns, arn, "FilterPolicyScope", "MessageAttributes")
    assert attributes(sns, arn)["FilterPolicyScope"] == "MessageBody"


@pytest.mark.parametrize("protocol", ["email", "email-json", "sms", "application", "lambda", "firehose"])
def test_other_protocols_are_refused_with_the_reason(sns: Sns, protocol: str) -> None:
    text = refused(sns, "Subscribe", TopicArn=sns.topic(), Protocol=protocol, Endpoint="https://example.com")
    assert "Subscribe a queue with the protocol sqs" in text


def test_endpoints_that_cannot_be(sns: Sns) -> None:
    topic = sns.topic()
    sns.queue("jobs.fifo")
    for endpoint, reason in {
        "jobs": "ARN of an SQS queue",
        topic: "ARN of an SQS queue",
        queue_arn("missing"): "There is no queue named 'missing'",
        queue_arn("jobs.fifo"): "FIFO SQS Queues can not be subscribed to standard SNS topics",
    }.items():
        assert reason in refused(sns, "Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
    assert "does not support this protocol string: carrier" in refused(
        sns, "Subscribe", TopicArn=topic, Protocol="carrier", Endpoint="x"
    )
    assert "this token" in refused(sns, "ConfirmSubscription", TopicArn=topic, Token="x")
    refused(sns, "Unsubscribe", SubscriptionArn="nonsense")


def test_a_subscription_of_the_rest_api_is_one(sns: Sns) -> None:
    topic, queue = sns.topic(), sns.queue()
    sns.broker.topics.subscribe("orders", "mine", queue="jobs")
    arn = f"{topic}:mine"
    assert attributes(sns, arn)["RawMessageDelivery"] == "true"
    assert "has the subscription mine" in refused(sns, "Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=queue)
    sns("Unsubscribe", SubscriptionArn=arn)


def test_subscriptions_come_in_pages(sns: Sns) -> None:
    topics = ("a", "b", "c")
    for topic in topics:
        sns.broker.topics.put(topic)
    for number in range(PAGE // 2):
        sns.broker.put_queue(f"q{number}")
        for topic in topics:
            sns.broker.topics.subscribe(topic, f"s{number:03d}", queue=f"q{number}")
    first = sns("ListSubscriptions")
    rest = sns("ListSubscriptions", NextToken=first["NextToken"])
    assert "NextToken" not in rest
    found = [each["SubscriptionArn"] for each in first["Subscriptions"] + rest["Subscriptions"]]
    assert len(first["Subscriptions"]) == PAGE
    assert found == [f"{topic_arn(topic)}:s{number:03d}" for topic in topics for number in range(PAGE // 2)]


def test_a_topic_that_is_deleted_during_a_list_is_left_out(sns: Sns) -> None:
    for topic in ("a", "b", "c"):
        sns.subscribe(sns.topic(topic), sns.queue())
    found = Topics.list

    def delete_one(topics: Topics, *given: Any, **named: Any) -> list[TopicInfo]:
        listed = found(topics, *given, **named)
        topics.delete("b")
        return listed

    with mock.patch.object(Topics, "list", delete_one):
        listed = sns("ListSubscriptions")["Subscriptions"]
    assert [each["TopicArn"] for each in listed] == [topic_arn("a"), topic_arn("c")]
