"""Making queues, finding, listing and changing them, in both protocols."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.sqs_clients import Caller, RefusedError, Sqs


def arn(name: str) -> str:
    return f"arn:aws:sqs:eu-central-1:000000000000:{name}"


def names(answer: dict[str, Any], member: str = "QueueUrls") -> list[str]:
    return [url.rpartition("/")[2] for url in answer.get(member, [])]


def attributes_of(call: Caller, url: str, *asked: str) -> dict[str, str]:
    found: dict[str, str] = call("GetQueueAttributes", QueueUrl=url, AttributeNames=list(asked)).get("Attributes", {})
    return found


def test_a_url_is_on_the_host_that_was_asked(sqs: Sqs, call: Caller) -> None:
    url = call("CreateQueue", QueueName="jobs")["QueueUrl"]
    assert url.endswith(f":{sqs.served.port}/000000000000/jobs")
    assert call("GetQueueUrl", QueueName="jobs") == {"QueueUrl": url}
    assert call("ListQueues") == {"QueueUrls": [url.replace("/jobs", "/default"), url]}


@pytest.mark.parametrize("base", ["https://sqs.eu-west-1.amazonaws.com/123456789012", "http://other:1/000000000000"])
def test_a_queue_is_found_by_the_path_of_its_url(call: Caller, queue: str, base: str) -> None:
    call("SendMessage", QueueUrl=f"{base}/jobs", MessageBody="x")
    assert attributes_of(call, queue, "ApproximateNumberOfMessages") == {"ApproximateNumberOfMessages": "1"}


def test_a_queue_that_was_made_otherwise_is_one_too(sqs: Sqs, call: Caller) -> None:
    sqs.broker.produce("made-by-rest", ["x"])
    url = call("GetQueueUrl", QueueName="made-by-rest")["QueueUrl"]
    assert attributes_of(call, url, "MessageRetentionPeriod") == {"MessageRetentionPeriod": "0"}
    assert call("ReceiveMessage", QueueUrl=url)["Messages"][0]["Body"] == "x"


def test_what_is_not_said_is_as_in_sqs(call: Caller) -> None:
    url = call("CreateQueue", QueueName="plain")["QueueUrl"]
    found = attributes_of(call, url, "All")
    assert found.pop("CreatedTimestamp") == "1700000000"
    assert found.pop("LastModifiedTimestamp").isdigit()
    region = "eu-central-1" if found["QueueArn"].startswith("arn:aws:sqs:eu-central-1") else "us-east-1"
    assert found == {
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "DelaySeconds": "0",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "QueueArn": f"arn:aws:sqs:{region}:000000000000:plain",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "false",
        "VisibilityTimeout": "30",
    }


SETTABLE = {
    "DelaySeconds": "5",
    "MaximumMessageSize": "2048",
    "MessageRetentionPeriod": "60",
    "ReceiveMessageWaitTimeSeconds": "3",
    "VisibilityTimeout": "0",
    "Policy": '{"Version":"2012-10-17","Statement":[]}',
    "RedriveAllowPolicy": '{"redrivePermission":"denyAll"}',
    "KmsMasterKeyId": "alias/aws/sqs",
    "KmsDataKeyReusePeriodSeconds": "60",
}
OF_FIFO = {
    "ContentBasedDeduplication": "true",
    "DeduplicationScope": "messageGroup",
    "FifoThroughputLimit": "perMessageGroupId",
}


def test_what_is_set_is_given_back(call: Caller, queue: str, fifo: str) -> None:
    all_of_fifo = {"FifoQueue": "true", **SETTABLE, **OF_FIFO}
    made = call("CreateQueue", QueueName="new.fifo", Attributes=all_of_fifo)["QueueUrl"]
    assert attributes_of(call, made, *all_of_fifo) == all_of_fifo
    call("SetQueueAttributes", QueueUrl=fifo, Attributes={**SETTABLE, **OF_FIFO})
    assert attributes_of(call, fifo, *SETTABLE, *OF_FIFO) == {**SETTABLE, **OF_FIFO}
    for name, value in SETTABLE.items():
        call("SetQueueAttributes", QueueUrl=queue, Attributes={name: value})
    assert attributes_of(call, queue, *SETTABLE) == SETTABLE


def test_one_kind_of_encryption_replaces_the_other(call: Caller, queue: str) -> None:
    """SQS Developer Guide, "Encryption at rest": a queue has SSE-SQS or SSE-KMS."""
    names = ("KmsMasterKeyId", "SqsManagedSseEnabled")
    for given, found in (
        ({"SqsManagedSseEnabled": "true"}, {"SqsManagedSseEnabled": "true"}),
        ({"KmsMasterKeyId": "k"}, {"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "false"}),
        ({"SqsManagedSseEnabled": "false"}, {"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "false"}),
        ({"SqsManagedSseEnabled": "true"}, {"SqsManagedSseEnabled": "true"}),
        (
            {"SqsManagedSseEnabled": "false", "KmsMasterKeyId": "k"},
            {"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "false"},
        ),
    ):
        call("SetQueueAttributes", QueueUrl=queue, Attributes=given)
        assert attributes_of(call, queue, *names) == found


def test_what_is_set_to_nothing_is_not_set_any_more(call: Caller, queue: str) -> None:
    for name in ("Policy", "RedriveAllowPolicy", "KmsMasterKeyId"):
        call("SetQueueAttributes", QueueUrl=queue, Attributes={name: SETTABLE[name]})
        call("SetQueueAttributes", QueueUrl=queue, Attributes={name: ""})
        assert attributes_of(call, queue, name) == {}


def test_what_is_set_holds_for_messages(call: Caller, clock: FakeClock, queue: str) -> None:
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"DelaySeconds": "5", "VisibilityTimeout": "7"})
    call("SendMessage", QueueUrl=queue, MessageBody="late")
    call("SendMessage", QueueUrl=queue, MessageBody="now", DelaySeconds=0)
    counts = attributes_of(call, queue, "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")
    assert counts == {"ApproximateNumberOfMessages": "1", "ApproximateNumberOfMessagesDelayed": "1"}
    found = call("ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [each["Body"] for each in found] == ["now"]
    assert attributes_of(call, queue, "ApproximateNumberOfMessagesNotVisible") == {
        "ApproximateNumberOfMessagesNotVisible": "1"
    }
    clock.advance(7)
    found = call("ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [each["Body"] for each in found] == ["late", "now"]


def test_messages_that_are_too_old_are_gone(call: Caller, clock: FakeClock, queue: str) -> None:
    call("SendMessage", QueueUrl=queue, MessageBody="old")
    clock.advance(61)
    call("SendMessage", QueueUrl=queue, MessageBody="new")
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"MessageRetentionPeriod": "60"})
    found = call("ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [each["Body"] for each in found] == ["new"]


def test_the_time_of_the_last_change_is_told(call: Caller, queue: str) -> None:
    before = attributes_of(call, queue, "LastModifiedTimestamp")
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"DelaySeconds": "1"})
    assert int(attributes_of(call, queue, "LastModifiedTimestamp")["LastModifiedTimestamp"]) >= int(
        before["LastModifiedTimestamp"]
    )


def test_a_queue_may_be_made_again_as_it_is(call: Caller) -> None:
    call("CreateQueue", QueueName="dead")
    policy = {"deadLetterTargetArn": arn("dead"), "maxReceiveCount": 3}
    given = {"VisibilityTimeout": "7", "RedrivePolicy": json.dumps(policy), "Policy": '{"a": [1]}'}
    url = call("CreateQueue", QueueName="jobs", Attributes=given)["QueueUrl"]
    same = {
        "RedrivePolicy": json.dumps({"maxReceiveCount": "3", "deadLetterTargetArn": arn("dead")}),
        "Policy": '{"a":[1]}',
    }
    for again in ({}, given, same, {"DelaySeconds": "0"}, {"MaximumMessageSize": "1048576"}):
        assert call("CreateQueue", QueueName="jobs", Attributes=again) == {"QueueUrl": url}
    for other in ({"VisibilityTimeout": "8"}, {"RedrivePolicy": json.dumps({**policy, "maxReceiveCount": 4})},
                  {"Policy": '{"a":[2]}'}, {"KmsMasterKeyId": "x"}):  # fmt: skip
        with pytest.raises(RefusedError, match=f"QueueAlreadyExists.*{next(iter(other))}"):
            call("CreateQueue", QueueName="jobs", Attributes=other)
    assert attributes_of(call, url, "VisibilityTimeout") == {"VisibilityTimeout": "7"}


def test_a_queue_made_again_does_not_need_its_dead_letter_queue(call: Caller) -> None:
    dead = call("CreateQueue", QueueName="dead")["QueueUrl"]
    given = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": 3})}
    url = call("CreateQueue", QueueName="jobs", Attributes=given)["QueueUrl"]
    call("DeleteQueue", QueueUrl=dead)
    assert call("CreateQueue", QueueName="jobs", Attributes=given) == {"QueueUrl": url}


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_fifo_is_written_in_any_case(call: Caller, value: str) -> None:
    """A recorded fact of AWS. To set it again changes nothing."""
    url = call("CreateQueue", QueueName="new.fifo", Attributes={"FifoQueue": value})["QueueUrl"]
    call("SetQueueAttributes", QueueUrl=url, Attributes={"FifoQueue": value, "DelaySeconds": "1"})
    assert attributes_of(call, url, "FifoQueue", "DelaySeconds") == {"FifoQueue": "true", "DelaySeconds": "1"}


def test_names_differ_by_case(call: Caller) -> None:
    assert call("CreateQueue", QueueName="a")["QueueUrl"] != call("CreateQueue", QueueName="A")["QueueUrl"]
    assert names(call("ListQueues")) == ["A", "a", "default"]


def test_delete_and_purge(call: Caller, queue: str) -> None:
    call("SendMessage", QueueUrl=queue, MessageBody="waits")
    call("SendMessage", QueueUrl=queue, MessageBody="claimed")
    call("ReceiveMessage", QueueUrl=queue)
    assert call("PurgeQueue", QueueUrl=queue) == {}
    assert attributes_of(call, queue, "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible") == {
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
    }
    assert call("DeleteQueue", QueueUrl=queue) == {}
    with pytest.raises(RefusedError, match="NonExistentQueue"):
        call("GetQueueUrl", QueueName="jobs")


# Lists


def test_pages(call: Caller) -> None:
    for number in range(5):
        call("CreateQueue", QueueName=f"q{number}")
    assert names(call("ListQueues", QueueNamePrefix="q")) == ["q0", "q1", "q2", "q3", "q4"]
    assert call("ListQueues", QueueNamePrefix="none") == {}
    pages = []
    token: dict[str, str] = {}
    for _ in range(3):
        page = call("ListQueues", QueueNamePrefix="q", MaxResults=2, **token)
        pages.append(names(page))
        token = {"NextToken": page.get("NextToken", "")}
    assert pages == [["q0", "q1"], ["q2", "q3"], ["q4"]]
    assert token == {"NextToken": ""}


def test_all_on_one_page_has_no_token(call: Caller, queue: str) -> None:
    assert "NextToken" not in call("ListQueues", MaxResults=2)
    assert "NextToken" in call("ListQueues", MaxResults=1)


def test_sources_of_a_dead_letter_queue(call: Caller) -> None:
    dead = call("CreateQueue", QueueName="dead")["QueueUrl"]
    assert call("ListDeadLetterSourceQueues", QueueUrl=dead).get("queueUrls", []) == []
    policy = json.dumps({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": 2})
    for name in ("a", "b", "c"):
        call("CreateQueue", QueueName=name, Attributes={"RedrivePolicy": policy})
    assert names(call("ListDeadLetterSourceQueues", QueueUrl=dead), "queueUrls") == ["a", "b", "c"]
    page = call("ListDeadLetterSourceQueues", QueueUrl=dead, MaxResults=2)
    rest = call("ListDeadLetterSourceQueues", QueueUrl=dead, MaxResults=2, NextToken=page["NextToken"])
    assert [names(each, "queueUrls") for each in (page, rest)] == [["a", "b"], ["c"]]


# Tags and permissions


def test_a_queue_without_tags_has_no_tags(call: Caller, queue: str) -> None:
    assert call("ListQueueTags", QueueUrl=queue) == {}


def test_tags(call: Caller) -> None:
    url = call("CreateQueue", QueueName="tagged", tags={"team": "mail", "stage": "test"})["QueueUrl"]
    assert call("ListQueueTags", QueueUrl=url) == {"Tags": {"team": "mail", "stage": "test"}}
    call("TagQueue", QueueUrl=url, Tags={"stage": "live", "größe": ""})
    assert call("ListQueueTags", QueueUrl=url)["Tags"] == {"team": "mail", "stage": "live", "größe": ""}
    call("UntagQueue", QueueUrl=url, TagKeys=["team", "größe", "unknown"])
    assert call("ListQueueTags", QueueUrl=url) == {"Tags": {"stage": "live"}}


def test_tags_and_attributes_are_limited_together(call: Caller, queue: str) -> None:
    policy = json.dumps({"Statement": "x" * 16_000})
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"Policy": policy})
    with pytest.raises(RefusedError, match="16384 bytes"):
        call("TagQueue", QueueUrl=queue, Tags={f"tag{number}": "x" * 200 for number in range(3)})
    assert call("ListQueueTags", QueueUrl=queue).get("Tags", {}) == {}
    call("TagQueue", QueueUrl=queue, Tags={"tag": "x"})
    with pytest.raises(RefusedError, match="16384 bytes"):
        call("SetQueueAttributes", QueueUrl=queue, Attributes={"KmsMasterKeyId": "x" * 500})
    assert attributes_of(call, queue, "KmsMasterKeyId", "Policy") == {"Policy": policy}


def statements(call: Caller, url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(attributes_of(call, url, "Policy")["Policy"])["Statement"]
    return found


def test_permissions_are_statements_of_the_policy(call: Caller, queue: str) -> None:
    call("AddPermission", QueueUrl=queue, Label="a", AWSAccountIds=["123456789012"], Actions=["SendMessage", "*"])
    call("AddPermission", QueueUrl=queue, Label="b", AWSAccountIds=["123456789012"], Actions=["GetQueueUrl"])
    first, second = statements(call, queue)
    assert (first["Sid"], second["Sid"]) == ("a", "b")
    assert first["Action"] == ["SQS:SendMessage", "SQS:*"]
    assert second["Action"] == "SQS:GetQueueUrl"
    assert first["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    policy = json.loads(attributes_of(call, queue, "Policy")["Policy"])
    assert (policy["Version"], policy["Id"]) == ("2008-10-17", f"{first['Resource']}/SQSDefaultPolicy")
    with pytest.raises(RefusedError, match="Already exists"):
        call("AddPermission", QueueUrl=queue, Label="a", AWSAccountIds=["123456789012"], Actions=["*"])
    call("RemovePermission", QueueUrl=queue, Label="a")
    assert [each["Sid"] for each in statements(call, queue)] == ["b"]
    call("RemovePermission", QueueUrl=queue, Label="b")
    assert attributes_of(call, queue, "Policy") == {}
    with pytest.raises(RefusedError, match="find label"):
        call("RemovePermission", QueueUrl=queue, Label="b")


def test_a_policy_with_one_statement_alone_takes_more(call: Caller, queue: str) -> None:
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"Policy": '{"Statement":{"Sid":"one"}}'})
    call("AddPermission", QueueUrl=queue, Label="two", AWSAccountIds=["123456789012"], Actions=["*"])
    assert [each["Sid"] for each in statements(call, queue)] == ["one", "two"]
