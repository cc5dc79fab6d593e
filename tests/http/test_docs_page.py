"""The page at /docs: whole by itself, allowed by its own policy, and what it tells people to type works."""

from __future__ import annotations

import base64
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

from tests.support.broker_process import RunningBroker
from tests.support.http_client import Client, serving
from tests.support.memory_log import MemoryLog
from tests.support.waiting import PATIENCE_S
from wonderq.auth import keys
from wonderq.broker.broker import Broker
from wonderq.openapi import document, page
from wonderq.rest.error_codes import ERROR_CODES

PAGE = page.as_html().decode()

_VOID = {"meta", "link"}


class _Reader(HTMLParser):
    """Collects what the page refers to, and checks that its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sessions: list[str] = []
        self._in_session = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)
        self._in_session = ("class", "session") in attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._in_session = False

    def handle_data(self, data: str) -> None:
        if self._in_session:
            self.sessions.append(data)


def read() -> _Reader:
    reader = _Reader()
    reader.feed(PAGE)
    reader.close()
    assert reader.open == []
    return reader


def test_it_needs_nothing_from_elsewhere_and_no_script() -> None:
    for tag, attributes in read().elements:
        assert tag not in {"script", "img", "iframe", "object", "form"}
        assert "style" not in attributes, "the policy forbids it"
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "/openapi.json", "data:,"))
    assert "url(" not in PAGE
    assert "@import" not in PAGE


def test_every_link_leads_somewhere_and_every_id_is_there_once() -> None:
    elements = read().elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = {attributes["href"] for tag, attributes in elements if tag == "a"}
    assert links - {f"#{each}" for each in ids} == {"/openapi.json"}


def test_its_policy_allows_its_style_and_nothing_else() -> None:
    [style] = re.findall("<style>(.*?)</style>", PAGE, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    broker = Broker(MemoryLog())
    with serving(broker) as wire:
        reply = wire("GET", "/docs")
    assert reply.content.decode() == PAGE
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(each.strip().split(" ", 1) for each in reply.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{allowed}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_it_has_every_call_and_every_code() -> None:
    ids = {attributes.get("id") for _, attributes in read().elements}
    for path, methods in document.document()["paths"].items():
        if path.startswith(("/queues/{queue}/messages", "/queues/{queue}/dev")):
            assert f"<code>{html.escape(path)}</code>" in PAGE
        else:
            assert {operation["operationId"] for operation in methods.values()} <= ids
    errors = PAGE.partition('<section id="errors">')[2]
    for code, row in ERROR_CODES.items():
        for status in row.statuses:
            assert f"<tr><td>{status}</td><td><code>{code}</code>" in errors


def test_whoever_opens_the_address_is_sent_there() -> None:
    reply = Client(Broker(MemoryLog()))("GET", "/")
    assert (reply.status_code, reply.headers["location"]) == (302, "/docs")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("with_keys", [False, True], ids=["open", "with keys"])
def test_what_it_tells_people_to_type_works(tmp_path: Path, with_keys: bool) -> None:
    address, produce, consume, delete = read().sessions
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
