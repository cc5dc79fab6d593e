"""A client of the SQS endpoint, by boto3, whose journal has the shapes of the REST API, so that the same judges work on it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import boto3
from botocore import exceptions
from botocore.config import Config

from tests.promises.client import Client
from tests.promises.journal import Exchange
from tests.support.waiting import PATIENCE_S

_MAKING = threading.Lock()  # held by the thread that makes a client


class SqsClient:
    """The SQS side of an actor. It shares the actor's journal, and its wait for the next broker."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._life = 0
        self._sqs: Any = None
        self._url = ""

    def _connected(self) -> Any:
        host, port, life = self._client.lives.current()
        if life != self._life:
            self._life, self._url = life, f"http://{host}:{port}"
            # Threads that set and restore the environment at the same time lose each other's changes.
            with _MAKING, mock.patch.dict(os.environ, {"AWS_EC2_METADATA_DISABLED": "true"}):
                self._sqs = boto3.client(
                    "sqs",
                    endpoint_url=self._url,
                    region_name="eu-central-1",
                    aws_access_key_id="any",
                    aws_secret_access_key="any",
                    config=Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE_S),
                )
        return self._sqs

    def _call(self, kind: str, queue: str, sent: Mapping[str, Any], action: str, **members: Any) -> Exchange:
        """Call an action once, and write it down as the call of the REST API that does the same."""
        while True:
            sqs = self._connected()
            life, number = self._life, self._client.journal.number()
            began_s = time.monotonic()
            status: int | None = None
            answer: Any = None
            try:
                raw = getattr(sqs, action)(QueueUrl=f"{self._url}/000000000000/{queue}", **members)
                ended_s = time.monotonic()
                status, answer = 200, _in_rest(kind, raw)
            except exceptions.ClientError as error:
                ended_s = time.monotonic()
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                answer = {"error": {"code": error.response["Error"]["Code"], "message": str(error)}}
            except exceptions.EndpointConnectionError:
                time.sleep(0.05)  # nothing was sent
                continue
            except exceptions.ReadTimeoutError:
                raise AssertionError(f"no answer within {PATIENCE_S:.0f} s to {action}") from None
            except exceptions.HTTPClientError:
                assert self._client.lives.wait_for_end(life), f"{action} was cut by a broker that lives on"
                ended_s = time.monotonic()
            exchange = Exchange(
                number, f"{self._client.actor} (SQS)", life, kind, queue, sent, began_s, ended_s, status, answer
            )
            self._client.journal.add(exchange)
            return exchange

    def send(self, queue: str, messages: Sequence[Mapping[str, Any]]) -> Exchange:
        """Send messages with ``message``, ``group`` and ``idempotency_key``: one, or a batch."""
        entries = [
            {
                "MessageBody": each["message"],
                "MessageGroupId": each["group"],
                "MessageDeduplicationId": each["idempotency_key"],
            }
            for each in messages
        ]
        if len(entries) == 1:
            return self._call("produce", queue, messages[0], "send_message", **entries[0])
        batch = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
        return self._call("produce", queue, {"messages": list(messages)}, "send_message_batch", Entries=batch)

    def receive(self, queue: str, *, most: int, visibility_timeout: int, attempt_id: str) -> Exchange:
        """Receive messages."""
        sent = {"max": most, "visibility_timeout": visibility_timeout, "attempt_id": attempt_id}
        return self._call(
            "consume",
            queue,
            sent,
            "receive_message",
            MaxNumberOfMessages=most,
            VisibilityTimeout=visibility_timeout,
            ReceiveRequestAttemptId=attempt_id,
            MessageSystemAttributeNames=["All"],
        )

    def delete(self, queue: str, message: Mapping[str, Any]) -> Exchange:
        """Delete a message by its handle. SQS answers with success also if the handle is stale."""
        sent = {"id": message["id"], "receipt": message["receipt"]}
        return self._call("delete", queue, sent, "delete_message", ReceiptHandle=message["receipt"])


def _in_rest(kind: str, raw: Mapping[str, Any]) -> Any:
    if kind == "consume":
        return [
            {
                "id": each["MessageId"],
                "message": each["Body"],
                "receipt": each["ReceiptHandle"],
                "receive_count": int(each["Attributes"]["ApproximateReceiveCount"]),
                "group": each["Attributes"]["MessageGroupId"],
                "idempotency_key": each["Attributes"]["MessageDeduplicationId"],
                "sequence_number": each["Attributes"]["SequenceNumber"],
            }
            for each in raw.get("Messages", ())
        ]
    if "MessageId" in raw:
        return {"id": raw["MessageId"], "sequence_number": raw["SequenceNumber"]}
    if "Successful" in raw:
        assert not raw.get("Failed"), raw
        return {"ids": [each["MessageId"] for each in sorted(raw["Successful"], key=lambda each: int(each["Id"]))]}
    return {}
