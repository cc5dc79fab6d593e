from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker_process import RunningBroker
from tests.support.commands import run
from tests.support.queue_client import QueueClient
from wonderq.terminal import human_bytes, human_seconds


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with known contents."""
    folder: Path = tmp_path_factory.mktemp("stats")
    with RunningBroker(folder / "data") as broker:
        with QueueClient(broker.url, queue="a-long-name") as client:
            client.produce_batch(["x" * 1000] * 1000)
            client.produce_batch(["x" * 1000] * 500)
            client.consume(limit=2)
            client.produce("later", delay=1000)
        yield broker.url


def test_table(url: str) -> None:
    done = run("queue", "list", "--url", url)
    assert (done.code, done.error) == (0, "")
    heading, first, second = done.lines
    assert heading.split() == ["QUEUE", "UNPROCESSED", "PROCESSING", "DELAYED", "BURIED", "SIZE", "OLDEST"]
    name, unprocessed, processing, delayed, _buried, size, unit, _age, seconds = first.split()
    assert (name, unprocessed, processing, delayed) == ("a-long-name", "1,498", "2", "1")
    assert (float(size), unit) == (1.4, "MiB")
    assert seconds in ("s", "min")
    assert second.split() == ["default", "0", "0", "0", "0", "0", "B", "-"]
    for number, title in ((unprocessed, "UNPROCESSED"), (processing, "PROCESSING"), (delayed, "DELAYED")):
        end = heading.index(title) + len(title)
        assert first[:end].endswith(f" {number}"), "numbers stand under the end of their title"


def test_json_is_one_object_a_line(url: str) -> None:
    queues = [json.loads(line) for line in run("queue", "list", "--url", url, "--json").lines]
    assert [queue["queue"] for queue in queues] == ["a-long-name", "default"]
    assert queues[0]["counts"] == {"unprocessed": 1498, "processing": 2, "delayed": 1, "buried": 0}


def test_queues_with_a_prefix(url: str) -> None:
    done = run("queue", "list", "--prefix", "a-", "--url", url)
    assert [line.split()[0] for line in done.lines] == ["QUEUE", "a-long-name"]
    assert run("queue", "list", "--prefix", "b", "--json", "--url", url).lines == []


def test_all_pages_of_queues(url: str) -> None:
    with QueueClient(url) as client:
        assert [each["queue"] for each in client.queues(page=1)] == ["a-long-name", "default"]
        assert [each["queue"] for each in client.queues(prefix="d", page=1)] == ["default"]


def test_one_queue(url: str) -> None:
    done = run("queue", "show", "default", "--json", environment={"WONDERQ_URL": url})
    assert json.loads(done.out)["queue"] == "default"
    assert run("queue", "show", "nope", "--url", url).code == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 40, "3.0 TiB"),
        (2000 << 40, "2000.0 TiB"),
    ],
)
def test_human_bytes(size: int, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_human_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text
