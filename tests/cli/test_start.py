"""A command loads its own module and what that needs: starts are short, and a client loads no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.commands import clean_environment
from tests.support.waiting import PATIENCE_S
from wonderq.cli.commands import WORDS

#: Packages of the server and of its libraries.
SERVER = {
    *("falcon", "waitress", "greenlet", "msgpack", "isal", "prometheus_client", "cronsim"),
    *("wonderq_storage", "wonderq.broker", "wonderq.rest", "wonderq.httpd", "wonderq.state", "wonderq.runtime"),
    *("wonderq.auth", "wonderq.folder", "wonderq.serve", "wonderq.app", "wonderq.config", "wonderq.sqs", "wonderq.sns"),
}

#: Options that make each command fail before it does anything, or as soon as it calls a broker.
CLIENTS = {
    "send": ("x",),
    "receive": (),
    "delete": ("x",),
    "peek": (),
    "tail": (),
    "top": ("--once",),
    "queue list": (),
    "queue set": ("mail", "delay=1"),
    "topic publish": ("orders", "x"),
    "redrive start": ("mail",),
    "schedule list": (),
}


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that a command has loaded at its end."""
    code = (
        "import sys\n"
        "from wonderq.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('\\nloaded:', *sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=PATIENCE_S,
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


def of_the_server(loaded: set[str]) -> set[str]:
    return {name for name in loaded if any(name == each or name.startswith(f"{each}.") for each in SERVER)}


def modules_of_an_empty_program() -> int:
    code = "import sys, argparse, typing, contextlib, resource; print(len(sys.modules))"
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def test_the_version_loads_little() -> None:
    loaded = loaded_by("--version")
    assert of_the_server(loaded) == set()
    assert not {"msgspec", "ssl", "logging", "asyncio", "wonderq.client"} & loaded
    assert {name for name in loaded if name.startswith("wonderq.cli.")} == {
        *("wonderq.cli.arguments", "wonderq.cli.commands", "wonderq.cli.exit_codes", "wonderq.cli.main"),
        "wonderq.cli.output",
    }
    assert len(loaded) <= modules_of_an_empty_program() + 15


@pytest.mark.parametrize("arguments", [("--help",), ("queue", "--help"), ("send", "--help")])
def test_help_loads_no_server_and_no_client(arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(*arguments)
    assert of_the_server(loaded) == set()
    assert not {"msgspec", "ssl", "wonderq.client.sync"} & loaded


@pytest.mark.parametrize("command", CLIENTS)
def test_a_client_loads_no_server(command: str) -> None:
    loaded = loaded_by(*command.split(), *CLIENTS[command], "--url", "http://127.0.0.1:1")
    assert "wonderq.client.sync" in loaded, "it did not come to the call"
    assert of_the_server(loaded) == set()
    assert not {"aiohttp", "asyncio", "logging", "secrets", "ssl"} & loaded


@pytest.mark.parametrize("word", WORDS)
def test_a_word_loads_no_module_of_another(word: str) -> None:
    others = {f"wonderq.cli.{each.describe.partition(':')[0]}" for name, each in WORDS.items() if name != word}
    own = f"wonderq.cli.{WORDS[word].describe.partition(':')[0]}"
    assert loaded_by(word, "--help") & (others - {own}) == set()
