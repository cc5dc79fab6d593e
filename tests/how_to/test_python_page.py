"""The code of docs/PYTHON.md does what the page says."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from tests.support.pages import blocks_of, run_section
from tests.support.threads import Call
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.asynchronous import AsyncClient
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue
from wonderq.testing import Broker

PAGE = "PYTHON.md"

SECTIONS = {
    "First steps": "test_first_steps",
    "Messages": "test_messages",
    "Finish messages": "test_finish_messages",
    "Finish and receive in one request": "test_finish_and_receive_in_one_request",
    "Several queues": "test_several_queues",
    "Failures": "test_failures",
    "End a wait": "test_end_a_wait",
    "Several messages at once": "test_several_messages_at_once",
    "Hand over": "test_hand_over",
    "Queues and other administration": "test_administration",
    "Topics": "test_topics",
}


def test_each_section_has_a_test() -> None:
    assert blocks_of(PAGE).keys() == SECTIONS.keys()
    assert all(name in globals() for name in SECTIONS.values())


def statuses(queue: Queue) -> dict[str, int]:
    return {status: count for status, count in queue.info().counts.items() if count}


def test_first_steps(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    mail = client.queue("mail")
    section = Call(run_section, PAGE, "First steps")
    eventually(lambda: any(queue.name == "mail" and queue.counts["delayed"] for queue in client.queues()))
    running.advance(5)
    page = section.result()
    assert capsys.readouterr().out == "a@example.org 1\n"
    assert statuses(mail) == {}

    mail.send({"to": "b@example.org"})
    asyncio.run(page["deliver_one"]())
    assert capsys.readouterr().out == "b@example.org\n"
    assert statuses(mail) == {}


def test_messages(running: Broker, client: Client) -> None:
    page = run_section(PAGE, "Messages")
    page["send_some"](client)
    page["send_some"](client)
    mail = client.queue("mail")
    received = mail.receive(100)
    assert [each.body for each in received[:2]] == ["plain text", "plain text"], "first by their priority"
    images = [each for each in received if each.body == b"bytes"]
    assert [each.attributes for each in images] == [{"kind": "image", "pages": 3}] * 2
    [order] = [each for each in received if each.key == "order-17"]
    assert order.json_as(page["Mail"]) == page["Mail"]("a@example.org")
    assert statuses(mail) == {"processing": 7, "delayed": 4}


def test_finish_messages(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    worked: list[str] = []
    page = run_section(PAGE, "Finish messages", work=worked.append)
    queue = client.queue("jobs")
    queue.send("a")
    page["work_once"](queue)
    assert (worked, statuses(queue)) == (["a"], {})

    def fail(_: str) -> None:
        raise OSError("no")

    page["work"] = fail
    queue.send("b")
    with pytest.raises(OSError, match="no"):
        page["work_once"](queue)
    [failed] = queue.look(status="unprocessed")
    assert failed.last_error is not None
    assert failed.last_error.type == "OSError"

    queue.purge()
    queue.send_together(["x"] * 100)
    page["finish_many"](queue, client)
    assert capsys.readouterr().out == "0 were not finished\n"
    assert statuses(queue) == {"unprocessed": 10}


def test_finish_and_receive_in_one_request(running: Broker, client: Client) -> None:
    queue = client.queue("jobs")

    def work(body: str) -> None:
        if body == "hopeless":
            raise ValueError(body)
        if body == "failing":
            raise OSError(body)

    page = run_section(PAGE, "Finish and receive in one request", work=work)
    queue.send_together(["good", "hopeless", "failing"])
    page["consume"](queue, wait=0)
    assert statuses(queue) == {"delayed": 1, "buried": 1}
    assert {each.last_error.message for each in queue.look() if each.last_error} == {"hopeless", "failing"}


def test_several_queues(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_section(PAGE, "Several queues")
    client.queue("jobs").send("later")
    client.queue("urgent").send("first")
    page["receive_from_both"](client)
    assert capsys.readouterr().out == "urgent first\njobs later\n"


def test_failures(running: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: str) -> None:
        raise OSError("no route")

    page = run_section(PAGE, "Failures", work=work)
    client = running.client(consumer="host:17")
    sent = client.queue("mail").send("x")
    page["fail"](client)
    page["show_failures"](client)
    assert capsys.readouterr().out == f"{sent.id} OSError no route 1 host:17\n"


def test_end_a_wait(running: Broker, client: Client) -> None:
    client.queue("mail").send("x")
    [block] = blocks_of(PAGE)["End a wait"]
    code = f"{block}\nreceive_until_sigterm(Client())"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "x\n"
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


def test_hand_over(running: Broker, client: Client) -> None:
    client.queue("orders").send({"order": 17})
    run_section(PAGE, "Hand over")["pack"](client)
    [parcel] = client.queue("parcels").receive()
    assert (parcel.body, parcel.priority) == ({"order": 17}, 5)
    assert statuses(client.queue("orders")) == {}


def test_administration(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    sent = client.queue("mail").send("to a@example.org")
    run_section(PAGE, "Queues and other administration")["administer"](client)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["5 1", "['mail']", f"{sent.id} unprocessed", "to a@example.org"]
    assert [queue.name for queue in client.queues(prefix="mail")] == ["mail-dead"]
    assert client.schedules() == []


def test_several_messages_at_once(running: Broker, client: Client) -> None:
    mail = client.queue("mail")
    mail.configure()
    mail.send_together(["good"] * 6 + ["bad"])

    async def work(body: str) -> None:
        if body == "bad":
            raise ValueError(body)

    async def scenario() -> None:
        consume = run_section(PAGE, "Several messages at once", work=work)["consume"]
        async with AsyncClient(running.url) as client:
            consuming = asyncio.create_task(consume(client))
            while statuses(mail) != {"delayed": 1}:
                assert not consuming.done()
                await asyncio.sleep(0)
            consuming.cancel()
            await asyncio.wait([consuming])

    asyncio.run(scenario())
    [left] = mail.look()
    assert left.last_error is not None
    assert (left.text, left.last_error.message) == ("bad", "bad")


def test_topics(running: Broker, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    run_section(PAGE, "Topics")["publish_orders"](client)
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[1][:14], lines[2]) == ("mail True ", "invoices False", "2")
    assert [each.body for each in client.queue("invoices").receive()] == [{"order": 1}]
    assert len(client.queue("mail").receive()) == 3
