"""docs/TASKS.md: its first section as a newcomer follows it, with processes of its commands, and the code of the others."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.commands import COMMAND
from tests.support.pages import DOCS, blocks_of, commands_of, run_section
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.sync import Client
from wonderq.tasks.app import App
from wonderq.testing import Broker

PAGE = "TASKS.md"

SECTIONS = {
    "First worker in ten minutes": "test_first_worker_in_ten_minutes",
    "Apps": "test_apps",
    "Tasks": "test_tasks",
    "Sending": "test_sending",
    "In a task": "test_in_a_task",
    "Schedules": "test_schedules",
    "Topics": "test_topics",
    "Middleware": "test_middleware",
    "Plain messages": "test_plain_messages",
}


def test_each_section_has_a_test() -> None:
    assert blocks_of(PAGE).keys() == SECTIONS.keys()
    assert all(name in globals() for name in SECTIONS.values())


class Newcomer:
    """Somebody who follows the first section in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "worker.log"

    def write(self, name: str, *blocks: str) -> None:
        """Write a file."""
        (self._folder / name).write_text("\n\n".join(blocks))

    def python(self, *arguments: str) -> str:
        """Run Python, and return its output."""
        command = [sys.executable, *arguments]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, line: str) -> str:
        """Run a command of the page, and return its output."""
        return self.python("-m", "wonderq", *shlex.split(line)[1:])

    @contextmanager
    def worker(self, line: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker until the block ends."""
        with self._log.open("wb") as log:
            process = subprocess.Popen([*COMMAND, *shlex.split(line)[1:]], cwd=self._folder, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE_S)

    def see(self, text: str, times: int = 1) -> None:
        """Wait until the worker has printed or logged a text so often."""
        eventually(lambda: self._log.read_text().count(text) >= times, f"{text!r} in the output of the worker")


@pytest.mark.slow
def test_first_worker_in_ten_minutes(running: Broker, client: Client, tmp_path: Path) -> None:
    tasks, send, failing, send_failing, schedule, tests = blocks_of(PAGE)["First worker in ten minutes"]
    install, serve, worker, peek, redrive, list_schedules = commands_of(PAGE, "First worker in ten minutes")
    assert install == "pip install wonderq"
    assert serve.startswith("wonderq serve ")  # `running` is that broker
    newcomer = Newcomer(tmp_path)
    newcomer.write("tasks.py", tasks)
    with newcomer.worker(worker) as process:
        assert newcomer.python("-c", send).startswith("sent ")
        newcomer.see("resized cat.png 400\n")

        newcomer.write("tasks.py", tasks, failing)
        newcomer.see("started: ", times=2)
        newcomer.python("-c", send_failing)
        newcomer.see("OSError: no answer from http://example.org")
        eventually(lambda: any(each.name == "jobs-dead" and each.counts["unprocessed"] for each in client.queues()))
        error = json.loads(newcomer.run(peek))["last_error"]
        assert (error["type"], error["message"]) == ("OSError", "no answer from http://example.org")
        assert "in fetch" in error["traceback"]
        assert (error["attempt"], error["at"][:2]) == (3, "20")

        newcomer.write("tasks.py", tasks, failing.replace("raise OSError(", "print("), schedule)
        newcomer.see("started: ", times=3)
        newcomer.run(redrive)
        newcomer.see("no answer from http://example.org\n", times=4)
        assert "jobs-nightly" in newcomer.run(list_schedules)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    newcomer.write("tasks.py", tasks, failing, schedule)
    newcomer.write("test_tasks.py", tests)
    assert "3 passed" in newcomer.python("-m", "pytest", "-p", "wonderq.pytest_plugin")


def test_apps(running: Broker) -> None:
    app = run_section(PAGE, "Apps")["app"]
    assert (app.queue, app.name, app.client.url) == ("mail", "shop", running.url)


def test_tasks(running: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_section(PAGE, "Tasks")
    page["deliver"].send(page["Mail"]("ann"))
    page["digest"].send(["bob"])
    assert page["app"].run_until_empty() == 2
    assert capsys.readouterr().out == "to ann\ndigest bob 1\n"
    with pytest.raises(TypeError):
        page["deliver"].send({"to": 1})


def test_sending(running: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_section(PAGE, "Sending")
    first, second = capsys.readouterr().out.strip("[]\n").split(", ")
    assert first != second
    asyncio.run(page["from_an_event_loop"]())
    assert (page["sent"].duplicate, page["later"].duplicate) == (False, False)
    running.advance(60)
    assert page["app"].run_until_empty() == 6
    printed = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert printed[0] == "cat.png", "the one with a priority"
    assert sorted(printed) == ["a.png", "b.png", "c.png", "cat.png", "cat.png", "dog.png"]


def test_in_a_task(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_section(PAGE, "In a task")
    app, queue = page["app"], client.queue("fetches")
    page["fetch"].send("http://example.org")
    assert app.run_until_empty() == 1
    assert capsys.readouterr().out == "part 0\npart 1\npart 2\n"

    page["fetch"].send("ftp://example.org")
    with pytest.raises(page["Dead"]):
        app.run_until_empty()
    [dead] = queue.look(status="buried")
    assert dead.last_error is not None
    assert dead.last_error.message == "ftp://example.org is not an address"

    queue.purge()
    page["fetch"].send("http://busy.example.org")
    with pytest.raises(page["Retry"]):
        app.run_until_empty()
    running.advance(29)
    assert queue.count("delayed") == 1
    running.advance(1)
    assert queue.count("unprocessed") == 1


def test_schedules(running: Broker, client: Client) -> None:
    app: App = run_section(PAGE, "Schedules")["app"]
    app.run_until_empty()
    client.put_schedule("accounts-nightly", paused=True)
    client.put_schedule("of-others", cron="0 4 * * *", queue="reports", body="x")
    app.run_until_empty()
    found = client.get_schedule("accounts-nightly")
    assert (found.cron, found.timezone, found.missed) == ("30 4 * * *", "Europe/Vienna", "once")
    assert found.paused

    client.put_schedule("accounts-nightly", paused=False)
    running.advance(48 * 3600)
    texts = [each.body["task"] for each in client.queue("reports").receive() if each.content_type]
    assert set(texts) == {"nightly"}
    client.queue("reports").purge()

    App(queue="reports", name="accounts").run_until_empty()
    assert [each.name for each in client.schedules()] == ["of-others"]


def test_topics(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    app: App = run_section(PAGE, "Topics")["app"]
    app.prepare()
    topic = client.topic("orders")
    topic.publish('{"number": 7, "amount": 9.5}', attributes={"kind": "paid"})
    topic.publish('{"number": 8, "amount": 1.0}', attributes={"kind": "open"})
    app.run_until_empty()
    printed = capsys.readouterr().out.splitlines()
    assert sorted(printed) == [
        "7 9.5 {'kind': 'paid'}",
        '{"number": 7, "amount": 9.5}',
        '{"number": 8, "amount": 1.0}',
    ]
    subscriptions = {each.name: (each.queue, each.when_full) for each in topic.subscriptions()}
    assert subscriptions == {"shop-invoice": ("shop-invoice", "fail"), "shop-audit": ("shop-audit", "skip")}


def test_middleware(running: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_section(PAGE, "Middleware")
    app: App = page["app"]
    page["greet"].send("ann")
    app.run_until_empty()
    assert capsys.readouterr().out == "begin greet\nhello ann\nend greet\n"

    @app.task
    def fail() -> None:
        raise OSError("no")

    fail.send()
    with pytest.raises(OSError, match="no"):
        app.run_until_empty()
    assert capsys.readouterr().out == "begin fail\nfailed fail no\n"


def test_plain_messages(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_section(PAGE, "Plain messages")
    client.queue("uploads").send({"file": "a"})
    client.queue("urgent").send("hurry")
    call = Call(page["worker"].run)
    eventually(lambda: not any(any(each.counts.values()) for each in client.queues()))
    page["worker"].stop()
    call.result()
    page["client"].close()
    assert sorted(capsys.readouterr().out.splitlines()) == ["forward hurry", "store {'file': 'a'}"]


def test_messages_from_other_languages(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / PAGE).read_text(encoding="utf-8").partition("## Messages from other languages")[2]
    [text] = re.findall(r"^    (\{.*\})$", page, re.MULTILINE)
    [curl] = re.findall(r"^    curl (.*)$", page, re.MULTILINE)
    _, header, _, body, url = shlex.split(curl)
    assert header == "Content-Type: application/json"
    client.queue("jobs").send(text)
    client.call("POST", urlsplit(url).path, Any, json.loads(body))

    app: App = run_section(PAGE, "Sending")["app"]
    capsys.readouterr()
    assert app.worker(queues=["jobs"]).run_until_empty() == 2
    assert capsys.readouterr().out == "resized cat.png 400\nresized cat.png 200\n"
