"""The page at /docs: whole by itself, allowed by its own policy, and what it tells people to type works. tests/ui has the rest."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import TestClient

from tests.support.broker_process import RunningBroker
from tests.support.http_client import Client, serving
from tests.support.memory_log import MemoryLog
from tests.support.queue_client import QueueClient
from tests.support.waiting import PATIENCE_S
from wonderq.app import create_app
from wonderq.auth import keys
from wonderq.broker.broker import Broker
from wonderq.openapi import document, page
from wonderq.rest.error_codes import ERROR_CODES
from wonderq.rest.field_types import EXAMPLE_ID, EXAMPLE_RECEIPT

PAGE = page.as_html(has_dashboard=True).decode()

_VOID = {"meta", "link", "input"}


class _Reader(HTMLParser):
    """Collects what the page refers to, and checks that its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.commands: list[str] = []
        """Texts to type into a shell; the first ones are those of the quick start."""
        self._in_command = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "pre":
            self._in_command = "shell" in (dict(attrs).get("class") or "").split()
            self.commands += [""] if self._in_command else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._in_command = self._in_command and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._in_command:
            self.commands[-1] += data


def read() -> _Reader:
    reader = _Reader()
    reader.feed(PAGE)
    reader.close()
    assert reader.open == []
    return reader


def test_it_needs_nothing_from_elsewhere() -> None:
    for tag, attributes in read().elements:
        assert tag not in {"img", "iframe", "object", "form"}
        assert "style" not in attributes, "the policy forbids it"
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "/openapi.json", "/ui", "data:,"))
    assert "url(" not in PAGE
    assert "@import" not in PAGE


def test_every_link_leads_somewhere_and_every_id_is_there_once() -> None:
    elements = read().elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = {attributes["href"] for tag, attributes in elements if tag == "a"}
    assert links - {f"#{each}" for each in ids} == {"/openapi.json", "/ui"}


def test_it_leads_to_the_dashboard_if_there_is_one() -> None:
    assert 'href="/ui"' not in page.as_html(has_dashboard=False).decode()
    without = TestClient(create_app(Broker(MemoryLog()), ui="off")).simulate_get("/docs")
    assert without.content == page.as_html(has_dashboard=False)


def test_its_policy_allows_its_style_and_its_script_and_nothing_else() -> None:
    allowed = {}
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
        allowed[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    broker = Broker(MemoryLog())
    with serving(broker) as wire:
        reply = wire("GET", "/docs")
    assert reply.content.decode() == PAGE
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(each.strip().split(" ", 1) for each in reply.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": f"'sha256-{allowed['script']}'",
        "style-src": f"'sha256-{allowed['style']}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_it_is_sent_compressed_and_only_if_it_changed() -> None:
    client = TestClient(create_app(Broker(MemoryLog())))
    for path, most_bytes in (("/docs", 30_000), ("/openapi.json", 60_000)):
        packed = client.simulate_get(path, headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(packed.content) == client.simulate_get(path).content
        assert len(packed.content) < most_bytes
        again = client.simulate_get(path, headers={"If-None-Match": packed.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_required_fields_come_first() -> None:
    """The others follow in the order of the document."""
    remarks = re.findall(r"<h4>Fields of .*?</h4>\n<dl>(.*?)</dl>", PAGE, re.DOTALL)
    fields = [['class="must"' in each for each in re.findall("<dt>(.*?)</dt>", one)] for one in remarks]
    assert any(each[0] for each in fields)
    for each in fields:
        assert each == sorted(each, reverse=True)
    produce = PAGE.partition('<div id="produce">')[2]
    assert re.findall("<dt><code>(.*?)</code>", produce)[:2] == ["message", "messages"]


def test_it_has_every_call_and_every_code() -> None:
    ids = {attributes.get("id") for _, attributes in read().elements}
    for path, methods in document.document()["paths"].items():
        if path.startswith(("/queues/{queue}/messages", "/queues/{queue}/dev")):
            assert f"<code>{html.escape(path)}</code>" in PAGE
        else:
            assert {operation["operationId"] for operation in methods.values()} <= ids
    errors = PAGE.partition('<div id="errors">')[2]
    for code, row in ERROR_CODES.items():
        for status in row.statuses:
            assert f'<td>{status}</td><th scope="row"><code>{code}</code>' in errors


def test_whoever_opens_the_address_is_sent_there() -> None:
    reply = Client(Broker(MemoryLog()))("GET", "/")
    assert (reply.status_code, reply.headers["location"]) == (302, "/docs")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("with_keys", [False, True], ids=["open", "with keys"])
def test_what_it_tells_people_to_type_works(tmp_path: Path, with_keys: bool) -> None:
    address, _, produce, consume, delete = read().commands[:5]
    key = ""
    if with_keys:
        key = keys.create(tmp_path / "keys.json", name="test", roles=["produce", "consume"], queues=["*"])[1]
    options = ("--keys", str(tmp_path / "keys.json"), "--fsync", "os")
    with RunningBroker(tmp_path / "data", *options) as broker:

        def typed(command: str) -> Any:
            script = f"{address.replace('http://127.0.0.1:7979', broker.url)}\nKEY={key}\n{command}"
            assert broker.url in script
            done = subprocess.run(
                ["bash", "-euc", script], capture_output=True, text=True, timeout=PATIENCE_S, check=True
            )
            return json.loads(done.stdout)

        assert typed(produce)["statusCode"] == 201
        [message] = typed(consume)
        assert (message["message"], message["queue"]) == ("resize cat.png", "images")
        assert typed(delete.replace("RECEIPT", message["receipt"]))["success"] is True


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_example_is_a_command_that_works(tmp_path: Path) -> None:
    """Each gets a message and a receipt of its own. Only what an earlier one deleted, or never was, is not found."""
    commands = read().commands[5:]
    assert len(commands) > 50
    with RunningBroker(tmp_path / "data", "--fsync", "os") as broker:
        with QueueClient(broker.url) as client:
            client.produce_batch([f"message {number}" for number in range(500)])  # so that no consumer waits
            claimed = client.consume(limit=len(commands), visibility_timeout=600)
        script = [f"BROKER={broker.url}", "KEY=none"]
        for command, message in zip(commands, claimed, strict=True):
            ours = command.replace(EXAMPLE_ID, message["id"]).replace(EXAMPLE_RECEIPT, message["receipt"])
            script.append(ours.replace("curl", "curl -s -o /dev/null -w '%{http_code}\\n'", 1))
        done = subprocess.run(
            ["bash", "-euc", "\n".join(script)], capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
    answers = dict(zip(commands, map(int, done.stdout.split()), strict=True))
    missing = [command for command, status in answers.items() if status == 404]
    assert all(any(part in command for part in ("/queues/mail", "/schedules/", "/topics/")) for command in missing)
    assert {command: status for command, status in answers.items() if status not in (200, 201, 202, 302, 404)} == {}


def test_an_application_behind_another_one_has_no_page_and_does_not_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of a cluster makes the application of a shard when it takes the shard over, while clients wait."""

    def make(*_arguments: object, **_options: object) -> bytes:
        raise AssertionError("it was made")

    monkeypatch.setattr("wonderq.app._documentation", make)
    broker = Broker(MemoryLog())
    client = TestClient(create_app(broker, has_documentation=False))
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 404
    assert client.get("/queues").status_code == 200
    broker.close()
