from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

from tests.support.broker_process import RunningBroker
from tests.support.commands import COMMAND, Wonderq, clean_environment, read_lines, run, started
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S


def bodies(client: QueueClient) -> list[str]:
    return [message["message"] for message in client.messages()]


def test_arguments_become_messages_and_their_ids_are_printed(wonderq: Wonderq, client: QueueClient) -> None:
    done = wonderq("send", "one", "", "größer", "--", "--four")
    assert (done.code, done.error) == (0, "")
    assert bodies(client) == ["one", "", "größer", "--four"]
    assert done.lines == [message["id"] for message in client.messages()]


def test_each_line_is_a_message_also_an_empty_one_and_a_last_one_without_newline(
    wonderq: Wonderq, client: QueueClient
) -> None:
    done = wonderq("send", stdin="a\n\n ä b \r\n\t\nlast".encode())
    assert (done.code, done.error, len(done.lines)) == (0, "", 5)
    assert bodies(client) == ["a", "", " ä b \r", "\t", "last"]


def test_pipes(wonderq: Wonderq, client: QueueClient) -> None:
    command, address = " ".join(COMMAND), f"--url {wonderq.url} --queue {wonderq.queue}"
    for script, left in (
        (f"seq 3000 | {command} send --quiet {address}", 3000),
        (f"seq 5 | {command} send {address} | {command} delete {address}", 3000),
        (f"{command} receive --max 1000 {address} | head -600 | {command} delete {address}", 2400),
        (f"{command} receive --delete --max 3000 {address} | {command} send --quiet {address}", 2400),
    ):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            capture_output=True,
            env=clean_environment(),
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.stdout, done.stderr) == (b"", b""), script
        assert len(bodies(client)) == left, script


def test_no_input_is_no_message(wonderq: Wonderq, client: QueueClient) -> None:
    assert wonderq("send", stdin=b"").code == 0
    assert bodies(client) == []


def test_json_prints_objects_and_quiet_nothing(wonderq: Wonderq, client: QueueClient) -> None:
    done = wonderq("send", "--json", stdin=b'"x"\ny\n')
    ids = [message["id"] for message in client.messages()]
    assert [json.loads(line) for line in done.lines] == [
        {"id": ids[0], "queue": client.queue, "message": '"x"'},
        {"id": ids[1], "queue": client.queue, "message": "y"},
    ]
    assert wonderq("send", "--quiet", "z").out == b""
    assert len(bodies(client)) == 3


def test_delay_hides_the_messages(wonderq: Wonderq, client: QueueClient) -> None:
    assert wonderq("send", "--delay", "300.5", "later").code == 0
    assert client.count("delayed") == 1
    assert client.consume() == []


def test_many_lines_arrive_in_order(wonderq: Wonderq, client: QueueClient) -> None:
    lines = [f"{number} {'x' * (number % 500)}" for number in range(12_345)]
    done = wonderq("send", stdin="\n".join(lines).encode())
    assert (done.code, done.error) == (0, "")
    assert bodies(client) == lines
    assert len(set(done.lines)) == len(lines)


def test_what_is_there_is_sent_without_waiting_for_more(wonderq: Wonderq, client: QueueClient) -> None:
    with wonderq.running("send") as process:
        assert process.stdin is not None
        for text in ("one", "two"):
            process.stdin.write(f"{text}\n".encode())
            read_lines(process, 1)
            assert bodies(client)[-1] == text
        process.stdin.write(b"half a li")
        process.stdin.write(b"ne\n")
        read_lines(process, 1)
        assert bodies(client) == ["one", "two", "half a line"]
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


def test_input_that_is_not_utf_8_is_refused_with_its_batch(wonderq: Wonderq, client: QueueClient) -> None:
    done = wonderq("send", stdin=b"good\n" * 1001 + b"ba\xffd\ngood\n")
    assert done.code == 1
    assert len(bodies(client)) == len(done.lines) == 1000
    assert done.error == (
        "wonderq: line 1002 is not UTF-8 (at byte 3). Send it as text. "
        "Lines 1 to 1000 were sent, and nothing after that.\n"
    )
    done = wonderq("send", "fine", b"\xff")
    assert done.code == 1
    assert "message 2 is not UTF-8" in done.error
    assert "Nothing was sent" in done.error
    assert len(bodies(client)) == 1000


def test_the_longest_message_fits_and_a_longer_one_is_refused_by_line(wonderq: Wonderq, client: QueueClient) -> None:
    assert wonderq("send", stdin=b"x" * (1 << 20) + b"\n" + b"y" * (1 << 20)).code == 0
    assert [len(body) for body in bodies(client)] == [1 << 20, 1 << 20]
    done = wonderq("send", stdin=b"short\n" + b"x" * ((1 << 20) + 1) + b"\nshort\n")
    assert done.code == 1
    assert "1048577" in done.error
    assert "1048576" in done.error
    assert "Line 1 was sent, and nothing after that" in done.error
    assert bodies(client)[2:] == ["short"]


def test_endless_input_without_a_newline_is_refused(wonderq: Wonderq) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        done = subprocess.run(
            [*COMMAND, "send", "--url", wonderq.url],
            stdin=zeros,
            capture_output=True,
            env=clean_environment(),
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 1
    assert b"line 1 has more than 16777216 bytes" in done.stderr


def test_a_refusal_says_that_nothing_was_sent(wonderq: Wonderq) -> None:
    done = run("send", "--url", wonderq.url, "--queue", "no such name", "x")
    assert done.code == 1
    assert done.error.startswith("wonderq: The queue name is invalid. Use 1 to 80 of")
    assert done.error.endswith("Nothing was sent.\n")


def test_a_broker_that_goes_away_in_between(tmp_path: Path) -> None:
    with RunningBroker(tmp_path / "data") as broker, started("send", "--url", broker.url) as process:
        assert process.stdin is not None
        process.stdin.write(b"1\n2\n3\n")
        read_lines(process, 3)
        broker.kill()
        process.stdin.write(b"4\n5\n")
        _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert b"Lines 1 to 3 were sent, and it is unknown whether lines 4 to 5 were." in error
    assert b"wonderq serve" in error


def test_progress_is_for_a_terminal_only(wonderq: Wonderq) -> None:
    ours, theirs = pty.openpty()
    try:
        with wonderq.running("send", "--quiet", stderr=theirs) as process:
            process.communicate(b"a\nb\n", timeout=PATIENCE_S)
        shown = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0
    assert "2 sent, " in shown
    assert "/s" in shown
    assert wonderq("send", "--quiet", stdin=b"a\nb\n").error == ""
