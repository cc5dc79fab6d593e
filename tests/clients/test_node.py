"""The AWS SDK for JavaScript, and sqs-consumer on top of it. `.ci/run` installs both; by hand: npm ci in tests/clients/node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.support.sqs_clients import Boto
from tests.support.waiting import PATIENCE_S, eventually

NODE = shutil.which("node")
FOLDER = Path(__file__).with_name("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules").is_dir(),
    reason="there is no Node.js, or its packages are not installed",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RunningBroker(tmp_path_factory.mktemp("node") / "data") as broker:
        yield broker.url


def run(script: str, *arguments: str) -> Any:
    command = [str(NODE), str(FOLDER / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_sdk(url: str) -> None:
    assert run("sdk.mjs", url) == {
        "bodies": ["größer", "one"],
        "digest": [0, 1, 255],
        "receives": ["1", "1"],
        "failed": [["b", "InvalidMessageContents"]],
        "deleted": 2,
        "missing": "QueueDoesNotExist",
    }


def test_sqs_consumer(url: str) -> None:
    with QueueClient(url, queue="worked-off") as client:
        client.produce_batch([str(n) for n in range(20)])
        done = run("consumer.mjs", url, f"{url}/000000000000/worked-off")
        assert sorted(done["seen"], key=int) == sorted([*map(str, range(20)), "3"], key=int)
        assert done["errors"] == []
        assert sum(client.queue_info()["counts"].values()) == 0


class Worker:
    """A worker with sqs-consumer, and a broker that can be restarted under it."""

    def __init__(self, folder: Path) -> None:
        self.broker = RunningBroker(folder / "data")
        self._notes = folder / "notes"
        self._notes.touch()
        self._call = Boto(self.broker.url)
        self.url = self._call("CreateQueue", QueueName="work", Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *more: str) -> None:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL_SQS": self.broker.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "WORKER_NOTES": str(self._notes),
        }
        command = [str(NODE), str(FOLDER / "worker.mjs"), self.url, *more]
        self._processes.append(subprocess.Popen(command, env=environment))

    def end(self, sign: signal.Signals) -> None:
        self._processes[-1].send_signal(sign)
        self._processes[-1].wait(PATIENCE_S)

    def send(self, body: str) -> None:
        self._call("SendMessage", QueueUrl=self.url, MessageBody=body)

    def wait_for(self, line: str) -> None:
        eventually(lambda: line in self._notes.read_text().splitlines())

    def restart_broker(self, sign: signal.Signals) -> None:
        self.broker = self.broker.restarted(sign, outage_s=3)  # which is longer than the retries of the SDK

    def close(self) -> None:
        for each in self._processes:
            each.kill()
            each.wait(PATIENCE_S)
        self.broker.kill()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path)
    try:
        yield worker
    finally:
        worker.close()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=lambda sign: sign.name)
def test_sqs_consumer_goes_on_after_a_restart_of_the_broker(worker: Worker, sign: signal.Signals) -> None:
    worker.start()
    worker.send("before")
    worker.wait_for("ends before")
    worker.restart_broker(sign)
    worker.send("after")
    worker.wait_for("ends after")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=lambda sign: sign.name)
def test_a_message_outlives_its_sqs_consumer(worker: Worker, sign: signal.Signals) -> None:
    worker.start()
    worker.send("slow")
    worker.wait_for("begins slow")
    worker.end(sign)
    worker.start("at once")
    worker.wait_for("ends slow")
