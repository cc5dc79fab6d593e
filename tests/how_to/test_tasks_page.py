"""docs/TASKS.md: the code of its sections."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.pages import DOCS, blocks_of, run_section
from tests.support.threads import Call
from tests.support.waiting import eventually
from wonderq.client.sync import Client
from wonderq.tasks.app import App
from wonderq.testing import Broker

PAGE = "TASKS.md"

SECTIONS = {
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
