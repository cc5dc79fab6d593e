"""The moto emulator of Amazon SQS, used in tests. It keeps everything in memory, and nothing on disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.peers.peer import CALL_TIMEOUT_S, Claimed, Connection
from benchmarks.peers.server import Server, accepts, free_port

_QUEUE = "queue"
_MOST = 10  # messages per call, the limit of SQS

# moto scans the whole queue for each message that it delivers: with 1,000 messages, a batch of 100 takes longer than
# the default visibility timeout of 30 s.
_VISIBILITY_TIMEOUT_S = 3600


class MotoSqs:
    name = "moto sqs"
    durability = "none: keeps nothing"
    share = 200

    def __init__(self) -> None:
        self._server: Server | None = None

    def installed(self) -> str | None:
        return None

    def start(self, folder: Path) -> str:
        port = free_port()
        self._server = Server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], folder)
        self._server.wait_until(lambda: accepts(port))
        _client(address := f"http://127.0.0.1:{port}").create_queue(
            QueueName=_QUEUE, Attributes={"VisibilityTimeout": str(_VISIBILITY_TIMEOUT_S)}
        )
        return address

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def connect(self, address: str) -> Connection:
        return _Sqs(address)


def _client(address: str) -> Any:
    config = Config(read_timeout=CALL_TIMEOUT_S, retries={"total_max_attempts": 1})
    session = boto3.session.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")
    return session.client("sqs", endpoint_url=address, config=config)


class _Sqs:
    def __init__(self, address: str) -> None:
        self._client = _client(address)
        self._queue = self._client.get_queue_url(QueueName=_QUEUE)["QueueUrl"]

    def produce(self, bodies: list[str]) -> None:
        for start in range(0, len(bodies), _MOST):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + _MOST])]
            answer = self._client.send_message_batch(QueueUrl=self._queue, Entries=entries)
            assert len(answer["Successful"]) == len(entries)

    def consume(self, limit: int) -> Claimed:
        messages: list[dict[str, Any]] = []
        while len(messages) < limit:
            most = min(_MOST, limit - len(messages))
            answer = self._client.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=most)
            if not answer.get("Messages"):
                break
            messages += answer["Messages"]
        return Claimed([each["Body"] for each in messages], [each["ReceiptHandle"] for each in messages])

    def delete(self, handles: list[Any]) -> None:
        for start in range(0, len(handles), _MOST):
            some = handles[start : start + _MOST]
            entries = [{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate(some)]
            answer = self._client.delete_message_batch(QueueUrl=self._queue, Entries=entries)
            assert len(answer["Successful"]) == len(entries)

    def left(self) -> int:
        names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
        answer = self._client.get_queue_attributes(QueueUrl=self._queue, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def close(self) -> None:
        self._client.close()
