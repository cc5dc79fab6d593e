"""`wonderq demo` is the end-to-end test: real files, real processes, a consumer and the broker killed on the way."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import clean_environment
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.sync import Client
from wonderq.demo.consumer import Result
from wonderq.demo.run import Tally, Total, command_name, find_sources

FILES = 300
DEMO = [sys.executable, "-m", "wonderq", "demo", "--files", str(FILES)]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose temporary folder shows what was left behind, on disk and in the process list."""
    yield clean_environment({"TMPDIR": str(tmp_path), "WONDERQ_DATA": "/proc/not-used", "WONDERQ_CREATE_QUEUES": "off"})
    assert find_processes(tmp_path) == []


def find_processes(folder: Path) -> list[int]:
    """Processes that were started with this temporary folder."""
    mark = f"TMPDIR={folder}".encode()
    found = []
    for each in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = each.read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or not ours
        if mark in variables:
            found.append(int(each.parent.name))
    return found


def expected_totals() -> tuple[int, int, str]:
    """The direct count, once more and in another way than the demo's own."""
    digest, lines = hashlib.sha256(), 0
    sources = find_sources(FILES)
    for source in sources:
        data = Path(source).read_bytes()
        count = len(data.split(b"\n")) - 1
        lines += count
        digest.update(f"{source}\0{count}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return len(sources), lines, digest.hexdigest()


@pytest.mark.slow
def test_the_totals_are_equal_after_both_kills_and_the_log_has_every_result(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*DEMO, "--keep"], capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "KILLED consumer 2 with SIGKILL" in done.stdout
    assert "KILLED the broker with SIGKILL" in done.stdout
    assert "The broker is back" in done.stdout
    assert "EQUAL: nothing was lost." in done.stdout
    files, lines, digest = expected_totals()
    for name in ("through the broker", "counted directly"):
        assert re.search(rf"{name} +{files:,} +{lines:,} +{digest[:32]}\n", done.stdout)
    assert "\x1b" not in done.stdout, "nothing is redrawn where nobody watches"

    [folder] = tmp_path.iterdir()
    assert f"The folder was kept: {folder}\n" in done.stdout
    verified = subprocess.run(
        [sys.executable, "-m", "wonderq", "folder", "verify", folder / "data"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE_S,
        check=False,
    )
    assert verified.returncode == 0
    counts = {line.split()[0]: line.split()[1:4] for line in verified.stdout.splitlines() if line.strip()}
    assert counts["files"] == ["0", "0", "0"]
    assert int(counts["results"][0]) >= FILES
    assert not re.search(r"Traceback|CRITICAL|ERROR", (folder / "processes.log").read_text())


@pytest.mark.slow
def test_on_a_terminal_the_state_is_redrawn(environment: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    screen: list[bytes] = []

    def watch() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # how a terminal says that nobody has it open any more
                return
            screen.append(data)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        process = subprocess.Popen(
            DEMO, stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "COLUMNS": "100", "LINES": "30"}
        )
        os.close(theirs)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        watcher.join()
        os.close(ours)
    text = b"".join(screen).decode()
    assert text.count("\x1b[J") > 10
    assert re.search(r"waiting +█+░* +\d+", text)
    assert re.search(r"consumer 2 +\d+ files +\(KILLED\)", text)
    assert "broker          KILLED; starting again" in text
    _, equal, rest = text.partition("EQUAL: nothing was lost.\x1b[0m")
    assert equal
    assert [line.split("  ")[1] for line in rest.splitlines() if line.startswith("  ")] == [
        f"{sys.executable} -m wonderq {words}" for words in ("demo --stay", "serve", "send hello")
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_its_processes(number: signal.Signals, environment: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "consumers work" in line:
                    break
            # Itself, a broker, three consumers.
            eventually(lambda: len(find_processes(tmp_path)) >= 5, "all processes to start")
            process.send_signal(number)
            _, error = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert error == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_stays_with_a_dashboard_until_ctrl_c(environment: dict[str, str], tmp_path: Path) -> None:
    command = [*DEMO, "--stay"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "Ctrl-C ends the broker." in line:
                    break
            [address] = re.findall(r"queues of a small shop: (http://\S+)/ui\n", "".join(lines))
            with urllib.request.urlopen(f"{address}/ui", timeout=PATIENCE_S) as page:
                assert page.status == 200
            with Client(address) as client:
                before = client.queue("orders").info().newest_id
                assert {"orders", "mails", "mails-dead", "pictures"} <= {each.name for each in client.queues()}
                eventually(lambda: client.queue("orders").info().newest_id != before, "more orders come")
                assert {each.last_error.type for each in client.queue("mails-dead").look() if each.last_error} > {
                    "KeyError"
                }
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert (process.returncode, error) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_sources_are_the_standard_library_and_nothing_else() -> None:
    sources = find_sources(None)
    assert len(sources) == len(set(sources)) > 100
    assert json.__file__ in sources
    assert pytest.__file__ not in sources
    picked = find_sources(100)
    assert len(set(picked)) == 100
    assert set(picked) <= set(sources)


def result(path: str, receive_count: int = 1, *, lines: int = 1) -> Result:
    return Result(path, lines, "digest", 1, receive_count)


def test_a_tally_knows_why_a_file_was_done_twice() -> None:
    tally = Tally.of(
        [
            result("once"),
            result("late", receive_count=3),
            result("expired"),
            result("expired", receive_count=2),
        ]
    )
    assert Total.of(tally.first).files == 3
    assert (tally.claim_expired, tally.given_again, tally.problems) == (1, 2, [])


def test_a_tally_takes_no_other_excuse() -> None:
    assert Tally.of([result("a"), result("a")]).problems == ["a was counted 2 times under one claim"]
    assert Tally.of([result("a"), result("a", 2, lines=9)]).problems == ["a has different results"]


def test_totals_differ_when_anything_does() -> None:
    totals = {
        Total.of(results)
        for results in (
            [result("a"), result("b")],
            [result("a")],
            [result("a"), result("c")],
            [result("a"), result("b", lines=2)],
            [result("a"), Result("b", 1, "other")],
        )
    }
    assert len(totals) == 5
    assert Total.of([result("b"), result("a")]) in totals


def test_the_next_steps_name_the_command_as_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / ".venv" / "bin" / "wonderq"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_name(".venv/bin/wonderq") == ".venv/bin/wonderq"
    assert command_name(str(program)) == ".venv/bin/wonderq"
    monkeypatch.setenv("PATH", str(program.parent))
    assert command_name(str(program)) == "wonderq"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_name(str(program)) == str(program)
