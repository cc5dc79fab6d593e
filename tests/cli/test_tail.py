from __future__ import annotations

import json
import select

import pytest

from tests.support.commands import Wonderq, interrupt, read_lines
from tests.support.queue_client import QueueClient


def test_from_the_start_and_on_without_touching_anything(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce_batch([str(number) for number in range(250)])
    with wonderq.running("tail", "--from-start") as process:
        assert read_lines(process, 250) == [str(number) for number in range(250)]
        client.produce("more")
        assert read_lines(process, 1) == ["more"]
        assert interrupt(process) == (130, "")
    assert client.count("unprocessed") == 251
    assert all(message["receive_count"] == 0 for message in client.messages())


@pytest.mark.parametrize("old", [0, 3])
def test_without_it_only_what_comes_from_now_on(wonderq: Wonderq, client: QueueClient, old: int) -> None:
    for _ in range(old):
        client.produce("old")
    with wonderq.running("tail", "--json") as process:
        # The start of tail is not visible from outside, so produce until it prints something.
        seen: list[str] = []
        for number in range(100):
            client.produce(f"new {number}")
            if process.stdout is not None and _is_readable(process.stdout.fileno()):
                seen = read_lines(process, 1)
                break
        message = json.loads(seen[0])
        assert message["message"].startswith("new ")
        assert message["status"] == "unprocessed"
        code, error = interrupt(process)
        assert (code, error) == (130, "")


def _is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0.3)[0])


def test_a_message_that_was_deleted_meanwhile_does_not_stop_it(wonderq: Wonderq, client: QueueClient) -> None:
    with wonderq.running("tail", "--from-start") as process:
        for number in range(3):
            message_id = client.produce(f"message {number}")
            assert read_lines(process, 1) == [f"message {number}"]
            client.delete_batch(ids=[message_id])


def test_a_queue_that_is_not_there_yet_is_waited_for(wonderq: Wonderq, client: QueueClient) -> None:
    with wonderq.running("tail", "--queue", "watched") as process:
        assert process.stderr is not None
        assert b"no queue watched yet" in process.stderr.readline()
        with QueueClient(client.url, queue="watched") as later:
            later.produce_batch(["a", "b"])
        assert read_lines(process, 2) == ["a", "b"]
        assert interrupt(process) == (130, "")
