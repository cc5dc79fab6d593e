"""Every error that SQS documents, as boto3 raises it: the class of the exception, and its code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from tests.sqs.refused_calls import CALLS, Refused
from tests.support.clock import FakeClock
from tests.support.memory_log import MemoryLog
from tests.support.sqs_clients import RefusedError, Sqs, redrive, serving_sqs
from wonderq.broker.broker import Broker

MODEL: Any = botocore.session.get_session().get_service_model("sqs")

#: Errors of the service model that are never answered with, and why.
NEVER = {
    **dict.fromkeys((f"Kms{name}" for name in (
        "AccessDenied", "Disabled", "InvalidKeyUsage", "InvalidState", "NotFound", "OptInRequired", "Throttled")),
        "nothing is encrypted here, so no key of AWS KMS is asked for"),
    "InvalidAddress": "SQS answers NonExistentQueue for any QueueUrl; see also test_refusals.py for other paths",
    "MessageNotInflight": "SQS itself reports success for an expired claim, and changes nothing",
    "InvalidIdFormat": "SQS itself has replaced it by ReceiptHandleIsInvalid",
    "InvalidSecurity": "HTTP is enough; what is not signed right is SignatureDoesNotMatch, or MissingAuthenticationToken",
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared() -> Iterator[tuple[Sqs, dict[str, str]]]:
    clock = FakeClock()
    with serving_sqs(Broker(MemoryLog(), clock=clock)) as sqs:
        call = sqs.boto
        places = {}
        for name in ("jobs", "dead", "deleted", "purged", "small", "draining", "full", "busy"):
            places[name.upper()] = call("CreateQueue", QueueName=name)["QueueUrl"]
        places["FIFO"] = call("CreateQueue", QueueName="jobs.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        call("CreateQueue", QueueName="source", Attributes=redrive("dead"))
        call("DeleteQueue", QueueUrl=places["DELETED"])
        call("PurgeQueue", QueueUrl=places["PURGED"])
        call("SetQueueAttributes", QueueUrl=places["SMALL"], Attributes={"MaximumMessageSize": "1024"})
        sqs.broker.put_queue("draining", draining=True)
        sqs.broker.put_queue("full", max_messages=1)
        sqs.broker.produce("full", ["x"])
        sqs.broker.put_queue("busy", max_in_flight=1)
        sqs.broker.produce("busy", ["x", "y"])
        sqs.broker.claim("busy", limit=1)
        sqs.broker.produce("jobs", ["gone"])
        sqs.broker.produce("dead", ["other"])
        [gone], [other] = sqs.broker.claim("jobs"), sqs.broker.claim("dead")
        places["GONE"], places["OTHER"] = str(gone.receipt), str(other.receipt)
        call("DeleteMessage", QueueUrl=places["JOBS"], ReceiptHandle=gone.receipt)
        yield sqs, places


def in_place(members: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    return {name: places.get(value, value) if isinstance(value, str) else value for name, value in members.items()}


@pytest.mark.parametrize("refused", CALLS, ids=lambda each: f"{each.action} {each.name or each.code}")
def test_what_is_refused(prepared: tuple[Sqs, dict[str, str]], refused: Refused) -> None:
    sqs, places = prepared
    client = sqs.boto.client
    [method] = [name for name, action in client.meta.method_to_api_mapping.items() if action == refused.action]
    with pytest.raises(ClientError) as caught:
        getattr(client, method)(**in_place(refused.members, places))
    response: Any = caught.value.response
    assert (response["Error"]["Code"], type(caught.value).__name__) == (refused.code, refused.name or "ClientError")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == refused.status
    assert response["ResponseMetadata"]["RequestId"]
    assert refused.message in response["Error"]["Message"]
    assert len(response["Error"]["Message"]) < 600


#: A form goes to a queue's own path, and does not tell an empty map from none.
IN_FORMS = [
    each
    for each in CALLS
    if re.fullmatch("|[A-Z]+|.*/000000000000/.*", each.members.get("QueueUrl", "")) and {} not in each.members.values()
]


@pytest.mark.parametrize("refused", IN_FORMS, ids=lambda each: f"{each.action} {each.name or each.code}")
def test_the_same_in_the_other_protocol(prepared: tuple[Sqs, dict[str, str]], refused: Refused) -> None:
    sqs, places = prepared
    with pytest.raises(RefusedError) as caught:
        sqs.query(refused.action, **in_place(refused.members, places))
    assert (caught.value.status, caught.value.code) == (refused.status, refused.code)
    assert refused.message in str(caught.value)


@pytest.mark.parametrize("error", [each.name for each in MODEL.error_shapes])
def test_every_error_of_the_model_is_one_of_these_or_is_never(error: str) -> None:
    elsewhere = {"RequestThrottled": "test_too_many_requests_with_one_key of test_access.py"}
    raised = {each.name for each in CALLS}
    assert (error in raised) + (error in NEVER) + (error in elsewhere) == 1
