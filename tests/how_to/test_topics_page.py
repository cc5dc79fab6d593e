"""The commands and the code of docs/TOPICS.md do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.pages import commands_of, run_section
from tests.support.waiting import PATIENCE_S
from wonderq.client.sync import Client
from wonderq.testing import Broker

PAGE = "TOPICS.md"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_one_event_for_three_queues(running: Broker, client: Client) -> None:
    commands = commands_of(PAGE, "One event, three queues")
    script = "\n".join([f'wonderq() {{ "{sys.executable}" -m wonderq "$@"; }}', *commands])
    environment = {**os.environ, "WONDERQ_URL": running.url}
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, timeout=PATIENCE_S, check=True, env=environment
    )
    assert re.findall(r"^\S{36}\t(\d+)$", done.stdout, re.MULTILINE) == ["2", "3"]
    assert re.findall(r"^(\S+) +\S+ +gets the message$", done.stdout, re.MULTILINE) == ["mail"]
    received = {
        name: [each.text for each in client.queue(name).look()] for name in ("mail", "invoices", "large-orders")
    }
    first, second = '{"order": 1}', '{"order": 2}'
    assert received == {"mail": [first, second], "invoices": [first, second], "large-orders": [second]}


def test_the_same_in_python(running: Broker, client: Client) -> None:
    client.queue("invoices").configure()
    run_section(PAGE, "One event, three queues")["publish"](client)
    assert [each.body for each in client.queue("invoices").receive()] == [{"order": 1}]
