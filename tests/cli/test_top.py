"""`wonderq top`: the overview in a terminal."""

from __future__ import annotations

from pathlib import Path

from tests.support.broker_process import RunningBroker
from tests.support.commands import run
from tests.support.queue_client import QueueClient


def test_it_shows_problems_sums_and_the_largest_queues(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker:
        done = run("top", "--url", broker.url)
        assert (done.code, done.error) == (0, "")
        assert "Nothing needs you." in done.lines
        assert done.lines[0].endswith(" 0 dead letters in 1 queue")
        with QueueClient(broker.url, queue="mail") as client:
            client.produce_batch(["x"] * 900)
            client.consume(limit=2)
            client.put_queue(paused=True)
        with QueueClient(broker.url, queue="jobs") as client:
            client.produce_batch(["x"] * 3)
        found: list[str] = []
        while not any(line.startswith("901 waiting, 2 in flight") for line in found):  # the sums are a second old
            found = run("top", "--url", broker.url, "--sort", "unprocessed").lines
        assert "NOTICE   mail is paused: consumers get nothing." in found
        heading, *rows = [line.split() for line in found[found.index("") + 3 :]]
        assert heading == ["QUEUE", "WAITING", "IN", "FLIGHT", "DELAYED", "BURIED", "OLDEST", "IN/S", "DONE/S"]
        assert [row[0] for row in rows] == ["mail", "jobs", "default"]
        assert rows[0][1:4] == ["(paused)", "898", "2"]
        only = run("top", "--url", broker.url, "--prefix", "jo", "--sort", "name", "--once").lines
        assert only[-1].split()[0] == "jobs"
        assert only[-2].startswith("QUEUE")


def test_a_wrong_order_is_told(tmp_path: Path) -> None:
    done = run("top", "--sort", "size", "--url", "http://127.0.0.1:1")
    assert done.code == 2
    assert "unprocessed" in done.error
