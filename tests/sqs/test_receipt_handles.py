"""Receipt handles that are released, expired, old, or of another queue, in both protocols.

The answers are facts that were recorded of AWS, except where a test names the documentation.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.sqs.test_messages import receive
from tests.support.clock import FakeClock
from tests.support.sqs_clients import Caller, RefusedError, Sqs


class Handles:
    """Deletes and changes by a handle, with a single action or with a batch of one."""

    def __init__(self, call: Caller, *, batches: bool) -> None:
        self._call = call
        self._batches = batches

    def delete(self, url: str, handle: str) -> None:
        self._do("DeleteMessage", url, {"ReceiptHandle": handle})

    def change(self, url: str, handle: str, timeout_s: int) -> None:
        self._do("ChangeMessageVisibility", url, {"ReceiptHandle": handle, "VisibilityTimeout": timeout_s})

    def _do(self, action: str, url: str, members: dict[str, Any]) -> None:
        if not self._batches:
            assert self._call(action, QueueUrl=url, **members) == {}
            return
        answer = self._call(f"{action}Batch", QueueUrl=url, Entries=[{"Id": "a", **members}])
        if "Failed" in answer:
            [failed] = answer["Failed"]
            raise RefusedError(400, failed["Code"], failed["Message"])
        assert answer == {"Successful": [{"Id": "a"}]}


@pytest.fixture(params=[False, True], ids=["single", "batch"])
def handles(request: pytest.FixtureRequest, call: Caller) -> Handles:
    return Handles(call, batches=request.param)


def send(call: Caller, url: str, body: str) -> None:
    more = {"MessageGroupId": "g", "MessageDeduplicationId": body} if url.endswith(".fifo") else {}
    call("SendMessage", QueueUrl=url, MessageBody=body, **more)


def take(call: Caller, url: str, **more: Any) -> str:
    [message] = receive(call, url, **more)
    handle: str = message["ReceiptHandle"]
    return handle


def test_a_released_message_is_deleted_by_its_handle(call: Caller, handles: Handles, queue: str) -> None:
    send(call, queue, "x")
    handle = take(call, queue)
    handles.change(queue, handle, 0)
    handles.delete(queue, handle)
    assert receive(call, queue) == []


def test_a_released_message_that_was_received_again_is_not(call: Caller, handles: Handles, queue: str) -> None:
    send(call, queue, "x")
    old = take(call, queue)
    handles.change(queue, old, 0)
    new = take(call, queue)
    handles.delete(queue, old)
    handles.change(queue, old, 0)
    assert receive(call, queue) == [], "the message is still the second consumer's"
    handles.change(queue, new, 0)
    assert len(receive(call, queue)) == 1, "and was not deleted"


def test_a_change_of_an_expired_claim_succeeds_and_changes_nothing(
    call: Caller, clock: FakeClock, handles: Handles, queue: str
) -> None:
    send(call, queue, "x")
    handle = take(call, queue)
    clock.advance(31)
    for timeout_s in (100, 0):
        handles.change(queue, handle, timeout_s)
    handle = take(call, queue)
    handles.change(queue, handle, 0)
    handles.change(queue, handle, 100)
    assert len(receive(call, queue)) == 1, "a release ends a claim too"


@pytest.mark.parametrize("timeout_s", [0, 1, 43_200])
def test_a_change_by_an_older_handle_succeeds_and_changes_nothing(
    call: Caller, clock: FakeClock, handles: Handles, queue: str, timeout_s: int
) -> None:
    send(call, queue, "x")
    old = take(call, queue, VisibilityTimeout=1)
    clock.advance(2)
    take(call, queue, VisibilityTimeout=10)
    handles.change(queue, old, timeout_s)
    clock.advance(9)
    assert receive(call, queue) == [], "no consumer can end another's claim"
    clock.advance(1)
    assert len(receive(call, queue)) == 1, "or prolong it"


def test_a_change_of_a_deleted_message_is_refused(call: Caller, handles: Handles, queue: str) -> None:
    send(call, queue, "x")
    handle = take(call, queue)
    handles.delete(queue, handle)
    handles.delete(queue, handle)
    with pytest.raises(RefusedError, match=r"InvalidParameterValue.*not available for visibility timeout change"):
        handles.change(queue, handle, 1)


@pytest.mark.parametrize("source", ["jobs", "jobs.fifo"])
@pytest.mark.parametrize("target", ["other", "other.fifo"])
@pytest.mark.parametrize("dropped", [False, True])
def test_the_handle_of_another_queue_is_none(
    sqs: Sqs, call: Caller, handles: Handles, source: str, target: str, dropped: bool
) -> None:
    urls = {}
    for name in (source, target):
        fifo = {"Attributes": {"FifoQueue": "true"}} if name.endswith(".fifo") else {}
        urls[name] = call("CreateQueue", QueueName=name, **fifo)["QueueUrl"]
        send(call, urls[name], "x")
    handle = take(call, urls[source])
    if dropped:
        call("DeleteQueue", QueueUrl=urls[source])
    with pytest.raises(RefusedError, match=r"ReceiptHandleIsInvalid.*is not a valid receipt handle"):
        handles.delete(urls[target], handle)
    with pytest.raises(RefusedError, match=r"ReceiptHandleIsInvalid.*is not a valid receipt handle"):
        handles.change(urls[target], handle, 1)
    assert sqs.broker.queue(target).counts["unprocessed"] == 1


@pytest.mark.parametrize("handle", ["x", "é" * 40, "0" * 40, "f" * 39])
def test_what_is_no_handle(call: Caller, handles: Handles, queue: str, handle: str) -> None:
    with pytest.raises(RefusedError, match="ReceiptHandleIsInvalid"):
        handles.delete(queue, handle)
    with pytest.raises(RefusedError, match="ReceiptHandleIsInvalid"):
        handles.change(queue, handle, 1)


@pytest.mark.parametrize("end", ["expired", "released", "received again"])
def test_a_fifo_queue_deletes_only_what_is_in_flight(
    call: Caller, clock: FakeClock, handles: Handles, fifo: str, end: str
) -> None:
    """SQS documents that the handle of a FIFO queue expires with its visibility timeout."""
    send(call, fifo, "x")
    handle = take(call, fifo)
    if end == "released":
        handles.change(fifo, handle, 0)
    else:
        clock.advance(31)
    if end == "received again":
        receive(call, fifo)
    with pytest.raises(RefusedError, match=r"InvalidParameterValue.*The receipt handle has expired"):
        handles.delete(fifo, handle)
    handles.change(fifo, handle, 0)
    clock.advance(31)
    handles.delete(fifo, take(call, fifo))
    assert receive(call, fifo) == []
