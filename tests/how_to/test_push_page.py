"""The code of docs/PUSH.md does what the page says."""

from __future__ import annotations

import re
import time
from dataclasses import fields
from pathlib import Path

import pytest

from tests.support.broker_process import BrokerProcess
from tests.support.hook_server import HookServer, answer, hook_server
from tests.support.pages import DOCS, run_section
from tests.support.waiting import eventually
from wonderq.client.sync import Client
from wonderq.model import push
from wonderq.model.push import DeliveryPolicy
from wonderq.push import line, pusher
from wonderq.push.pusher import PushLimits

PAGE = "PUSH.md"
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_endpoint_is_subscribed_and_verifies_requests(tmp_path: Path) -> None:
    subscribe = run_section(PAGE, "Subscribe an endpoint")["subscribe"]
    is_genuine = run_section(PAGE, "Verify a request")["is_genuine"]
    with (
        hook_server() as hook,
        BrokerProcess(tmp_path / "data", "--push-hosts", "127.0.0.1") as broker,
        Client(broker.ready()) as client,
    ):
        secret = subscribe(client, hook.url)
        client.topic("orders").publish({"order": 1})
        [received] = eventually(lambda: list(hook.received))
        assert is_genuine(secret, received.headers, received.body)
        assert not is_genuine(secret, received.headers, received.body + b" ")
        assert not is_genuine("whsec_" + "A" * 32, received.headers, received.body)
        late = {**received.headers, "webhook-timestamp": str(int(time.time()) - 301)}
        assert not is_genuine(secret, late, received.body)
        missing = {**received.headers, "webhook-signature": "v1, v2,x"}
        assert not is_genuine(secret, missing, received.body)
        assert client.topic("orders").subscription("shop").secret == ""
        refuse(hook, client)


def refuse(hook: HookServer, client: Client) -> None:
    hook.behavior = answer(401)
    client.topic("orders").publish("x")
    eventually(lambda: client.queue("orders--push-shop").info().counts["buried"] == 1)


def test_the_table_has_each_field_of_the_policy_with_its_default_and_range() -> None:
    section = TEXT.partition("## Retries")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \| (\S+) \| (.*?) \|", section, re.MULTILINE)
    found = {name: row[1:] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert found.keys() == {each.name for each in fields(DeliveryPolicy)}
    for name, (default, allowed) in found.items():
        value = getattr(DeliveryPolicy(), name)
        assert default.strip("`") == (str(value) or "empty")
        if name in push._RANGES:
            low, high = push._RANGES[name]
            assert allowed == f"{low} to {high:,}"


def test_the_numbers_are_those_of_the_program() -> None:
    limits = PushLimits()
    for sentence in (
        f"(`--push-requests`, {limits.requests} initially)",
        f"uses at most {limits.requests_per_endpoint} slots",
        f"grow from {line._FIRST_PAUSE_S} to {line._LONGEST_PAUSE_S:.0f} seconds",
        f"about {pusher._MOST_BYTES >> 20} MiB",
        f"have {pusher._GRACE_S:.0f} seconds to end",
        f"`timeout` and {pusher._MARGIN_S} seconds",
        f"up to {line._LONGEST_RETRY_AFTER_S / 60:.0f} minutes",
    ):
        assert sentence in TEXT, sentence
