"""Dead letters, and their way back, in both protocols."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sqs.test_messages import receive
from tests.support.clock import FakeClock
from tests.support.sqs_clients import Caller, RefusedError, Sqs, arn, redrive
from wonderq.broker.broker import Broker


@pytest.fixture
def dead(sqs: Sqs, queue: str) -> str:
    """The dead-letter queue of ``queue``, after two receives."""
    url: str = sqs.boto("CreateQueue", QueueName="dead")["QueueUrl"]
    sqs.boto("SetQueueAttributes", QueueUrl=queue, Attributes=redrive("dead"))
    return url


def let_die(call: Caller, clock: FakeClock, queue: str, *bodies: str) -> None:
    for body in bodies:
        call("SendMessage", QueueUrl=queue, MessageBody=body)
    for _ in range(3):
        receive(call, queue)
        clock.advance(31)


def test_a_message_that_was_received_too_often_goes_to_the_other_queue(
    call: Caller, clock: FakeClock, queue: str, dead: str
) -> None:
    attributes = {"a": {"DataType": "String", "StringValue": "kept"}}
    sent = call("SendMessage", QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)
    for count in ("1", "2"):
        [message] = receive(call, queue, AttributeNames=["ApproximateReceiveCount"])
        assert message["Attributes"] == {"ApproximateReceiveCount": count}
        clock.advance(31)
    assert receive(call, queue) == []
    [letter] = receive(call, dead, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert (letter["Body"], letter["MessageAttributes"]) == ("x", attributes)
    assert letter["Attributes"]["DeadLetterQueueSourceArn"].endswith(":000000000000:jobs")
    assert letter["Attributes"]["SentTimestamp"] == "1700000000000"
    assert letter["MessageId"] != sent["MessageId"]


@pytest.mark.parametrize("receives", [3, "3"])
def test_the_policy_is_given_back(sqs: Sqs, call: Caller, queue: str, dead: str, receives: Any) -> None:
    call("SetQueueAttributes", QueueUrl=queue, Attributes=redrive("dead", receives))
    given = call("GetQueueAttributes", QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    assert json.loads(given)["maxReceiveCount"] == 3
    assert json.loads(given)["deadLetterTargetArn"].endswith(":000000000000:dead")
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"RedrivePolicy": ""})
    assert call("GetQueueAttributes", QueueUrl=queue, AttributeNames=["RedrivePolicy"]) == {}
    assert sqs.broker.queue("jobs").settings.dead_letter_queue == ""


def test_without_a_count_it_is_ten(sqs: Sqs, call: Caller, queue: str, dead: str) -> None:
    policy = json.dumps({"deadLetterTargetArn": arn("dead")})
    call("SetQueueAttributes", QueueUrl=queue, Attributes={"RedrivePolicy": policy})
    assert sqs.broker.queue("jobs").settings.max_receives == 10


def test_a_dead_letter_queue_says_whose_letters_it_takes(call: Caller, queue: str, dead: str) -> None:
    def allow(**policy: Any) -> None:
        call("SetQueueAttributes", QueueUrl=dead, Attributes={"RedriveAllowPolicy": json.dumps(policy)})

    for policy, is_fine in (
        ({"redrivePermission": "denyAll"}, False),
        ({"redrivePermission": "byQueue", "sourceQueueArns": [arn("other")]}, False),
        ({"redrivePermission": "byQueue", "sourceQueueArns": [arn("other"), arn("jobs")]}, True),
        ({"redrivePermission": "allowAll"}, True),
    ):
        allow(**policy)
        if is_fine:
            call("SetQueueAttributes", QueueUrl=queue, Attributes=redrive("dead", 7))
        else:
            with pytest.raises(RefusedError, match=r"InvalidParameterValue.*RedriveAllowPolicy"):
                call("SetQueueAttributes", QueueUrl=queue, Attributes=redrive("dead", 7))


# Tasks that bring them back


def drive(broker: Broker, clock: FakeClock) -> None:
    """Run the broker's housekeeping until nothing is left to do."""
    for _ in range(100):
        wait_s = broker.redrives.run()
        if not broker.redrives.running:
            return
        clock.advance(wait_s)
    raise AssertionError


def test_back_to_where_they_came_from(sqs: Sqs, call: Caller, clock: FakeClock, queue: str, dead: str) -> None:
    let_die(call, clock, queue, "a", "b")
    handle = call("StartMessageMoveTask", SourceArn=arn("dead"))["TaskHandle"]
    [task] = call("ListMessageMoveTasks", SourceArn=arn("dead"))["Results"]
    assert (task["TaskHandle"], task["Status"], task["StartedTimestamp"]) == (handle, "RUNNING", clock.now_ms())
    assert task["SourceArn"].endswith(":000000000000:dead")
    assert "DestinationArn" not in task
    drive(sqs.broker, clock)
    [task] = call("ListMessageMoveTasks", SourceArn=arn("dead"))["Results"]
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 2)
    assert task["ApproximateNumberOfMessagesToMove"] == 2
    assert "TaskHandle" not in task
    assert receive(call, dead) == []
    assert [each["Body"] for each in receive(call, queue)] == ["a", "b"]


def test_to_another_queue_and_so_fast(sqs: Sqs, call: Caller, clock: FakeClock, queue: str, dead: str) -> None:
    other = call("CreateQueue", QueueName="other")["QueueUrl"]
    let_die(call, clock, queue, "a")
    call("StartMessageMoveTask", SourceArn=arn("dead"), DestinationArn=arn("other"), MaxNumberOfMessagesPerSecond=500)
    drive(sqs.broker, clock)
    [task] = call("ListMessageMoveTasks", SourceArn=arn("dead"), MaxResults=10)["Results"]
    assert task["DestinationArn"].endswith(":000000000000:other")
    assert task["MaxNumberOfMessagesPerSecond"] == 500
    assert [each["Body"] for each in receive(call, other)] == ["a"]


def test_a_task_that_runs_keeps_out_others_and_can_be_cancelled(
    sqs: Sqs, call: Caller, clock: FakeClock, queue: str, dead: str
) -> None:
    let_die(call, clock, queue, "a", "b")
    handle = call("StartMessageMoveTask", SourceArn=arn("dead"))["TaskHandle"]
    with pytest.raises(RefusedError, match=r"InvalidParameterValue.*already a task running"):
        call("StartMessageMoveTask", SourceArn=arn("dead"))
    assert call("CancelMessageMoveTask", TaskHandle=handle) == {"ApproximateNumberOfMessagesMoved": 0}
    with pytest.raises(RefusedError, match="UnsupportedOperation"):
        call("CancelMessageMoveTask", TaskHandle=handle)
    drive(sqs.broker, clock)
    [task] = call("ListMessageMoveTasks", SourceArn=arn("dead"))["Results"]
    assert task["Status"] == "CANCELLED"
    assert len(receive(call, dead)) == 2


def test_as_many_tasks_as_are_asked_for_the_newest_first(
    sqs: Sqs, call: Caller, clock: FakeClock, queue: str, dead: str
) -> None:
    assert call("ListMessageMoveTasks", SourceArn=arn("dead")).get("Results", []) == []
    for body in "abc":
        let_die(call, clock, queue, body)
        call("StartMessageMoveTask", SourceArn=arn("dead"))
        drive(sqs.broker, clock)
        sqs.broker.purge("jobs")
    found = call("ListMessageMoveTasks", SourceArn=arn("dead"), MaxResults=2)["Results"]
    times = [each["StartedTimestamp"] for each in found]
    assert len(times) == 2
    assert times == sorted(times, reverse=True)
    assert len(call("ListMessageMoveTasks", SourceArn=arn("dead"))["Results"]) == 1


@pytest.mark.parametrize("made_by_sqs", [True, False])
def test_a_dead_letter_queue_that_was_deleted_is_made_again(
    sqs: Sqs, call: Caller, clock: FakeClock, queue: str, dead: str, made_by_sqs: bool
) -> None:
    """A recorded fact of AWS: a queue that nobody configured keeps messages for four days."""
    if not made_by_sqs:
        sqs.broker.put_queue("by-rest", max_receives=2, dead_letter_queue="dead")
    call("DeleteQueue", QueueUrl=dead)
    let_die(call, clock, queue if made_by_sqs else queue.replace("jobs", "by-rest"), "x")
    found = call("GetQueueAttributes", QueueUrl=dead, AttributeNames=["MessageRetentionPeriod"])["Attributes"]
    assert found == {"MessageRetentionPeriod": "345600" if made_by_sqs else "0"}
    assert sqs.broker.queue("dead").settings.max_in_flight == (120_000 if made_by_sqs else 0)
    assert call("CreateQueue", QueueName="dead") == call("GetQueueUrl", QueueName="dead"), "it is there"
    with pytest.raises(RefusedError, match="QueueAlreadyExists"):
        call("CreateQueue", QueueName="dead", Attributes={"DelaySeconds": "7"})
    call("DeleteQueue", QueueUrl=dead)
    with pytest.raises(RefusedError, match="QueueDeletedRecently"):
        call("CreateQueue", QueueName="dead")


def test_a_queue_that_a_producer_made_again_was_not_deleted_recently(sqs: Sqs, call: Caller, queue: str) -> None:
    call("DeleteQueue", QueueUrl=queue)
    sqs.broker.produce("jobs", ["x"])
    assert call("CreateQueue", QueueName="jobs") == call("GetQueueUrl", QueueName="jobs")
