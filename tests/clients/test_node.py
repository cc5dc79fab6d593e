"""Messages as the AWS SDK for JavaScript and sqs-consumer see them. test_libraries.py restarts and kills them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S

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
