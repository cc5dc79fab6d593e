from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import COMMAND, Wonderq, clean_environment, interrupt, read_lines
from tests.support.needs import needs_path
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S, eventually


def test_nothing_is_exit_code_4_and_no_output(wonderq: Wonderq) -> None:
    for arguments in ((), ("--wait", "0.2"), ("--json", "--delete")):
        done = wonderq("receive", *arguments)
        assert (done.code, done.out, done.error) == (4, b"", "")


def test_without_delete_the_receipt_stands_before_the_body(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce_batch(["a", "b\tc", ""])
    done = wonderq("receive")
    assert (done.code, done.error) == (0, "")
    receipts, bodies = zip(*(line.split("\t", 1) for line in done.lines), strict=True)
    assert bodies == ("a", "b\tc", "")
    assert client.count("processing") == 3
    for receipt in receipts:
        client.delete(receipt)
    assert wonderq("receive").code == 4


def test_with_delete_one_body_a_line_and_they_are_gone(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce_batch(["ä", "b"])
    done = wonderq("receive", "--delete")
    assert (done.code, done.out, done.error) == (0, "ä\nb\n".encode(), "")
    assert list(client.messages()) == []


def test_json_prints_message_objects(wonderq: Wonderq, client: QueueClient) -> None:
    [message_id] = client.produce_batch(["two\nlines"])
    [line] = wonderq("receive", "--json", "--visibility-timeout", "100").lines
    message = json.loads(line)
    assert message["id"] == message_id
    assert message["message"] == "two\nlines"
    assert message["receive_count"] == 1
    client.delete(message["receipt"])


def test_max_is_how_many_it_takes(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce_batch([str(number) for number in range(15)])
    assert wonderq("receive", "--delete", "--max", "3").lines == ["0", "1", "2"]
    assert len(wonderq("receive", "--delete").lines) == 10
    assert wonderq("receive", "--delete").lines == ["13", "14"]


def test_max_may_be_more_than_one_request_takes(wonderq: Wonderq, client: QueueClient) -> None:
    for start in range(0, 2500, 500):
        client.produce_batch([str(number) for number in range(start, start + 500)])
    done = wonderq("receive", "--delete", "--max", "2400")
    assert done.lines == [str(number) for number in range(2400)]
    assert client.count("unprocessed") == 100


def test_a_claim_lasts_as_long_as_told(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce("x")
    assert wonderq("receive", "--visibility-timeout", "0.2").code == 0
    eventually(lambda: client.count("unprocessed") == 1)


def test_wait_ends_with_the_first_message(wonderq: Wonderq, client: QueueClient) -> None:
    with wonderq.running("receive", "--delete", "--wait", "600") as process:
        client.produce("x")
        assert read_lines(process, 1) == ["x"]
        assert process.wait(PATIENCE_S) == 0


def test_follow_goes_on_until_ctrl_c(wonderq: Wonderq, client: QueueClient) -> None:
    with wonderq.running("receive", "--delete", "--follow") as process:
        for text in ("one", "two"):
            client.produce(text)
            assert read_lines(process, 1) == [text]
        eventually(lambda: not list(client.messages()))
        assert interrupt(process) == (130, "")


def test_follow_waits_for_a_queue_that_is_not_there_yet(wonderq: Wonderq, client: QueueClient) -> None:
    with wonderq.running("receive", "--delete", "--follow", "--queue", "followed") as process:
        assert process.stderr is not None
        assert b"no queue followed yet" in process.stderr.readline()
        with QueueClient(client.url, queue="followed") as later:
            later.produce("a")
        assert read_lines(process, 1) == ["a"]
        assert interrupt(process) == (130, "")


def test_follow_with_max_ends_after_so_many(wonderq: Wonderq, client: QueueClient) -> None:
    with wonderq.running("receive", "--delete", "--follow", "--max", "2") as process:
        client.produce("one")
        read_lines(process, 1)
        client.produce_batch(["two", "three"])
        assert process.wait(PATIENCE_S) == 0
    assert [message["message"] for message in client.messages()] == ["three"]


@needs_path("/dev/full")
@pytest.mark.parametrize("option", ["--delete", "--json"])
def test_what_cannot_be_printed_is_given_back(wonderq: Wonderq, client: QueueClient, option: str) -> None:
    client.produce("x")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "receive", "--url", wonderq.url, "--queue", wonderq.queue, option],
            stdout=full,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        b"wonderq: standard output cannot be written: No space left on device. Free some space on the disk.\n"
    )
    assert client.count("unprocessed") == 1


@pytest.mark.parametrize("size", [10, 100_000])  # less and more than is buffered
def test_a_closed_pipe_ends_it_quietly_and_loses_nothing(wonderq: Wonderq, client: QueueClient, size: int) -> None:
    body = "x" * size
    with wonderq.running("receive", "--delete", "--follow") as process:
        client.produce_batch(["first"])
        assert read_lines(process, 1) == ["first"]
        assert process.stdout is not None
        process.stdout.close()
        client.produce_batch([body, body])
        assert process.wait(PATIENCE_S) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert [message["message"] for message in client.messages()] == [body, body]
    assert client.count("unprocessed") == 2


def test_head_gets_its_line_and_nobody_complains(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce_batch([f"{number:0100}" for number in range(1000)])
    command = f"{' '.join(COMMAND)} receive --max 1000 --url {wonderq.url} --queue {wonderq.queue} | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, env=clean_environment(), timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\t" + b"0" * 100 + b"\n")


def test_a_queue_that_is_not_there_is_refused(wonderq: Wonderq) -> None:
    wonderq.queue = "not-there"
    done = wonderq("receive")
    assert done.code == 1
    assert "There is no queue named 'not-there'" in done.error


def test_output_is_utf_8_in_any_locale(wonderq: Wonderq, client: QueueClient) -> None:
    client.produce("größer ✓")
    done = subprocess.run(
        [*COMMAND, "receive", "--delete", "--url", wonderq.url, "--queue", wonderq.queue],
        capture_output=True,
        env=clean_environment({"PYTHONIOENCODING": "ascii"}),
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "größer ✓\n".encode())
