"""SQS takes a delete of a message that is not there for done. A broker that has lost its log must not answer so."""

from __future__ import annotations

import pytest

from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import RefusedError, serving_sqs
from wonderq.broker.broker import Broker
from wonderq.model.messages import Target


@pytest.mark.parametrize("protocol", ["json", "query"])
def test_a_delete_that_changed_nothing_is_confirmed(protocol: str) -> None:
    log = MemoryLog(shared=True)
    with serving_sqs(Broker(log)) as sqs:
        call = sqs.caller(protocol)
        url = call("CreateQueue", QueueName="jobs")["QueueUrl"]
        call("SendMessage", QueueUrl=url, MessageBody="x")
        [message] = call("ReceiveMessage", QueueUrl=url)["Messages"]
        successor = Broker(log.opened_again())
        successor.delete("jobs", Target(receipt=message["ReceiptHandle"]))
        successor.produce("jobs", ["y"])
        [newer] = successor.claim("jobs")
        with pytest.raises(RefusedError) as refused:  # the former owner has never heard of this receipt
            call("DeleteMessage", QueueUrl=url, ReceiptHandle=newer.receipt)
        assert refused.value.status == 503
        assert "Another writer has taken over the log." in str(refused.value)
