"""Type checkers accept a user's project with all that `wonderq` offers, and find its mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S

PROJECT = """
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dramatiq
from wonderq import (
    App, AsyncClient, Client, Context, Dead, Invalid, Message, Refused, Retry, Sent, TooMany, Unreachable, Worker,
    WonderQError,
)
from wonderq.dramatiq import WonderQBroker
from wonderq.testing import Broker, broker

tasks = WonderQBroker("http://127.0.0.1:7979", lease=30)
dramatiq.set_broker(tasks)


def send(client: Client) -> Sent:
    return client.queue("jobs").send("work", delay=60)


@dataclass
class Mail:
    to: str


def work(client: Client) -> list[Message]:
    queue = client.queue("jobs")
    queue.configure(visibility_timeout=60, dead_letter_queue="dead")
    try:
        queue.send(Mail("a@b"), priority=9, attributes={"tenant": 7})
        queue.send_together(["a", ({"b": 1}, {"group": "g"})])
    except TooMany as error:
        print(error.retry_after)
    except Unreachable as error:
        print(error.outcome_unknown)
    for message in queue.receive(limit=10, wait=20):
        mail: Mail = message.json_as(Mail)
        print(mail.to, message.tries, message.attributes["tenant"])
        message.release(delay=5, error=ValueError("busy"))
    with queue.one(wait=20) as one:
        if one is not None:
            one.renew(60)
    found = client.next({"urgent": 3, "jobs": 1}, delete=queue.receive(), wait=20)
    refused: list[Refused] = found.results.errors
    print(refused, found.claim_error)
    return found.messages


async def work_in_tasks(client: AsyncClient) -> None:
    async with aclosing(client.queue("jobs").messages(concurrency=4)) as messages:
        async for message in messages:
            await message.delete()


app = App(queue="jobs")


@app.task(retries=5, backoff=(1, 600), timeout=60)
def resize(path: str, width: int = 200) -> None:
    print("resized", path, width)


@app.task(queue="reports", lease=30, dead_letters="reports-dead")
async def report(context: Context, day: str) -> None:
    context.check()
    if context.tries > 3:
        raise Dead("no such day")
    raise Retry(delay=30)


@app.task
def thumbnail(path: str, context: Context | None = None) -> None:
    print(path, context)


@app.task
async def cleanup(context: Context, days: int) -> None:
    print(context.id, days)


@app.task
def store(value: Any, path: str) -> None:
    print(value, path)


@app.task(retries=1)
def store_twice(value: object) -> None:
    print(value, value)


@app.every("30 4 * * *", timezone="Europe/Vienna")
def nightly() -> None:
    sent: Sent = resize.send("cat.png", width=400)
    print(sent.id, sent.duplicate)


def send_tasks(paths: list[str]) -> None:
    try:
        resize.options(delay=60, priority=9, group="tenant-7", key="cat@400").send("cat.png", width=400)
        report.send("2026-01-01")
        thumbnail.send("cat.png")
        thumbnail.options(delay=60).send(path="cat.png")
        cleanup.send(days=7)
        store.send(7, "a.png")
        store.send(value=7, path="a.png")
        store_twice.send(7)
        with app.batch():
            for path in paths:
                resize.send(path)
    except Invalid as error:
        print(error.field)
    except WonderQError as error:
        print(error)


async def send_from_coroutine() -> Sent:
    return await resize.asend("cat.png")


def handle(message: Message) -> None:
    print(message.text, message.claimed_until)
    message.dead("reason")


def serve(client: Client) -> None:
    Worker(client, {"mail": handle}, concurrency=4, lease=30, retries=5).run()


def test_work(wonderq_broker: Broker, wonderq_client: Client) -> None:
    send(wonderq_client)
    wonderq_broker.advance(60)
    now: datetime = wonderq_broker.now
    print(now, wonderq_broker.url)


with broker() as running:
    send(running.client(retries=0))
"""

#: Each is an error of both type checkers.
MISTAKES = (
    'Client().queue("jobs").send("a", prioritty="high")',
    'Client().queue("jobs").send("a", priority="high")',
    'Client().queue("jobs").configure(visibility="long")',
    'Client().queue("jobs").receive()[0].text = "b"',
    "Client(retrys=5)",
    'resize.send("cat.png", wide=400)',
    "resize.send(7)",
    'resize.options(prioritty="high").send("cat.png")',
    'report.send("2026-01-01", "2026-01-02")',
    'cleanup.send("7")',
    "thumbnail.send(wide=7)",
    "app.task(retrys=5)",
    'app.task("jobs")',
    "app.every(resize)",
    'app.every("0 0 * * *", zone="UTC")',
    'Worker(Client(), {"mail": 7})',
    'running.advance("60")',
    "running.now + 1",
    'WonderQBroker(lease="long")',
    "tasks.flush(1)",
)

CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-incremental"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}


def check(checker: str, folder: Path, source: str) -> tuple[int, str]:
    (folder / "project.py").write_text(source)
    command = [sys.executable, *CHECKERS[checker], "project.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=5 * PATIENCE_S)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_project_is_clean_and_its_mistakes_are_found(checker: str, tmp_path: Path) -> None:
    pytest.importorskip(checker)
    status, output = check(checker, tmp_path, PROJECT)
    assert status == 0, output
    status, output = check(checker, tmp_path, PROJECT + "\n".join(MISTAKES) + "\n")
    first = PROJECT.count("\n") + 1
    missed = [each for number, each in enumerate(MISTAKES, first) if f"project.py:{number}:" not in output]
    assert status, output
    assert missed == [], output
