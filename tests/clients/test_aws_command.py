"""The aws command line, with nothing but --endpoint-url."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.waiting import PATIENCE_S

#: Path of the command of this Python, or of any other.
AWS = shutil.which("aws", path=str(Path(sys.executable).parent)) or shutil.which("aws")

Aws = Callable[..., Any]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    if AWS is None:
        pytest.skip("there is no aws command")
    folder = tmp_path_factory.mktemp("aws")
    with RunningBroker(folder / "data") as broker:
        environment = {
            **os.environ,
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "thing",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

        def call(*arguments: str, is_refused: bool = False) -> Any:
            command = [str(AWS), "--endpoint-url", broker.url, "sqs", *arguments]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
            assert (done.returncode != 0) == is_refused, done.stderr
            return json.loads(done.stdout) if done.stdout.strip() else done.stderr

        yield call


def test_a_message_there_and_back(aws: Aws) -> None:
    url = aws("create-queue", "--queue-name", "jobs", "--attributes", "VisibilityTimeout=60")["QueueUrl"]
    assert aws("get-queue-url", "--queue-name", "jobs")["QueueUrl"] == url
    attributes = '{"tenant": {"DataType": "String", "StringValue": "acme"}}'
    sent = aws("send-message", "--queue-url", url, "--message-body", "größer", "--message-attributes", attributes)
    [message] = aws("receive-message", "--queue-url", url, "--message-attribute-names", "All")["Messages"]
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "größer")
    assert message["MessageAttributes"]["tenant"]["StringValue"] == "acme"
    receipt = message["ReceiptHandle"]
    aws("change-message-visibility", "--queue-url", url, "--receipt-handle", receipt, "--visibility-timeout", "90")
    aws("delete-message", "--queue-url", url, "--receipt-handle", receipt)
    found = aws("get-queue-attributes", "--queue-url", url, "--attribute-names", "All")["Attributes"]
    assert (found["VisibilityTimeout"], found["ApproximateNumberOfMessagesNotVisible"]) == ("60", "0")


def test_an_error_is_shown_by_its_name(aws: Aws) -> None:
    error = aws("get-queue-url", "--queue-name", "nope", is_refused=True)
    assert "AWS.SimpleQueueService.NonExistentQueue" in error
