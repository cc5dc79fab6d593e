"""Libraries for SQS in several languages: tasks run, are tried again, and outlive their worker and the broker.

`make clients` installs those for Python into a virtual environment of their own, since aioboto3 pins its botocore, and
those for Node.js with npm. Go, PHP and Ruby, with the SDKs that Debian has for them, are packages that `.ci/run`
installs. A library whose programs are missing is skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.sqs_clients import Boto, redrive
from tests.support.waiting import PATIENCE_S, eventually

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"

#: Where Debian installs the SDKs.
GO_PATH = Path("/usr/share/gocode")
GO_SDK = GO_PATH / "src/github.com/aws/aws-sdk-go-v2/service/sqs"
PHP_SDK = Path("/usr/share/php/Symfony/Component/Messenger/Bridge/AmazonSqs")
RUBY_SDK = Path("/usr/lib/ruby/vendor_ruby/aws/sqs")


class Library(NamedTuple):
    """A library, and what it can do."""

    name: str
    language: str = "python"
    dead_letters: str = "dead"
    """Queue of tasks that failed too often; empty if the library never lets them be received that often."""
    survives: bool = True
    """Whether its worker goes on after an outage. If not, the tests start it again, as a supervisor would."""
    delays: bool = True

    @property
    def is_installed(self) -> bool:
        match self.language:
            case "python":
                return PYTHON.exists()
            case "node":
                return shutil.which("node") is not None and (HERE / "node" / "node_modules").is_dir()
            case "go":
                return shutil.which("go") is not None and GO_SDK.is_dir()
            case "php":
                return shutil.which("php") is not None and PHP_SDK.is_dir()
            case _:
                return shutil.which("ruby") is not None and RUBY_SDK.is_dir()

    def command(self, folder: Path) -> list[str]:
        """Return the beginning of the commands of its worker and its sender. A compiled one is put into ``folder``."""
        match self.language:
            case "python":
                return [str(PYTHON), "-m", f"tests.clients.libraries.{self.name}_worker"]
            case "node":
                return ["node", str(HERE / "node" / f"{self.name}_worker.mjs")]
            case "go":
                program, source = folder / "worker", HERE / "go" / "worker.go"
                environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GO_PATH)}
                subprocess.run(["go", "build", "-o", str(program), str(source)], env=environment, check=True)
                return [str(program)]
            case "php":
                return ["php", str(HERE / "php" / f"{self.name}.php")]
            case _:
                return ["ruby", str(HERE / "ruby" / "worker.rb")]


LIBRARIES = (
    Library("aioboto3"),
    Library("boto3"),
    Library("powertools"),
    Library("dramatiq", dead_letters="work_dlq"),
    Library("taskiq", dead_letters=""),  # its middleware sends a failed task again as a new message
    Library("sqs_workers", survives=False),
    Library("kombu", delays=False),
    Library("django_q", delays=False),
    Library("sqs_consumer", "node"),  # with sqs-producer as sender
    Library("squiss", "node"),
    Library("sdk_v3", "node"),
    Library("sdk_v2", "node"),
    Library("go", "go"),
    Library("async_aws", "php"),
    Library("messenger", "php", survives=False),
    Library("ruby", "ruby"),
)


class Workshop:
    """A broker, a worker of a library, and the notes of its tasks."""

    def __init__(self, folder: Path, library: Library) -> None:
        self.library = library
        self._command = library.command(folder)
        self.broker = RunningBroker(folder / "data")
        self._log = folder / "worker.log"
        self._notes = folder / "notes"
        self._notes.touch()
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WORKER_NOTES": str(self._notes),
            "AWS_ENDPOINT_URL_SQS": self.broker.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.call = Boto(self.broker.url)
        self.call("CreateQueue", QueueName="dead")
        self.call("CreateQueue", QueueName="work", Attributes={"VisibilityTimeout": "2", **redrive("dead", 3)})
        self.worker = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command, "work"], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def send(self, word: str, *more: str) -> None:
        command = [*self._command, "send", word, *more]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done.stderr

    def wait_for(self, line: str, times: int = 1) -> None:
        end = time.monotonic() + PATIENCE_S
        while self._notes.read_text().splitlines().count(line) < times:
            assert time.monotonic() < end, f"{self._notes.read_text()}\n{self._log.read_text()[-4000:]}"
            if not self.library.survives and self.worker.poll() is not None:
                self.worker = self._start()
            time.sleep(0.05)

    def wait_for_dead_letter(self) -> None:
        end = time.monotonic() + PATIENCE_S
        url = f"{self.broker.url}/000000000000/{self.library.dead_letters}"
        while not self.call("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=1):
            assert time.monotonic() < end, f"{self._notes.read_text()}\n{self._log.read_text()[-4000:]}"

    def end_worker(self, sign: signal.Signals) -> None:
        os.killpg(self.worker.pid, sign)
        if sign == signal.SIGTERM:
            try:
                self.worker.wait(5)
            except subprocess.TimeoutExpired:  # it waits for its task, as it should
                os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait(PATIENCE_S)

    def replace_worker(self) -> None:
        self.worker = self._start()

    def restart_broker(self, sign: signal.Signals) -> None:
        self.broker = self.broker.restarted(sign, outage_s=3)  # which is longer than the retries of the SDK

    def close(self) -> None:
        if self.worker.poll() is None:
            os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait(PATIENCE_S)
        self.broker.kill()


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def workshop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workshop]:
    if not request.param.is_installed:
        pytest.skip(f"{request.param.name} is not installed: make clients, or .ci/run for the packages of Debian")
    workshop = Workshop(tmp_path, request.param)
    try:
        yield workshop
    finally:
        workshop.close()


def test_tasks_run_and_failed_ones_run_again(workshop: Workshop) -> None:
    workshop.send("first")
    workshop.wait_for("ends first")
    if workshop.library.delays:
        workshop.send("late", "2")
    workshop.send("once")
    workshop.wait_for("ends once")
    workshop.wait_for("begins once", times=2)
    if workshop.library.delays:
        workshop.wait_for("ends late")
    if workshop.library.dead_letters:
        workshop.send("bad")
        workshop.wait_for_dead_letter()
    workshop.send("last")
    workshop.wait_for("ends last")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=lambda sign: sign.name)
def test_a_task_outlives_its_worker(workshop: Workshop, sign: signal.Signals) -> None:
    workshop.send("slow")
    workshop.wait_for("begins slow")
    workshop.end_worker(sign)
    workshop.replace_worker()
    workshop.wait_for("ends slow")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=lambda sign: sign.name)
def test_workers_go_on_after_a_restart_of_the_broker(workshop: Workshop, sign: signal.Signals) -> None:
    workshop.send("before")
    workshop.wait_for("ends before")
    workshop.restart_broker(sign)
    workshop.send("after")
    workshop.wait_for("ends after")
    if workshop.library.survives:
        assert workshop.worker.poll() is None, "the same worker"


@pytest.mark.parametrize(
    "workshop", [each for each in LIBRARIES if not each.survives], ids=lambda library: library.name, indirect=True
)
def test_workers_that_end_without_a_broker(workshop: Workshop) -> None:
    """docs/SQS_CLIENTS.md says of them to run them under a supervisor."""
    workshop.send("before")
    workshop.wait_for("ends before")
    workshop.broker.kill()
    eventually(lambda: workshop.worker.poll() is not None, "the worker ends")
