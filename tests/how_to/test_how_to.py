"""Each recipe of docs/HOW_TO.md does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.pages import blocks_of, run_section
from tests.support.waiting import PATIENCE_S, eventually
from wonderq.client.errors import StaleReceipt
from wonderq.client.sync import Client
from wonderq.client.sync_queue import Queue
from wonderq.testing import Broker

PAGE = "HOW_TO.md"

#: Sections of the page with code, each with a test of its name here.
SECTIONS = {
    "Work for a long time": "test_work_for_a_long_time",
    "Dead letters": "test_dead_letters",
    "Pass work on exactly once": "test_pass_work_on_exactly_once",
    "Send at set times": "test_send_at_set_times",
    "Test your program": "test_test_your_program",
    "Django": "test_django",
    "FastAPI": "test_fastapi",
}


def test_each_section_has_a_test() -> None:
    assert blocks_of(PAGE).keys() == SECTIONS.keys()
    assert all(name in globals() for name in SECTIONS.values())


def statuses(queue: Queue) -> dict[str, int]:
    return {status: count for status, count in queue.info().counts.items() if count}


def test_work_for_a_long_time(client: Client, running: Broker) -> None:
    converted: list[str] = []
    videos = client.queue("videos")
    page = run_section(PAGE, "Work for a long time", convert=converted.append)

    videos.send({"file": "cat.mkv"})
    page["convert_next"](videos)
    videos.send({"parts": ["1", "2"]})
    page["convert_in_parts"](videos)
    assert converted == ["cat.mkv", "1", "2"]
    assert statuses(videos) == {}

    def fail(file: str) -> None:
        raise RuntimeError(file)

    page["convert"] = fail
    videos.send({"file": "dog.mkv"})
    with pytest.raises(RuntimeError):
        page["convert_next"](videos)
    assert statuses(videos) == {"unprocessed": 1}

    def dawdle(_part: str) -> None:
        running.advance(3600)
        videos.receive()

    page["convert"] = dawdle
    videos.purge()
    videos.send({"parts": ["1", "2"]})
    with pytest.raises(StaleReceipt):
        page["convert_in_parts"](videos)


def test_dead_letters(client: Client, running: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_section(PAGE, "Dead letters")
    mail = client.queue("mail")
    mail.send("to a@example.org")
    for _ in range(5):
        [message] = mail.receive()
        message.release()
    assert mail.receive() == []
    assert statuses(client.queue("mail-dead")) == {"unprocessed": 1}

    page["show_dead_letters"](client)
    assert " mail " in capsys.readouterr().out
    redrive_id = page["bring_back"](client)
    eventually(lambda: page["is_finished"](client, redrive_id))
    assert statuses(mail) == {"unprocessed": 1}


def test_pass_work_on_exactly_once(client: Client, running: Broker) -> None:
    orders = client.queue("orders")
    page = run_section(PAGE, "Pass work on exactly once", weigh=lambda _: 3)
    orders.send({"order": 17})
    page["pack_next"](orders)
    [parcel] = client.queue("parcels").receive()
    assert parcel.body == {"order": 17, "weight": 3}
    assert statuses(orders) == {}

    def dawdle(_: Any) -> int:
        running.advance(3600)
        orders.receive()
        return 3

    page["weigh"] = dawdle
    parcel.delete()
    orders.send({"order": 18})
    with pytest.raises(StaleReceipt):
        page["pack_next"](orders)
    assert statuses(client.queue("parcels")) == {}
    assert statuses(orders) == {"processing": 1}


def test_send_at_set_times(client: Client, running: Broker) -> None:
    page = run_section(PAGE, "Send at set times")
    page["set_up_schedules"](client)
    page["set_up_schedules"](client)
    running.advance(24 * 3600)
    running.restart()
    [report] = client.queue("reports").receive()
    assert report.body == {"kind": "nightly"}
    assert str(report.attributes["scheduled_at"]).endswith(":30:00.000Z")


@pytest.mark.slow
def test_test_your_program(running: Broker, tmp_path: Path) -> None:
    with_pytest, without = blocks_of(PAGE)["Test your program"]
    (tmp_path / "test_reminders.py").write_text(with_pytest)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for command in (["-m", "pytest", "-p", "wonderq.pytest_plugin"], ["-c", without]):
        subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, check=True, timeout=PATIENCE_S)


DJANGO = """
import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db"}},
    USE_TZ=True, WONDERQ_URL=None, WONDERQ_KEY=None, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
)
django.setup()

from django.db import connection, models

class Order(models.Model):
    item = models.TextField()
    class Meta:
        app_label = "shop"

with connection.schema_editor() as editor:
    editor.create_model(Order)

shipped = []

class Done(Exception): pass

def ship(order):
    shipped.append(order.item)
    raise Done
"""

USE_OF_DJANGO = """
from django.test import RequestFactory

request = RequestFactory().post("/orders", {"item": "lamp"})
try:
    with transaction.atomic():
        create_order(request)
        raise KeyError
except KeyError:
    pass
assert wonderq().queues()[0].name == "default" and len(wonderq().queues()) == 1, "nothing was sent"
assert create_order(request).status_code == 202
send_order(Order.objects.get().pk)
assert wonderq().queue("orders").info().counts["unprocessed"] == 1, "the second one was a duplicate"
try:
    Command().handle()
except Done:
    pass
assert shipped == ["lamp"]
wonderq().close()
"""


@pytest.mark.slow
def test_django(running: Broker, tmp_path: Path) -> None:
    pytest.importorskip("django")
    code = "\n".join([DJANGO, *blocks_of(PAGE)["Django"], USE_OF_DJANGO])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=PATIENCE_S)


USE_OF_FASTAPI = """
from fastapi.testclient import TestClient

with TestClient(app) as http:
    answer = http.post("/orders", json={"item": "lamp"})
    assert answer.status_code == 202, answer.text

from wonderq import Client

with Client() as client:
    [message] = client.queue("orders").receive()
    assert (message.id, message.body) == (answer.json()["id"], {"item": "lamp"})
"""


@pytest.mark.slow
def test_fastapi(running: Broker, tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    code = "\n".join([*blocks_of(PAGE)["FastAPI"], USE_OF_FASTAPI])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=PATIENCE_S)
