"""Messages published by SNS clients arrive in the queues, as SQS clients receive them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sns.test_subscriptions import refused
from tests.support.sns_clients import Sns, queue_arn, topic_arn

ATTRIBUTES = {
    "kind": {"DataType": "String", "StringValue": "a"},
    "size": {"DataType": "Number", "StringValue": "5"},
    "tags": {"DataType": "String.Array", "StringValue": '["x", "y"]'},
    "raw": {"DataType": "Binary", "BinaryValue": b"\0\1"},
}


@pytest.fixture
def topic(sns: Sns) -> str:
    """A topic with a queue that gets raw messages."""
    arn = sns.topic()
    sns.subscribe(arn, sns.queue(), RawMessageDelivery="true")
    return arn


def test_a_raw_message(sns: Sns, topic: str) -> None:
    published = sns("Publish", TopicArn=topic, Message="a & <b>\né", MessageAttributes=ATTRIBUTES, Subject="ignored")
    [message] = sns.receive()
    assert message["Body"] == "a & <b>\né"
    assert message["MessageAttributes"] == ATTRIBUTES
    assert published.keys() == {"MessageId"}


def test_an_envelope(sns: Sns) -> None:
    topic = sns.topic()
    arn = sns.subscribe(topic, sns.queue())
    published = sns("Publish", TopicArn=topic, Message='{"a": "é"}', Subject="Süd", MessageAttributes=ATTRIBUTES)
    [message] = sns.receive()
    assert "MessageAttributes" not in message
    body = json.loads(message["Body"])
    assert body.pop("Timestamp").endswith("Z")
    assert body == {
        "Type": "Notification",
        "MessageId": published["MessageId"],
        "TopicArn": topic,
        "Subject": "Süd",
        "Message": '{"a": "é"}',
        "UnsubscribeURL": f"{sns.url}/?Action=Unsubscribe&SubscriptionArn={arn}",
        "MessageAttributes": {
            "kind": {"Type": "String", "Value": "a"},
            "size": {"Type": "Number", "Value": "5"},
            "tags": {"Type": "String.Array", "Value": '["x", "y"]'},
            "raw": {"Type": "Binary", "Value": "AAE="},
        },
    }
    assert message["Body"].startswith('{\n  "Type" : "Notification",\n  "MessageId" : ')


def test_a_message_goes_to_the_queues_whose_filter_matches(sns: Sns) -> None:
    topic = sns.topic()
    for name, policy, scope in (
        ("all", None, None),
        ("a", {"kind": ["a"]}, None),
        ("b", {"kind": [{"anything-but": "a"}]}, "MessageAttributes"),
        ("body", {"order": {"total": [{"numeric": [">", 10]}]}}, "MessageBody"),
    ):
        given = {"RawMessageDelivery": "true"}
        given |= {"FilterPolicy": json.dumps(policy)} if policy else {}
        given |= {"FilterPolicyScope": scope} if scope else {}
        sns.subscribe(topic, sns.queue(name), **given)
    sns("Publish", TopicArn=topic, Message='{"order": {"total": 11}}', MessageAttributes=ATTRIBUTES)
    sns("Publish", TopicArn=topic, Message="2")
    found = {name: [body[:2] for body in sns.bodies(name)] for name in ("all", "a", "b", "body")}
    assert found == {"all": ['{"', "2"], "a": ['{"'], "b": [], "body": ['{"']}


def test_a_target_may_be_the_topic(sns: Sns, topic: str) -> None:
    sns("Publish", TargetArn=topic, Message="x")
    assert sns.bodies() == ["x"]


@pytest.mark.parametrize(
    ("parts", "expected"), [({"default": "d", "sqs": "s", "http": "h"}, "s"), ({"default": "d", "http": "h"}, "d")]
)
def test_a_structured_message(sns: Sns, topic: str, parts: dict[str, str], expected: str) -> None:
    sns("Publish", TopicArn=topic, Message=json.dumps(parts), MessageStructure="json")
    assert sns.bodies() == [expected]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"Message": ""}, "Empty message"),
    ({"Message": "x" * (256 << 10), "MessageAttributes": ATTRIBUTES}, "Message too long"),
    ({"Message": "\x01"}, "Message Reason: Invalid binary character '#x1'"),
    ({"Message": "x", "Subject": ""}, "Subject"),
    ({"Message": "x", "Subject": "a\nb"}, "Subject"),
    ({"Message": "x", "Subject": "a" * 101}, "Subject"),
    ({"Message": "x", "MessageStructure": "xml"}, "MessageStructure"),
    ({"Message": "x", "MessageStructure": "json"}, "Message Structure - JSON message body failed to parse"),
    ({"Message": "[]", "MessageStructure": "json"}, "Message Structure - No default entry in JSON message body"),
    ({"Message": '{"sqs": "x"}', "MessageStructure": "json"}, "Message Structure - No default entry"),
    ({"Message": '{"default": "x", "sqs": 5}', "MessageStructure": "json"}, "Message Structure - The entry sqs"),
    ({"Message": "x", "MessageDeduplicationId": "k"}, "MessageDeduplicationId"),
    ({"Message": "x", "MessageGroupId": "a b"}, "MessageGroupId"),
]


@pytest.mark.parametrize(("members", "expected"), BAD, ids=[expected for _, expected in BAD])
def test_a_message_that_cannot_be_is_refused(sns: Sns, topic: str, members: dict[str, Any], expected: str) -> None:
    assert refused(sns, "Publish", TopicArn=topic, **members).startswith(f"Invalid parameter: {expected}")
    entry = {"Id": "bad", **members}
    answer = sns("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=[entry, {"Id": "good", "Message": "y"}])
    [failed] = answer["Failed"]
    assert failed["Message"].startswith(f"Invalid parameter: {expected}")
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("bad", "InvalidParameter", True)
    assert [each["Id"] for each in answer["Successful"]] == ["good"]
    assert sns.bodies() == ["y"]


@pytest.mark.parametrize(
    "value",
    [{"DataType": "Text", "StringValue": "x"}, {"DataType": "String"}, {"DataType": "Number", "StringValue": "x"}],
)
def test_an_attribute_that_cannot_be_is_refused(sns: Sns, topic: str, value: dict[str, str]) -> None:
    refused(sns, "Publish", "ParameterValueInvalid", TopicArn=topic, Message="x", MessageAttributes={"a": value})


def test_attributes_for_sms_are_refused(sns: Sns, topic: str) -> None:
    attributes = {"AWS.SNS.SMS.SMSType": ATTRIBUTES["kind"]}
    refused(sns, "Publish", "ParameterValueInvalid", TopicArn=topic, Message="x", MessageAttributes=attributes)


def test_no_target(sns: Sns) -> None:
    assert "no value for required parameter" in refused(sns, "Publish", Message="x")
    assert "sends no SMS" in refused(sns, "Publish", Message="x", PhoneNumber="+123")
    assert "ARN of a topic" in refused(sns, "Publish", Message="x", TargetArn="arn:aws:sns:a:1:endpoint/GCM/app/x")


def entries(*ids: str) -> list[dict[str, str]]:
    return [{"Id": each, "Message": f"message {each}"} for each in ids]


def test_a_batch(sns: Sns, topic: str) -> None:
    answer = sns("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=entries("a", "b"))
    assert [each["Id"] for each in answer["Successful"]] == ["a", "b"]
    assert len({each["MessageId"] for each in answer["Successful"]}) == 2
    assert answer["Failed"] == []
    assert sns.bodies() == ["message a", "message b"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], "EmptyBatchRequest"),
        (entries(*map(str, range(11))), "TooManyEntriesInBatchRequest"),
        (entries("a", "a"), "BatchEntryIdsNotDistinct"),
        (entries("a b"), "InvalidBatchEntryId"),
        (entries("a" * 81), "InvalidBatchEntryId"),
        ([{"Id": each, "Message": "x" * (200 << 10)} for each in ("a", "b")], "BatchRequestTooLong"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(sns: Sns, topic: str, given: list[dict[str, str]], code: str) -> None:
    refused(sns, "PublishBatch", code, TopicArn=topic, PublishBatchRequestEntries=given)
    assert sns.bodies() == []


def test_a_full_queue_fails_the_publish_so_that_sdks_repeat_it(sns: Sns, topic: str) -> None:
    sns.subscribe(topic, sns.queue("other"), RawMessageDelivery="true")
    sns.broker.put_queue("jobs", max_messages=1)
    sns("Publish", TopicArn=topic, Message="1")
    assert "jobs" in refused(sns, "Publish", "Throttling", TopicArn=topic, Message="2")
    assert sns.bodies("other") == ["1"]


def test_with_a_redrive_policy_a_full_queue_is_passed_over(sns: Sns, topic: str) -> None:
    sns.queue("dead")
    [listed] = sns("ListSubscriptions")["Subscriptions"]
    redrive = json.dumps({"deadLetterTargetArn": queue_arn("dead")})
    sns(
        "SetSubscriptionAttributes",
        SubscriptionArn=listed["SubscriptionArn"],
        AttributeName="RedrivePolicy",
        AttributeValue=redrive,
    )
    sns.broker.put_queue("jobs", max_messages=1)
    for text in ("1", "2"):
        sns("Publish", TopicArn=topic, Message=text)
    assert (sns.bodies(), sns.bodies("dead")) == (["1"], ["2"])


class TestOfFifoTopics:
    @pytest.fixture
    def fifo(self, sns: Sns) -> str:
        arn = sns.topic("orders.fifo")
        sns.subscribe(arn, sns.queue("jobs.fifo"), RawMessageDelivery="true")
        return arn

    def test_order_groups_and_deduplication(self, sns: Sns, fifo: str) -> None:
        given: dict[str, Any] = {"TopicArn": fifo, "MessageGroupId": "g"}
        first = sns("Publish", Message="1", MessageDeduplicationId="k1", **given)
        again = sns("Publish", Message="1", MessageDeduplicationId="k1", **given)
        second = sns("Publish", Message="2", MessageDeduplicationId="k2", **given)
        assert first == again
        assert first["SequenceNumber"] < second["SequenceNumber"]
        messages = sns.receive("jobs.fifo")
        assert [each["Body"] for each in messages] == ["1", "2"]
        assert [each["Attributes"]["MessageGroupId"] for each in messages] == ["g", "g"]
        assert [each["Attributes"]["MessageDeduplicationId"] for each in messages] == ["k1", "k2"]

    def test_the_envelope_has_the_sequence_number(self, sns: Sns, fifo: str) -> None:
        sns.subscribe(fifo, sns.queue("standard"))
        published = sns("Publish", TopicArn=fifo, Message="1", MessageGroupId="g", MessageDeduplicationId="k")
        [body] = map(json.loads, sns.bodies("standard"))
        assert (body["SequenceNumber"], body["Message"]) == (published["SequenceNumber"], "1")
        assert "Signature" not in body

    def test_ids_that_are_missing(self, sns: Sns, fifo: str) -> None:
        assert "MessageGroupId parameter is required" in refused(sns, "Publish", TopicArn=fifo, Message="x")
        text = refused(sns, "Publish", TopicArn=fifo, Message="x", MessageGroupId="g")
        assert "ContentBasedDeduplication" in text
        sns("SetTopicAttributes", TopicArn=fifo, AttributeName="ContentBasedDeduplication", AttributeValue="true")
        for _ in range(2):
            sns("Publish", TopicArn=fifo, Message="x", MessageGroupId="g")
        assert sns.bodies("jobs.fifo") == ["x"]


def test_the_region_of_an_envelope_is_that_of_the_topic(sns: Sns, topic: str) -> None:
    sns.subscribe(topic, sns.queue("enveloped"))
    sns.broker.topics.put("made-by-rest")
    sns.broker.topics.subscribe("made-by-rest", "mine", queue="enveloped", raw=False)
    sns("Publish", TopicArn=topic, Message="1")
    sns("Publish", TopicArn=topic_arn("made-by-rest"), Message="2")
    found = [json.loads(each) for each in sns.bodies("enveloped")]
    assert [each["TopicArn"] for each in found] == [topic, "arn:aws:sns:us-east-1:000000000000:made-by-rest"]
    assert ["UnsubscribeURL" in each for each in found] == [True, False]
    assert [each.get("Topic") for each in found] == [None, "made-by-rest"]
    made = sns.topic("made-by-rest")
    sns("Publish", TopicArn=made, Message="3")
    [body] = map(json.loads, sns.bodies("enveloped"))
    assert (body["TopicArn"], "Topic" in body, "UnsubscribeURL" in body) == (made, False, True)


def test_an_envelope_names_the_subscription_that_the_rest_api_has_made(sns: Sns) -> None:
    topic = sns.topic()
    sns.queue()
    sns.broker.topics.subscribe("orders", "mine", queue="jobs", raw=False)
    sns("Publish", TopicArn=topic, Message="text")
    [body] = sns.bodies()
    assert json.loads(body)["UnsubscribeURL"].endswith(f"&SubscriptionArn={topic}:mine")
