"""Topics of SNS: creation, attributes, permissions, tags, lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.sns_clients import Sns, sns_client, topic_arn
from tests.support.sqs_clients import RefusedError
from wonderq.model.push import Push
from wonderq.model.push_hosts import PushHosts
from wonderq.sns.context import PAGE


def refused(sns: Sns, code: str, action: str, **members: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        sns(action, **members)
    assert caught.value.code == code
    return str(caught.value)


def test_a_topic_is_created_once(sns: Sns) -> None:
    assert sns("CreateTopic", Name="orders") == {"TopicArn": topic_arn("orders")}
    assert sns("CreateTopic", Name="orders", Attributes={"DisplayName": ""}) == {"TopicArn": topic_arn("orders")}
    assert sns("ListTopics") == {"Topics": [{"TopicArn": topic_arn("orders")}]}
    sns("DeleteTopic", TopicArn=topic_arn("orders"))
    sns("DeleteTopic", TopicArn=topic_arn("orders"))  # deleted already
    assert sns("ListTopics") == {"Topics": []}


def test_a_topic_with_other_attributes_or_tags_is_another(sns: Sns) -> None:
    tags = [{"Key": "team", "Value": "shop"}]
    sns("CreateTopic", Name="orders", Attributes={"DisplayName": "Orders"}, Tags=tags)
    sns("CreateTopic", Name="orders", Attributes={"DisplayName": "Orders"}, Tags=tags)
    sns("CreateTopic", Name="orders")
    other: list[dict[str, Any]] = [{"Attributes": {"DisplayName": "Other"}}, {"Tags": [{"Key": "team", "Value": "x"}]}]
    for each in other:
        text = refused(sns, "InvalidParameter", "CreateTopic", Name="orders", **each)
        assert "Topic already exists with different" in text
    assert sns("GetTopicAttributes", TopicArn=topic_arn("orders"))["Attributes"]["DisplayName"] == "Orders"


def test_of_two_that_create_a_topic_the_second_finds_it(sns: Sns, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one does between any look of the second one at the topics and what it writes."""
    topics = sns.broker.topics
    put = topics.put

    def after_the_first(create: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            put("orders", sns={"DisplayName": "First"})
            return create(*arguments, **named)

        return act

    monkeypatch.setattr(topics, "put", after_the_first(topics.put))
    monkeypatch.setattr(topics, "create", after_the_first(topics.create))
    text = refused(sns, "InvalidParameter", "CreateTopic", Name="orders", Attributes={"DisplayName": "Second"})
    assert "Topic already exists with different attributes" in text
    assert sns("GetTopicAttributes", TopicArn=topic_arn("orders"))["Attributes"]["DisplayName"] == "First"


def test_a_topic_that_is_deleted_just_when_it_is_created_again_was_there(
    sns: Sns, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = sns.broker.topics
    change = topics.change
    topics.put("orders")  # by the REST API, so that its address is kept when it is created

    def delete_first(*arguments: Any) -> None:
        topics.delete("orders")
        change(*arguments)

    monkeypatch.setattr(topics, "change", delete_first)
    assert sns.topic() == topic_arn("orders")
    assert sns("ListTopics") == {"Topics": []}


def test_both_numbers_of_subscriptions_are_of_one_moment(sns: Sns, monkeypatch: pytest.MonkeyPatch) -> None:
    arn, core = sns.topic(), sns.broker.core
    confirm = core.confirm
    push = Push("https://hooks.example.com/", "sns", confirmed=False, token="0" * 96)

    def subscribe_then_confirm() -> None:
        monkeypatch.setattr(core, "confirm", confirm)
        monkeypatch.setattr(sns.broker.pushes, "hosts", PushHosts(("hooks.example.com",)))
        sns.broker.topics.subscribe("orders", "pending", push=push)
        confirm()

    def numbers() -> tuple[str, str]:
        found = sns("GetTopicAttributes", TopicArn=arn)["Attributes"]
        return found["SubscriptionsPending"], found["SubscriptionsConfirmed"]

    monkeypatch.setattr(core, "confirm", subscribe_then_confirm)
    assert numbers() == ("0", "0")
    assert numbers() == ("1", "0")


@pytest.mark.parametrize(
    "members",
    [
        {"Name": "a b"},
        {"Name": "a" * 257},
        {"Name": "a.b"},
        {"Name": "a.fifo"},
        {"Name": "a", "Attributes": {"FifoTopic": "true"}},
        {"Name": "a.fifo", "Attributes": {"FifoTopic": "false"}},
        {"Name": "a", "Attributes": {"ContentBasedDeduplication": "true"}},
        {"Name": "a", "Attributes": {"SignatureVersion": "3"}},
        {"Name": "a", "Attributes": {"Policy": "no JSON"}},
        {"Name": "a", "Attributes": {"DisplayName": "x" * 101}},
        {"Name": "a", "Attributes": {"ArchivePolicy": "{}"}},
        {"Name": "a", "Attributes": {"Owner": "me"}},
        {"Name": "a.fifo", "Attributes": {"FifoTopic": "true", "ContentBasedDeduplication": "maybe"}},
        {"Name": "a", "DataProtectionPolicy": "{}"},
        {"Name": "a", "Tags": [{"Key": "k", "Value": "v" * 257}]},
        {"Name": "a", "Tags": [{"Key": "k", "Value": "v"}, {"Key": "k", "Value": "w"}]},
        {"Name": "a", "Attributes": {"Policy": json.dumps({"a": "b" * 17_000})}},
    ],
    ids=lambda members: str(members)[:60],
)
def test_a_topic_that_cannot_be_is_refused(sns: Sns, members: dict[str, Any]) -> None:
    text = refused(sns, "InvalidParameter", "CreateTopic", **members)
    assert text.startswith("400 InvalidParameter: Invalid parameter: ")
    assert sns("ListTopics") == {"Topics": []}


def test_attributes_of_a_new_topic(sns: Sns) -> None:
    arn = sns.topic()
    found = sns("GetTopicAttributes", TopicArn=arn)["Attributes"]
    policy = json.loads(found.pop("Policy"))
    assert json.loads(found.pop("EffectiveDeliveryPolicy"))["http"]["defaultHealthyRetryPolicy"]["numRetries"] == 3
    assert found == {
        "TopicArn": arn,
        "Owner": "000000000000",
        "DisplayName": "",
        "SubscriptionsConfirmed": "0",
        "SubscriptionsPending": "0",
        "SubscriptionsDeleted": "0",
    }
    assert policy["Statement"][0]["Resource"] == arn


def test_attributes_of_a_fifo_topic(sns: Sns) -> None:
    arn = sns.topic("orders.fifo", ContentBasedDeduplication="true")
    found = sns("GetTopicAttributes", TopicArn=arn)["Attributes"]
    assert (found["FifoTopic"], found["ContentBasedDeduplication"]) == ("true", "true")
    sns("SetTopicAttributes", TopicArn=arn, AttributeName="ContentBasedDeduplication", AttributeValue="false")
    assert sns("GetTopicAttributes", TopicArn=arn)["Attributes"]["ContentBasedDeduplication"] == "false"
    sns.topic("orders.fifo")


def test_an_attribute_is_set_and_removed(sns: Sns) -> None:
    arn = sns.topic()
    values = {
        "DisplayName": "Orders",
        "Policy": '{"Statement": []}',
        "DeliveryPolicy": '{"http": {}}',
        "KmsMasterKeyId": "alias/key",
        "TracingConfig": "Active",
        "SignatureVersion": "2",
        "SQSSuccessFeedbackSampleRate": "5",
        "FifoThroughputScope": "Topic",
    }
    for name, value in values.items():
        sns("SetTopicAttributes", TopicArn=arn, AttributeName=name, AttributeValue=value)
    found = sns("GetTopicAttributes", TopicArn=arn)["Attributes"]
    assert values.items() <= found.items()
    sns("SetTopicAttributes", TopicArn=arn, AttributeName="TracingConfig", AttributeValue="")
    assert "TracingConfig" not in sns("GetTopicAttributes", TopicArn=arn)["Attributes"]
    for name in ("FifoTopic", "TopicArn", "nonsense"):
        refused(sns, "InvalidParameter", "SetTopicAttributes", TopicArn=arn, AttributeName=name, AttributeValue="1")


def test_a_topic_that_does_not_exist(sns: Sns) -> None:
    missing = {"TopicArn": topic_arn("missing")}
    calls: dict[str, dict[str, Any]] = {
        "GetTopicAttributes": {},
        "SetTopicAttributes": {"AttributeName": "DisplayName", "AttributeValue": "x"},
        "ListSubscriptionsByTopic": {},
        "Subscribe": {"Protocol": "sqs", "Endpoint": sns.queue()},
        "AddPermission": {"Label": "x", "AWSAccountId": ["1" * 12], "ActionName": ["Publish"]},
        "RemovePermission": {"Label": "x"},
        "Publish": {"Message": "x"},
        "PublishBatch": {"PublishBatchRequestEntries": [{"Id": "1", "Message": "x"}]},
    }
    for action, members in calls.items():
        text = refused(sns, "NotFound", action, **missing, **members)
        assert text == "404 NotFound: Topic does not exist", action
    for action in ("TagResource", "UntagResource", "ListTagsForResource"):
        tags: dict[str, Any] = {
            "TagResource": {"Tags": [{"Key": "a", "Value": "b"}]},
            "UntagResource": {"TagKeys": ["a"]},
        }
        text = refused(sns, "ResourceNotFound", action, ResourceArn=topic_arn("missing"), **tags.get(action, {}))
        assert text == "404 ResourceNotFound: Resource does not exist"


@pytest.mark.parametrize("arn", ["orders", "arn:aws:sqs:eu-central-1:000000000000:orders", "arn:aws:sns:a:1:b:c"])
def test_an_arn_that_is_none_of_a_topic(sns: Sns, arn: str) -> None:
    assert "ARN of a topic" in refused(sns, "InvalidParameter", "GetTopicAttributes", TopicArn=arn)


def test_of_an_arn_only_the_name_counts(sns: Sns) -> None:
    sns.topic()
    found = sns("GetTopicAttributes", TopicArn="arn:aws-cn:sns:cn-north-1:123456789012:orders")
    assert found["Attributes"]["TopicArn"] == topic_arn("orders")
    other = sns_client(sns.url, region="us-west-2").list_topics()
    assert other["Topics"] == [{"TopicArn": "arn:aws:sns:us-west-2:000000000000:orders"}]


def test_lists_come_in_pages(sns: Sns) -> None:
    names = [f"topic-{number:03d}" for number in range(PAGE + 5)]
    for name in names:
        sns.broker.topics.put(name)
    first = sns("ListTopics")
    rest = sns("ListTopics", NextToken=first["NextToken"])
    assert len(first["Topics"]) == PAGE
    assert "NextToken" not in rest
    assert [each["TopicArn"] for each in first["Topics"] + rest["Topics"]] == [topic_arn(name) for name in names]
    refused(sns, "InvalidParameter", "ListTopics", NextToken="nonsense!")


def test_permissions_are_statements_of_the_policy(sns: Sns) -> None:
    arn = sns.topic()
    given: dict[str, Any] = {"TopicArn": arn, "AWSAccountId": ["1" * 12, "2" * 12], "ActionName": ["Publish"]}
    sns("AddPermission", Label="first", **given)
    statements = json.loads(sns("GetTopicAttributes", TopicArn=arn)["Attributes"]["Policy"])["Statement"]
    assert [each["Sid"] for each in statements] == ["__default_statement_ID", "first"]
    assert statements[1] == {
        "Sid": "first",
        "Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam::111111111111:root", "arn:aws:iam::222222222222:root"]},
        "Action": "SNS:Publish",
        "Resource": arn,
    }
    assert "already exists" in refused(sns, "InvalidParameter", "AddPermission", Label="first", **given)
    for name, value in {"Label": "a b", "AWSAccountId": ["1"], "ActionName": ["Fly"]}.items():
        refused(sns, "InvalidParameter", "AddPermission", **{"Label": "x", **given, name: value})
    sns("RemovePermission", TopicArn=arn, Label="first")
    sns("RemovePermission", TopicArn=arn, Label="first")
    statements = json.loads(sns("GetTopicAttributes", TopicArn=arn)["Attributes"]["Policy"])["Statement"]
    assert [each["Sid"] for each in statements] == ["__default_statement_ID"]


def test_tags(sns: Sns) -> None:
    arn = sns.topic()
    assert sns("ListTagsForResource", ResourceArn=arn) == {"Tags": []}
    sns("TagResource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    sns("TagResource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}])
    assert sns("ListTagsForResource", ResourceArn=arn) == {
        "Tags": [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]
    }
    sns("UntagResource", ResourceArn=arn, TagKeys=["a", "c"])
    assert sns("ListTagsForResource", ResourceArn=arn) == {"Tags": [{"Key": "b", "Value": ""}]}
    many = [{"Key": str(each), "Value": "x"} for each in range(50)]
    text = refused(sns, "TagLimitExceeded", "TagResource", ResourceArn=arn, Tags=many)
    assert "50 tags" in text
    refused(sns, "InvalidParameter", "TagResource", ResourceArn=arn, Tags=[])
